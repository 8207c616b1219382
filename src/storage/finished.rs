//! How long jobs run, learnt from the newest finished ones: a few rows, now and then, and only if a trigger asks for it.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::{Duration, Instant};

use super::StorageError;
use super::backend::Backend;
use crate::jobrunr::{FINISHED_SAMPLE, FinishedRun, ServiceTimes, Snapshot};

/// How often finished jobs are read at most.
const INTERVAL: Duration = Duration::from_secs(15);
/// Rows of the first read, and the fewest. Records may be long.
const FIRST_LIMIT: usize = 125;
const LEAST_LIMIT: usize = 10;
/// A read that takes longer is followed by one of half the rows.
const SLOW: Duration = Duration::from_millis(50);
/// The application's clocks may differ, so that what ended a little before the newest is still to come.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);

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
    pub(super) async fn add(&mut self, backend: &mut dyn Backend, snapshot: &mut Snapshot) -> Result<(), StorageError> {
        if self.read_at.is_none_or(|read_at| INTERVAL <= read_at.elapsed()) {
            let began = Instant::now();
            match self.read(backend).await {
                Ok(()) => {}
                Err(error @ (StorageError::Rejected(_) | StorageError::TimedOut(_))) => {
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
    async fn read(&mut self, backend: &mut dyn Backend) -> Result<(), StorageError> {
        let newest = self.runs.back().filter(|_| self.limit <= self.runs.len());
        let since = newest.and_then(|run| run.ended_at.checked_sub(OVERLAP).ok());
        let mut found = backend.finished_runs(since, self.limit as u64).await?;
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

fn next_limit(limit: usize, took: Duration) -> usize {
    if SLOW < took { (limit / 2).max(LEAST_LIMIT) } else { limit.saturating_mul(2).min(FINISHED_SAMPLE) }
}
