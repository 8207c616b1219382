//! What a database answers to a read plan: typed rows.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::jobrunr::{DEFAULT_POLL_INTERVAL_SECONDS, JobGroup, Mutexes, Server, normalized_id};
use crate::text::printable;

/// The answer to a [`ReadPlan`](super::plan::ReadPlan).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// In the order of the plan's queues.
    pub(crate) queues: Vec<QueueRow>,
    /// Newest heartbeat first.
    pub(crate) servers: Vec<Server>,
    /// Servers that were left out because a number in their record is impossible.
    pub(crate) n_invalid_servers: u64,
    /// ENQUEUED and PROCESSING jobs whose `updatedAt` is outside the calendar, of all filters.
    pub(crate) n_invalid_jobs: u64,
    /// The active runs of recurring jobs, if the plan asks for them.
    pub(crate) runs: ActiveRuns,
    /// The version of the recurring jobs' definitions; `None` if they cannot be read or the plan does not ask for them.
    pub(crate) definitions_version: Option<DefinitionsVersion>,
}

/// The jobs of one filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueueRow {
    /// ENQUEUED jobs, counted up to the limit.
    pub(crate) n_enqueued: u64,
    /// Whether there may be more of them, because a count timed out.
    pub(crate) is_enqueued_truncated: bool,
    /// The `updatedAt` of the oldest of them.
    pub(crate) oldest_enqueued_at: Option<Timestamp>,
    /// What mutexes do to them, if the storage knows any.
    pub(crate) mutexes: Option<Mutexes>,
    /// PROCESSING jobs, counted up to the limit.
    pub(crate) n_processing: u64,
    /// Those of them with a fresh heartbeat.
    pub(crate) n_processing_alive: u64,
    /// The oldest heartbeat among PROCESSING jobs, if the database makes use of cursors.
    pub(crate) oldest_heartbeat_at: Option<Timestamp>,
    /// Whether ENQUEUED jobs exist before the cursor and none after it.
    pub(crate) is_enqueued_cursor_wrong: bool,
    /// The same of PROCESSING jobs.
    pub(crate) is_processing_cursor_wrong: bool,
    /// SCHEDULED jobs.
    pub(crate) scheduled: DueScans,
    /// AWAITING jobs.
    pub(crate) awaiting: DueScans,
    /// Samples of jobs by kind, if the plan asks for them.
    pub(crate) kinds: Option<KindRows>,
}

impl QueueRow {
    /// Makes sure that jobs before a wrong cursor are not missed. If no other was counted, there is at least one ENQUEUED job, older than
    /// `enqueued_before`, and one being processed by a server that may be alive.
    pub(crate) fn correct_wrong_cursors(&mut self, enqueued_before: Option<Timestamp>) {
        self.is_enqueued_truncated |= enqueued_before.is_some();
        if self.is_enqueued_cursor_wrong {
            self.n_enqueued = self.n_enqueued.max(1);
            self.oldest_enqueued_at = enqueued_before;
            self.mutexes = self.mutexes.map(|_| Mutexes { n_blocked: 0, oldest_free_at: enqueued_before });
        }
        if self.is_processing_cursor_wrong {
            self.n_processing = self.n_processing.max(1);
            self.n_processing_alive = self.n_processing_alive.max(1);
        }
    }
}

/// Samples of jobs by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KindRows {
    /// The oldest ENQUEUED jobs.
    pub(crate) oldest: Vec<JobGroup>,
    /// The newest ENQUEUED jobs. If there are few, they are among the oldest as well.
    pub(crate) newest: Vec<JobGroup>,
    /// SCHEDULED jobs that are due up to the last instant.
    pub(crate) due: Vec<JobGroup>,
}

/// The jobs of one state by due time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DueScans {
    /// The scan of the jobs in that state.
    pub(crate) of_state: Scan,
    /// The scan by due time in ascending order, from the plan's earliest due time on.
    pub(crate) ascending: Option<Scan>,
    /// The scan by due time in descending order, from the last instant that counts as due.
    pub(crate) descending: Option<Scan>,
    /// The scan by due time in ascending order, after the last instant that counts as due.
    pub(crate) later: Option<Scan>,
}

/// The jobs that a bounded scan found, by the interval between two of the plan's instants in which they are due.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scan {
    /// Jobs due at or before the first instant, then those between the first and the second, and so on; the last interval is
    /// open. Jobs without a due time are in none.
    pub(crate) intervals: Vec<Interval>,
    /// Rows scanned, whether or not they are in an interval.
    pub(crate) n_scanned: u64,
    /// Jobs in that state whose due time is before the calendar. They are due, as JobRunr would find them.
    pub(crate) n_before_calendar: u64,
    /// Jobs in that state whose due time is after the calendar. They are never due.
    pub(crate) n_after_calendar: u64,
    /// Whether the scan ended at its bound.
    pub(crate) is_truncated: bool,
    /// Whether the scan was in the order of the due times.
    pub(crate) is_in_order: bool,
}

/// The jobs of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) n_jobs: u64,
    /// The earliest due time among them.
    pub(crate) earliest: Option<Timestamp>,
}

/// Which recurring jobs have an active run, as far as a bounded scan of each state shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ActiveRuns {
    /// Their ids.
    pub(crate) ids: BTreeSet<String>,
    /// The states with more jobs than were scanned.
    pub(crate) truncated_states: Vec<&'static str>,
}

impl ActiveRuns {
    /// There may be more of them in these states.
    pub(crate) fn assume_more_in(&mut self, states: &[&'static str]) {
        let new = states.iter().filter(|state| !self.truncated_states.contains(state));
        let new: Vec<_> = new.copied().collect();
        self.truncated_states.extend(new);
    }
}

/// Changes when the definitions of recurring jobs change: their number, and the sum of their `createdAt` (modulo a constant),
/// which is how JobRunr itself notices it (`RecurringJobTable`). Before JobRunr 5.1.3 there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DefinitionsVersion {
    pub(crate) n_definitions: u64,
    pub(crate) sum: Option<i64>,
}

/// A job in state PROCESSING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunningRow {
    /// Its id, as the database's queries take it.
    pub(crate) id: String,
    /// How often it was saved; `None` if the table does not say.
    pub(crate) version: Option<i64>,
}

/// Which part of a job's record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExcerptKind {
    /// The part that contains its last state, unless the application's own objects hide it.
    LastState,
    /// The whole record unless it is long.
    Whole,
}

/// Characters of a record that is read as a whole.
pub(crate) const MAX_WHOLE_CHARACTERS: usize = 65_536;
/// Characters of a job's kind: the width of JobRunr's column.
pub(crate) const MAX_KIND_CHARACTERS: usize = 512;

/// Parts of the records of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excerpts {
    /// A part per job, without the jobs that are gone.
    pub(crate) jobs: Vec<JobExcerpt>,
    /// Whether reading ended at a bound, so that a job that is missing may exist.
    pub(crate) is_partial: bool,
}

/// A part of a job's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobExcerpt {
    /// Its id, as in [`RunningRow`].
    pub(crate) id: String,
    /// Its `jobSignature`.
    pub(crate) kind: String,
    /// The part of its `jobAsJson`.
    pub(crate) json: String,
}

/// The definition of a recurring job, as far as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DefinitionRow {
    pub(crate) id: String,
    /// Its `createdAt`, ms since 1970.
    pub(crate) created_at_millis: Option<i64>,
    /// Its `jobAsJson`, or the beginning if it is long.
    pub(crate) json: String,
    /// The end of `jobAsJson` if it is long.
    pub(crate) json_end: Option<String>,
}

/// Returns the instant of microseconds since 1970; `None` outside the calendar, years 1 to 9999. JobRunr writes the present and
/// what users schedule; anything else is a damaged record, which must not affect the others.
pub(crate) fn calendar_instant(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok().filter(|_| CALENDAR_MICROS.contains(&micros))
}

/// Characters of a job's kind (`jobSignature`) that are read. Longer ones are the same kind if they begin alike.
pub(crate) const KIND_CHARACTERS: usize = 200;

/// Reads the duration at the beginning of a text, in seconds: a number of seconds, or ISO-8601 in quotes. JobRunr's JSON mappers
/// write one or the other (`SucceededState.processDuration`).
pub(crate) fn duration_seconds(text: &str) -> Option<f64> {
    let end = text.find([',', '}']).unwrap_or(text.len());
    let value = text.get(..end)?.trim().trim_matches('"');
    let seconds = match value.parse() {
        Ok(seconds) => seconds,
        Err(_) => crate::duration::parse(value).ok()?.as_secs_f64(),
    };
    Some(seconds).filter(|seconds: &f64| seconds.is_finite() && 0.0 <= *seconds)
}

/// The first and the last microsecond of the calendar.
pub(crate) const CALENDAR_MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The longest plausible poll interval, seconds: a month.
pub(crate) const MAX_POLL_INTERVAL_SECONDS: i64 = 31 * 24 * 60 * 60;
/// Characters of a server's name: the width of JobRunr's column.
pub(crate) const MAX_NAME_CHARACTERS: usize = 128;
/// The largest plausible number of workers.
pub(crate) const MAX_WORKERS: i64 = 1_000_000;

/// A server's record as stored, unchecked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerRow {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) first_heartbeat: Option<Timestamp>,
    pub(crate) worker_pool_size: Option<i64>,
    pub(crate) poll_interval_seconds: Option<i64>,
    pub(crate) last_heartbeat: Option<Timestamp>,
    pub(crate) occupied_workers: Option<i64>,
    pub(crate) tags: Option<String>,
}

impl ServerRow {
    /// Returns the server; `None` if a number is impossible.
    pub(crate) fn into_server(self) -> Option<Server> {
        let poll = self.poll_interval_seconds.filter(|seconds| 0 < *seconds);
        let poll = poll.unwrap_or_else(|| DEFAULT_POLL_INTERVAL_SECONDS.into());
        let workers = self.worker_pool_size.unwrap_or(0).max(0);
        let occupied = self.occupied_workers.filter(|n| 0 <= *n);
        if MAX_POLL_INTERVAL_SECONDS < poll || MAX_WORKERS < workers || occupied.is_some_and(|n| MAX_WORKERS < n) {
            return None;
        }
        let name = self.name.filter(|name| !name.is_empty());
        Some(Server {
            id: self.id.as_deref().and_then(normalized_id).unwrap_or_default(),
            name: name.map(|name| printable(&name, MAX_NAME_CHARACTERS).into()),
            first_heartbeat: self.first_heartbeat,
            worker_pool_size: workers.unsigned_abs(),
            poll_interval: SignedDuration::from_secs(poll),
            last_heartbeat: self.last_heartbeat?,
            occupied_workers: occupied.map(i64::unsigned_abs),
            server_tags: self.tags,
        })
    }
}
