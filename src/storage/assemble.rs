//! From typed rows to a snapshot. Pure.

use jiff::{SignedDuration, Timestamp};

use super::cursors::{DueState, EarliestDue, QueueCursors};
use super::plan::ReadPlan;
use super::rows::{DueRow, Interval, Look, QueueRow, Rows};
use super::session::Facts;
use crate::config::StorageConfig;
use crate::jobrunr::{Count, Filter, LookAheads, QuestionError, Questions, Queue, Snapshot};

/// Puts the rows of a read together. Recurring jobs take more than rows; they are added afterwards.
pub(super) fn snapshot(
    plan: &ReadPlan<'_>,
    rows: &Rows,
    unanswered: Vec<(&Filter, QuestionError)>,
    questions: &Questions,
    config: &StorageConfig,
    facts: &Facts,
) -> Snapshot {
    let mut snapshot = Snapshot::empty(plan.now, config.heartbeat_multiplicand);
    snapshot.servers.clone_from(&rows.servers);
    snapshot.notes.clone_from(&facts.notes);
    snapshot.notes.extend(invalid_rows(rows));
    for (filter, error) in unanswered {
        snapshot.queues.insert(filter.clone(), Err(error));
    }
    for (queue_plan, row) in plan.queues.iter().zip(&rows.queues) {
        let queue = queue(row, questions.look_aheads(queue_plan.filter), plan.count_limit);
        snapshot.queues.insert(queue_plan.filter.clone(), Ok(queue));
    }
    snapshot
}

fn queue(row: &QueueRow, look_aheads: &LookAheads, limit: Option<u64>) -> Queue {
    let mut queue = Queue {
        enqueued: counted(row.n_enqueued, true, limit),
        oldest_enqueued_at: row.oldest_enqueued_at,
        processing: counted(row.n_processing, true, limit),
        processing_alive: counted(row.n_processing_alive, true, limit),
        oldest_heartbeat_at: row.oldest_heartbeat_at,
        is_partial: !is_complete(&row.scheduled) || !is_complete(&row.awaiting),
        ..Queue::default()
    };
    for (index, (&look_ahead, &demand)) in look_aheads.iter().enumerate() {
        queue.scheduled.insert(look_ahead, due(&row.scheduled, index, limit));
        let mut next = next(&row.scheduled, index);
        if demand {
            queue.awaiting.insert(look_ahead, due(&row.awaiting, index, limit));
            next = next.into_iter().chain(self::next(&row.awaiting, index)).min();
        }
        if let Some(next) = next {
            queue.next_scheduled_at.insert(look_ahead, next);
        }
    }
    queue
}

/// A count, as the limit leaves it. One that is not exact is a lower bound.
fn counted(n_jobs: u64, is_exact: bool, limit: Option<u64>) -> Count {
    match limit {
        Some(limit) if limit <= n_jobs => Count { n_jobs: limit, limited: true },
        _ => Count { n_jobs, limited: !is_exact },
    }
}

impl Look {
    /// The jobs up to the plan's instant with this index.
    fn n_due(&self, index: usize) -> u64 {
        let within = self.intervals.iter().zip(0..=index).map(|(interval, _)| interval.n_jobs);
        within.fold(self.n_before_calendar, u64::saturating_add)
    }

    /// Whether no job up to the plan's instant with this index was left out.
    fn is_exact(&self, index: usize) -> bool {
        let is_beyond = || self.after(index).any(|interval| 0 < interval.n_jobs);
        !self.is_truncated || (self.is_in_order && is_beyond())
    }

    /// The first instant after the plan's instant with this index.
    fn next(&self, index: usize) -> Option<Timestamp> {
        self.after(index).filter_map(|interval| interval.earliest).min()
    }

    /// The intervals after the plan's instant with this index.
    fn after(&self, index: usize) -> impl Iterator<Item = &Interval> {
        self.intervals.iter().skip(index).skip(1)
    }
}

impl DueRow {
    fn looks(&self) -> impl Iterator<Item = &Look> {
        let by_instant = [&self.ascending, &self.descending, &self.later];
        std::iter::once(&self.by_state).chain(by_instant.into_iter().flatten())
    }
}

/// Whether every job of the state was seen.
fn is_complete(row: &DueRow) -> bool {
    !row.by_state.is_truncated
}

/// The jobs that are due up to the plan's instant with this index: exact where one look passed all of them, else the most
/// that any look found.
fn due(row: &DueRow, index: usize, limit: Option<u64>) -> Count {
    // From the last due instant downwards nothing is left out before the look ends.
    let exact = [Some(&row.by_state), row.descending.as_ref()].into_iter().flatten().find(|look| look.is_exact(index));
    match exact {
        Some(look) => counted(look.n_due(index), true, limit),
        None => counted(row.looks().map(|look| look.n_due(index)).max().unwrap_or(0), false, limit),
    }
}

fn next(row: &DueRow, index: usize) -> Option<Timestamp> {
    if row.by_state.is_exact(row.by_state.intervals.len()) {
        return row.by_state.next(index);
    }
    row.looks().filter_map(|look| look.next(index)).min()
}

/// What is said of rows that are left out.
fn invalid_rows(rows: &Rows) -> Vec<String> {
    let looks = rows.queues.iter().flat_map(|row| [&row.scheduled, &row.awaiting]).flat_map(DueRow::looks);
    let n_scheduled = looks.map(|look| look.n_before_calendar.saturating_add(look.n_after_calendar)).max().unwrap_or(0);
    let text = |n: u64, one: &str, many: &str, what: &str| {
        (0 < n).then(|| {
            format!("{n} {}", if n == 1 { format!("{one} has {what}") } else { format!("{many} have {what}") })
        })
    };
    [
        text(
            rows.n_invalid_servers,
            "row of a background job server",
            "rows of background job servers",
            "an impossible number of workers, poll interval or heartbeat: left out",
        ),
        text(
            rows.n_invalid_jobs,
            "job that is enqueued or being processed",
            "jobs that are enqueued or being processed",
            "an instant outside the years 1 to 9999: left out of the latency",
        ),
        text(
            n_scheduled,
            "scheduled job",
            "scheduled jobs",
            "an instant outside the years 1 to 9999: due if before them, and never if after them",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The filters and states of which bounded looks found no job that is due at one of the instants, with the longest look-ahead of these.
pub(super) fn unseen(snapshot: &Snapshot, cursors: &QueueCursors) -> Vec<(Filter, DueState, SignedDuration)> {
    let mut unseen = Vec::new();
    for (filter, queue) in &snapshot.queues {
        let Ok(queue) = queue else { continue };
        for (state, counts) in [(DueState::Scheduled, &queue.scheduled), (DueState::Awaiting, &queue.awaiting)] {
            let is_large = cursors.due_plan(filter, state).by_instant;
            let mut missed = counts.iter().filter(|(_, count)| count.n_jobs == 0 && count.limited);
            if let Some((look_ahead, _)) = missed.next_back().filter(|_| is_large) {
                unseen.push((filter.clone(), state, *look_ahead));
            }
        }
    }
    unseen
}

pub(super) fn until(now: Timestamp, look_ahead: SignedDuration) -> Timestamp {
    now.checked_add(look_ahead).unwrap_or(Timestamp::MAX)
}

/// Adds what a search of all jobs found to counts that are 0 so far.
pub(super) fn add_search(snapshot: &mut Snapshot, filter: &Filter, state: DueState, found: EarliestDue) {
    let read_at = snapshot.read_at;
    let Some(Ok(queue)) = snapshot.queues.get_mut(filter) else { return };
    let counts = match state {
        DueState::Scheduled => &mut queue.scheduled,
        DueState::Awaiting => &mut queue.awaiting,
    };
    for (look_ahead, count) in counts.iter_mut().filter(|(_, count)| count.n_jobs == 0 && count.limited) {
        *count = match found {
            EarliestDue::At(earliest) if earliest <= until(read_at, *look_ahead) => Count { n_jobs: 1, limited: true },
            EarliestDue::At(_) | EarliestDue::None => Count { n_jobs: 0, limited: false },
            EarliestDue::Unknown => Count { n_jobs: 1, limited: true },
        };
    }
    if found == EarliestDue::Unknown {
        snapshot.notes.push(format!(
            "whether a job in state {} is due could not be found out within the statement timeout: one is taken to be due; \
             an index on (state, scheduledAt) makes it quick",
            state.name()
        ));
    }
}
