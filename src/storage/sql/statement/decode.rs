//! From the rows of a statement to typed rows.

use jiff::Timestamp;

use super::due::most_passed;
use super::{GAP, RUN_STATES};
use crate::jobrunr::DEFAULT_POLL_INTERVAL_SECONDS;
use crate::storage::cursors::DueState;
use crate::storage::plan::ReadPlan;
use crate::storage::rows::{
    ActiveRuns, DefinitionRow, DueRow, Interval, Look, QueueRow, RecurringMark, Rows, ServerNumbers, calendar_instant,
};

/// The kinds of rows in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
}

/// How a look passes jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ByState = 0,
    Ascending = 1,
    Descending = 2,
    Later = 3,
}

/// Tells the looks of a queue apart.
pub(super) fn look_code(state: DueState, direction: Direction) -> i64 {
    match state {
        DueState::Scheduled => direction as i64,
        DueState::Awaiting => direction as i64 | 4,
    }
}

/// Where a job is counted that lies in no interval: it has no instant, or none of the calendar, or it is not meant.
pub(super) const NO_INSTANT: i64 = -1;
pub(super) const BEFORE_CALENDAR: i64 = -2;
pub(super) const AFTER_CALENDAR: i64 = -3;
pub(super) const OTHER: i64 = -4;

/// A row of an answer.
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

/// The rows of one kind.
pub(crate) fn of_kind(rows: &[Row], kind: Kind) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.kind == kind as i64)
}

/// An instant from microseconds since 1970; `None` outside the calendar.
pub(crate) fn instant(micros: Option<i64>) -> Option<Timestamp> {
    micros.and_then(calendar_instant)
}

fn number(n: Option<i64>) -> u64 {
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// How the look by the state goes, which depends on the indexes that there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByState {
    /// Whether it ends at a bound.
    pub(crate) is_bounded: bool,
    /// Whether it passes jobs in the order of their instants.
    pub(crate) is_in_order: bool,
}

/// The answer to a plan.
pub(crate) fn decode(plan: &ReadPlan<'_>, by_state: ByState, rows: &[Row]) -> Rows {
    let n_queues = plan.queues.len();
    let mut decoded = Rows { queues: vec![QueueRow::default(); n_queues], ..Rows::default() };
    let most = most_passed(plan).unwrap_or(u64::MAX);
    for (queue, row) in plan.queues.iter().zip(&mut decoded.queues) {
        let empty =
            || Look { intervals: vec![Interval::default(); queue.until.len().saturating_add(1)], ..Look::default() };
        for (due, plan) in [(&mut row.scheduled, Some(&queue.scheduled)), (&mut row.awaiting, queue.awaiting.as_ref())]
        {
            due.by_state = Look { is_in_order: by_state.is_in_order, ..empty() };
            let by_instant = plan.is_some_and(|plan| plan.by_instant);
            // A look that finds no row has passed all that there are.
            due.descending = by_instant.then(empty);
        }
    }
    for row in rows {
        let queue = usize::try_from(row.queue).ok().and_then(|index| decoded.queues.get_mut(index));
        let Some(queue) = queue else { continue };
        match row.kind {
            kind if kind == Kind::Enqueued as i64 => enqueued(queue, row),
            kind if kind == Kind::Processing as i64 => processing(queue, row),
            kind if kind == Kind::Due as i64 => due(queue, row),
            _ => {}
        }
    }
    for queue in &mut decoded.queues {
        for due in [&mut queue.scheduled, &mut queue.awaiting] {
            due.by_state.is_truncated = by_state.is_bounded && most <= due.by_state.n_passed;
            for look in [&mut due.ascending, &mut due.descending].into_iter().flatten() {
                look.is_truncated = most <= look.n_passed;
            }
        }
    }
    for row in of_kind(rows, Kind::Server) {
        decoded.servers.extend(server(row).into_server(DEFAULT_POLL_INTERVAL_SECONDS));
    }
    let n_servers = of_kind(rows, Kind::Server).count().saturating_sub(decoded.servers.len());
    decoded.n_invalid_servers = n_servers as u64;
    decoded.n_invalid_jobs = of_kind(rows, Kind::Invalid).map(|row| number(row.a)).sum();
    decoded.runs = active_runs(rows, plan.bounds.runs);
    decoded.recurring = recurring_mark(rows);
    decoded
}

/// The earlier of two instants.
fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn enqueued(queue: &mut QueueRow, row: &Row) {
    queue.n_enqueued = queue.n_enqueued.max(number(row.a));
    queue.oldest_enqueued_at = earlier(queue.oldest_enqueued_at, instant(row.b));
    queue.is_before_cursor |= row.c == Some(1);
}

fn processing(queue: &mut QueueRow, row: &Row) {
    queue.n_processing = number(row.a);
    queue.n_processing_alive = number(row.b);
    queue.oldest_heartbeat_at = instant(row.c);
    queue.is_before_cursor |= row.d == Some(1);
}

fn due(queue: &mut QueueRow, row: &Row) {
    let n_intervals = queue.scheduled.by_state.intervals.len();
    let code = row.d.unwrap_or_default();
    let due: &mut DueRow = if code < 4 { &mut queue.scheduled } else { &mut queue.awaiting };
    let new = || Look { intervals: vec![Interval::default(); n_intervals], ..Look::default() };
    let look = match code % 4 {
        1 => due.ascending.get_or_insert_with(new),
        2 => due.descending.get_or_insert_with(new),
        3 => due.later.get_or_insert_with(new),
        _ => &mut due.by_state,
    };
    let n_jobs = number(row.a);
    look.n_passed = look.n_passed.saturating_add(n_jobs);
    match row.b {
        Some(BEFORE_CALENDAR) => look.n_before_calendar = n_jobs,
        Some(AFTER_CALENDAR) => look.n_after_calendar = n_jobs,
        nth => {
            let interval = nth.and_then(|nth| usize::try_from(nth).ok()).and_then(|nth| look.intervals.get_mut(nth));
            if let Some(interval) = interval {
                *interval = Interval { n_jobs, earliest: instant(row.c) };
            }
        }
    }
}

fn server(row: &Row) -> ServerNumbers {
    ServerNumbers {
        worker_pool_size: row.a,
        poll_interval_seconds: row.b,
        last_heartbeat: instant(row.c),
        occupied_workers: row.d,
        tags: row.text.clone(),
    }
}

/// Which recurring jobs have a run, from looks at so many jobs of each state.
pub(crate) fn active_runs(rows: &[Row], most: u64) -> ActiveRuns {
    let is_there = |row: &&Row| row.a.is_some_and(|n| 0 < n);
    let ids = of_kind(rows, Kind::Run).filter(is_there).filter_map(|row| row.text.as_deref());
    let ids = ids.map(|id| id.trim_end().to_owned());
    let n_seen = |state: usize| -> u64 {
        of_kind(rows, Kind::Run).filter(|row| row.queue == state as i64).map(|row| number(row.a)).sum()
    };
    let truncated = RUN_STATES.iter().enumerate().filter(|(state, _)| most <= n_seen(*state));
    ActiveRuns { ids: ids.collect(), truncated_states: truncated.map(|(_, name)| *name).collect() }
}

pub(crate) fn recurring_mark(rows: &[Row]) -> Option<RecurringMark> {
    let row = of_kind(rows, Kind::Recurring).next()?;
    Some(RecurringMark { n_definitions: number(row.a), sum: row.b })
}

/// A definition; `None` for a row without an id.
pub(crate) fn definition(row: Row) -> Option<DefinitionRow> {
    let text = row.text?;
    let (id, json) = text.split_once('\n')?;
    let (json, json_end) = match json.split_once(GAP) {
        Some((first, last)) => (first, Some(last.to_owned())),
        None => (json, None),
    };
    Some(DefinitionRow { id: id.to_owned(), created_at_millis: row.a, json: json.to_owned(), json_end })
}
