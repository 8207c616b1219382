//! Decodes the rows of a statement into typed rows.

use jiff::Timestamp;

use super::{GAP, RUN_STATES};
use crate::storage::HistoryRow;
use crate::storage::backend::Probe;
use crate::storage::plan::DueState;
use crate::storage::plan::{QueuePlan, ReadPlan};
use crate::storage::rows::{
    ActiveRuns, DefinitionRow, DefinitionsVersion, Interval, JobExcerpt, QueueRow, Rows, RunningRow, Scan, ServerRow,
    calendar_instant,
};

/// The kinds of rows in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    Enqueued = 1,
    Processing = 2,
    Due = 3,
    Server = 4,
    Run = 5,
    Recurring = 6,
    Definition = 7,
    Migration = 8,
    Work = 9,
    Invalid = 10,
    Earliest = 11,
    Finished = 12,
    Kind = 15,
    Duration = 16,
    Mutex = 17,
    Running = 13,
    Excerpt = 14,
}

/// The scans of jobs that wait for their due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanKind {
    /// Of the jobs in the state.
    State = 0,
    /// By due time, up to the last instant that counts as due.
    Ascending = 1,
    /// By due time, down from that instant.
    Descending = 2,
    /// By due time, after that instant.
    Later = 3,
}

/// Added to the code of a scan for jobs in state AWAITING.
const AWAITING_CODE: i64 = 4;

impl ScanKind {
    /// The number that identifies the scan among those of a queue.
    pub(super) fn code(self, state: DueState) -> i64 {
        match state {
            DueState::Scheduled => self as i64,
            DueState::Awaiting => self as i64 | AWAITING_CODE,
        }
    }
}

/// The interval of a job without a due time.
pub(super) const NO_TIME: i64 = -1;
/// The interval of a job whose due time is before the calendar.
pub(super) const BEFORE_CALENDAR: i64 = -2;
/// The interval of a job whose due time is after the calendar.
pub(super) const AFTER_CALENDAR: i64 = -3;
/// The interval of a job that is in another state or that the filter does not select.
pub(super) const OTHER: i64 = -4;

/// A row of an answer, as the statement returns it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) kind: i64,
    pub(crate) queue: i64,
    pub(crate) a: Option<i64>,
    pub(crate) b: Option<i64>,
    pub(crate) c: Option<i64>,
    pub(crate) d: Option<i64>,
    pub(crate) text: Option<String>,
}

pub(super) fn of_kind(rows: &[Row], kind: RowKind) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.kind == kind as i64)
}

/// An instant from microseconds since 1970; `None` outside the calendar.
pub(super) fn instant(micros: Option<i64>) -> Option<Timestamp> {
    micros.and_then(calendar_instant)
}

pub(super) fn number(n: Option<i64>) -> u64 {
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// How the scan of a state works, which depends on the indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateScan {
    /// Whether it ends at a bound.
    pub(crate) is_bounded: bool,
    /// Whether it is in the order of the due times.
    pub(crate) is_in_order: bool,
}

/// Decodes the answer to a plan.
pub(crate) fn decode(plan: &ReadPlan<'_>, state_scan: StateScan, rows: &[Row]) -> Rows {
    let mut queues: Vec<QueueRow> = plan.queues.iter().map(|queue| empty_queue(queue, state_scan)).collect();
    for row in rows {
        let queue = usize::try_from(row.queue).ok().and_then(|index| queues.get_mut(index));
        let Some(queue) = queue else { continue };
        match row.kind {
            kind if kind == RowKind::Enqueued as i64 => add_enqueued(queue, row),
            kind if kind == RowKind::Mutex as i64 => add_mutexes(queue, row),
            kind if kind == RowKind::Processing as i64 => add_processing(queue, row),
            kind if kind == RowKind::Due as i64 => add_due(queue, row),
            _ => {}
        }
    }
    for (index, (queue, plan)) in queues.iter_mut().zip(&plan.queues).enumerate() {
        queue.kinds = plan.work.then(|| super::work::kinds(rows, index));
    }
    let limit = plan.scan_limit().unwrap_or(u64::MAX);
    for due in queues.iter_mut().flat_map(|queue| [&mut queue.scheduled, &mut queue.awaiting]) {
        due.of_state.is_truncated = state_scan.is_bounded && limit <= due.of_state.n_scanned;
        for scan in [&mut due.ascending, &mut due.descending].into_iter().flatten() {
            scan.is_truncated = limit <= scan.n_scanned;
        }
    }
    let servers: Vec<_> = of_kind(rows, RowKind::Server).filter_map(|row| server(row).into_server()).collect();
    let n_invalid_servers = of_kind(rows, RowKind::Server).count().saturating_sub(servers.len()) as u64;
    Rows {
        queues,
        servers,
        n_invalid_servers,
        n_invalid_jobs: of_kind(rows, RowKind::Invalid).map(|row| number(row.a)).sum(),
        runs: active_runs(rows, plan.bounds.runs),
        definitions_version: definitions_version(rows),
    }
}

/// A queue in which no job was found.
fn empty_queue(queue: &QueuePlan<'_>, state_scan: StateScan) -> QueueRow {
    let n_intervals = queue.until.len().saturating_add(1);
    let mut row = QueueRow::default();
    let scans = [(&mut row.scheduled, Some(&queue.scheduled)), (&mut row.awaiting, queue.awaiting.as_ref())];
    for (due, plan) in scans {
        due.of_state = Scan { is_in_order: state_scan.is_in_order, ..empty_scan(n_intervals) };
        // A scan that returns no row has covered all jobs that there are.
        due.descending = plan.is_some_and(|plan| plan.scan_by_time).then(|| empty_scan(n_intervals));
    }
    row
}

fn empty_scan(n_intervals: usize) -> Scan {
    Scan { intervals: vec![Interval::default(); n_intervals], ..Scan::default() }
}

fn add_enqueued(queue: &mut QueueRow, row: &Row) {
    queue.n_enqueued = queue.n_enqueued.max(number(row.a));
    queue.oldest_enqueued_at = queue.oldest_enqueued_at.into_iter().chain(instant(row.b)).min();
    queue.is_enqueued_cursor_wrong |= row.c == Some(1);
}

fn add_mutexes(queue: &mut QueueRow, row: &Row) {
    let mutexes = queue.mutexes.get_or_insert_default();
    mutexes.n_blocked = mutexes.n_blocked.max(number(row.a));
    mutexes.oldest_free_at = mutexes.oldest_free_at.into_iter().chain(instant(row.b)).min();
}

fn add_processing(queue: &mut QueueRow, row: &Row) {
    queue.n_processing = number(row.a);
    queue.n_processing_alive = number(row.b);
    queue.oldest_heartbeat_at = instant(row.c);
    queue.is_processing_cursor_wrong |= row.d == Some(1);
}

fn add_due(queue: &mut QueueRow, row: &Row) {
    let n_intervals = queue.scheduled.of_state.intervals.len();
    let code = row.d.unwrap_or_default();
    let due = if code < AWAITING_CODE { &mut queue.scheduled } else { &mut queue.awaiting };
    let new = || empty_scan(n_intervals);
    let scan = match code % AWAITING_CODE {
        1 => due.ascending.get_or_insert_with(new),
        2 => due.descending.get_or_insert_with(new),
        3 => due.later.get_or_insert_with(new),
        _ => &mut due.of_state,
    };
    let n_jobs = number(row.a);
    scan.n_scanned = scan.n_scanned.saturating_add(n_jobs);
    match row.b {
        Some(BEFORE_CALENDAR) => scan.n_before_calendar = n_jobs,
        Some(AFTER_CALENDAR) => scan.n_after_calendar = n_jobs,
        nth => {
            let interval = nth.and_then(|nth| usize::try_from(nth).ok()).and_then(|nth| scan.intervals.get_mut(nth));
            if let Some(interval) = interval {
                *interval = Interval { n_jobs, earliest: instant(row.c) };
            }
        }
    }
}

fn server(row: &Row) -> ServerRow {
    let mut lines = row.text.as_deref().unwrap_or_default().splitn(4, '\n');
    let mut line = || lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
    let (id, first_heartbeat, tags, name) = (line(), line(), line(), line());
    ServerRow {
        id,
        name,
        first_heartbeat: instant(first_heartbeat.and_then(|micros| micros.parse().ok())),
        worker_pool_size: row.a,
        poll_interval_seconds: row.b,
        last_heartbeat: instant(row.c),
        occupied_workers: row.d,
        tags,
    }
}

/// Decodes which recurring jobs have an active run. `limit` is the number of jobs of each state that were scanned.
pub(crate) fn active_runs(rows: &[Row], limit: u64) -> ActiveRuns {
    let exists = |row: &&Row| row.a.is_some_and(|n| 0 < n);
    let ids = of_kind(rows, RowKind::Run).filter(exists).filter_map(|row| row.text.as_deref());
    let ids = ids.map(|id| id.trim_end().to_owned());
    let n_scanned = |state: usize| -> u64 {
        of_kind(rows, RowKind::Run).filter(|row| row.queue == state as i64).map(|row| number(row.a)).sum()
    };
    let truncated = RUN_STATES.iter().enumerate().filter(|(state, _)| limit <= n_scanned(*state));
    ActiveRuns { ids: ids.collect(), truncated_states: truncated.map(|(_, name)| *name).collect() }
}

fn definitions_version(rows: &[Row]) -> Option<DefinitionsVersion> {
    let row = of_kind(rows, RowKind::Recurring).next()?;
    Some(DefinitionsVersion { n_definitions: number(row.a), sum: row.b })
}

/// Decodes the answer to [`Writer::probe`](super::Writer::probe).
pub(crate) fn probe(rows: &[Row]) -> Probe {
    Probe {
        has_work: of_kind(rows, RowKind::Work).any(|row| row.a != Some(0)),
        has_server: of_kind(rows, RowKind::Server).next().is_some(),
        definitions_version: definitions_version(rows),
    }
}

/// Decodes the answer to [`Writer::earliest_due`](super::Writer::earliest_due).
pub(crate) fn earliest(rows: &[Row]) -> Option<Timestamp> {
    of_kind(rows, RowKind::Earliest).filter_map(|row| instant(row.a)).min()
}

/// Decodes the answer to [`Writer::migration`](super::Writer::migration).
pub(crate) fn has_migration(rows: &[Row]) -> bool {
    of_kind(rows, RowKind::Migration).any(|row| row.a.is_some_and(|n| 0 < n))
}

/// Decodes the answer to [`Writer::history`](super::Writer::history): at most `limit` jobs, the newest first. Jobs without an id or
/// with an impossible time are left out.
pub(crate) fn history(rows: Vec<Row>, limit: u64) -> Vec<HistoryRow> {
    let decoded = |row: Row| {
        let (id, json) = row.text.as_deref()?.split_once('\n')?;
        let json = (row.b == Some(0)).then(|| json.to_owned());
        // PostgreSQL pads ids.
        Some(HistoryRow { id: id.trim_end().to_owned(), updated_at: instant(row.a)?, json })
    };
    let mut jobs: Vec<HistoryRow> = rows.into_iter().filter_map(decoded).collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job.updated_at));
    jobs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    jobs
}

/// Decodes the answer to [`Writer::running`](super::Writer::running).
pub(crate) fn running(rows: Vec<Row>) -> Vec<RunningRow> {
    // PostgreSQL pads ids.
    let decoded = |row: Row| Some(RunningRow { id: row.text?.trim_end().to_owned(), version: row.a });
    rows.into_iter().filter_map(decoded).collect()
}

/// Decodes a row of [`Writer::excerpts`](super::Writer::excerpts); `None` for a row without an id.
pub(crate) fn excerpt(row: Row) -> Option<JobExcerpt> {
    let text = row.text?;
    let (id, rest) = text.split_once('\n')?;
    let (kind, json) = rest.split_once('\n')?;
    Some(JobExcerpt { id: id.trim_end().to_owned(), kind: kind.to_owned(), json: json.to_owned() })
}

/// Decodes a row of [`Writer::definitions`](super::Writer::definitions); `None` for a row without an id.
pub(crate) fn definition(row: Row) -> Option<DefinitionRow> {
    let text = row.text?;
    let (id, json) = text.split_once('\n')?;
    let (json, json_end) = match json.split_once(GAP) {
        Some((first, last)) => (first, Some(last.to_owned())),
        None => (json, None),
    };
    Some(DefinitionRow { id: id.to_owned(), created_at_millis: row.a, json: json.to_owned(), json_end })
}
