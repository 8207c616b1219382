//! Where reads begin, so that they need not walk what lies before.
//!
//! PostgreSQL keeps the index entries of jobs that have moved on until VACUUM may take them, which an old transaction can
//! delay for hours. All of them lie before the head of the queue, and the head only moves forward: so a read starts where
//! the head was last seen. A full scan repeats once a multiple of its last duration has passed, and at the latest after half
//! a minute; cheap scans therefore run with every read.
//!
//! Cursors only make counts cheaper. Whether there is a job at all is always asked of the whole table.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::plan::DuePlan;
use crate::config::ReadBounds;
use crate::jobrunr::{Filter, Queue, Snapshot};

/// Instants come from the clocks of several machines, and transactions commit in another order than they began.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// Where the jobs of one filter begin, by their `updatedAt`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct QueueCursor {
    pub(crate) enqueued: Timestamp,
    pub(crate) processing: Timestamp,
}

/// The two states in which a job waits for its instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DueState {
    Scheduled,
    Awaiting,
}

impl DueState {
    /// JobRunr's name (`StateName`).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Awaiting => "AWAITING",
        }
    }
}

/// What the last exact search for a due job gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarliestDue {
    /// None was due.
    None,
    /// The earliest was due at this instant.
    At(Timestamp),
    /// The search was given up: one may be due.
    Unknown,
}

/// When something was done, and how long it took.
#[derive(Clone, Copy, Debug)]
struct Run {
    began: Instant,
    took: Duration,
}

impl Run {
    /// Whether it may be repeated: it takes its share of the time, or is due whatever it takes.
    fn may_repeat(self, bounds: &ReadBounds) -> bool {
        let pause = self.took.saturating_mul(bounds.full_scan_share).min(bounds.full_scan_interval);
        pause <= self.began.elapsed()
    }
}

/// An exact search for a due job.
#[derive(Clone, Copy, Debug)]
struct Search {
    run: Run,
    look_ahead: SignedDuration,
    found: EarliestDue,
}

/// The cursors that earlier reads of a session have left.
#[derive(Debug, Default)]
pub(crate) struct QueueCursors {
    by_filter: HashMap<Filter, QueueCursor>,
    last_full_scan: Option<Run>,
    /// The states that had more jobs than one look passes.
    large: HashSet<(Filter, DueState)>,
    searches: HashMap<(Filter, DueState), Search>,
}

impl QueueCursors {
    /// Whether the next read of these filters may start at the cursors.
    pub(crate) fn cover<'a>(&self, mut filters: impl Iterator<Item = &'a Filter>, bounds: &ReadBounds) -> bool {
        self.last_full_scan.is_some_and(|scan| !scan.may_repeat(bounds))
            && filters.all(|filter| self.by_filter.contains_key(filter))
    }

    /// Where the jobs of a filter begin.
    pub(crate) fn get(&self, filter: &Filter) -> Option<QueueCursor> {
        self.by_filter.get(filter).copied()
    }

    /// Where the jobs of all filters begin.
    pub(crate) fn first(&self) -> Option<QueueCursor> {
        let first = |cursor: fn(&QueueCursor) -> Timestamp| self.by_filter.values().map(cursor).min();
        Some(QueueCursor { enqueued: first(|cursor| cursor.enqueued)?, processing: first(|cursor| cursor.processing)? })
    }

    /// Forgets the cursors after a read that scanned everything.
    pub(crate) fn reset(&mut self, snapshot: &Snapshot, began: Instant) {
        self.by_filter.clear();
        self.last_full_scan = Some(Run { began, took: began.elapsed() });
        self.advance(snapshot);
    }

    /// Makes the next read a full scan: a cursor turned out to be wrong.
    pub(crate) fn invalidate(&mut self) {
        self.by_filter.clear();
        self.last_full_scan = None;
    }

    /// Moves the cursors after a read that began at them.
    pub(crate) fn advance(&mut self, snapshot: &Snapshot) {
        let known = snapshot.queues.iter().filter_map(|(filter, queue)| Some((filter, queue.as_ref().ok()?)));
        for (filter, queue) in known {
            self.by_filter.insert(filter.clone(), cursor(queue, snapshot.read_at));
        }
        self.large.retain(|(filter, _)| snapshot.queues.contains_key(filter));
        self.searches.retain(|(filter, _), _| snapshot.queues.contains_key(filter));
    }

    /// How the jobs of a state are to be looked for.
    pub(crate) fn due_plan(&self, filter: &Filter, state: DueState) -> DuePlan {
        let key = (filter.clone(), state);
        let earliest = match self.searches.get(&key) {
            Some(Search { found: EarliestDue::At(earliest), .. }) => Some(*earliest),
            _ => None,
        };
        DuePlan { by_instant: self.large.contains(&key), earliest }
    }

    /// Whether any state had more jobs than one look passes.
    pub(crate) fn any_large(&self) -> bool {
        !self.large.is_empty()
    }

    /// Notes whether a state has more jobs than one look passes. Returns whether that is new, so that another read is needed
    /// which also looks by the instant.
    pub(crate) fn set_large(&mut self, filter: &Filter, state: DueState, is_large: bool) -> bool {
        let key = (filter.clone(), state);
        if is_large {
            return self.large.insert(key);
        }
        self.searches.remove(&key);
        self.large.remove(&key);
        false
    }

    /// What the last exact search found, while it need not be repeated. One that found a job must be, once the job is no
    /// longer seen.
    pub(crate) fn last_search(
        &self,
        filter: &Filter,
        state: DueState,
        look_ahead: SignedDuration,
        bounds: &ReadBounds,
    ) -> Option<EarliestDue> {
        let last = self.searches.get(&(filter.clone(), state)).filter(|last| look_ahead <= last.look_ahead)?;
        (!matches!(last.found, EarliestDue::At(_)) && !last.run.may_repeat(bounds)).then_some(last.found)
    }

    /// Takes in an exact search.
    pub(crate) fn searched(
        &mut self,
        filter: &Filter,
        state: DueState,
        look_ahead: SignedDuration,
        began: Instant,
        found: EarliestDue,
    ) {
        let run = Run { began, took: began.elapsed() };
        self.searches.insert((filter.clone(), state), Search { run, look_ahead, found });
    }
}

fn cursor(queue: &Queue, read_at: Timestamp) -> QueueCursor {
    let before = |oldest: Option<Timestamp>| {
        // Where there is none, those to come are younger than the read; a job may also come from a clock ahead of ours.
        oldest.unwrap_or(read_at).min(read_at).checked_sub(MARGIN).unwrap_or(Timestamp::MIN)
    };
    QueueCursor { enqueued: before(queue.oldest_enqueued_at), processing: before(queue.oldest_heartbeat_at) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn snapshot(filter: &Filter, enqueued: Option<i64>, read: i64) -> Snapshot {
        let queue = Queue { oldest_enqueued_at: enqueued.map(at), ..Queue::default() };
        let queues = BTreeMap::from([(filter.clone(), Ok(queue))]);
        Snapshot { queues, ..Snapshot::empty(at(read), 4) }
    }

    #[tokio::test(start_paused = true)]
    async fn full_scans_repeat_when_they_cost_next_to_nothing() {
        let filter = Filter::default();
        let other = Filter { priority: Some(1), ..Filter::default() };
        let bounds = ReadBounds::default();
        let check = async |took: u64, after: u64, expected: bool| {
            let mut cursors = QueueCursors::default();
            assert!(!cursors.cover([&filter].into_iter(), &bounds));
            let began = Instant::now();
            tokio::time::advance(Duration::from_millis(took)).await;
            cursors.reset(&snapshot(&filter, Some(0), 10), began);
            tokio::time::advance(Duration::from_millis(after - took)).await;
            assert_eq!(cursors.cover([&filter].into_iter(), &bounds), expected, "{took} ms, after {after} ms");
            assert!(!cursors.cover([&other].into_iter(), &bounds));
        };
        check(0, 0, false).await;
        check(1, 1_000, false).await;
        check(80, 1_000, true).await;
        check(80, 1_599, true).await;
        check(80, 1_600, false).await;
        check(6_000, 29_999, true).await;
        check(6_000, 30_000, false).await;
    }

    #[test]
    fn a_cursor_is_where_jobs_were_seen_or_where_they_will_come() {
        let check = |enqueued: Option<i64>, expected: i64| {
            let mut cursors = QueueCursors::default();
            cursors.advance(&snapshot(&Filter::default(), enqueued, 100));
            assert_eq!(cursors.get(&Filter::default()).unwrap().enqueued, at(expected), "{enqueued:?}");
        };
        check(Some(40), 10);
        check(None, 70);
        check(Some(130), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exact_search_is_repeated_when_it_may_be_or_must_be() {
        let (filter, state, bounds) = (Filter::default(), DueState::Scheduled, ReadBounds::default());
        let check = async |found: EarliestDue, after: u64, expected: Option<EarliestDue>| {
            let mut cursors = QueueCursors::default();
            let began = Instant::now();
            tokio::time::advance(Duration::from_millis(100)).await;
            let look_ahead = SignedDuration::from_mins(2);
            cursors.searched(&filter, state, look_ahead, began, found);
            tokio::time::advance(Duration::from_millis(after)).await;
            let last = cursors.last_search(&filter, state, look_ahead, &bounds);
            assert_eq!(last, expected, "{found:?} after {after} ms");
            // It says nothing of what lies further ahead.
            assert_eq!(cursors.last_search(&filter, state, SignedDuration::from_mins(3), &bounds), None);
        };
        check(EarliestDue::None, 1_899, Some(EarliestDue::None)).await;
        check(EarliestDue::None, 1_900, None).await;
        check(EarliestDue::Unknown, 1_000, Some(EarliestDue::Unknown)).await;
        // It was there, and the read that asks did not see it any more.
        check(EarliestDue::At(at(0)), 0, None).await;
    }
}
