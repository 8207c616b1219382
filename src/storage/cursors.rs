//! Where reads begin, so that they do not walk index entries of jobs that have moved on, and what of a read may take long.
//!
//! PostgreSQL keeps these entries until VACUUM can remove them, which an old transaction can delay for hours. All of them are
//! before the head of the queue, and the head only moves forward: so a read begins where the head was last seen. A full scan
//! repeats once 20 times its last duration has passed (5 % of the time), and at the latest after 30 s. Cheap scans therefore
//! run with every read.
//!
//! Counting is the only part of a read that grows with the queue. Counts beyond the first thousand jobs have the same share of the
//! time, and at most one in five seconds; reads in between check that the queue still has a thousand, and repeat its last counts.
//!
//! What may take long is not begun with: the first attempt at a read takes from the cursors, and counts to a thousand, what last took
//! long or was never counted. One further attempt counts, and one scans, so that each answers for its own time: if it times out, the
//! attempts before it have an answer, and it waits for its share of the time.
//!
//! Both only make counts cheaper. Whether there is any job is always asked of the whole table.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant};

use super::last_run::LastRun;
use super::plan::{DuePlan, DueState, QueueCursor, ReadPlan};
use super::rows::{QueueRow, Rows};
use crate::config::ReadBounds;
use crate::jobrunr::{Filter, Mutexes};

/// How far before the head a cursor is set: times come from the clocks of several machines, and transactions do not commit in
/// the order in which they began.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// A queue of that many enqueued jobs is long: counting all of it takes its share of the time.
const LONG_QUEUE: u64 = 1_000;

/// How long a search that found nothing counts while there is no time for another one.
const MAX_AGE_OF_SEARCH: Duration = Duration::from_secs(60);

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

/// What an attempt at a read includes that may take long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Costly {
    /// All jobs, not only those from the cursors on.
    pub(super) full_scan: bool,
    /// All jobs of long queues, not only the first thousand.
    pub(super) long_count: bool,
}

impl Costly {
    pub(super) fn and(self, other: Self) -> Self {
        Self { full_scan: self.full_scan || other.full_scan, long_count: self.long_count || other.long_count }
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

/// What is known of jobs before the cursors of a filter.
#[derive(Clone, Copy, Debug, Default)]
struct WrongCursors {
    /// ENQUEUED jobs are older than this.
    enqueued_before: Option<Timestamp>,
    has_processing: bool,
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
    /// The filters with jobs before their cursors, as far as was seen since then.
    wrong: HashMap<Filter, WrongCursors>,
    long_queues: HashMap<Filter, LongQueue>,
    last_long_count: Option<LastRun>,
    /// Whether the first queue has become long since then, or one was counted from a wrong cursor.
    has_uncounted: bool,
    /// Which of the two came first when both were due last.
    was_scan_first: bool,
    /// Whether the last read repeated counts.
    has_repeated_counts: bool,
    /// The states that had more jobs than one scan covers.
    large_states: HashSet<(Filter, DueState)>,
    searches: HashMap<(Filter, DueState), Search>,
}

impl QueueCursors {
    /// Returns what the first attempt at these filters includes: what is due and last took at most this long, and a full scan if there
    /// is no cursor yet.
    pub(super) fn cheap(&self, filters: &[&Filter], bounds: &ReadBounds, limit: Duration) -> Costly {
        let is_cheap = |last: Option<LastRun>| last.is_some_and(|last| last.is_cheap(limit));
        Costly {
            full_scan: self.by_filter.is_empty() || self.is_scan_due(filters, bounds) && is_cheap(self.last_full_scan),
            long_count: self.is_count_due(bounds) && is_cheap(self.last_long_count),
        }
    }

    /// Returns what the next attempt includes after those that included, or tried, `tried`: one thing at a time. `None` if nothing
    /// is due.
    pub(super) fn pending(&mut self, filters: &[&Filter], bounds: &ReadBounds, tried: Costly) -> Option<Costly> {
        let full_scan = !tried.full_scan && self.is_scan_due(filters, bounds);
        let long_count = !tried.long_count && self.is_count_due(bounds);
        match (full_scan, long_count) {
            (false, false) => None,
            (true, true) => {
                let mut last = [self.last_full_scan, self.last_long_count].into_iter().flatten();
                // Together they may take too long, so that they take turns. What is counted from a wrong cursor is worth little.
                let take_turns = last.any(LastRun::has_timed_out);
                self.was_scan_first = if take_turns { !self.was_scan_first } else { !self.wrong.is_empty() };
                Some(Costly { full_scan: self.was_scan_first, long_count: !self.was_scan_first })
            }
            (full_scan, long_count) => Some(Costly { full_scan, long_count }),
        }
    }

    fn is_scan_due(&self, filters: &[&Filter], bounds: &ReadBounds) -> bool {
        let has_new = || filters.iter().any(|filter| self.get(filter).is_none());
        let is_needed = || !self.wrong.is_empty() || has_new();
        self.last_full_scan.is_none_or(|scan| !scan.is_postponed(bounds) && (scan.can_repeat(bounds) || is_needed()))
    }

    fn is_count_due(&self, bounds: &ReadBounds) -> bool {
        self.last_long_count.is_none_or(|count| !count.is_postponed(bounds)) && self.has_uncounted
            || self
                .last_long_count
                .is_some_and(|count| bounds.long_count_interval <= count.began().elapsed() && count.can_repeat(bounds))
    }

    /// Records that an attempt timed out. What made it slow waits for its share of the time: the full scan, or else the count. The
    /// database may have been slow for a moment: only after a second time the last counts are forgotten.
    pub(super) fn record_time_out(&mut self, costly: Costly, began: Instant) {
        let run = LastRun::timed_out_since(began);
        if costly.full_scan && !self.by_filter.is_empty() {
            self.last_full_scan = Some(run);
        } else if costly.long_count {
            let is_second = self.last_long_count.is_some_and(|last| last.has_timed_out());
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

    /// Returns where to begin with a filter until a full scan has seen its jobs: where the first of all filters does.
    pub(super) fn assumed(&self) -> Option<QueueCursor> {
        let earlier = |a: QueueCursor, b: QueueCursor| QueueCursor {
            enqueued: a.enqueued.min(b.enqueued),
            processing: a.processing.min(b.processing),
        };
        self.by_filter.values().copied().reduce(earlier)
    }

    /// Returns whether this filter has been read.
    pub(crate) fn has_read(&self, filter: &Filter) -> bool {
        self.by_filter.contains_key(filter)
    }

    /// Records a full scan that began at `began`, before its rows are looked at. What was counted from wrong cursors is a lower bound, and
    /// is counted again.
    pub(super) fn record_full_scan(&mut self, began: Instant) {
        self.by_filter.clear();
        for (filter, _) in self.wrong.drain() {
            if let Some(queue) = self.long_queues.get_mut(&filter) {
                queue.is_truncated = true;
                self.has_uncounted = true;
            }
        }
        self.last_full_scan = Some(LastRun::since(began));
    }

    /// Corrects the rows of a read that began at cursors which are wrong, or only assumed: there may be more jobs until a full scan has
    /// seen them, or there are none. Returns whether any is wrong.
    pub(super) fn correct_wrong(&mut self, plan: &ReadPlan<'_>, rows: &mut Rows) -> bool {
        for (queue, row) in plan.queues.iter().zip(&mut rows.queues) {
            let Some(cursor) = queue.cursor else { continue };
            let is_of_all = !self.has_read(queue.filter) && self.by_filter.contains_key(&Filter::default());
            let is_assumed = match is_of_all {
                true => self.wrong.contains_key(&Filter::default()),
                false => self.get(queue.filter).is_none(),
            };
            let mut wrong = self.wrong.remove(queue.filter).unwrap_or_default();
            if row.is_enqueued_cursor_wrong || is_assumed {
                wrong.enqueued_before.get_or_insert(cursor.enqueued);
            }
            wrong.has_processing |= row.is_processing_cursor_wrong || is_assumed;
            // Whether there is any was asked of the whole table.
            if row.n_enqueued == 0 && !row.is_enqueued_cursor_wrong {
                wrong.enqueued_before = None;
            }
            wrong.has_processing &= 0 < row.n_processing || row.is_processing_cursor_wrong;
            row.correct_wrong_cursors(wrong.enqueued_before);
            if wrong.enqueued_before.is_some() || wrong.has_processing {
                self.wrong.insert(queue.filter.clone(), wrong);
            }
        }
        if !self.wrong.is_empty() {
            rows.runs.assume_more_in(&["ENQUEUED", "PROCESSING"]);
        }
        !self.wrong.is_empty()
    }

    /// Advances the cursors after a read.
    pub(super) fn advance(&mut self, plan: &ReadPlan<'_>, rows: &Rows) {
        for (queue, row) in plan.queues.iter().zip(&rows.queues) {
            self.by_filter.insert(queue.filter.clone(), cursor(row, plan.now));
        }
        let asked: HashSet<&Filter> = plan.queues.iter().map(|queue| queue.filter).collect();
        self.by_filter.retain(|filter, _| asked.contains(filter) || *filter == Filter::default());
        self.wrong.retain(|filter, _| asked.contains(filter) || *filter == Filter::default());
        self.long_queues.retain(|filter, _| asked.contains(filter));
        self.large_states.retain(|(filter, _)| asked.contains(filter));
        self.searches.retain(|(filter, _), _| asked.contains(filter));
    }

    /// Returns where an attempt stops counting enqueued jobs; `limit` is where it stops at the latest.
    pub(super) fn enqueued_limit(limit: Option<u64>, costly: Costly) -> Option<u64> {
        if costly.long_count { limit } else { Some(limit.map_or(LONG_QUEUE, |limit| limit.min(LONG_QUEUE))) }
    }

    /// Completes the counts of an attempt that began at `began`: a long queue that was not counted to its end has as many jobs as it
    /// last had, and as many blocked ones. The first queue that has become long is counted by another attempt; further ones wait for
    /// the next count.
    pub(super) fn complete_counts(&mut self, plan: &ReadPlan<'_>, rows: &mut Rows, costly: Costly, began: Instant) {
        self.has_repeated_counts = false;
        if plan.count_limit.is_some_and(|limit| limit <= LONG_QUEUE) {
            return;
        }
        let mut has_new = false;
        for (queue, row) in plan.queues.iter().zip(&mut rows.queues) {
            let n_blocked = row.mutexes.map_or(0, |mutexes| mutexes.n_blocked);
            if row.n_enqueued < LONG_QUEUE {
                self.long_queues.remove(queue.filter);
            } else if costly.long_count {
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
        let is_first = has_new && self.long_queues.is_empty();
        self.has_uncounted &= has_new || !self.long_queues.is_empty();
        self.has_uncounted = !costly.long_count && (self.has_uncounted || is_first);
        if costly.long_count {
            // A full scan may have taken most of the time.
            let last = self.last_long_count.filter(|_| costly.full_scan);
            let run = LastRun::since(began);
            self.last_long_count = Some(last.map_or(run, |last| run.at_most(last)));
        }
        if self.long_queues.is_empty() && !has_new {
            self.last_long_count = None;
        }
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
        let last = self.search(filter, state, look_ahead)?;
        (!matches!(last.found, EarliestDue::At(_)) && !last.run.can_repeat(bounds)).then_some(last.found)
    }

    /// Returns what is to be assumed where there is no time for a search: that nothing is due, if that was found shortly before.
    pub(crate) fn assumed_search(&self, filter: &Filter, state: DueState, look_ahead: SignedDuration) -> EarliestDue {
        let last = self.search(filter, state, look_ahead);
        let recent = last.filter(|last| last.run.began().elapsed() < MAX_AGE_OF_SEARCH);
        match recent {
            Some(Search { found: EarliestDue::None, .. }) => EarliestDue::None,
            _ => EarliestDue::Unknown,
        }
    }

    /// Returns whether every search that may be needed was quick when it was last made.
    pub(super) fn are_searches_cheap(&self, limit: Duration) -> bool {
        let mut last = self.large_states.iter().map(|key| self.searches.get(key));
        last.all(|last| last.is_some_and(|last| last.run.is_cheap(limit)))
    }

    /// Returns whether the last search has timed out.
    pub(super) fn has_search_timed_out(&self, filter: &Filter, state: DueState) -> bool {
        self.searches.get(&(filter.clone(), state)).is_some_and(|last| last.run.has_timed_out())
    }

    fn search(&self, filter: &Filter, state: DueState, look_ahead: SignedDuration) -> Option<&Search> {
        self.searches.get(&(filter.clone(), state)).filter(|last| look_ahead <= last.look_ahead)
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
        let run = match found {
            EarliestDue::Unknown => LastRun::timed_out_since(began),
            _ => LastRun::since(began),
        };
        self.searches.insert((filter.clone(), state), Search { run, look_ahead, found });
    }
}

fn cursor(row: &QueueRow, read_at: Timestamp) -> QueueCursor {
    let before = |oldest: Option<Timestamp>| {
        // If there is none, later jobs are younger than the read. A job may also have a time ahead of our clock.
        oldest.unwrap_or(read_at).min(read_at).checked_sub(MARGIN).unwrap_or(Timestamp::MIN)
    };
    QueueCursor { enqueued: before(row.oldest_enqueued_at), processing: before(row.oldest_heartbeat_at) }
}

#[cfg(test)]
mod tests;
