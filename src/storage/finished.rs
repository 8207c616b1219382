//! How long jobs run, learnt from the newest finished ones: a few rows, now and then, and only if a trigger asks for it.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant};

use super::StorageError;
use super::budget::TimedBackend;
use crate::jobrunr::{FINISHED_SAMPLE, FinishedRun, ServiceTimes, Snapshot};

/// How often finished jobs are read at most.
const INTERVAL: Duration = Duration::from_secs(15);
/// Rows of the first read, and the fewest. Records may be long.
const FIRST_LIMIT: usize = 125;
const LEAST_LIMIT: usize = 10;
/// A read that takes longer is followed by one of half the rows.
const SLOW: Duration = Duration::from_millis(50);
/// The application's clocks may differ, so that what ended a little before the newest is still to come.
const OVERLAP: SignedDuration = SignedDuration::from_secs(30);

/// What is known of finished jobs.
pub(super) struct FinishedCache {
    /// The newest last.
    runs: VecDeque<FinishedRun>,
    times: Arc<ServiceTimes>,
    limit: usize,
    read_at: Option<Instant>,
}

impl Default for FinishedCache {
    fn default() -> Self {
        Self { runs: VecDeque::new(), times: Arc::default(), limit: FIRST_LIMIT, read_at: None }
    }
}

impl FinishedCache {
    /// Adds how long jobs run to a snapshot. Reads finished jobs if the last read was long enough ago. If that takes too long, or
    /// the database rejects it, the snapshot has what is known and says so.
    pub(super) async fn add(
        &mut self,
        backend: &mut TimedBackend,
        snapshot: &mut Snapshot,
    ) -> Result<(), StorageError> {
        let is_due = self.read_at.is_none_or(|read_at| INTERVAL <= read_at.elapsed());
        if is_due && backend.has_time() {
            let began = Instant::now();
            match self.read(backend, snapshot.read_at).await {
                Ok(()) => {}
                Err(error @ (StorageError::Rejected(_) | StorageError::TimedOut(_) | StorageError::Busy(_))) => {
                    self.limit = LEAST_LIMIT;
                    snapshot
                        .notes
                        .push(format!("how long jobs run is not known: reading finished jobs failed: {error}"));
                }
                Err(error) => return Err(error),
            }
            self.read_at = Some(began);
            self.limit = next_limit(self.limit, began.elapsed());
        }
        snapshot.service_times = Some(self.times.clone());
        Ok(())
    }

    /// Reads what has finished since the last read; all over again as long as the sample may grow.
    async fn read(&mut self, backend: &mut TimedBackend, now: Timestamp) -> Result<(), StorageError> {
        let since = if self.limit <= self.runs.len() { since(&self.runs, now) } else { None };
        let mut found = backend.statement().await?.finished_runs(since, self.limit as u64).await?;
        if since.is_none() {
            self.runs.clear();
        }
        found.retain(|run| !self.runs.iter().any(|known| known.id == run.id && known.ended_at == run.ended_at));
        self.runs.extend(found);
        self.runs.make_contiguous().sort_by_key(|run| run.ended_at);
        self.runs.drain(..self.runs.len().saturating_sub(FINISHED_SAMPLE));
        self.times = Arc::new(ServiceTimes::from_runs(&self.runs));
        Ok(())
    }
}

/// Returns since when jobs may have finished that are not known. A job that seems to end later than now tells nothing: its clock is
/// ahead, or its record damaged.
fn since(runs: &VecDeque<FinishedRun>, now: Timestamp) -> Option<Timestamp> {
    let newest = runs.iter().rev().map(|run| run.ended_at).find(|ended_at| *ended_at <= now)?;
    newest.checked_sub(OVERLAP).ok()
}

fn next_limit(limit: usize, took: Duration) -> usize {
    if SLOW < took { (limit / 2).max(LEAST_LIMIT) } else { limit.saturating_mul(2).min(FINISHED_SAMPLE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_since_the_newest_that_ended_by_now() {
        let at = |second| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let check = |ended: &[i64], expected: Option<i64>| {
            let run =
                |second: &i64| FinishedRun { id: "1".into(), kind: "a".into(), ended_at: at(*second), seconds: 1.0 };
            assert_eq!(since(&ended.iter().map(run).collect(), at(0)), expected.map(at), "{ended:?}");
        };
        check(&[], None);
        check(&[-60, -5], Some(-35));
        check(&[-60, 0], Some(-30));
        // A clock an hour ahead.
        check(&[-60, -5, 3_600], Some(-35));
        check(&[3_600], None);
    }
}
