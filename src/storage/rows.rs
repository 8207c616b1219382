//! What a database answers to a read plan: typed rows.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::jobrunr::Server;

/// The answer to a [`ReadPlan`](super::plan::ReadPlan).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// In the order of the plan's queues.
    pub(crate) queues: Vec<QueueRow>,
    /// Newest heartbeat first.
    pub(crate) servers: Vec<Server>,
    /// Server rows that were left out, because a number in them is impossible.
    pub(crate) n_invalid_servers: u64,
    /// ENQUEUED and PROCESSING jobs with an instant outside the calendar, of all filters.
    pub(crate) n_invalid_jobs: u64,
    /// Where recurring jobs were asked for.
    pub(crate) runs: ActiveRuns,
    /// The mark of the recurring jobs' definitions; `None` where their table cannot be read or nobody asked.
    pub(crate) recurring: Option<RecurringMark>,
}

/// The jobs of one filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueueRow {
    /// ENQUEUED jobs, counted up to the limit.
    pub(crate) n_enqueued: u64,
    /// The `updatedAt` of the oldest of them.
    pub(crate) oldest_enqueued_at: Option<Timestamp>,
    /// PROCESSING jobs, counted up to the limit.
    pub(crate) n_processing: u64,
    /// Those of them with a fresh heartbeat.
    pub(crate) n_processing_alive: u64,
    /// The oldest heartbeat among PROCESSING jobs, where cursors are of use.
    pub(crate) oldest_heartbeat_at: Option<Timestamp>,
    /// Whether none was found from the cursor on, although there is one before it.
    pub(crate) is_before_cursor: bool,
    /// SCHEDULED jobs.
    pub(crate) scheduled: DueRow,
    /// AWAITING jobs.
    pub(crate) awaiting: DueRow,
}

/// The jobs of one state by their instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DueRow {
    /// The look by the state.
    pub(crate) by_state: Look,
    /// The look by the instant in ascending order, from the plan's earliest instant on.
    pub(crate) ascending: Option<Look>,
    /// The look by the instant in descending order, from the last instant that counts as due.
    pub(crate) descending: Option<Look>,
    /// The look by the instant in ascending order, after the last instant that counts as due.
    pub(crate) later: Option<Look>,
}

/// Jobs that a bounded look passed, by the interval between two of the plan's instants in which theirs lies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// Jobs at or before the first instant, then those between the first and the second, and so on; the last interval is
    /// open. A job without an instant is in none.
    pub(crate) intervals: Vec<Interval>,
    /// Rows passed, whatever they were.
    pub(crate) n_passed: u64,
    /// Jobs of the state whose instant lies outside the calendar. Those before it are due all the same, as JobRunr itself
    /// would find them.
    pub(crate) n_before_calendar: u64,
    /// See [`n_before_calendar`](Self::n_before_calendar); these never come.
    pub(crate) n_after_calendar: u64,
    /// Whether the look ended at its bound.
    pub(crate) is_truncated: bool,
    /// Whether it passed the jobs in the order of their instants.
    pub(crate) is_in_order: bool,
}

/// The jobs of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) n_jobs: u64,
    /// The earliest instant among them.
    pub(crate) earliest: Option<Timestamp>,
}

/// Which recurring jobs have an active run, as far as a bounded look at each state says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ActiveRuns {
    /// Their ids.
    pub(crate) ids: BTreeSet<String>,
    /// The states with more jobs than were looked at.
    pub(crate) truncated_states: Vec<&'static str>,
}

/// What tells that definitions of recurring jobs have changed: how many there are, and the sum of their `createdAt` (modulo
/// something), which is JobRunr's own way to see it (`RecurringJobTable`). No sum before JobRunr 5.1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecurringMark {
    pub(crate) n_definitions: u64,
    pub(crate) sum: Option<i64>,
}

/// The definition of a recurring job, as far as it was moved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DefinitionRow {
    pub(crate) id: String,
    /// The column `createdAt`, ms since 1970.
    pub(crate) created_at_millis: Option<i64>,
    /// `jobAsJson`, or its beginning where it is long.
    pub(crate) json: String,
    /// The end of `jobAsJson` where it is long.
    pub(crate) json_end: Option<String>,
}

/// The instants that are taken seriously: years 1 to 9999. JobRunr writes the present and what users schedule; anything else
/// is a damaged row, which must not spoil the rest.
pub(crate) fn calendar_instant(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok().filter(|_| CALENDAR_MICROS.contains(&micros))
}

/// The first and the last microsecond of the calendar.
pub(crate) const CALENDAR_MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The longest poll interval that is taken seriously, seconds: a month.
pub(crate) const MAX_POLL_INTERVAL_SECONDS: i64 = 31 * 24 * 60 * 60;
/// More workers than any server has.
pub(crate) const MAX_WORKERS: i64 = 1_000_000;

/// The numbers of a server's row as they stand in the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerNumbers {
    pub(crate) worker_pool_size: Option<i64>,
    pub(crate) poll_interval_seconds: Option<i64>,
    pub(crate) last_heartbeat: Option<Timestamp>,
    pub(crate) occupied_workers: Option<i64>,
    pub(crate) tags: Option<String>,
}

impl ServerNumbers {
    /// The server; `None` where a number is impossible.
    pub(crate) fn into_server(self, default_poll_interval_seconds: u32) -> Option<Server> {
        let poll = self.poll_interval_seconds.filter(|seconds| 0 < *seconds);
        let poll = poll.unwrap_or_else(|| default_poll_interval_seconds.into());
        let workers = self.worker_pool_size.unwrap_or(0).max(0);
        let occupied = self.occupied_workers.filter(|n| 0 <= *n);
        if MAX_POLL_INTERVAL_SECONDS < poll || MAX_WORKERS < workers || occupied.is_some_and(|n| MAX_WORKERS < n) {
            return None;
        }
        Some(Server {
            worker_pool_size: workers.unsigned_abs(),
            poll_interval: SignedDuration::from_secs(poll),
            last_heartbeat: self.last_heartbeat?,
            occupied_workers: occupied.map(i64::unsigned_abs),
            server_tags: self.tags,
        })
    }
}
