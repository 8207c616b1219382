//! Reads which jobs run, on which server and since when: a list of ids with every read, and the records of those jobs only that
//! were not seen before.
//!
//! JobRunr keeps server and start in the job's JSON, which may be megabytes long. A read moves the ids, and once per job the part
//! of its JSON that contains its last state. A list that cannot be read says so and affects nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::StorageError;
use super::budget::TimedBackend;
use super::rows::{ExcerptKind, Excerpts, JobExcerpt, MAX_KIND_CHARACTERS, RunningRow};
use crate::config::StorageConfig;
use crate::jobrunr::{Count, Filter, ProcessingState, RunningJob, RunningJobs, Snapshot, normalized_id};
use crate::text::printable;

/// Jobs that are listed at most, whatever the count limit is.
const MAX_JOBS: u64 = 10_000;
/// Jobs that are looked up per statement.
const JOBS_PER_LOOKUP: usize = 200;
/// Jobs that are looked up per read; the others follow with the next reads.
const MAX_LOOKUPS: usize = 2_000;
/// Jobs per read whose whole record is read, because its excerpt does not show the state.
const MAX_WHOLE_RECORDS: usize = 20;
/// A read stops looking up jobs after this time: other answers wait for it.
const LOOKUP_TIME: Duration = Duration::from_millis(250);
/// After a failure the list is read again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// A job that has left the state PROCESSING and returned was saved this many times at least: as FAILED and SCHEDULED at once, as
/// ENQUEUED, and as PROCESSING. Its server's heartbeat saves it once per poll interval.
const SAVES_OF_RESTART: i64 = 3;

/// What earlier reads of a session have found of the jobs that are running.
#[derive(Default)]
pub(super) struct RunningCache {
    jobs: HashMap<String, KnownJob>,
    kinds: HashSet<Arc<str>>,
    failure: Option<(String, Instant)>,
    /// Whether all jobs of the last list were looked up.
    has_all: bool,
}

/// A job that was looked up.
struct KnownJob {
    /// How often it had been saved when it was last seen.
    version: Option<i64>,
    id: Arc<str>,
    kind: Arc<str>,
    /// `None` if its record does not show it.
    state: Option<ProcessingState>,
}

impl KnownJob {
    /// Whether the job cannot have been restarted, perhaps on another server, since it was last seen.
    fn is_current(&self, row: &RunningRow) -> bool {
        let n_saves = self.version.zip(row.version).map(|(seen, now)| now.saturating_sub(seen));
        n_saves.is_some_and(|n_saves| (0..SAVES_OF_RESTART).contains(&n_saves))
    }
}

impl RunningCache {
    /// Adds the running jobs to a snapshot. `since` is where the scan for them begins.
    ///
    /// # Errors
    /// Only if the connection is lost. Otherwise the snapshot says why there is no list.
    pub(super) async fn add(
        &mut self,
        backend: &mut TimedBackend,
        config: &StorageConfig,
        since: Option<Timestamp>,
        snapshot: &mut Snapshot,
    ) -> Result<(), StorageError> {
        let all = snapshot.queues.get(&Filter::default()).and_then(|queue| queue.as_ref().ok());
        if all.is_some_and(|queue| queue.processing == Count::default()) {
            self.jobs.clear();
            snapshot.running = Some(RunningJobs::default());
            return Ok(());
        }
        self.failure = self.failure.take().filter(|(_, at)| at.elapsed() < RETRY_AFTER);
        if self.failure.is_none() && !backend.has_time() {
            snapshot.running = Some(RunningJobs { is_truncated: true, ..RunningJobs::default() });
            return Ok(());
        }
        if self.failure.is_none() {
            let limit = config.count_limit.unwrap_or(MAX_JOBS).clamp(1, MAX_JOBS);
            match self.read(backend, limit, since).await {
                Ok(running) => {
                    snapshot.running = Some(with_known_servers(running, snapshot));
                    return Ok(());
                }
                Err(error @ (StorageError::Unreachable(_) | StorageError::Starting(_))) => return Err(error),
                Err(error) => self.failure = Some((error.to_string(), Instant::now())),
            }
        }
        let unread = self.failure.as_ref().map(|(cause, _)| cause.clone());
        let cause = unread.as_deref().unwrap_or_default();
        snapshot.notes.push(format!("which server runs which job cannot be read: {cause}"));
        snapshot.running = Some(RunningJobs { unread, ..RunningJobs::default() });
        Ok(())
    }

    async fn read(
        &mut self,
        backend: &mut TimedBackend,
        limit: u64,
        since: Option<Timestamp>,
    ) -> Result<RunningJobs, StorageError> {
        let rows = backend.statement().await?.running(limit, since).await?;
        self.retain(&rows);
        let new: Vec<&RunningRow> = rows.iter().filter(|row| !self.jobs.contains_key(&row.id)).collect();
        self.look_up(backend, &new).await?;
        let jobs: Vec<RunningJob> = rows.iter().filter_map(|row| Some(self.jobs.get(&row.id)?.running())).collect();
        let is_truncated = limit <= rows.len() as u64 || !self.has_all;
        Ok(RunningJobs { jobs, is_truncated, unread: None })
    }

    /// Forgets the jobs that are no longer in the list, and those that may run elsewhere now.
    fn retain(&mut self, rows: &[RunningRow]) {
        let mut known = std::mem::take(&mut self.jobs);
        for row in rows {
            if let Some((id, job)) = known.remove_entry(&row.id).filter(|(_, job)| job.is_current(row)) {
                self.jobs.insert(id, KnownJob { version: row.version, ..job });
            }
        }
        self.kinds.retain(|kind| 1 < Arc::strong_count(kind));
    }

    /// Looks up jobs, as many as a read can.
    async fn look_up(&mut self, backend: &mut TimedBackend, new: &[&RunningRow]) -> Result<(), StorageError> {
        let began = Instant::now();
        let mut unclear: Vec<&RunningRow> = Vec::new();
        self.has_all = true;
        for (index, rows) in new.chunks(JOBS_PER_LOOKUP).enumerate() {
            if MAX_LOOKUPS / JOBS_PER_LOOKUP <= index || LOOKUP_TIME <= began.elapsed() || !backend.has_time() {
                self.has_all = false;
                break;
            }
            self.look_up_some(backend, rows, ExcerptKind::LastState).await?;
            let is_unclear = |row: &&&RunningRow| self.jobs.get(&row.id).is_some_and(|job| job.state.is_none());
            unclear.extend(rows.iter().filter(is_unclear).copied());
        }
        unclear.truncate(MAX_WHOLE_RECORDS);
        if !unclear.is_empty() && backend.has_time() {
            self.look_up_some(backend, &unclear, ExcerptKind::Whole).await?;
        }
        Ok(())
    }

    async fn look_up_some(
        &mut self,
        backend: &mut TimedBackend,
        rows: &[&RunningRow],
        kind: ExcerptKind,
    ) -> Result<(), StorageError> {
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let versions: HashMap<&str, Option<i64>> = rows.iter().map(|row| (row.id.as_str(), row.version)).collect();
        let Excerpts { jobs, is_partial } = backend.statement().await?.excerpts(&ids, kind).await?;
        self.has_all &= !is_partial;
        for excerpt in jobs {
            let Some(version) = versions.get(excerpt.id.as_str()) else { continue };
            let Some(id) = normalized_id(&excerpt.id) else { continue };
            let JobExcerpt { id: key, kind, json } = excerpt;
            let state = ProcessingState::find(&json);
            let kind = self.kind(&kind);
            self.jobs.insert(key, KnownJob { version: *version, id, kind, state });
        }
        Ok(())
    }

    /// Returns the kind, of which there is one copy for all of its jobs.
    fn kind(&mut self, kind: &str) -> Arc<str> {
        let kind = printable(kind, MAX_KIND_CHARACTERS);
        match self.kinds.get(kind.as_str()) {
            Some(known) => Arc::clone(known),
            None => {
                let kind: Arc<str> = kind.into();
                self.kinds.insert(Arc::clone(&kind));
                kind
            }
        }
    }
}

impl KnownJob {
    fn running(&self) -> RunningJob {
        RunningJob {
            id: Arc::clone(&self.id),
            kind: Arc::clone(&self.kind),
            server_id: self.state.as_ref().map(|state| Arc::clone(&state.server_id)),
            started_at: self.state.as_ref().and_then(|state| state.started_at),
        }
    }
}

/// Removes the ids of servers that have no record.
fn with_known_servers(mut running: RunningJobs, snapshot: &Snapshot) -> RunningJobs {
    let servers: HashSet<&str> = snapshot.servers.iter().map(|server| &*server.id).collect();
    for job in &mut running.jobs {
        job.server_id = job.server_id.take().filter(|id| servers.contains(&**id));
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(version: Option<i64>) -> RunningRow {
        RunningRow { id: "1".to_owned(), version }
    }

    #[test]
    fn known_job_is_looked_up_again_once_it_may_run_elsewhere() {
        let check = |seen: Option<i64>, now: Option<i64>, expected: bool| {
            let job = KnownJob { version: seen, id: "1".into(), kind: "".into(), state: None };
            assert_eq!(job.is_current(&row(now)), expected, "{seen:?} {now:?}");
        };
        check(Some(3), Some(3), true);
        // Heartbeats of its server.
        check(Some(3), Some(5), true);
        // Failed and scheduled, enqueued, and fetched.
        check(Some(3), Some(6), false);
        check(Some(3), Some(2), false);
        check(None, None, false);
        check(Some(i64::MIN), Some(i64::MAX), false);
    }
}
