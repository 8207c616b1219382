//! jobrunr-scaler: a KEDA external scaler that answers from JobRunr's own tables.
//!
//! `ARCHITECTURE.md` has the map. Imports go one way: `cli` → `grpc` → `monitor` → `storage` → `scaling` → `jobrunr`.

pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
pub mod grpc;
pub mod http;
pub mod jobrunr;
pub mod metrics;
pub mod monitor;
pub mod scaling;
pub mod storage;
pub mod tls;
