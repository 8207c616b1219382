//! The workload that a storage has seen: its finished jobs.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::Instant;

use super::workload::Kinds;
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
                self.found.is_bounded = true;
                self.since = self.since.max(oldest);
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
    Job { arrival, due, duration: u32::try_from(duration).unwrap_or(u32::MAX), kind }
}

/// A short hash of a signature, so that an exported workload tells nothing of the application.
fn hash(signature: &str) -> String {
    let digest = Sha256::digest(signature.as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;

    use super::*;
    use crate::config::Config;
    use crate::jobrunr::{Questions, Snapshot};

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A storage with finished jobs, newest first.
    struct Stored {
        rows: Vec<HistoryRow>,
        pages: VecDeque<u64>,
    }

    #[async_trait]
    impl Session for Stored {
        async fn read(&mut self, _: &Questions, _: Timestamp) -> Result<Snapshot, StorageError> {
            Err(StorageError::Rejected("not needed".to_owned()))
        }

        async fn history(&mut self, page: &HistoryPage) -> Result<Vec<HistoryRow>, StorageError> {
            self.pages.push_back(page.limit);
            let is_wanted = |row: &&HistoryRow| page.since <= row.updated_at && row.updated_at <= page.until;
            let rows = self.rows.iter().filter(|_| page.state == FinishedState::Succeeded);
            Ok(rows.filter(is_wanted).take(page.limit as usize).cloned().collect())
        }

        async fn close(self: Box<Self>) {}
    }

    /// A job that ended so many milliseconds ago, after it ran for a second.
    fn row(n: usize, millis_ago: i64) -> HistoryRow {
        let at = |ago: i64| now() - SignedDuration::from_millis(ago);
        let state = |name: &str, ago: i64| format!(r#"{{"state":"{name}","createdAt":"{}"}}"#, at(ago));
        let states = [
            state("ENQUEUED", millis_ago + 5000),
            state("PROCESSING", millis_ago + 1000),
            state("SUCCEEDED", millis_ago),
        ];
        let json = format!(r#"{{"jobSignature":"a.B.c{}()","jobHistory":[{}]}}"#, n % 3, states.join(","));
        HistoryRow { id: n.to_string(), updated_at: at(millis_ago), json: Some(json) }
    }

    async fn read(rows: Vec<HistoryRow>, options: &HistoryOptions) -> (Result<Workload, HistoryError>, Vec<u64>) {
        let environment = [("JOBRUNR_SCALER_URL".to_owned(), "sqlite:none.db".to_owned())];
        let storage = Config::load(None, environment).unwrap().config.storages.remove("default").unwrap();
        let since = now() - options.since;
        let session = Box::new(Stored { rows, pages: VecDeque::new() });
        let mut reader = Reader {
            storage: &storage,
            session,
            options,
            now: now(),
            since,
            began: Instant::now(),
            found: Found::default(),
        };
        let mut limits = Vec::new();
        let mut progress = |progress: Progress| limits.push(progress.jobs as u64);
        reader.read(FinishedState::Succeeded, &mut progress).await.unwrap();
        let Reader { found, since, .. } = reader;
        (found.into_workload("test", options, now(), since), limits)
    }

    fn options(hours: i64) -> HistoryOptions {
        HistoryOptions { since: SignedDuration::from_hours(hours), names: false, bounds: HistoryBounds::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn history_reads_every_job_once() {
        // Jobs of the same instant at the border of a page, and more of them than a page has.
        for same in [1, 3, 499, 500, 1700] {
            let rows: Vec<_> = (0..2500).map(|n| row(n, 1000 + (n / same * 40) as i64)).collect();
            let (workload, progress) = read(rows, &options(36)).await;
            let workload = workload.unwrap();
            assert_eq!(workload.jobs.len(), 2500, "{same}");
            assert!(5 <= progress.len() && progress.is_sorted(), "{progress:?}");
            assert!(workload.jobs.iter().all(|job| job.duration == 1000 && job.arrival == job.due));
            assert_eq!(workload.jobs[0].arrival, 0);
            assert_eq!(workload.kinds.len(), 3);
            assert!(workload.kinds.iter().all(|kind| kind.len() == 8 && !kind.contains('.')), "{:?}", workload.kinds);
        }
        let named = HistoryOptions { names: true, ..options(36) };
        let (workload, _) = read(vec![row(0, 0)], &named).await;
        assert_eq!(workload.unwrap().kinds, ["a.B.c0()"]);
    }

    #[tokio::test(start_paused = true)]
    async fn history_takes_the_newest_where_it_is_too_much_and_says_so() {
        let rows: Vec<_> = (0..5000).map(|n| row(n, 10_000 * n as i64)).collect();
        let bounds = HistoryBounds { jobs: 900, ..HistoryBounds::default() };
        let (workload, _) = read(rows.clone(), &HistoryOptions { bounds, ..options(36) }).await;
        let workload = workload.unwrap();
        assert!((900..1400).contains(&workload.jobs.len()), "{}", workload.jobs.len());
        let expected = "It was too much to read all of the last PT36H: these are the jobs of the last PT2H46M";
        assert!(workload.notes[1].starts_with(expected), "{:?}", workload.notes);
        // All of it, which is less than was asked for.
        let (workload, _) = read(rows, &options(36)).await;
        let workload = workload.unwrap();
        assert_eq!(workload.jobs.len(), 5000);
        assert!(workload.notes[1].starts_with("The oldest job found ended PT13H53M10S ago"), "{:?}", workload.notes);
    }

    #[tokio::test(start_paused = true)]
    async fn history_says_what_could_not_be_read() {
        let broken = HistoryRow { json: Some("{".to_owned()), ..row(1, 2000) };
        let long = HistoryRow { json: None, ..row(2, 3000) };
        let (workload, _) = read(vec![row(0, 1000), broken.clone(), long], &options(1)).await;
        let notes = workload.unwrap().notes.join("\n");
        assert!(notes.contains("Left out because of more than 65536 characters: 1 record."), "{notes}");
        assert!(
            notes.contains("1 record could not be read; the first: job 1: its record is not readable as JSON"),
            "{notes}"
        );
        let (nothing, _) = read(vec![broken], &options(1)).await;
        let error = nothing.unwrap_err().to_string();
        assert!(
            error.starts_with("no job has finished in the last PT1H; of the records found none could be read"),
            "{error}"
        );
        let (nothing, _) = read(Vec::new(), &options(1)).await;
        assert!(nothing.unwrap_err().to_string().contains("use a longer --since"));
    }
}
