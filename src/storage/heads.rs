//! Where the jobs of a state begin, so that a read need not walk what lies before.
//!
//! PostgreSQL keeps the index entries of jobs that have moved on until VACUUM may take them, which an old transaction can
//! put off for long. All of them lie before the head of the queue, and the head only moves forward: so a read starts where
//! the head was last seen. What lies before is looked at again as soon as that costs next to nothing: after some times
//! as long as it took the last time, which is with every read where it is quick.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::jobrunr::{Filter, Questions, Queue, Snapshot};

/// Looking at everything may take one part in so many of the time.
const RARELY: u32 = 50;
/// However long it takes, everything is looked at this often: a job may come late, in a transaction that was long.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// Instants come from the clocks of several machines, and transactions commit in another order than they began.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// Where the jobs of one filter begin, by their `updatedAt`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) enqueued: Timestamp,
    pub(crate) processing: Timestamp,
}

/// The heads that earlier reads of a session have seen.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    of: HashMap<Filter, Head>,
    /// When everything was last looked at, and how long that took.
    last: Option<(Instant, Duration)>,
}

impl Heads {
    /// Whether the next read may start at the heads.
    pub(crate) fn suffice(&self, questions: &Questions) -> bool {
        let Some((at, took)) = self.last else { return false };
        at.elapsed() < (took * RARELY).min(AT_LEAST_EVERY)
            && questions.iter().all(|(filter, _)| self.of.contains_key(filter))
    }

    pub(crate) fn get(&self, filter: &Filter) -> Option<Head> {
        self.of.get(filter).copied()
    }

    /// The first head of all filters.
    pub(crate) fn first(&self) -> Option<Head> {
        let first = |head: fn(&Head) -> Timestamp| self.of.values().map(head).min();
        Some(Head { enqueued: first(|head| head.enqueued)?, processing: first(|head| head.processing)? })
    }

    /// Takes in a read that looked at everything, and took so long.
    pub(crate) fn look_at_all(&mut self, snapshot: &Snapshot, took: Duration) {
        self.of.clear();
        self.last = Some((Instant::now(), took));
        self.look_at(snapshot);
    }

    /// Takes in a read that began at the heads.
    pub(crate) fn look_at(&mut self, snapshot: &Snapshot) {
        let known = snapshot.queues.iter().filter_map(|(filter, queue)| Some((filter, queue.as_ref().ok()?)));
        for (filter, queue) in known {
            self.of.insert(filter.clone(), head(queue, snapshot.read_at));
        }
    }
}

fn head(queue: &Queue, read_at: Timestamp) -> Head {
    let before = |oldest: Option<Timestamp>| {
        // Where there is none, those to come are younger than the read; a job may also come from a clock ahead of ours.
        oldest.unwrap_or(read_at).min(read_at).checked_sub(MARGIN).unwrap_or(Timestamp::MIN)
    };
    Head { enqueued: before(queue.oldest_enqueued_at), processing: before(queue.oldest_heartbeat_at) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::jobrunr::{LastSeenServers, Question};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn snapshot(filter: &Filter, enqueued: Option<i64>, read: i64) -> Snapshot {
        let queue = Queue { oldest_enqueued_at: enqueued.map(at), ..Queue::default() };
        let queues = BTreeMap::from([(filter.clone(), Ok(queue))]);
        Snapshot {
            read_at: at(read),
            heartbeat_multiplicand: 4,
            servers: Vec::new(),
            last_seen_servers: LastSeenServers::default(),
            queues,
            recurring: None,
            notes: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_looked_at_again_when_that_costs_next_to_nothing() {
        let filter = Filter::default();
        let look_ahead = SignedDuration::from_mins(1);
        let questions = Questions::from_iter([Question { filter: filter.clone(), look_ahead, demand: false }]);
        let other = Filter { priority: Some(1), ..Filter::default() };
        let others = Questions::from_iter([Question { filter: other, look_ahead, demand: false }]);
        let check = async |took: u64, after: u64, expected: bool| {
            let mut heads = Heads::default();
            assert!(!heads.suffice(&questions));
            heads.look_at_all(&snapshot(&filter, Some(0), 10), Duration::from_millis(took));
            tokio::time::advance(Duration::from_millis(after)).await;
            assert_eq!(heads.suffice(&questions), expected, "{took} ms, after {after} ms");
            assert!(!heads.suffice(&others));
        };
        check(0, 0, false).await;
        check(1, 1_000, false).await;
        check(80, 1_000, true).await;
        check(80, 3_999, true).await;
        check(80, 4_000, false).await;
        check(60_000, 29_999, true).await;
        check(60_000, 30_000, false).await;
    }

    #[test]
    fn a_head_is_where_jobs_were_seen_or_where_they_will_come() {
        let check = |enqueued: Option<i64>, expected: i64| {
            let mut heads = Heads::default();
            heads.look_at(&snapshot(&Filter::default(), enqueued, 100));
            assert_eq!(heads.get(&Filter::default()).unwrap().enqueued, at(expected), "{enqueued:?}");
        };
        check(Some(40), 10);
        check(None, 70);
        check(Some(130), 70);
    }
}
