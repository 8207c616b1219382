//! Assembles a snapshot from typed rows. Pure.

use jiff::{SignedDuration, Timestamp};

use super::backend::SchemaFindings;
use super::cursors::{EarliestDue, QueueCursors};
use super::plan::DueState;
use super::plan::ReadPlan;
use super::rows::{DueScans, Interval, QueueRow, Rows, Scan};
use crate::config::StorageConfig;
use crate::jobrunr::{Count, Filter, JobGroup, LookAheads, QuestionError, Questions, Queue, Snapshot};

/// Assembles the rows of a read. Recurring jobs are added afterwards, because they may need further queries.
pub(super) fn snapshot(
    plan: &ReadPlan<'_>,
    rows: &Rows,
    unanswered: Vec<(&Filter, QuestionError)>,
    questions: &Questions,
    config: &StorageConfig,
    findings: &SchemaFindings,
) -> Snapshot {
    let mut snapshot = Snapshot::empty(plan.now, config.heartbeat_multiplicand);
    snapshot.servers.clone_from(&rows.servers);
    snapshot.notes.clone_from(&findings.notes);
    snapshot.notes.extend(invalid_records(rows));
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
        enqueued: counted(row.n_enqueued, !row.is_enqueued_truncated, limit),
        oldest_enqueued_at: row.oldest_enqueued_at,
        mutexes: row.mutexes,
        processing: counted(row.n_processing, true, limit),
        processing_alive: counted(row.n_processing_alive, true, limit),
        oldest_heartbeat_at: row.oldest_heartbeat_at,
        is_partial: !row.scheduled.are_complete() || !row.awaiting.are_complete(),
        ..Queue::default()
    };
    if let Some(kinds) = &row.kinds {
        let n_jobs = queue.enqueued(false).n_jobs;
        queue.waiting = JobGroup::of_queue(kinds.oldest.clone(), kinds.newest.clone(), n_jobs);
        queue.due.clone_from(&kinds.due);
    }
    for (index, (&look_ahead, details)) in look_aheads.iter().enumerate() {
        queue.scheduled.insert(look_ahead, row.scheduled.due(index, limit));
        let mut next = row.scheduled.next(index);
        if details.demand {
            queue.awaiting.insert(look_ahead, row.awaiting.due(index, limit));
            next = next.into_iter().chain(row.awaiting.next(index)).min();
        }
        if let Some(next) = next {
            queue.next_scheduled_at.insert(look_ahead, next);
        }
    }
    queue
}

/// Applies the limit to a count. A count that is not exact is a lower bound.
fn counted(n_jobs: u64, is_exact: bool, limit: Option<u64>) -> Count {
    match limit {
        Some(limit) if limit <= n_jobs => Count { n_jobs: limit, limited: true },
        _ => Count { n_jobs, limited: !is_exact },
    }
}

impl Scan {
    /// The jobs due up to the plan's instant with this index.
    fn n_due(&self, index: usize) -> u64 {
        let within = self.intervals.iter().zip(0..=index).map(|(interval, _)| interval.n_jobs);
        within.fold(self.n_before_calendar, u64::saturating_add)
    }

    /// Whether the scan found every job that is due up to the plan's instant with this index.
    fn is_exact(&self, index: usize) -> bool {
        let is_beyond = || self.after(index).any(|interval| 0 < interval.n_jobs);
        !self.is_truncated || (self.is_in_order && is_beyond())
    }

    /// The first due time after the plan's instant with this index.
    fn next(&self, index: usize) -> Option<Timestamp> {
        self.after(index).filter_map(|interval| interval.earliest).min()
    }

    /// The intervals after the plan's instant with this index.
    fn after(&self, index: usize) -> impl Iterator<Item = &Interval> {
        self.intervals.iter().skip(index).skip(1)
    }
}

impl DueScans {
    fn all(&self) -> impl Iterator<Item = &Scan> {
        let by_time = [&self.ascending, &self.descending, &self.later];
        std::iter::once(&self.of_state).chain(by_time.into_iter().flatten())
    }

    /// Whether every job of the state was scanned.
    fn are_complete(&self) -> bool {
        !self.of_state.is_truncated
    }

    /// The jobs that are due up to the plan's instant with this index: exact if one scan found all of them, else the highest
    /// number that any scan found.
    fn due(&self, index: usize, limit: Option<u64>) -> Count {
        // The descending scan starts at the last instant, so it misses nothing before it ends.
        let exact = [Some(&self.of_state), self.descending.as_ref()].into_iter().flatten();
        match exact.into_iter().find(|scan| scan.is_exact(index)) {
            Some(scan) => counted(scan.n_due(index), true, limit),
            None => counted(self.all().map(|scan| scan.n_due(index)).max().unwrap_or(0), false, limit),
        }
    }

    /// The first due time after the plan's instant with this index.
    fn next(&self, index: usize) -> Option<Timestamp> {
        if self.of_state.is_exact(self.of_state.intervals.len()) {
            return self.of_state.next(index);
        }
        self.all().filter_map(|scan| scan.next(index)).min()
    }
}

/// Warns of records that are left out.
fn invalid_records(rows: &Rows) -> Vec<String> {
    let scans = rows.queues.iter().flat_map(|row| [&row.scheduled, &row.awaiting]).flat_map(DueScans::all);
    let n_scheduled = scans.map(|scan| scan.n_before_calendar.saturating_add(scan.n_after_calendar)).max().unwrap_or(0);
    let warning = |n: u64, one: &str, many: &str, text: &str| {
        let subject = if n == 1 { format!("1 {one} has") } else { format!("{n} {many} have") };
        (0 < n).then(|| format!("{subject} {text}"))
    };
    let warnings = [
        warning(
            rows.n_invalid_servers,
            "record of a background job server",
            "records of background job servers",
            "an impossible number of workers, poll interval or heartbeat: ignored",
        ),
        warning(
            rows.n_invalid_jobs,
            "job that is enqueued or being processed",
            "jobs that are enqueued or being processed",
            "a time outside the years 1 to 9999: ignored for the latency",
        ),
        warning(
            n_scheduled,
            "scheduled job",
            "scheduled jobs",
            "a time outside the years 1 to 9999: due if before them, never due if after them",
        ),
    ];
    warnings.into_iter().flatten().collect()
}

/// Returns the filters and states in which bounded scans found no job due within some look-ahead although there may be one,
/// each with the longest such look-ahead.
pub(super) fn possibly_missed(snapshot: &Snapshot, cursors: &QueueCursors) -> Vec<(Filter, DueState, SignedDuration)> {
    let mut missed = Vec::new();
    for (filter, queue) in &snapshot.queues {
        let Ok(queue) = queue else { continue };
        for (state, counts) in [(DueState::Scheduled, &queue.scheduled), (DueState::Awaiting, &queue.awaiting)] {
            let is_large = cursors.due_plan(filter, state).scan_by_time;
            let mut zeros = counts.iter().filter(|(_, count)| count.n_jobs == 0 && count.limited);
            if let Some((look_ahead, _)) = zeros.next_back().filter(|_| is_large) {
                missed.push((filter.clone(), state, *look_ahead));
            }
        }
    }
    missed
}

/// The last instant that counts as due with this look-ahead.
pub(super) fn until(now: Timestamp, look_ahead: SignedDuration) -> Timestamp {
    now.checked_add(look_ahead).unwrap_or(Timestamp::MAX)
}

/// Adds the result of a search of all jobs to counts that are 0 so far.
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
            "the search for due jobs in state {} exceeded the statement timeout; assuming that one is due: an index on \
             (state, scheduledAt) makes the search fast",
            state.name()
        ));
    }
}
