//! The port to databases, and JobRunr's reading protocol above it. Reads only; speaks questions and snapshots, and knows
//! nothing of KEDA.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod assemble;
mod check;
mod cursors;
mod error;
mod plan;
mod recurring;
mod rows;
mod session;
mod sql;

use async_trait::async_trait;
use jiff::Timestamp;

pub use check::{Check, Finding, Inspection, Level, check};
pub use error::{SchemaError, StorageError};
pub use sql::{DEFAULT_ROLE, Grants, grants_sql, notify_sql};

use crate::config::{Address, StorageConfig};
use crate::jobrunr::{Questions, Snapshot};

/// A connection to one JobRunr database. After an error it is dropped, and a new one opened.
#[async_trait]
pub trait Session: Send {
    /// Answers all questions. `now` is the instant that the storage's times are compared with.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError>;

    /// Whether the storage holds what it held at the last read of this session, as far as a question shows that is
    /// cheaper than a read. `since` is what is known of it.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        let _ = (questions, since);
        Ok(false)
    }

    /// Whether the database notifies of new jobs by itself, so that [`Storage::listen`] is worth a connection.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn notifies(&mut self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Looks at what a connection shows besides JobRunr's rows.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        Ok(Inspection::default())
    }

    /// Closes the connection.
    async fn close(self: Box<Self>);
}

/// A database that sessions can be opened on; in tests also a stand-in.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens a session and looks at the tables.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError>;

    /// Listens to a database that notifies of new jobs by itself; `None` where it does not.
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
    /// Returns when there is something new. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// [`StorageError`]; the listener is then of no further use.
    async fn changed(&mut self) -> Result<(), StorageError>;
}

#[async_trait]
impl Storage for StorageConfig {
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError> {
        let source = sql::connect(self).await?;
        Ok(Box::new(session::JobRunrSession::new(source, self)))
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        match &self.address {
            Address::Postgres(address) => sql::listen(address, self).await,
            Address::Mysql(_) | Address::Sqlite(_) => Ok(None),
        }
    }
}
