//! What a read costs on a slow database, in paused time.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::{advance, sleep};

use super::*;
use crate::config::{Config, ReadBounds};
use crate::jobrunr::{Count, FinishedRun, Question, UnsupportedFilter};
use crate::storage::backend::Probe;
use crate::storage::rows::{
    DefinitionRow, DefinitionsVersion, DueScans, ExcerptKind, Excerpts, Interval, QueueRow, RunningRow, Scan,
};

mod attempts;

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the monitor waits for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(6);

/// How slow the database is, and what it was asked.
#[derive(Default)]
struct State {
    n_enqueued: u64,
    /// The same of the jobs with a server tag.
    n_tagged: u64,
    /// Whether all of them, or those with a server tag, are before any cursor.
    are_before_cursors: bool,
    are_tagged_before_cursors: bool,
    /// The cursor of jobs without a filter, and where the list of running jobs began.
    cursor: Option<Timestamp>,
    running_since: Option<Timestamp>,
    /// The database accepts no filter with this server tag.
    rejected_tag: Option<&'static str>,
    /// Time per statement and per enqueued job that is counted.
    read: Duration,
    per_job: Duration,
    /// Time of a read that begins at no cursor.
    full_scan: Duration,
    search: Duration,
    running: Duration,
    probe: Duration,
    is_unchanged: bool,
    /// Whether the database itself tells that nothing has changed.
    confirms: bool,
    look_up: Duration,
    has_large_state: bool,
    /// The recurring jobs; of those with a run only look-ups know.
    recurring: Vec<(&'static str, bool)>,
    limit: Duration,
    n_statements: u64,
    n_counts: u64,
    n_full_scans: u64,
    n_look_ups: u64,
}

#[derive(Clone)]
struct Fake {
    state: Arc<Mutex<State>>,
    findings: SchemaFindings,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on the database is like this.
    fn change(&self, state: State) {
        let limit = self.state().limit;
        *self.state() = State { limit, ..state };
    }

    /// Runs a statement that takes this long, if its limit allows.
    async fn run(&self, took: Duration) -> Result<(), StorageError> {
        let limit = self.state().limit;
        sleep(took.min(limit)).await;
        if took <= limit { Ok(()) } else { Err(StorageError::TimedOut("the statement timeout".to_owned())) }
    }
}

#[async_trait]
impl Backend for Fake {
    fn findings(&self) -> &SchemaFindings {
        &self.findings
    }

    fn unsupported_filter(&self, _: &Filter) -> Option<UnsupportedFilter> {
        None
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        self.state().limit = limit;
        Ok(())
    }

    async fn read(&mut self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError> {
        let is_full_scan = plan.queues.iter().any(|queue| queue.cursor.is_none());
        let (took, queues) = {
            let mut state = self.state();
            let tags = plan.queues.iter().filter_map(|queue| queue.filter.server_tag.as_deref());
            if tags.into_iter().any(|tag| state.rejected_tag == Some(tag)) {
                return Err(StorageError::Rejected("unknown collation".to_owned()));
            }
            let counted = |queue: &QueuePlan<'_>| {
                let n_jobs = if queue.filter.server_tag.is_some() { state.n_tagged } else { state.n_enqueued };
                plan.enqueued_limit.map_or(n_jobs, |limit| limit.min(n_jobs))
            };
            let counts: Vec<_> = plan.queues.iter().map(counted).collect();
            state.n_statements += 1;
            let of_all = plan.queues.iter().find(|queue| *queue.filter == Filter::default());
            state.cursor = of_all.and_then(|queue| queue.cursor).map(|cursor| cursor.enqueued);
            state.n_counts += u64::from(plan.enqueued_limit == plan.count_limit);
            state.n_full_scans += u64::from(is_full_scan);
            let full_scan = if is_full_scan { state.full_scan } else { Duration::ZERO };
            let took = state.read + state.per_job.mul_f64(counts.iter().sum::<u64>() as f64) + full_scan;
            let is_truncated = state.has_large_state;
            let scan = Scan { intervals: vec![Interval::default(); 2], is_truncated, ..Scan::default() };
            let scheduled = DueScans { of_state: scan, ..DueScans::default() };
            let row = |(queue, n_jobs): (&QueuePlan<'_>, u64)| {
                let is_tagged = queue.filter.server_tag.is_some();
                let is_before = if is_tagged { state.are_tagged_before_cursors } else { state.are_before_cursors };
                let is_enqueued_cursor_wrong = is_before && queue.cursor.is_some() && 0 < n_jobs;
                let n_enqueued = if is_enqueued_cursor_wrong { 0 } else { n_jobs };
                let scheduled = scheduled.clone();
                QueueRow { n_enqueued, n_processing: 1, scheduled, is_enqueued_cursor_wrong, ..QueueRow::default() }
            };
            (took, plan.queues.iter().zip(counts).map(row).collect())
        };
        self.run(took).await?;
        let n_definitions = self.state().recurring.len() as u64;
        let mut rows = Rows { queues, ..Rows::default() };
        rows.definitions_version = plan.recurring.then_some(DefinitionsVersion { n_definitions, sum: Some(0) });
        rows.runs.truncated_states = vec!["SCHEDULED"];
        Ok(rows)
    }

    async fn earliest_due(&mut self, _: &Filter, _: DueState, _: Timestamp) -> Result<Option<Timestamp>, StorageError> {
        let took = self.state().search;
        self.run(took).await.map(|()| None)
    }

    async fn probe(&mut self, _: Option<Timestamp>, _: bool) -> Result<Probe, StorageError> {
        let took = self.state().probe;
        self.run(took).await?;
        let is_changed = !self.state().is_unchanged;
        Ok(Probe { has_work: is_changed, has_server: is_changed, definitions_version: None })
    }

    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        Ok(self.state().confirms.then_some(true))
    }

    async fn definitions(&mut self, _: &ReadBounds) -> Result<Vec<DefinitionRow>, StorageError> {
        let json = r#"{"scheduleExpression":"0 3 * * *","zoneId":"UTC"}"#;
        let row = |(id, _): &(&str, bool)| DefinitionRow {
            id: (*id).to_owned(),
            created_at_millis: Some(0),
            json: json.to_owned(),
            json_end: None,
        };
        Ok(self.state().recurring.iter().map(row).collect())
    }

    async fn active_runs_of(&mut self, ids: &[&str], _: &[&str]) -> Result<BTreeSet<String>, StorageError> {
        let took = {
            let mut state = self.state();
            state.n_look_ups += 1;
            state.look_up
        };
        self.run(took).await?;
        let state = self.state();
        let with_run = state.recurring.iter().filter(|(id, has_run)| *has_run && ids.contains(id));
        Ok(with_run.map(|(id, _)| (*id).to_owned()).collect())
    }

    async fn running(&mut self, _: u64, since: Option<Timestamp>) -> Result<Vec<RunningRow>, StorageError> {
        let took = self.state().running;
        self.state().running_since = since;
        self.run(took).await.map(|()| Vec::new())
    }

    async fn excerpts(&mut self, _: &[&str], _: ExcerptKind) -> Result<Excerpts, StorageError> {
        Ok(Excerpts::default())
    }

    async fn major_version(&mut self) -> Result<Option<u32>, StorageError> {
        Ok(Some(8))
    }

    async fn finished_runs(&mut self, _: Option<Timestamp>, _: u64) -> Result<Vec<FinishedRun>, StorageError> {
        Ok(Vec::new())
    }

    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        Ok(Inspection::default())
    }

    async fn close(self: Box<Self>) {}
}

fn start(count_limit: Option<u64>, state: State) -> (JobRunrSession, Fake) {
    let state = Arc::new(Mutex::new(State { limit: TIMEOUT, ..state }));
    let fake = Fake { state, findings: SchemaFindings::default() };
    let env = HashMap::from([("JOBRUNR_SCALER_URL".to_owned(), "postgres://a@b/c".to_owned())]);
    let config = Config::load(None, env).unwrap().config.storages.into_values().next().unwrap();
    let config = StorageConfig { count_limit, statement_timeout: TIMEOUT, ..config };
    (JobRunrSession::new(Box::new(fake.clone()), &config), fake)
}

fn question() -> Question {
    Question { look_ahead: SignedDuration::from_mins(1), ..Question::default() }
}

async fn read(session: &mut JobRunrSession, question: Question) -> Result<Snapshot, StorageError> {
    let began = Instant::now();
    let result = session.read(&Questions::from_iter([question]), Timestamp::UNIX_EPOCH).await;
    assert!(began.elapsed() <= READ_TIMEOUT, "{:?}", began.elapsed());
    result
}

fn enqueued(snapshot: &Snapshot) -> Count {
    snapshot.queues[&Filter::default()].as_ref().unwrap().enqueued
}

#[tokio::test(start_paused = true)]
async fn queue_that_is_too_long_to_count_is_a_lower_bound() {
    let per_job = Duration::from_micros(1);
    let (mut session, fake) = start(None, State { n_enqueued: 50_000_000, per_job, ..State::default() });
    for n_read in 0..80 {
        let snapshot = read(&mut session, question()).await.unwrap();
        assert_eq!(enqueued(&snapshot), Count { n_jobs: 1_000, limited: true }, "{n_read}");
        advance(Duration::from_secs(1)).await;
    }
    // Another attempt waits for its share of the time, here 100 s.
    assert_eq!(fake.state().n_counts, 1);
    fake.state().n_enqueued = 3_000_000;
    advance(Duration::from_secs(20)).await;
    assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs: 3_000_000, limited: false });
    // It grows again. The database may be slow for a moment; then what was counted is no longer known to be true.
    fake.state().n_enqueued = 50_000_000;
    for (seconds, n_jobs, limited) in
        [(30, 3_000_000, false), (30, 3_000_000, true), (90, 3_000_000, true), (10, 1_000, true)]
    {
        advance(Duration::from_secs(seconds)).await;
        assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs, limited });
    }
    fake.state().n_enqueued = 999;
    assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs: 999, limited: false });
}

#[tokio::test(start_paused = true)]
async fn queue_that_becomes_long_is_counted_by_a_second_statement_once() {
    let (mut session, fake) = start(Some(10_000), State { n_enqueued: 999, ..State::default() });
    read(&mut session, question()).await.unwrap();
    assert_eq!(fake.state().n_statements, 1);
    // A queue that becomes long needs another one, once.
    fake.state().n_enqueued = 5_000;
    for (n_statements, n_full_scans) in [(3, 2), (4, 3), (5, 4)] {
        assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()).n_jobs, 5_000);
        assert_eq!(fake.state().n_statements, n_statements);
        assert_eq!(fake.state().n_full_scans, n_full_scans, "none is repeated within a read");
    }
}

#[tokio::test(start_paused = true)]
async fn full_scan_that_times_out_leaves_the_cursors() {
    let (mut session, fake) = start(Some(10_000), State { full_scan: Duration::from_millis(100), ..State::default() });
    read(&mut session, question()).await.unwrap();
    // Entries of jobs that have moved on accumulate.
    fake.state().full_scan = Duration::from_secs(60);
    advance(Duration::from_secs(30)).await;
    let error = read(&mut session, question()).await.unwrap_err();
    assert!(session.is_usable_after(&error), "{error}");
    for _ in 0..90 {
        read(&mut session, question()).await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(fake.state().n_full_scans, 2);
    // From now on a full scan follows a read that has an answer.
    advance(Duration::from_secs(10)).await;
    read(&mut session, question()).await.unwrap();
    assert_eq!(fake.state().n_full_scans, 3);
}

/// A read of 1.2 s is repeated because a state is large; the search for due jobs and the list of running ones never end.
#[tokio::test(start_paused = true)]
async fn statements_after_the_first_get_the_time_that_is_left() {
    let forever = Duration::from_secs(600);
    let slow = State { read: Duration::from_millis(1_200), search: forever, running: forever, ..State::default() };
    let (mut session, fake) = start(Some(10_000), State { has_large_state: true, ..slow });
    let asked = Question { running: true, demand: true, ..question() };
    for _ in 0..3 {
        let snapshot = read(&mut session, asked.clone()).await.unwrap();
        let due = snapshot.queues[&Filter::default()].as_ref().unwrap().scheduled_within(asked.look_ahead);
        assert_eq!(due, Count { n_jobs: 1, limited: true });
        assert!(!snapshot.running.unwrap().is_complete());
        advance(Duration::from_secs(31)).await;
    }
    // A quick read has all of the time.
    fake.state().read = Duration::ZERO;
    fake.state().has_large_state = false;
    read(&mut session, question()).await.unwrap();
    assert_eq!(fake.state().limit, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn look_ups_of_runs_have_their_share_of_the_time() {
    let recurring = vec![("with", true), ("without", false)];
    let look_up = Duration::from_millis(100);
    let (mut session, fake) = start(Some(10_000), State { recurring, look_up, ..State::default() });
    let asked = Question { demand: true, ..question() };
    let mut has_run = async || -> Vec<bool> {
        let snapshot = read(&mut session, asked.clone()).await.unwrap();
        advance(Duration::from_millis(100)).await;
        snapshot.recurring.unwrap().jobs.iter().map(|job| job.has_run).collect()
    };
    for _ in 0..18 {
        assert_eq!(has_run().await, [true, false]);
    }
    assert_eq!(fake.state().n_look_ups, 1);
    // Both change. However long a look-up takes, neither change goes unnoticed for long.
    fake.state().look_up = Duration::from_secs(2);
    for _ in 0..2 {
        has_run().await;
    }
    fake.state().recurring = vec![("with", false), ("without", true)];
    let began = Instant::now();
    let (mut ended, mut created) = (None, None);
    while ended.is_none() || created.is_none() {
        let now = has_run().await;
        ended = ended.or((!now[0]).then(|| began.elapsed()));
        created = created.or(now[1].then(|| began.elapsed()));
        assert!(began.elapsed() < Duration::from_secs(20), "{ended:?} {created:?}");
    }
    assert!(ended.unwrap() < Duration::from_secs(13), "{ended:?}");
    assert!(created.unwrap() < Duration::from_secs(8), "{created:?}");
}

#[tokio::test(start_paused = true)]
async fn found_run_expires_while_look_ups_fail() {
    let look_up = Duration::from_millis(100);
    let (mut session, fake) = start(Some(10_000), State { recurring: vec![("a", true)], look_up, ..State::default() });
    let asked = Question { demand: true, ..question() };
    let mut has_run = async || read(&mut session, asked.clone()).await.unwrap().recurring.unwrap().jobs[0].has_run;
    assert!(has_run().await);
    // The run ends, and the database becomes slow.
    fake.change(State { recurring: vec![("a", false)], look_up: Duration::from_secs(9), ..State::default() });
    let began = Instant::now();
    while has_run().await {
        assert!(began.elapsed() < Duration::from_secs(70), "its next run needs a worker");
        advance(Duration::from_secs(1)).await;
    }
    assert!(Duration::from_secs(20) < began.elapsed(), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn recurring_jobs_that_were_not_reached_are_looked_up_first() {
    // One statement takes nearly all the time of a read.
    let names: [&'static str; 60] =
        std::array::from_fn(|nth| &"abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"[nth..]);
    let recurring = names.map(|id| (id, true)).to_vec();
    let look_up = Duration::from_millis(4_600);
    let (mut session, _) = start(Some(10_000), State { recurring, look_up, ..State::default() });
    let asked = Question { demand: true, ..question() };
    let mut n_without = async || {
        let snapshot = read(&mut session, asked.clone()).await.unwrap();
        snapshot.recurring.unwrap().jobs.iter().filter(|job| !job.has_run).count()
    };
    assert_eq!(n_without().await, 10);
    assert_eq!(n_without().await, 0);
}
