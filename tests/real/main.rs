//! Against real databases and a real gRPC client. `scripts/test.sh` starts the servers.

mod fixture;
mod grpc;
mod storage;
