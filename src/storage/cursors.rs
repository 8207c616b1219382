//! Where reads begin, so that they do not walk index entries of jobs that have moved on.
//!
//! PostgreSQL keeps these entries until VACUUM can remove them, which an old transaction can delay for hours. All of them are
//! before the head of the queue, and the head only moves forward: so a read begins where the head was last seen. A full scan
//! repeats once 20 times its last duration has passed (5 % of the time), and at the latest after 30 s. Cheap scans therefore
//! run with every read.
//!
//! Counting is the only part of a read that grows with the queue. Counts beyond the first thousand jobs have the same share of the
//! time, and at most one in five seconds; reads in between check that the queue still has a thousand, and repeat its last counts.
//!
//! What may take long is not begun with: a read first takes from the cursors, and counts to a thousand, what last took long or was
//! never counted. Another attempt does the rest. If that times out, the first has an answer, and the next attempt is postponed: of the
//! full scan if it was one, else of the count, so that one of them does not postpone the other.
//!
//! Both only make counts cheaper. Whether there is any job is always asked of the whole table.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::plan::{DuePlan, DueState, QueueCursor, ReadPlan};
use super::rows::{QueueRow, Rows};
use crate::config::ReadBounds;
use crate::jobrunr::{Filter, Mutexes, Queue, Snapshot};

/// How far before the head a cursor is set: times come from the clocks of several machines, and transactions do not commit in
/// the order in which they began.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// A queue of that many enqueued jobs is long: counting all of it takes its share of the time.
const LONG_QUEUE: u64 = 1_000;

/// The result of an exact search for a due job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarliestDue {
    /// No job is due.
    None,
    /// The earliest is due at this instant.
    At(Timestamp),
    /// The search timed out: a job may be due.
    Unknown,
}

/// When a scan, a count or a search last ran, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastRun {
    began: Instant,
    took: Duration,
    has_timed_out: bool,
}

impl LastRun {
    /// A run that began at `began` and has just ended.
    pub(super) fn since(began: Instant) -> Self {
        Self { began, took: began.elapsed(), has_timed_out: false }
    }

    pub(super) fn began(self) -> Instant {
        self.began
    }

    /// Returns whether it can run again: its share of the time is used up, or the longest interval has passed. After a timeout only
    /// the share counts.
    fn can_repeat(self, bounds: &ReadBounds) -> bool {
        let longest = if self.has_timed_out { Duration::MAX } else { bounds.full_scan_interval };
        self.can_repeat_after(bounds, longest)
    }

    /// The same of the count of long queues.
    fn can_count_again(self, bounds: &ReadBounds) -> bool {
        bounds.long_count_interval <= self.began.elapsed() && self.can_repeat(bounds)
    }

    /// Returns whether it can run again: its share of the time is used up, or this time has passed.
    pub(super) fn can_repeat_after(self, bounds: &ReadBounds, longest: Duration) -> bool {
        self.took.saturating_mul(bounds.full_scan_share).min(longest) <= self.began.elapsed()
    }
}

/// What an attempt at a read may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Only what last took at most this long, and no long queue that was not counted yet.
    UpTo(Duration),
    /// Whatever is due.
    Any,
}

impl Effort {
    fn allows(self, last: LastRun) -> bool {
        match self {
            Self::UpTo(limit) => !last.has_timed_out && last.took <= limit,
            Self::Any => true,
        }
    }
}

/// A long queue, as it was last counted. Both counts are of the same read: blocked jobs are subtracted from enqueued ones.
#[derive(Clone, Copy, Debug)]
struct LongQueue {
    n_enqueued: u64,
    n_blocked: u64,
    /// Whether the count timed out, so that these are lower bounds.
    is_truncated: bool,
}

impl LongQueue {
    /// A long queue that was not counted. Of `n_searched` of its jobs so many are blocked, and of its first thousand the same part, but
    /// not all.
    fn uncounted(n_blocked: u64, n_searched: u64) -> Self {
        let part = n_blocked.saturating_mul(LONG_QUEUE).checked_div(n_searched.max(LONG_QUEUE)).unwrap_or_default();
        Self { n_enqueued: LONG_QUEUE, n_blocked: part.min(LONG_QUEUE.saturating_sub(1)), is_truncated: true }
    }

    /// Replaces the counts of a row.
    fn fill(self, row: &mut QueueRow) {
        row.n_enqueued = self.n_enqueued;
        row.is_enqueued_truncated = self.is_truncated;
        row.mutexes = row.mutexes.map(|mutexes| Mutexes { n_blocked: self.n_blocked, ..mutexes });
    }
}

/// An exact search for a due job.
#[derive(Clone, Copy, Debug)]
struct Search {
    run: LastRun,
    look_ahead: SignedDuration,
    found: EarliestDue,
}

/// The cursors that earlier reads of a session have left.
#[derive(Debug, Default)]
pub(crate) struct QueueCursors {
    by_filter: HashMap<Filter, QueueCursor>,
    last_full_scan: Option<LastRun>,
    long_queues: HashMap<Filter, LongQueue>,
    last_long_count: Option<LastRun>,
    /// Whether the last read repeated counts.
    has_repeated_counts: bool,
    /// The states that had more jobs than one scan covers.
    large_states: HashSet<(Filter, DueState)>,
    searches: HashMap<(Filter, DueState), Search>,
}

impl QueueCursors {
    /// Returns whether the next attempt at these filters begins at the cursors, if the read has had no full scan.
    pub(crate) fn cover<'a>(
        &self,
        mut filters: impl Iterator<Item = &'a Filter>,
        bounds: &ReadBounds,
        effort: Effort,
    ) -> bool {
        self.last_full_scan.is_some_and(|scan| !scan.can_repeat(bounds) || !effort.allows(scan))
            && filters.all(|filter| self.get(filter).is_some())
    }

    /// Returns whether a full scan or a count is due that an attempt of this effort has left out.
    pub(crate) fn has_left_out(&self, bounds: &ReadBounds, effort: Effort, from_cursors: bool) -> bool {
        let scan = self.last_full_scan.filter(|scan| from_cursors && scan.can_repeat(bounds));
        let count = self.last_long_count.filter(|count| count.can_count_again(bounds));
        [scan, count].into_iter().flatten().any(|last| !effort.allows(last))
    }

    /// Records that an attempt timed out, so that what made it slow waits for its share of the time: the full scan, or else the count.
    /// The database may have been slow for a moment: only after a second time the last counts are forgotten.
    pub(crate) fn record_time_out(&mut self, plan: &ReadPlan<'_>, is_full_scan: bool, began: Instant) {
        let run = LastRun { has_timed_out: true, ..LastRun::since(began) };
        if is_full_scan && !self.by_filter.is_empty() {
            self.last_full_scan = Some(run);
        } else if plan.enqueued_limit == plan.count_limit && plan.count_limit.is_none_or(|limit| LONG_QUEUE < limit) {
            let is_second = self.last_long_count.is_some_and(|last| last.has_timed_out);
            self.last_long_count = Some(run);
            for queue in self.long_queues.values_mut() {
                *queue = match is_second {
                    true => LongQueue::uncounted(queue.n_blocked, queue.n_enqueued),
                    false => LongQueue { is_truncated: true, ..*queue },
                };
            }
        }
    }

    /// Returns where the jobs of a filter begin. What has not been read yet begins no earlier than all jobs.
    pub(crate) fn get(&self, filter: &Filter) -> Option<QueueCursor> {
        self.by_filter.get(filter).or_else(|| self.by_filter.get(&Filter::default())).copied()
    }

    /// Returns whether this filter has been read.
    pub(crate) fn has_read(&self, filter: &Filter) -> bool {
        self.by_filter.contains_key(filter)
    }

    /// Sets the cursors after a full scan that began at `began`.
    pub(crate) fn reset(&mut self, snapshot: &Snapshot, began: Instant) {
        self.by_filter.clear();
        self.last_full_scan = Some(LastRun::since(began));
        self.advance(snapshot);
    }

    /// Makes the next attempt a full scan, because a cursor is wrong, unless the last one timed out and the next is postponed. Returns
    /// whether it is one. Until a full scan has ended, reads have no better place to begin.
    pub(crate) fn invalidate(&mut self, bounds: &ReadBounds) -> bool {
        self.last_full_scan = self.last_full_scan.filter(|scan| scan.has_timed_out && !scan.can_repeat(bounds));
        self.last_full_scan.is_none()
    }

    /// Advances the cursors after a read that began at them.
    pub(crate) fn advance(&mut self, snapshot: &Snapshot) {
        let known = snapshot.queues.iter().filter_map(|(filter, queue)| Some((filter, queue.as_ref().ok()?)));
        for (filter, queue) in known {
            self.by_filter.insert(filter.clone(), cursor(queue, snapshot.read_at));
        }
        self.long_queues.retain(|filter, _| snapshot.queues.contains_key(filter));
        self.large_states.retain(|(filter, _)| snapshot.queues.contains_key(filter));
        self.searches.retain(|(filter, _), _| snapshot.queues.contains_key(filter));
    }

    /// Returns where the next attempt stops counting enqueued jobs; `limit` is where it stops at the latest.
    pub(crate) fn enqueued_limit(&self, limit: Option<u64>, bounds: &ReadBounds, effort: Effort) -> Option<u64> {
        let can_count = match self.last_long_count {
            Some(count) => count.can_count_again(bounds) && effort.allows(count),
            None => effort == Effort::Any,
        };
        if can_count { limit } else { Some(limit.map_or(LONG_QUEUE, |limit| limit.min(LONG_QUEUE))) }
    }

    /// Completes the counts of an attempt that began at `began`: a long queue that was not counted to its end has as many jobs as it
    /// last had, and as many blocked ones. Returns whether the first queue has become long meanwhile, so that another attempt has to
    /// count it; further ones wait for the next count.
    pub(crate) fn complete_counts(
        &mut self,
        plan: &ReadPlan<'_>,
        rows: &mut Rows,
        is_full_scan: bool,
        began: Instant,
    ) -> bool {
        let counted_all = plan.enqueued_limit == plan.count_limit;
        let mut has_new = false;
        self.has_repeated_counts = false;
        for (queue, row) in plan.queues.iter().zip(&mut rows.queues) {
            let n_blocked = row.mutexes.map_or(0, |mutexes| mutexes.n_blocked);
            if row.n_enqueued < LONG_QUEUE {
                self.long_queues.remove(queue.filter);
            } else if counted_all {
                let counted = LongQueue { n_enqueued: row.n_enqueued, n_blocked, is_truncated: false };
                self.long_queues.insert(queue.filter.clone(), counted);
            } else {
                let known = self.long_queues.get(queue.filter).copied();
                has_new |= known.is_none();
                self.has_repeated_counts = true;
                let n_searched = plan.mutex_limit().unwrap_or(LONG_QUEUE);
                known.unwrap_or_else(|| LongQueue::uncounted(n_blocked, n_searched)).fill(row);
            }
        }
        let is_postponed =
            self.last_long_count.is_some_and(|last| last.has_timed_out && !last.can_repeat(&plan.bounds));
        if counted_all {
            let last = self.last_long_count.filter(|_| is_full_scan);
            let run = LastRun::since(began);
            // A full scan may have taken most of the time.
            let took = last.map_or(run.took, |last| last.took.min(run.took));
            self.last_long_count = (!self.long_queues.is_empty()).then_some(LastRun { took, ..run });
        } else if self.long_queues.is_empty() && !(has_new && is_postponed) {
            self.last_long_count = None;
            return has_new;
        }
        false
    }

    /// Returns whether the last read repeated counts, which may be wrong even if nothing changes any more.
    pub(crate) fn has_repeated_counts(&self) -> bool {
        self.has_repeated_counts
    }

    /// Returns how to scan the jobs of a state.
    pub(crate) fn due_plan(&self, filter: &Filter, state: DueState) -> DuePlan {
        let key = (filter.clone(), state);
        let earliest = match self.searches.get(&key) {
            Some(Search { found: EarliestDue::At(earliest), .. }) => Some(*earliest),
            _ => None,
        };
        DuePlan { scan_by_time: self.large_states.contains(&key), earliest }
    }

    /// Returns whether any state had more jobs than one scan covers.
    pub(crate) fn has_large_states(&self) -> bool {
        !self.large_states.is_empty()
    }

    /// Records whether a state has more jobs than one scan covers. Returns whether that is new, so that another read has to
    /// scan by due time as well.
    pub(crate) fn set_large(&mut self, filter: &Filter, state: DueState, is_large: bool) -> bool {
        let key = (filter.clone(), state);
        if is_large {
            return self.large_states.insert(key);
        }
        self.searches.remove(&key);
        self.large_states.remove(&key);
        false
    }

    /// Returns the result of the last exact search; `None` if it has to be repeated. A search that found a job has to be,
    /// once the scans no longer see that job.
    pub(crate) fn last_search(
        &self,
        filter: &Filter,
        state: DueState,
        look_ahead: SignedDuration,
        bounds: &ReadBounds,
    ) -> Option<EarliestDue> {
        let last = self.searches.get(&(filter.clone(), state)).filter(|last| look_ahead <= last.look_ahead)?;
        (!matches!(last.found, EarliestDue::At(_)) && !last.run.can_repeat(bounds)).then_some(last.found)
    }

    /// Records the result of an exact search that began at `began`.
    pub(crate) fn set_last_search(
        &mut self,
        filter: &Filter,
        state: DueState,
        look_ahead: SignedDuration,
        began: Instant,
        found: EarliestDue,
    ) {
        let run = LastRun::since(began);
        self.searches.insert((filter.clone(), state), Search { run, look_ahead, found });
    }
}

fn cursor(queue: &Queue, read_at: Timestamp) -> QueueCursor {
    let before = |oldest: Option<Timestamp>| {
        // If there is none, later jobs are younger than the read. A job may also have a time ahead of our clock.
        oldest.unwrap_or(read_at).min(read_at).checked_sub(MARGIN).unwrap_or(Timestamp::MIN)
    };
    QueueCursor { enqueued: before(queue.oldest_enqueued_at), processing: before(queue.oldest_heartbeat_at) }
}

#[cfg(test)]
mod tests;
