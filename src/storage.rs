//! The port to databases, and JobRunr's reading protocol above it. Read-only; takes questions, returns snapshots, and knows
//! nothing of KEDA.
//!
//! A [`Session`] runs the protocol on a `Backend`, which answers typed plans with typed rows. The SQL databases
//! share one backend in `sql/`; a database without SQL is another folder with a `Driver`, and an arm in
//! `driver`.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod assemble;
mod backend;
mod budget;
mod check;
mod cursors;
mod error;
mod finished;
mod history;
mod last_run;
mod mongodb;
mod plan;
mod recurring;
mod rows;
mod running;
mod session;
mod sql;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use check::{Check, Finding, Inspection, Level, check};
pub(crate) use error::within;
pub use error::{SchemaError, StorageError};
pub use history::{FinishedState, HistoryPage, HistoryRow};

use self::backend::Driver;
use crate::config::{Address, StorageConfig};
use crate::duration;
use crate::jobrunr::{Questions, Snapshot};

/// The name of the database user where the configuration has none.
const DEFAULT_ROLE: &str = "jobrunr_scaler";

/// A connection to one JobRunr database. After an error it is dropped and a new one opened, unless it remains usable.
#[async_trait]
pub trait Session: Send {
    /// Answers all questions. `now` is the instant with which the storage's times are compared.
    ///
    /// # Errors
    /// [`StorageError`]; the session is unusable afterwards, unless it [says otherwise](Self::is_usable_after).
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError>;

    /// Returns whether the session is usable after this error of [`read`](Self::read). What it has learnt makes its next read
    /// cheaper than the first one of a new session.
    fn is_usable_after(&self, error: &StorageError) -> bool {
        let _ = error;
        false
    }

    /// Returns whether the storage is unchanged since `since`, the last read of this session, if a query cheaper than a read
    /// shows it. `false` means that it may have changed.
    ///
    /// # Errors
    /// [`StorageError`]; the session is unusable afterwards.
    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        let _ = (questions, since);
        Ok(false)
    }

    /// Returns whether the database notifies of new jobs, so that [`Storage::listen`] is worth a connection.
    ///
    /// # Errors
    /// [`StorageError`]; the session is unusable afterwards.
    async fn notifications(&mut self) -> Result<Notifications, StorageError> {
        Ok(Notifications::Unsupported)
    }

    /// Inspects what a connection shows besides the jobs: server, user, rights, versions.
    ///
    /// # Errors
    /// [`StorageError`]; the session is unusable afterwards.
    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        Ok(Inspection::default())
    }

    /// Reads finished jobs of one state, the newest first.
    ///
    /// # Errors
    /// [`StorageError`]; the session is unusable afterwards.
    async fn history(&mut self, page: &HistoryPage) -> Result<Vec<HistoryRow>, StorageError> {
        let _ = page;
        Err(StorageError::Rejected("finished jobs are not read from this kind of database".to_owned()))
    }

    /// Closes the connection.
    async fn close(self: Box<Self>);
}

/// A database on which sessions can be opened; in tests also a stand-in.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens a session and checks JobRunr's tables.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError>;

    /// Returns whether the database notifies of new jobs. Opens a connection if this kind of database can.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn notifications(&self) -> Result<Notifications, StorageError> {
        Ok(Notifications::Unsupported)
    }

    /// Opens a connection that receives notifications of new jobs; `None` if they are not installed.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        Ok(None)
    }
}

/// A connection on which a database notifies of new jobs.
#[async_trait]
pub trait Listener: Send {
    /// Returns when jobs have been created. Canceling the wait loses nothing.
    ///
    /// # Errors
    /// [`StorageError`]; the listener is unusable afterwards.
    async fn changed(&mut self) -> Result<(), StorageError>;
}

/// Whether a database notifies of new jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notifications {
    /// This kind of database does not support it.
    #[default]
    Unsupported,
    /// The script of [`notify_sql`] is not installed.
    NotInstalled,
    /// It does.
    Installed,
}

impl Notifications {
    /// How soon a new job is seen, in words, with this `refresh`.
    #[must_use]
    pub fn delay(self, refresh: Duration) -> String {
        let within = duration::format_unsigned(refresh);
        match self {
            Self::Unsupported => format!("new jobs are seen within {within}"),
            Self::NotInstalled => format!(
                "new jobs are seen within {within}, or at once with the trigger that `jobrunr-scaler notify-sql` prints"
            ),
            Self::Installed => "the database notifies of new jobs: they are seen at once".to_owned(),
        }
    }
}

/// Scripts that create a database user with the rights that the scaler needs, and no more. `Display` joins them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// What an administrator runs, after replacing the password; empty where the database has no users.
    pub administrator: String,
    /// What the owner of the tables runs afterwards. It also succeeds if optional tables are missing.
    pub owner: String,
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.administrator.is_empty() { "" } else { "\n" };
        write!(f, "{}{separator}{}", self.administrator, self.owner)
    }
}

/// The script that creates a user for a storage. `role` is the user's name; the default is the configured one, or else
/// `jobrunr_scaler`.
#[must_use]
pub fn grants_sql(config: &StorageConfig, role: Option<&str>) -> Grants {
    let configured = config.address.server().and_then(|server| server.username.as_deref());
    driver(config).grants_sql(role.or(configured).unwrap_or(DEFAULT_ROLE))
}

/// The script that makes the database of a storage notify of new jobs, and how to remove it; `None` if this kind of database
/// does not support it.
#[must_use]
pub fn notify_sql(config: &StorageConfig) -> Option<String> {
    driver(config).notify_sql()
}

/// Selects the kind of database. This is the only place that knows all kinds.
fn driver(config: &StorageConfig) -> Box<dyn Driver + '_> {
    match &config.address {
        Address::Postgres(server) => Box::new(sql::Postgres { server, config }),
        Address::Mysql(server) => Box::new(sql::MySql { server, config }),
        Address::MongoDb(address) => Box::new(mongodb::MongoDb { address, config }),
        Address::Sqlite(path) => Box::new(sql::Sqlite { path, config }),
    }
}

#[async_trait]
impl Storage for StorageConfig {
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError> {
        let backend = driver(self).connect().await?;
        Ok(Box::new(session::JobRunrSession::new(backend, self)))
    }

    async fn notifications(&self) -> Result<Notifications, StorageError> {
        driver(self).notifications().await
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        driver(self).listen().await
    }
}
