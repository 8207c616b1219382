//! What one read asks of a database, in JobRunr's words. How it is asked, in how many statements and with which indexes,
//! is the database's business.

use jiff::Timestamp;

use super::cursors::QueueCursor;
use crate::config::ReadBounds;
use crate::jobrunr::Filter;

/// Everything that one read answers, as of one instant.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan<'a> {
    /// The instant with which the storage's instants are compared.
    pub(crate) now: Timestamp,
    /// Where counting stops, jobs. `None` counts all.
    pub(crate) count_limit: Option<u64>,
    /// How much is looked at.
    pub(crate) bounds: ReadBounds,
    /// What is asked of the jobs, by filter.
    pub(crate) queues: Vec<QueuePlan<'a>>,
    /// Whether recurring jobs are asked for: which of them have an active run, and the mark of their definitions.
    pub(crate) recurring: bool,
    /// Where to begin looking for active runs; `None` looks at all.
    pub(crate) first_cursor: Option<QueueCursor>,
}

/// What is asked of the jobs that one filter lets through.
#[derive(Clone, Debug)]
pub(crate) struct QueuePlan<'a> {
    pub(crate) filter: &'a Filter,
    /// Where ENQUEUED and PROCESSING jobs begin; `None` looks at all.
    pub(crate) cursor: Option<QueueCursor>,
    /// The instants up to which due jobs are counted, in ascending order.
    pub(crate) until: Vec<Timestamp>,
    /// How SCHEDULED jobs are looked for.
    pub(crate) scheduled: DuePlan,
    /// How AWAITING jobs are looked for; `None` where nobody asks for them.
    pub(crate) awaiting: Option<DuePlan>,
}

/// How the jobs of one state are looked for by their instant. Counting by the state is exact where the state has fewer jobs
/// than one look passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DuePlan {
    /// Also look by the instant, in both directions: the state had more jobs than one look passes.
    pub(crate) by_instant: bool,
    /// The earliest instant of a due job, where one was seen: the look in ascending order begins here.
    pub(crate) earliest: Option<Timestamp>,
}

impl QueuePlan<'_> {
    /// The last instant up to which due jobs are counted.
    pub(crate) fn last_until(&self) -> Option<Timestamp> {
        self.until.last().copied()
    }
}
