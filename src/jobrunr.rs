//! JobRunr's rules: what a trigger can ask of a storage, what a storage answers, which servers are alive, when recurring jobs
//! run.
//!
//! Pure: no I/O, no clock, no database. Every instant is an argument.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod finished_job;
mod last_seen;
mod missing_runs;
mod question;
mod recurring;
mod running;
pub mod schedule;
mod snapshot;
mod work;

pub use finished_job::{FinishedJob, FinishedJobError};
pub use last_seen::{LastSeenServer, LastSeenServers};
pub(crate) use missing_runs::MissingRuns;
pub use question::{Details, Filter, LookAheads, Question, Questions};
pub use recurring::{Definition, Recurring, RecurringJob, RunScheduling, Timing};
pub(crate) use running::{ProcessingState, SERVER_ID_KEY, normalized_id};
pub use running::{RunningJob, RunningJobs, loss_class};
pub use snapshot::{Count, Mutexes, NextDue, QuestionError, Queue, Server, Snapshot, UnsupportedFilter};
pub use work::{FINISHED_SAMPLE, FinishedRun, JobGroup, QUEUE_SAMPLE, ServiceTime, ServiceTimes};

/// JobRunr's default poll interval, seconds (`BackgroundJobServerConfiguration.DEFAULT_POLL_INTERVAL_IN_SECONDS`).
pub const DEFAULT_POLL_INTERVAL_SECONDS: u32 = 15;

/// JobRunr's default number of poll intervals without a heartbeat after which a server counts as dead
/// (`BackgroundJobServerConfiguration.DEFAULT_SERVER_TIMEOUT_POLL_INTERVAL_MULTIPLICAND`).
pub const DEFAULT_HEARTBEAT_MULTIPLICAND: u32 = 4;
