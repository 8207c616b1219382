//! Finished jobs, page by page, for simulations.

use jiff::Timestamp;

/// A state of jobs that no longer run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishedState {
    /// The job is done.
    Succeeded,
    /// The job failed, and JobRunr has given up.
    Failed,
    /// The job was deleted; most of them are done and old.
    Deleted,
}

impl FinishedState {
    /// All of them, the most important first.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Deleted];

    /// Returns JobRunr's name of the state.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Which finished jobs to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Their state.
    pub state: FinishedState,
    /// The earliest instant at which they entered it.
    pub since: Timestamp,
    /// The latest instant.
    pub until: Timestamp,
    /// The number of rows; the newest come first.
    pub limit: u64,
    /// The longest record that is read, in characters. Of longer ones only the instant is.
    pub max_characters: u64,
}

/// A finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its id.
    pub id: String,
    /// When it entered its state.
    pub updated_at: Timestamp,
    /// JobRunr's record of it; `None` if it is too long.
    pub json: Option<String>,
}
