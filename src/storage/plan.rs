//! What one read asks of a database, in JobRunr's terms. How it is asked, in how many statements and through which indexes,
//! is up to the database.

use jiff::Timestamp;

use crate::config::ReadBounds;
use crate::jobrunr::Filter;

/// Everything that one read answers, as of one instant.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan<'a> {
    /// The instant with which the storage's times are compared.
    pub(crate) now: Timestamp,
    /// Where counting stops, in jobs. `None` counts all.
    pub(crate) count_limit: Option<u64>,
    /// Where counting ENQUEUED jobs stops: at the count limit, or before it.
    pub(crate) enqueued_limit: Option<u64>,
    /// How much is scanned.
    pub(crate) bounds: ReadBounds,
    /// What to read of the jobs, by filter.
    pub(crate) queues: Vec<QueuePlan<'a>>,
    /// Whether to read the recurring jobs: which of them have an active run, and the version of their definitions.
    pub(crate) recurring: bool,
    /// Where the scan for active runs begins; `None` scans all jobs.
    pub(crate) first_cursor: Option<QueueCursor>,
}

/// What to read of the jobs that one filter selects.
#[derive(Clone, Debug)]
pub(crate) struct QueuePlan<'a> {
    pub(crate) filter: &'a Filter,
    /// Where counting ENQUEUED and PROCESSING jobs begins; `None` counts all.
    pub(crate) cursor: Option<QueueCursor>,
    /// The instants up to which jobs count as due, in ascending order.
    pub(crate) until: Vec<Timestamp>,
    /// How SCHEDULED jobs are scanned.
    pub(crate) scheduled: DuePlan,
    /// How AWAITING jobs are scanned; `None` if no question asks for them.
    pub(crate) awaiting: Option<DuePlan>,
    /// Whether ENQUEUED jobs and due ones are grouped by kind.
    pub(crate) work: bool,
}

/// Where the jobs of one filter begin, as `updatedAt`, by state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct QueueCursor {
    pub(crate) enqueued: Timestamp,
    pub(crate) processing: Timestamp,
}

/// The two states in which a job waits for its due time.
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

/// How the jobs of one state are scanned for their due times. Scanning the state is exact if the state has fewer jobs than one
/// scan covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DuePlan {
    /// Also scan by due time, in both directions: the state had more jobs than one scan covers.
    pub(crate) scan_by_time: bool,
    /// The earliest due time found so far, if any. The scan in ascending order begins here.
    pub(crate) earliest: Option<Timestamp>,
}

impl ReadPlan<'_> {
    /// How many enqueued jobs are searched for mutexes. If not all are counted, then not all of them.
    pub(crate) fn mutex_limit(&self) -> Option<u64> {
        if self.enqueued_limit == self.count_limit {
            return self.count_limit;
        }
        let limit = self.bounds.due_jobs;
        Some(self.count_limit.map_or(limit, |count_limit| count_limit.min(limit)))
    }

    /// How many jobs a scan covers; never fewer than the count limit, or a count below the limit would not be exact. `None`
    /// covers all.
    pub(crate) fn scan_limit(&self) -> Option<u64> {
        self.count_limit.map(|limit| limit.max(self.bounds.due_jobs))
    }
}

impl QueuePlan<'_> {
    /// The last instant up to which jobs count as due.
    pub(crate) fn last_until(&self) -> Option<Timestamp> {
        self.until.last().copied()
    }
}
