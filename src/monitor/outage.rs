//! Outages of a storage: what is logged, and when to try again.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::pace::{Backoff, jittered};
use crate::storage::StorageError;

/// The shortest and the longest wait between attempts to read. The longest, with jitter, leads to 4 attempts per minute on
/// average and at most 5.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(18);
/// The wait while the database reports that it is starting.
const WAIT_WHILE_STARTING: Duration = Duration::from_secs(2);
/// The number of attempts with that wait.
const MAX_ATTEMPTS_WHILE_STARTING: u32 = 30;
/// The number of causes remembered per outage. Each new cause is logged and starts again with short waits; some texts differ
/// every time.
const MAX_CAUSES: usize = 16;
/// Reads that take longer than this are logged.
const SLOW_READ: Duration = Duration::from_secs(1);
/// The shortest interval between two log lines about slow reads.
const SLOW_READ_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Logs the outages of a storage, and decides when to try again.
#[derive(Debug)]
pub(super) struct Outages {
    storage: String,
    backoff: Backoff,
    /// The causes since the storage last worked steadily, the latest last.
    causes: Vec<String>,
    n_attempts_while_starting: u32,
    current: Option<Outage>,
}

/// A period in which reads fail.
#[derive(Debug)]
struct Outage {
    since: Instant,
    n_failures: u32,
    /// When the cached answer became too old to be served.
    unanswered_since: Option<Instant>,
}

impl Outages {
    pub(super) fn new(storage: String) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        Self { storage, backoff, causes: Vec::new(), n_attempts_while_starting: 0, current: None }
    }

    /// Records a failed read, and logs each cause once. Returns how long to wait before the next attempt. `is_answering`: the
    /// cached answer can still be served.
    pub(super) fn record_failure(&mut self, error: &StorageError, is_answering: bool) -> Duration {
        if self.backoff.has_been_steady() {
            self.causes.clear();
            self.n_attempts_while_starting = 0;
        }
        let is_new_cause = self.remember(error.to_string());
        self.log_failure(error, is_new_cause, is_answering);
        if is_new_cause {
            // Something has changed: the database may be coming back.
            self.backoff.restart();
        }
        let wait = self.backoff.record_failure();
        let is_starting = matches!(error, StorageError::Starting(_));
        if is_starting && self.n_attempts_while_starting < MAX_ATTEMPTS_WHILE_STARTING {
            self.n_attempts_while_starting = self.n_attempts_while_starting.saturating_add(1);
            return wait.min(jittered(WAIT_WHILE_STARTING));
        }
        wait
    }

    fn log_failure(&mut self, error: &StorageError, is_new_cause: bool, is_answering: bool) {
        let storage = &self.storage;
        match &mut self.current {
            Some(outage) => {
                outage.n_failures = outage.n_failures.saturating_add(1);
                if is_new_cause {
                    let seconds = outage.since.elapsed().as_secs();
                    warn!(storage, %error, seconds, "storage still unavailable, for another cause");
                }
            }
            None => {
                let now = Instant::now();
                if is_answering {
                    warn!(storage, %error, "storage unavailable; serving the last answer until maxStaleness");
                } else {
                    warn!(storage, %error, "storage unavailable; no answer to serve, KEDA gets errors");
                }
                let unanswered_since = (!is_answering).then_some(now);
                self.current = Some(Outage { since: now, n_failures: 1, unanswered_since });
            }
        }
    }

    /// Returns whether the cached answer is still served although reads fail, so that its expiry has to be logged.
    pub(super) fn is_serving_cached_answer(&self) -> bool {
        self.current.as_ref().is_some_and(|outage| outage.unanswered_since.is_none())
    }

    /// Records that the cached answer has become too old to be served.
    pub(super) fn record_expired_answer(&mut self) {
        let Some(outage) = self.current.as_mut().filter(|outage| outage.unanswered_since.is_none()) else { return };
        outage.unanswered_since = Some(Instant::now());
        let (storage, seconds) = (&self.storage, outage.since.elapsed().as_secs());
        let error = self.causes.last().map(String::as_str).unwrap_or_default();
        warn!(storage, error, seconds, "last answer is older than maxStaleness; KEDA gets errors");
    }

    /// Records a successful read.
    pub(super) fn record_success(&mut self) {
        self.backoff.record_success();
        let Some(outage) = self.current.take() else { return };
        let (storage, n_failures) = (&self.storage, outage.n_failures);
        let seconds = rounded(outage.since.elapsed());
        let seconds_without_answers = outage.unanswered_since.map_or(0.0, |at| rounded(at.elapsed()));
        info!(storage, n_failures, seconds, seconds_without_answers, "storage available again");
    }

    /// Remembers a cause. Returns whether it is new.
    fn remember(&mut self, cause: String) -> bool {
        if let Some(index) = self.causes.iter().position(|known| *known == cause) {
            // The latest cause is the one that is logged.
            let cause = self.causes.remove(index);
            self.causes.push(cause);
            return false;
        }
        let has_room = self.causes.len() < MAX_CAUSES;
        if !has_room {
            self.causes.remove(0);
        }
        self.causes.push(cause);
        has_room
    }
}

/// Seconds, rounded to a tenth.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// Logs slow reads, at most once per interval.
#[derive(Debug, Default)]
pub(super) struct SlowReads {
    logged_at: Option<Instant>,
    n_not_logged: u64,
}

impl SlowReads {
    /// Records the duration of a successful read.
    pub(super) fn record(&mut self, storage: &str, took: Duration) {
        if took < SLOW_READ {
            return;
        }
        if self.logged_at.is_some_and(|at| at.elapsed() < SLOW_READ_LOG_INTERVAL) {
            self.n_not_logged = self.n_not_logged.saturating_add(1);
            return;
        }
        let n_not_logged = std::mem::take(&mut self.n_not_logged);
        self.logged_at = Some(Instant::now());
        warn!(storage, seconds = rounded(took), n_not_logged, "slow read");
    }
}
