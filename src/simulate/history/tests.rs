//! Reading finished jobs: what is taken, what is left out, and what is said about it.

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
    succeeded: Vec<HistoryRow>,
    deleted: Vec<HistoryRow>,
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
        let rows = match page.state {
            FinishedState::Succeeded => &self.succeeded,
            _ => &self.deleted,
        };
        Ok(rows.iter().filter(is_wanted).take(page.limit as usize).cloned().collect())
    }

    async fn close(self: Box<Self>) {}
}

/// A job that ended so many milliseconds ago, after it ran for a second.
fn row(n: usize, millis_ago: i64) -> HistoryRow {
    let at = |ago: i64| now() - SignedDuration::from_millis(ago);
    let state = |name: &str, ago: i64| format!(r#"{{"state":"{name}","createdAt":"{}"}}"#, at(ago));
    let states =
        [state("ENQUEUED", millis_ago + 5000), state("PROCESSING", millis_ago + 1000), state("SUCCEEDED", millis_ago)];
    let json = format!(r#"{{"jobSignature":"a.B.c{}()","jobHistory":[{}]}}"#, n % 3, states.join(","));
    HistoryRow { id: n.to_string(), updated_at: at(millis_ago), json: Some(json) }
}

async fn read(rows: Vec<HistoryRow>, options: &HistoryOptions) -> (Result<Workload, HistoryError>, Vec<u64>) {
    read_both(rows, Vec::new(), options).await
}

async fn read_both(
    succeeded: Vec<HistoryRow>,
    deleted: Vec<HistoryRow>,
    options: &HistoryOptions,
) -> (Result<Workload, HistoryError>, Vec<u64>) {
    let environment = [("JOBRUNR_SCALER_URL".to_owned(), "sqlite:none.db".to_owned())];
    let storage = Config::load(None, environment).unwrap().config.storages.remove("default").unwrap();
    let since = now() - options.since;
    let session = Box::new(Stored { succeeded, deleted, pages: VecDeque::new() });
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
    for state in [FinishedState::Succeeded, FinishedState::Deleted] {
        reader.read(state, &mut progress).await.unwrap();
    }
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
async fn too_many_deleted_jobs_cut_off_no_others() {
    let succeeded = (0..2_000).map(|n| row(n, 3_600 * n as i64)).collect();
    // Deleted in the last minute, long after they ended.
    let deleted = |n: usize| HistoryRow {
        updated_at: now() - SignedDuration::from_millis(30 * n as i64),
        ..row(10_000 + n, 5_400_000 + n as i64)
    };
    let bounds = HistoryBounds { jobs: 2_300, ..HistoryBounds::default() };
    let (workload, _) =
        read_both(succeeded, (0..2_000).map(deleted).collect(), &HistoryOptions { bounds, ..options(36) }).await;
    let workload = workload.unwrap();
    assert!(2_000 < workload.jobs.len(), "{}", workload.jobs.len());
    assert_eq!(workload.jobs.iter().filter(|job| job.arrival == 0).count(), 1);
    let notes = workload.notes.join("\n");
    assert!(notes.contains("It was too much to read all jobs in state DELETED"), "{notes}");
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
