//! The workload that a storage has seen: its finished jobs.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::Instant;

use super::workload::{Kinds, MAX_DURATION};
use super::{Job, Millis, Workload};
use crate::config::StorageConfig;
use crate::duration;
use crate::jobrunr::{FinishedJob, FinishedJobError};
use crate::storage::{FinishedState, HistoryPage, HistoryRow, Session, Storage, StorageError};
use crate::text::{counted, printable};

/// The longest time that a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Jobs per page, and the fewest if pages take too long.
const PAGE: u64 = 500;
const SMALLEST_PAGE: u64 = 20;
/// The longest record that is read, in characters.
const MAX_CHARACTERS: u64 = 65_536;
/// The longest pause after a page. A pause is as long as the page took.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How far the application's clocks may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);
/// Instants are compared with this margin, because SQLite's are rounded. No job is taken twice.
const ROUNDING: SignedDuration = SignedDuration::from_millis(1);
/// The longest name of a kind, in characters.
const MAX_NAME: usize = 200;

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryOptions {
    /// How far back.
    pub since: SignedDuration,
    /// Whether kinds of jobs have the names of their signatures, not hashes.
    pub names: bool,
    /// How much at most.
    pub bounds: HistoryBounds,
}

/// How much is read at most, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Jobs.
    pub jobs: usize,
    /// Bytes of their records.
    pub bytes: usize,
    /// Time.
    pub time: Duration,
}

impl Default for HistoryBounds {
    fn default() -> Self {
        Self { jobs: 1_000_000, bytes: 2 * 1024 * 1024 * 1024, time: Duration::from_secs(300) }
    }
}

/// Why there is no workload.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The storage did not answer.
    #[error("the history cannot be read: {0}")]
    Storage(#[from] StorageError),
    /// There are no finished jobs.
    #[error("no job has finished in the last {since}; {hint}")]
    Empty {
        /// The time that was looked at.
        since: String,
        /// What may be the cause.
        hint: String,
    },
}

/// How far reading is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The jobs that were read.
    pub jobs: usize,
    /// The share of the time span that was read, from 0 to 1.
    pub share: f64,
}

/// Reads the finished jobs of a storage on a separate connection, in pages, with pauses, and stops at the bounds.
///
/// # Errors
/// [`HistoryError`]
pub async fn read_history(
    name: &str,
    storage: &StorageConfig,
    options: &HistoryOptions,
    now: Timestamp,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Workload, HistoryError> {
    let storage =
        StorageConfig { statement_timeout: storage.statement_timeout.min(STATEMENT_TIMEOUT), ..storage.clone() };
    let since = now.checked_sub(options.since).unwrap_or(Timestamp::MIN);
    let session = storage.connect().await?;
    let mut reader =
        Reader { storage: &storage, session, options, now, since, began: Instant::now(), found: Found::default() };
    for state in FinishedState::ALL {
        reader.read(state, progress).await?;
    }
    reader.session.close().await;
    reader.found.into_workload(name, options, now, reader.since)
}

struct Reader<'a> {
    storage: &'a StorageConfig,
    session: Box<dyn Session>,
    options: &'a HistoryOptions,
    now: Timestamp,
    /// The start of the time span; later than asked for once a bound is reached.
    since: Timestamp,
    began: Instant,
    found: Found,
}

impl Reader<'_> {
    /// Reads the jobs of one state, the newest first.
    async fn read(
        &mut self,
        state: FinishedState,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), StorageError> {
        let mut until = self.now.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        let mut limit = PAGE;
        let mut seen: HashSet<String> = HashSet::new();
        loop {
            let page = HistoryPage { state, since: self.since, until, limit, max_characters: MAX_CHARACTERS };
            let began = Instant::now();
            let rows = match self.session.history(&page).await {
                Err(StorageError::TimedOut(_)) if SMALLEST_PAGE < limit => {
                    limit = (limit / 4).max(SMALLEST_PAGE);
                    self.session = self.storage.connect().await?;
                    continue;
                }
                rows => rows?,
            };
            let is_last = (rows.len() as u64) < limit;
            let new: Vec<&HistoryRow> = rows.iter().filter(|row| !seen.contains(&row.id)).collect();
            new.iter().for_each(|row| self.found.add(row, state, self.since));
            let Some(oldest) = rows.last().map(|row| row.updated_at) else { return Ok(()) };
            progress(Progress { jobs: self.found.jobs.len(), share: self.share(oldest) });
            if is_last {
                return Ok(());
            }
            if self.is_too_much() {
                // Most jobs are in the first state. What is left out of the others must not cut those off.
                if state == FinishedState::Succeeded {
                    self.found.is_bounded = true;
                    self.since = self.since.max(oldest);
                } else {
                    self.found.incomplete.push(state);
                }
                return Ok(());
            }
            if new.is_empty() {
                // More jobs of one instant than a page has.
                limit = limit.saturating_mul(2);
            }
            until = oldest.checked_add(ROUNDING).unwrap_or(until).min(until);
            seen = rows.into_iter().filter(|row| row.updated_at <= until).map(|row| row.id).collect();
            tokio::time::sleep(began.elapsed().min(LONGEST_PAUSE)).await;
        }
    }

    fn is_too_much(&self) -> bool {
        let bounds = &self.options.bounds;
        bounds.jobs <= self.found.n_rows || bounds.bytes <= self.found.n_bytes || bounds.time <= self.began.elapsed()
    }

    /// The share of the time span that is newer than `oldest`.
    fn share(&self, oldest: Timestamp) -> f64 {
        let (done, all) = (self.now.duration_since(oldest), self.now.duration_since(self.since));
        (done.as_secs_f64() / all.as_secs_f64().max(1.0)).clamp(0.0, 1.0)
    }
}

/// What was found.
#[derive(Default)]
struct Found {
    jobs: Vec<FinishedJob>,
    n_rows: usize,
    n_bytes: usize,
    n_too_long: u64,
    n_unreadable: u64,
    n_failed_before: u64,
    first_error: Option<String>,
    is_bounded: bool,
    /// The further states of which only the newest jobs were read.
    incomplete: Vec<FinishedState>,
}

impl Found {
    fn add(&mut self, row: &HistoryRow, state: FinishedState, since: Timestamp) {
        self.n_rows += 1;
        let Some(json) = &row.json else {
            self.n_too_long += 1;
            return;
        };
        self.n_bytes += json.len();
        match FinishedJob::parse(json) {
            // A job can be deleted long after it was done.
            Ok(job) if job.ended_at < since => {}
            Ok(job) => {
                self.n_failed_before += u64::from(0 < job.n_failures);
                self.jobs.push(job);
            }
            Err(FinishedJobError::NeverRan) if state == FinishedState::Deleted => {}
            Err(error) => {
                self.n_unreadable += 1;
                self.first_error.get_or_insert_with(|| format!("job {}: {error}", printable(&row.id, 36)));
            }
        }
    }

    fn into_workload(
        self,
        name: &str,
        options: &HistoryOptions,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<Workload, HistoryError> {
        let asked = duration::format(options.since);
        let Some(oldest) = self.jobs.iter().map(|job| job.ended_at).min() else {
            let hint = match &self.first_error {
                Some(error) => format!("of the records found none could be read: {error}"),
                None => {
                    "use a longer --since; JobRunr deletes finished jobs after its deleteSucceededJobsAfter".to_owned()
                }
            };
            return Err(HistoryError::Empty { since: asked, hint });
        };
        // What was created before the time span was there at its start.
        let starts = self.jobs.iter().map(|job| job.created_at.max(since));
        let start = starts.min().unwrap_or(since);
        let mut kinds = Kinds::default();
        let jobs = self.jobs.iter().map(|job| workload_job(job, start, &mut kinds, options.names)).collect();
        let mut workload = Workload::new(format!("history of {name}"), jobs, kinds.into_names());
        workload.notes = self.notes(&asked, now, oldest, options);
        Ok(workload)
    }

    /// What is to be known about the workload.
    fn notes(&self, asked: &str, now: Timestamp, oldest: Timestamp, options: &HistoryOptions) -> Vec<String> {
        let age = duration::format(SignedDuration::from_secs(now.duration_since(oldest).as_secs()));
        let mut notes = vec!["Only finished jobs are played; those that wait or run now are not.".to_owned()];
        let is_short = now.duration_since(oldest).as_secs_f64() < 0.9 * options.since.as_secs_f64();
        if self.is_bounded {
            notes.push(format!(
                "It was too much to read all of the last {asked}: these are the jobs of the last {age}."
            ));
        } else if is_short {
            notes.push(format!(
                "The oldest job found ended {age} ago, although the last {asked} were read: JobRunr may have deleted older ones \
                 (deleteSucceededJobsAfter, permanentlyDeleteDeletedJobsAfter)."
            ));
        }
        for state in &self.incomplete {
            notes.push(format!(
                "It was too much to read all jobs in state {}: only the newest are played.",
                state.name()
            ));
        }
        if 0 < self.n_failed_before {
            let jobs = counted(self.n_failed_before, "job");
            notes.push(format!("{jobs} had failed before: only the last run is played, with its first due time."));
        }
        if 0 < self.n_too_long {
            let records = counted(self.n_too_long, "record");
            notes.push(format!("Left out because of more than {MAX_CHARACTERS} characters: {records}."));
        }
        if let Some(error) = &self.first_error {
            notes.push(format!("{} could not be read; the first: {error}.", counted(self.n_unreadable, "record")));
        }
        notes
    }
}

fn workload_job(job: &FinishedJob, start: Timestamp, kinds: &mut Kinds, names: bool) -> Job {
    let since_start = |at: Timestamp| -> Millis { at.duration_since(start).as_millis().max(0) as Millis };
    let arrival = since_start(job.created_at);
    let due = job.due_at.map_or(arrival, since_start);
    let duration = job.ended_at.duration_since(job.started_at).as_millis().max(0);
    let name = if names { printable(&job.signature, MAX_NAME) } else { hash(&job.signature) };
    // More kinds than a workload can have share the first.
    let kind = kinds.number(&name).unwrap_or_default();
    Job { arrival, due, duration: u32::try_from(duration).unwrap_or(u32::MAX).min(MAX_DURATION), kind }
}

/// A short hash of a signature, so that an exported workload tells nothing of the application.
fn hash(signature: &str) -> String {
    let digest = Sha256::digest(signature.as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
