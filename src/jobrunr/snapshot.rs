//! What one storage answered at one instant.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{Filter, LastSeenServers, Question, Questions, Recurring};

/// What one storage answered at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When the read began, by this machine's clock. All instants of the storage are compared with it.
    pub read_at: Timestamp,
    /// How many poll intervals without a heartbeat make a server dead.
    pub heartbeat_multiplicand: u32,
    /// The rows of JobRunr's servers table, dead ones included, newest heartbeat first.
    pub servers: Vec<Server>,
    /// The servers that were seen last, as far as whoever reads the storage remembers. Other readers may have seen others.
    pub last_seen_servers: LastSeenServers,
    /// What is known of the jobs, by filter.
    pub queues: BTreeMap<Filter, Result<Queue, QuestionError>>,
    /// The recurring jobs; `None` where nobody asked for them.
    pub recurring: Option<Recurring>,
    /// What is odd about the storage and costs something, for people.
    pub notes: Vec<String>,
}

/// Why a question has no answer although its storage has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// The storage lacks a column.
    #[error(transparent)]
    MissingColumn(#[from] MissingColumn),
    /// The database rejects the filter's values, for example characters that its encoding does not have.
    #[error("the database rejects the question for jobs{filter}: {cause}; change the filter in the trigger's metadata")]
    Rejected {
        /// The filter.
        filter: Filter,
        /// The database's own words.
        cause: String,
    },
}

/// A column that a filter needs and that this storage does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{key} needs the column {table}.{column}, which this storage does not have: JobRunr Pro brings it, open-source JobRunr does not; remove {key} from the trigger"
)]
pub struct MissingColumn {
    /// The trigger's metadata key that asks for it.
    pub key: &'static str,
    /// The table, prefix included.
    pub table: String,
    /// The column.
    pub column: &'static str,
}

/// A count up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Jobs counted.
    pub n_jobs: u64,
    /// Whether counting stopped at the limit: there may be more.
    pub limited: bool,
}

/// The jobs that one filter lets through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// Jobs in state ENQUEUED.
    pub enqueued: Count,
    /// When the job at the head of the queue was enqueued: workers fetch in the order of `updatedAt`.
    pub oldest_enqueued_at: Option<Timestamp>,
    /// Jobs in state PROCESSING, whether their server lives or not.
    pub processing: Count,
    /// Jobs in state PROCESSING whose heartbeat is fresh: each occupies a worker.
    pub processing_alive: Count,
    /// The oldest heartbeat of a job in state PROCESSING.
    pub oldest_heartbeat_at: Option<Timestamp>,
    /// Jobs in state SCHEDULED that run within a look-ahead, overdue ones included.
    pub scheduled: BTreeMap<SignedDuration, Count>,
    /// Jobs in state AWAITING whose deadline is within a look-ahead, or was: carbon-aware jobs, whose `scheduledAt` is the
    /// latest instant at which they may run (`CarbonAwareAwaitingState`). Only where demand is asked for.
    pub awaiting: BTreeMap<SignedDuration, Count>,
    /// The first instant beyond a look-ahead at which a job is scheduled, or its deadline where demand is asked for. Not
    /// known where very many jobs with such an instant are in another state.
    pub next_scheduled_at: BTreeMap<SignedDuration, Timestamp>,
    /// Whether more jobs wait for their instant than were looked at, so that `next_scheduled_at` may miss some.
    pub is_partial: bool,
}

impl Queue {
    /// Jobs in state PROCESSING whose heartbeat has stopped. JobRunr requeues them as soon as a server lives
    /// (`ProcessOrphanedJobsTask`); without one they hang for ever.
    #[must_use]
    pub fn n_orphans(&self) -> u64 {
        self.processing.n_jobs.saturating_sub(self.processing_alive.n_jobs)
    }

    /// Jobs in state SCHEDULED that are due within a look-ahead; 0 if nobody asked for it.
    #[must_use]
    pub fn scheduled_within(&self, look_ahead: SignedDuration) -> Count {
        self.scheduled.get(&look_ahead).copied().unwrap_or_default()
    }

    /// Jobs in state AWAITING whose deadline is within a look-ahead; 0 if nobody asked for it.
    #[must_use]
    pub fn awaiting_within(&self, look_ahead: SignedDuration) -> Count {
        self.awaiting.get(&look_ahead).copied().unwrap_or_default()
    }
}

/// What will be due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextDue<'a> {
    /// When it runs.
    pub at: Timestamp,
    /// When it enters the look-ahead.
    pub counts_from: Timestamp,
    /// The recurring job, where nothing but its schedule tells of the run.
    pub recurring_job: Option<&'a Arc<str>>,
}

/// A row of `jobrunr_backgroundjobservers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Workers of this server: how many jobs it runs at once.
    pub worker_pool_size: u64,
    /// How often it looks for work and sends a heartbeat.
    pub poll_interval: SignedDuration,
    /// Its last sign of life.
    pub last_heartbeat: Timestamp,
    /// Workers in use as the server itself says; JobRunr Pro only.
    pub occupied_workers: Option<u64>,
    /// The tags it serves, comma-separated; JobRunr Pro only.
    pub server_tags: Option<String>,
}

impl Server {
    /// Whether the server counts as alive at `now`: its last heartbeat is at most `multiplicand` poll intervals old
    /// (`ServerZooKeeper`). The column `running` says nothing: JobRunr writes it once, and pausing leaves it alone.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp, multiplicand: u32) -> bool {
        let timeout = self.poll_interval.saturating_mul(i32::try_from(multiplicand).unwrap_or(i32::MAX));
        now.duration_since(self.last_heartbeat) <= timeout
    }

    /// Whether the server serves the jobs that a filter lets through.
    #[must_use]
    pub fn is_for(&self, filter: &Filter) -> bool {
        filter.server_tag.as_deref().is_none_or(|tag| self.serves(tag))
    }

    /// Whether the server serves jobs with this tag. A server that names no tags is taken to serve all.
    #[must_use]
    pub fn serves(&self, tag: &str) -> bool {
        self.server_tags.as_deref().is_none_or(|tags| tags.split(',').any(|t| t.trim() == tag))
    }
}

impl Snapshot {
    /// A storage without servers of which nothing was asked.
    #[must_use]
    pub fn empty(read_at: Timestamp, heartbeat_multiplicand: u32) -> Self {
        Self {
            read_at,
            heartbeat_multiplicand,
            servers: Vec::new(),
            last_seen_servers: LastSeenServers::default(),
            queues: BTreeMap::new(),
            recurring: None,
            notes: Vec::new(),
        }
    }

    /// The servers that live at the instant of the read.
    pub fn live_servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.is_alive(self.read_at, self.heartbeat_multiplicand))
    }

    /// The first instant beyond the question's look-ahead at which a job is scheduled, as far as known.
    #[must_use]
    pub fn next_scheduled_at(&self, question: &Question) -> Option<Timestamp> {
        let queue = self.queues.get(&question.filter)?.as_ref().ok()?;
        queue.next_scheduled_at.get(&question.look_ahead).copied()
    }

    /// What will be due next that is not yet, as far as is known at the instant of the read.
    #[must_use]
    pub fn next_due(&self, question: &Question) -> Option<NextDue<'_>> {
        let look_ahead = question.look_ahead;
        let scheduled = self.next_scheduled_at(question).map(|at| (at, None));
        let recurring = self.recurring.as_ref().filter(|_| question.demand);
        let recurring = recurring.and_then(|all| all.next(self.read_at, look_ahead)).map(|(at, id)| (at, Some(id)));
        let (at, recurring_job) = scheduled.into_iter().chain(recurring).min()?;
        let counts_from = at.checked_sub(look_ahead).unwrap_or(Timestamp::MIN);
        Some(NextDue { at, counts_from, recurring_job })
    }

    /// The next instant at which time alone wakes a trigger or takes a server away, after the read: nobody need ask the
    /// database to know that. Where something is due already, more of it changes no activity and can wait for a read.
    #[must_use]
    pub fn next_change(&self, questions: &Questions) -> Option<Timestamp> {
        let multiplicand = i32::try_from(self.heartbeat_multiplicand).unwrap_or(i32::MAX);
        let deaths = self.live_servers().filter_map(|server| {
            let timeout = server.poll_interval.saturating_mul(multiplicand);
            // It lives to the end of the microsecond.
            server.last_heartbeat.checked_add(timeout + SignedDuration::from_micros(1)).ok()
        });
        let waiting = questions.all().filter(|question| !self.is_due(question));
        let dues = waiting.filter_map(|question| Some(self.next_due(&question)?.counts_from));
        deaths.chain(dues).filter(|at| self.read_at < *at).min()
    }

    /// Whether a job or a recurring one is due within the question's look-ahead.
    fn is_due(&self, question: &Question) -> bool {
        let queue = self.queues.get(&question.filter).and_then(|queue| queue.as_ref().ok());
        let counts =
            queue.map(|queue| [queue.scheduled.get(&question.look_ahead), queue.awaiting.get(&question.look_ahead)]);
        let jobs = counts.into_iter().flatten().flatten().any(|count| 0 < count.n_jobs);
        let recurring = self.recurring.as_ref().filter(|_| question.demand);
        jobs || recurring.is_some_and(|all| all.due(self.read_at, question.look_ahead).next().is_some())
    }

    /// Whether nothing is left to do: no job waits, is due or is being processed.
    #[must_use]
    pub fn is_idle(&self, questions: &Questions) -> bool {
        let queues = self.queues.values().flatten();
        let is_empty = |queue: &Queue| queue.enqueued.n_jobs == 0 && queue.processing.n_jobs == 0;
        queues.into_iter().all(is_empty) && !questions.all().any(|question| self.is_due(&question))
    }

    /// The same at a later instant, where nothing in the storage has changed since and [time alone](Self::next_change)
    /// changes nothing either. `None` where it does, or where jobs are being processed: their heartbeats grow old.
    #[must_use]
    pub fn unchanged_at(&self, questions: &Questions, now: Timestamp) -> Option<Self> {
        let is_processing = self.queues.values().flatten().any(|queue| 0 < queue.processing.n_jobs);
        let is_answer = questions.all().all(|question| self.answers(&question));
        let is_due = questions.all().any(|question| question.demand && self.is_due(&question));
        let changes = self.next_change(questions).is_some_and(|at| at <= now);
        // More of what is due changes a count, although it wakes nobody.
        let becomes_due = |question| self.next_due(&question).is_some_and(|next| next.counts_from <= now);
        let more_due = questions.all().any(becomes_due);
        let is_partial = self.queues.values().flatten().any(|queue| queue.is_partial);
        let holds =
            is_answer && !is_processing && !is_due && !changes && !more_due && !is_partial && self.read_at <= now;
        holds.then(|| Self { read_at: now, ..self.clone() })
    }

    /// Whether this snapshot has an answer to the question.
    #[must_use]
    pub fn answers(&self, question: &Question) -> bool {
        match self.queues.get(&question.filter) {
            Some(Ok(queue)) => {
                let due = if question.demand { &queue.awaiting } else { &queue.scheduled };
                due.contains_key(&question.look_ahead)
            }
            Some(Err(_)) => true,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(poll_seconds: i64, heartbeat: &str) -> Server {
        Server {
            worker_pool_size: 4,
            poll_interval: SignedDuration::from_secs(poll_seconds),
            last_heartbeat: heartbeat.parse().unwrap(),
            occupied_workers: None,
            server_tags: None,
        }
    }

    #[test]
    fn a_snapshot_is_unchanged_until_a_job_becomes_due() {
        let read_at: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let seconds = SignedDuration::from_secs;
        let check = |n_due: u64, next: Option<i64>, is_partial: bool, after: i64, expected: bool| {
            let question = Question { filter: Filter::default(), look_ahead: seconds(60), demand: false };
            let scheduled = BTreeMap::from([(seconds(60), Count { n_jobs: n_due, limited: false })]);
            let next_scheduled_at = next.map(|next| (seconds(60), read_at + seconds(next))).into_iter().collect();
            let queue = Queue { scheduled, next_scheduled_at, is_partial, ..Queue::default() };
            let queues = BTreeMap::from([(Filter::default(), Ok(queue))]);
            let snapshot = Snapshot { queues, ..Snapshot::empty(read_at, 4) };
            let unchanged = snapshot.unchanged_at(&Questions::from_iter([question]), read_at + seconds(after));
            assert_eq!(unchanged.is_some(), expected, "{n_due} {next:?} {after}");
        };
        check(0, None, false, 30, true);
        check(0, Some(70), false, 9, true);
        check(0, Some(70), false, 10, false);
        // Although nobody has to be woken any more.
        check(5, Some(70), false, 9, true);
        check(5, Some(70), false, 10, false);
        // One that was not looked at may become due.
        check(0, None, true, 1, false);
    }

    #[test]
    fn a_server_lives_for_four_poll_intervals() {
        let check = |now: &str, expected: bool| {
            let server = server(15, "2026-11-23T20:00:00Z");
            assert_eq!(server.is_alive(now.parse().unwrap(), 4), expected, "{now}");
        };
        check("2026-11-23T20:00:00Z", true);
        check("2026-11-23T20:01:00Z", true);
        check("2026-11-23T20:01:00.000001Z", false);
        // A server whose clock is ahead of ours is alive.
        check("2026-11-23T19:00:00Z", true);
    }

    #[test]
    fn a_server_serves_the_tags_it_names() {
        let check = |tags: Option<&str>, tag: &str, expected: bool| {
            let server = Server { server_tags: tags.map(str::to_owned), ..server(15, "2026-11-23T20:00:00Z") };
            assert_eq!(server.serves(tag), expected, "{tags:?} {tag}");
        };
        check(Some("SERVER=0a,DEFAULT"), "DEFAULT", true);
        check(Some("SERVER=0a, gpu"), "gpu", true);
        check(Some("SERVER=0a,DEFAULT"), "gpu", false);
        check(None, "gpu", true);
    }
}
