//! What a storage answered at one instant, and what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{Filter, JobGroup, LastSeenServers, Question, Questions, Recurring, RunningJobs, ServiceTimes};

/// What a storage answered at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When the read began, by this machine's clock. All times in the storage are compared with it.
    pub read_at: Timestamp,
    /// The number of poll intervals without a heartbeat after which a server counts as dead.
    pub heartbeat_multiplicand: u32,
    /// JobRunr's background job servers, dead ones included, newest heartbeat first.
    pub servers: Vec<Server>,
    /// The servers that this reader of the storage saw last. Another replica may have seen others.
    pub last_seen_servers: LastSeenServers,
    /// The jobs, by filter.
    pub queues: BTreeMap<Filter, Result<Queue, QuestionError>>,
    /// The recurring jobs; `None` if no question asks for demand.
    pub recurring: Option<Recurring>,
    /// How long jobs run; `None` if no question asks for it.
    pub service_times: Option<Arc<ServiceTimes>>,
    /// The jobs that are being processed, one by one; `None` if no question asks for them.
    pub running: Option<RunningJobs>,
    /// Warnings about the storage, for people: damaged records, missing indexes.
    pub notes: Vec<String>,
}

/// Why one question has no answer although its storage could be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// The storage does not record what the filter compares with.
    #[error(transparent)]
    UnsupportedFilter(#[from] UnsupportedFilter),
    /// The database rejects the filter's values, for example characters that its encoding does not have.
    #[error("the database rejects a query for jobs{filter}: {cause}; change the filter in the trigger's metadata")]
    Rejected {
        /// The filter.
        filter: Filter,
        /// The database's own words.
        cause: String,
    },
}

/// A filter that needs something that this storage does not record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{key} is not supported by this storage, which lacks {missing}: JobRunr Pro adds it, open-source JobRunr does not; remove {key} from the trigger"
)]
pub struct UnsupportedFilter {
    /// The trigger's metadata key.
    pub key: &'static str,
    /// What the storage lacks, in the database's terms, such as `the column jobrunr_jobs.priority`.
    pub missing: String,
}

/// A count up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The jobs counted.
    pub n_jobs: u64,
    /// Whether the count is truncated: there may be more jobs.
    pub limited: bool,
}

/// The jobs that one filter selects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// Jobs in state ENQUEUED.
    pub enqueued: Count,
    /// When the job at the head of the queue was enqueued. Workers fetch jobs in the order of `updatedAt`.
    pub oldest_enqueued_at: Option<Timestamp>,
    /// What mutexes do to the jobs in state ENQUEUED; `None` if the storage knows no mutexes, as only JobRunr Pro's does.
    pub mutexes: Option<Mutexes>,
    /// The jobs in state ENQUEUED by kind, those that share a mutex as one; together as many as then count. Only where their work is
    /// asked for.
    pub waiting: Vec<JobGroup>,
    /// Jobs in state PROCESSING, whether or not their server is alive.
    pub processing: Count,
    /// Jobs in state PROCESSING with a fresh heartbeat. Each occupies a worker.
    pub processing_alive: Count,
    /// The oldest heartbeat of a job in state PROCESSING.
    pub oldest_heartbeat_at: Option<Timestamp>,
    /// Jobs in state SCHEDULED that are due within each look-ahead, overdue ones included.
    pub scheduled: BTreeMap<SignedDuration, Count>,
    /// The jobs in state SCHEDULED that are due within the longest look-ahead, by kind; a sample if they are many. Only where their
    /// work is asked for.
    pub due: Vec<JobGroup>,
    /// Jobs in state AWAITING whose deadline is within each look-ahead or has passed. These are carbon-aware jobs, whose
    /// `scheduledAt` is the latest instant at which they may run (`CarbonAwareAwaitingState`). Only where demand is asked for.
    pub awaiting: BTreeMap<SignedDuration, Count>,
    /// The first due time beyond each look-ahead: of SCHEDULED jobs, and of AWAITING jobs where demand is asked for. Missing
    /// where too many other jobs are scheduled for the same time to find it.
    pub next_scheduled_at: BTreeMap<SignedDuration, Timestamp>,
    /// Whether more jobs wait for their due time than were scanned, so that `next_scheduled_at` may miss some.
    pub is_partial: bool,
}

/// What mutexes do to the jobs in state ENQUEUED. Of the jobs that share a mutex, servers run one at a time, and the others stay in
/// that state however many workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutexes {
    /// Jobs that wait for another one in the queue: all but one of each mutex.
    pub n_blocked: u64,
    /// When the oldest job was enqueued whose mutex, if it has any, no running job holds.
    pub oldest_free_at: Option<Timestamp>,
}

impl Queue {
    /// Jobs in state ENQUEUED. Those that share a mutex count as one, unless `with_blocked`.
    #[must_use]
    pub fn enqueued(&self, with_blocked: bool) -> Count {
        let n_blocked = self.mutexes.filter(|_| !with_blocked).map_or(0, |mutexes| mutexes.n_blocked);
        Count { n_jobs: self.enqueued.n_jobs.saturating_sub(n_blocked), ..self.enqueued }
    }

    /// When the oldest job was enqueued that a worker could run now, or whatever blocks it with `with_blocked`.
    #[must_use]
    pub fn oldest_enqueued_at(&self, with_blocked: bool) -> Option<Timestamp> {
        let mutexes = self.mutexes.filter(|_| !with_blocked);
        mutexes.map_or(self.oldest_enqueued_at, |mutexes| mutexes.oldest_free_at)
    }

    /// Returns the number of jobs in state PROCESSING whose heartbeat has stopped. JobRunr requeues them as soon as a server is
    /// alive (`ProcessOrphanedJobsTask`); without one they stay in that state.
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

/// The next job that becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextDue<'a> {
    /// When it is due.
    pub at: Timestamp,
    /// When it enters the look-ahead and is counted.
    pub counts_from: Timestamp,
    /// The id of the recurring job, if the run exists only in its schedule so far.
    pub recurring_job: Option<&'a Arc<str>>,
}

/// A background job server, as it last reported itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// Its id: lower case with hyphens if it is a UUID, as JobRunr's are. Empty if the record has none.
    pub id: Arc<str>,
    /// Its name, by default the host's, bounded and printable. JobRunr 5 and older record none.
    pub name: Option<Arc<str>>,
    /// Its first heartbeat.
    pub first_heartbeat: Option<Timestamp>,
    /// Its workers: how many jobs it runs at once.
    pub worker_pool_size: u64,
    /// How often it polls for work and sends a heartbeat.
    pub poll_interval: SignedDuration,
    /// Its last heartbeat.
    pub last_heartbeat: Timestamp,
    /// Workers in use, as the server itself reports; JobRunr Pro only.
    pub occupied_workers: Option<u64>,
    /// The tags it serves, comma-separated; JobRunr Pro only.
    pub server_tags: Option<String>,
}

impl Server {
    /// Returns whether the server counts as alive at `now`: its last heartbeat is at most `multiplicand` poll intervals old
    /// (`ServerZooKeeper`). The field `running` is of no use: JobRunr writes it once, and pausing does not change it.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp, multiplicand: u32) -> bool {
        now.duration_since(self.last_heartbeat) <= self.timeout(multiplicand)
    }

    /// How long after its last heartbeat the server counts as alive, that instant included.
    fn timeout(&self, multiplicand: u32) -> SignedDuration {
        self.poll_interval.saturating_mul(i32::try_from(multiplicand).unwrap_or(i32::MAX))
    }

    /// Returns whether the server runs the jobs that a filter selects.
    #[must_use]
    pub fn is_for(&self, filter: &Filter) -> bool {
        filter.server_tag.as_deref().is_none_or(|tag| self.serves(tag))
    }

    /// Returns whether the server runs jobs with this tag. A server that reports no tags is assumed to run all jobs.
    #[must_use]
    pub fn serves(&self, tag: &str) -> bool {
        self.server_tags.as_deref().is_none_or(|tags| tags.split(',').any(|t| t.trim() == tag))
    }
}

impl Snapshot {
    /// Returns a snapshot without servers and without answers.
    #[must_use]
    pub fn empty(read_at: Timestamp, heartbeat_multiplicand: u32) -> Self {
        Self {
            read_at,
            heartbeat_multiplicand,
            servers: Vec::new(),
            last_seen_servers: LastSeenServers::default(),
            queues: BTreeMap::new(),
            recurring: None,
            service_times: None,
            running: None,
            notes: Vec::new(),
        }
    }

    /// The servers that are alive at the instant of the read.
    pub fn live_servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.is_alive(self.read_at, self.heartbeat_multiplicand))
    }

    /// Returns how far the clock of a live server can be behind: as long as a server without a heartbeat counts as alive, or a
    /// minute if there is none.
    #[must_use]
    pub fn longest_server_timeout(&self) -> SignedDuration {
        let timeouts = self.live_servers().map(|server| server.timeout(self.heartbeat_multiplicand));
        timeouts.max().unwrap_or(SignedDuration::from_mins(1))
    }

    /// The workers of the live servers that run the jobs which a filter selects.
    #[must_use]
    pub fn n_workers(&self, filter: &Filter) -> u64 {
        let servers = self.live_servers().filter(|server| server.is_for(filter));
        servers.map(|server| server.worker_pool_size).fold(0, u64::saturating_add)
    }

    /// Returns the first due time beyond the question's look-ahead, as far as known.
    #[must_use]
    pub fn next_scheduled_at(&self, question: &Question) -> Option<Timestamp> {
        let queue = self.queues.get(&question.filter)?.as_ref().ok()?;
        queue.next_scheduled_at.get(&question.look_ahead).copied()
    }

    /// Returns the next job that becomes due after the question's look-ahead, as far as known at the instant of the read.
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

    /// Returns the next instant after the read at which time alone activates a trigger or makes a server count as dead, so that
    /// no query is needed to notice it. Jobs that become due where others are due already change no activity; they can wait for
    /// the next read.
    #[must_use]
    pub fn next_change(&self, questions: &Questions) -> Option<Timestamp> {
        let deaths = self.live_servers().filter_map(|server| {
            // The limit is inclusive; the server is dead one microsecond later.
            let timeout = server.timeout(self.heartbeat_multiplicand).saturating_add(SignedDuration::from_micros(1));
            server.last_heartbeat.checked_add(timeout).ok()
        });
        let waiting = questions.all().filter(|question| !self.is_due(question));
        let dues = waiting.filter_map(|question| Some(self.next_due(&question)?.counts_from));
        deaths.chain(dues).filter(|at| self.read_at < *at).min()
    }

    /// Returns whether a job, or a run of a recurring job, is due within the question's look-ahead.
    fn is_due(&self, question: &Question) -> bool {
        let queue = self.queues.get(&question.filter).and_then(|queue| queue.as_ref().ok());
        let counts =
            queue.map(|queue| [queue.scheduled.get(&question.look_ahead), queue.awaiting.get(&question.look_ahead)]);
        let jobs = counts.into_iter().flatten().flatten().any(|count| 0 < count.n_jobs);
        let recurring = self.recurring.as_ref().filter(|_| question.demand);
        jobs || recurring.is_some_and(|all| all.due(self.read_at, question.look_ahead).next().is_some())
    }

    /// Returns whether there is nothing to do: no job is enqueued, due or being processed.
    #[must_use]
    pub fn is_idle(&self, questions: &Questions) -> bool {
        let queues = self.queues.values().flatten();
        let is_empty = |queue: &Queue| queue.enqueued.n_jobs == 0 && queue.processing.n_jobs == 0;
        self.runs_nothing()
            && queues.into_iter().all(is_empty)
            && !questions.all().any(|question| self.is_due(&question))
    }

    /// Returns this snapshot as of a later instant, assuming that nothing in the storage has changed since. `None` if
    /// [time alone](Self::next_change) changes an answer, or if jobs are being processed, whose heartbeats age.
    #[must_use]
    pub fn unchanged_at(&self, questions: &Questions, now: Timestamp) -> Option<Self> {
        let is_processing =
            !self.runs_nothing() || self.queues.values().flatten().any(|queue| 0 < queue.processing.n_jobs);
        let is_answer = questions.all().all(|question| self.answers(&question));
        let is_due = questions.all().any(|question| question.demand && self.is_due(&question));
        let changes = self.next_change(questions).is_some_and(|at| at <= now);
        // One more job that is due changes a count, although it activates nothing.
        let becomes_due = |question| self.next_due(&question).is_some_and(|next| next.counts_from <= now);
        let more_due = questions.all().any(becomes_due);
        let is_partial = self.queues.values().flatten().any(|queue| queue.is_partial);
        let holds =
            is_answer && !is_processing && !is_due && !changes && !more_due && !is_partial && self.read_at <= now;
        holds.then(|| Self { read_at: now, ..self.clone() })
    }

    /// Returns whether this snapshot has an answer to the question, which may be an error.
    #[must_use]
    pub fn answers(&self, question: &Question) -> bool {
        if question.running && self.running.is_none() {
            return false;
        }
        match self.queues.get(&question.filter) {
            Some(Ok(queue)) => {
                let due = if question.demand { &queue.awaiting } else { &queue.scheduled };
                let has_ahead = || question.filter.ahead().is_none_or(|ahead| self.queues.contains_key(&ahead));
                due.contains_key(&question.look_ahead)
                    && (!question.work || self.service_times.is_some() && has_ahead())
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
            ..Server::default()
        }
    }

    #[test]
    fn unchanged_at_holds_until_a_job_becomes_due() {
        let read_at: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let seconds = SignedDuration::from_secs;
        let check = |n_due: u64, next: Option<i64>, is_partial: bool, after: i64, expected: bool| {
            let question = Question { filter: Filter::default(), look_ahead: seconds(60), ..Question::default() };
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
        // Although the trigger is active already.
        check(5, Some(70), false, 9, true);
        check(5, Some(70), false, 10, false);
        // A job that was not scanned may become due.
        check(0, None, true, 1, false);
    }

    #[test]
    fn server_is_alive_for_four_poll_intervals() {
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
    fn server_serves_the_tags_it_reports() {
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
