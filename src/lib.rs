//! jobrunr-scaler: a KEDA external scaler that answers from JobRunr's own tables.
//!
//! `ARCHITECTURE.md` has the map, and `tests/architecture.rs` the order of the rooms: imports go down, never up.
//!
//! This library exists for the program, its tests and its benchmarks. It is no stable API: anything may change with any
//! version.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
mod debounced;
mod demo;
pub mod duration;
mod explain;
pub mod grpc;
pub mod http;
pub mod jobrunr;
pub mod kubernetes;
pub mod log;
pub mod metrics;
pub mod monitor;
pub mod protect;
pub mod recent;
pub mod scaling;
pub mod serve;
pub mod simulate;
pub mod storage;
pub mod tasks;
mod terminal;
mod text;
mod tls;
mod yaml;
