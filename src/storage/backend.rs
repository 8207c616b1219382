//! The typed port to a kind of database: [`Driver`] opens connections, [`Backend`] answers JobRunr's questions on one. A new
//! kind of database implements both and gets an arm in [`driver`](super::driver).

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::plan::DueState;
use super::plan::ReadPlan;
use super::rows::{DefinitionRow, DefinitionsVersion, ExcerptKind, Excerpts, Rows, RunningRow};
use super::{Grants, HistoryPage, HistoryRow, Inspection, Listener, Notifications, StorageError};
use crate::config::ReadBounds;
use crate::jobrunr::{Filter, FinishedRun, UnsupportedFilter};

/// A kind of database, with the settings of one storage.
#[async_trait]
pub(crate) trait Driver: Send + Sync {
    /// Opens a connection and checks JobRunr's tables.
    async fn connect(&self) -> Result<Box<dyn Backend>, StorageError>;

    /// Returns whether the database notifies of new jobs. Opens a connection if this kind of database can.
    async fn notifications(&self) -> Result<Notifications, StorageError> {
        Ok(Notifications::Unsupported)
    }

    /// Opens a connection that receives notifications of new jobs; `None` if they are not installed.
    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        Ok(None)
    }

    /// The script that installs notifications of new jobs; `None` if this kind of database does not support them.
    fn notify_sql(&self) -> Option<String> {
        None
    }

    /// The script that creates a user with the rights that the scaler needs. `role` is its name.
    fn grants_sql(&self, role: &str) -> Grants;
}

/// A connection to a database. After an error it is unusable, unless the method says otherwise; after [`StorageError::Busy`]
/// it is usable.
#[async_trait]
pub(crate) trait Backend: Send {
    /// What was found when the connection was opened.
    fn findings(&self) -> &SchemaFindings;

    /// Returns the filter's first key that this storage does not support.
    fn unsupported_filter(&self, filter: &Filter) -> Option<UnsupportedFilter>;

    /// Limits the time of each statement from now on. A session begins with the statement timeout of its configuration.
    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError>;

    /// Answers a plan, as of one instant of the storage. After [`StorageError::Rejected`] and [`StorageError::TimedOut`] the
    /// connection remains usable.
    async fn read(&mut self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError>;

    /// Searches all jobs of a state for the earliest that is due at `until`, however many there are. After
    /// [`StorageError::TimedOut`] the connection remains usable.
    async fn earliest_due(
        &mut self,
        filter: &Filter,
        state: DueState,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError>;

    /// Returns whether the storage is unchanged since the last read; `None` if the database cannot tell by itself.
    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        Ok(None)
    }

    /// Checks cheaply whether there is any work: a job ENQUEUED or PROCESSING, or one SCHEDULED or AWAITING before `next`;
    /// whether there is any server; and the version of the recurring jobs' definitions if `recurring`.
    async fn probe(&mut self, next: Option<Timestamp>, recurring: bool) -> Result<Probe, StorageError>;

    /// Reads the definitions of the recurring jobs, in the order of their ids, within the bounds.
    async fn definitions(&mut self, bounds: &ReadBounds) -> Result<Vec<DefinitionRow>, StorageError>;

    /// Returns those of the recurring jobs that have a run in one of the states. After [`StorageError::TimedOut`] the connection
    /// remains usable.
    async fn active_runs_of(&mut self, ids: &[&str], states: &[&str]) -> Result<BTreeSet<String>, StorageError>;

    /// Lists the jobs in state PROCESSING, at most `limit`; those whose heartbeat is before `since` may be missing. After an
    /// error that is not about the connection, the connection remains usable.
    async fn running(&mut self, limit: u64, since: Option<Timestamp>) -> Result<Vec<RunningRow>, StorageError>;

    /// Reads parts of the records of jobs, of at least one of them, and leaves out those that no longer run. After an error that is not about the connection, the
    /// connection remains usable.
    async fn excerpts(&mut self, ids: &[&str], kind: ExcerptKind) -> Result<Excerpts, StorageError>;

    /// Returns JobRunr's major version as the tables show it, 7 standing for all before 8; `None` if they do not show it.
    async fn major_version(&mut self) -> Result<Option<u32>, StorageError>;

    /// Returns whether the database notifies of new jobs.
    async fn notifications(&mut self) -> Result<Notifications, StorageError> {
        Ok(Notifications::Unsupported)
    }

    /// Reads finished jobs of one state, the newest first.
    async fn history(&mut self, page: &HistoryPage) -> Result<Vec<HistoryRow>, StorageError> {
        let _ = page;
        Err(StorageError::Rejected("finished jobs are not read from this kind of database".to_owned()))
    }

    /// Reads how long the newest finished jobs ran, those that ended after `since`, the newest first, at most `limit`. One without
    /// a readable duration has NaN. After [`StorageError::Rejected`] and [`StorageError::TimedOut`] the connection remains usable.
    async fn finished_runs(&mut self, since: Option<Timestamp>, limit: u64) -> Result<Vec<FinishedRun>, StorageError>;

    /// Inspects server, user and rights. The session adds JobRunr's version and the findings.
    async fn inspect(&mut self) -> Result<Inspection, StorageError>;

    /// Closes the connection.
    async fn close(self: Box<Self>);
}

/// What is found of a storage when a connection is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct SchemaFindings {
    /// Warnings, such as a missing index.
    pub(crate) notes: Vec<String>,
    /// Why recurring jobs cannot be read; `None` if they can.
    pub(crate) recurring_unavailable: Option<String>,
}

/// The answer to [`Backend::probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) has_work: bool,
    pub(crate) has_server: bool,
    pub(crate) definitions_version: Option<DefinitionsVersion>,
}
