//! Tests against real databases and over the wire. `scripts/test.sh` starts the servers that they need.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test, with its place")]

mod check;
mod connections;
mod environment;
mod explain_tls;
mod faults;
mod grpc;
mod hostile;
mod page;
mod program;
#[cfg(feature = "protect")]
mod protect;
mod proxy;
mod reload;
mod storage;
#[path = "../support/lib.rs"]
mod support;
mod tls;

use support::{database, process, rows, scaler};
