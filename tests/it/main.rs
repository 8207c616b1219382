//! Tests against real databases and over the wire. `scripts/test.sh` starts the servers that they need.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test, with its place")]

mod database;
mod explain_tls;
mod faults;
mod grpc;
mod hostile;
mod process;
mod proxy;
mod reload;
mod rows;
mod scaler;
mod storage;
mod tls;
