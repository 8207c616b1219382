//! Against real databases and a real gRPC client. `scripts/test.sh` starts the servers.
#![expect(clippy::unwrap_used, unreachable_pub, reason = "a panic in a test is a failed test, with its place")]

mod fixture;
mod grpc;
mod storage;
