//! How a storage is doing, for people to look at. Reads nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Monitor;
use crate::jobrunr::{Questions, Snapshot};

/// How a storage is doing.
#[derive(Clone, Debug)]
pub struct MonitorStatus {
    /// The latest snapshot, if there ever was one.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Its age.
    pub age: Option<Duration>,
    /// How long its read took.
    pub read_took: Option<Duration>,
    /// Whether the snapshot is young enough to be served.
    pub is_served: bool,
    /// Why the last read failed; `None` if it did not.
    pub failure: Option<FailedRead>,
    /// Whether the database notifies of new jobs.
    pub is_listening: bool,
    /// What is asked at present. Without a question nothing is read.
    pub questions: Questions,
}

/// Why a storage could not be read.
#[derive(Clone, Debug)]
pub struct FailedRead {
    /// Why, in words.
    pub cause: String,
    /// How long until the next attempt.
    pub retry_in: Duration,
}

impl Monitor {
    /// Returns how the storage is doing.
    #[must_use]
    pub fn status(&self) -> MonitorStatus {
        let (cached, failure) = {
            let state = self.shared.state.borrow();
            (state.cached.clone(), state.failure.clone())
        };
        let retry_in = |at: Instant| at.saturating_duration_since(Instant::now());
        MonitorStatus {
            age: cached.as_ref().map(|cached| cached.asked_at.elapsed()),
            read_took: cached.as_ref().map(|cached| cached.took),
            is_served: cached.as_ref().is_some_and(|cached| self.shared.can_serve(cached)),
            snapshot: cached.map(|cached| cached.snapshot),
            failure: failure.map(|f| FailedRead { cause: f.cause, retry_in: retry_in(f.retry_at) }),
            is_listening: self.is_listening(),
            questions: self.shared.questions(),
        }
    }
}
