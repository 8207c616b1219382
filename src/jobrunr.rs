//! JobRunr's rules: what a trigger may ask of a storage, what a storage holds, which servers live.
//!
//! Pure: no I/O, no clock, no SQL. Every instant comes in as an argument.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod last_seen;
mod question;
mod recurring;
pub mod schedule;
#[expect(clippy::arithmetic_side_effects, reason = "still to be checked")]
mod snapshot;

pub use last_seen::{LastSeenServer, LastSeenServers};
pub use question::{Filter, LookAheads, Question, Questions};
pub use recurring::{Definition, Planning, Recurring, RecurringJob, Timing};
pub use snapshot::{Count, MissingColumn, NextDue, QuestionError, Queue, Server, Snapshot};

/// JobRunr's default poll interval, seconds (`BackgroundJobServerConfiguration.DEFAULT_POLL_INTERVAL_IN_SECONDS`).
pub const DEFAULT_POLL_INTERVAL_SECONDS: u32 = 15;

/// How many poll intervals may pass without a heartbeat before JobRunr takes a server for dead
/// (`BackgroundJobServerConfiguration.DEFAULT_SERVER_TIMEOUT_POLL_INTERVAL_MULTIPLICAND`).
pub const DEFAULT_HEARTBEAT_MULTIPLICAND: u32 = 4;
