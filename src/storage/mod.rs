//! One file a database. Reads only; speaks questions and snapshots, and knows nothing of KEDA.

mod errors;
mod grants;
mod heads;
mod login;
mod mysql;
mod notify;
mod postgres;
mod query;
mod recurring;
mod schema;
mod sql;
mod sqlite;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

pub use grants::{DEFAULT_ROLE, Grants, grants_sql};
pub use notify::notify_sql;
use schema::Schema;

use crate::config::{Address, LoginError, SecretError, StorageConfig};
use crate::jobrunr::{Questions, Snapshot};

/// A connection to one JobRunr database. Whoever gets an error drops the session and connects anew.
#[async_trait]
pub trait Session: Send {
    /// Answers all questions in one round trip. `now` is the instant that the storage's times are compared with.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError>;

    /// Whether the storage holds what it held at the last read of this session, as far as a question tells that is
    /// cheaper than a read. `since` is what is known of it.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        let _ = (questions, since);
        Ok(false)
    }

    /// Says goodbye to the database.
    async fn close(self: Box<Self>);
}

/// Whatever opens sessions: a database, or a test's stand-in.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens a session and looks at the tables.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError>;

    /// Listens to a database that tells of new jobs by itself; `None` where it does not.
    ///
    /// # Errors
    /// [`StorageError`]
    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        Ok(None)
    }
}

/// A connection on which a database tells of new jobs.
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
        match &self.address {
            Address::Postgres(address) => postgres::connect(address, self).await,
            Address::Mysql(address) => mysql::connect(address, self).await,
            Address::Sqlite(address) => sqlite::connect(address, self).await,
        }
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        match &self.address {
            Address::Postgres(address) => postgres::listen(address, self).await,
            Address::Mysql(_) | Address::Sqlite(_) => Ok(None),
        }
    }
}

/// Why a storage did not answer. None of the texts holds a password.
#[derive(Debug, Error)]
pub enum StorageError {
    /// No connection, or it broke.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// User or password are not accepted, or a right is missing.
    #[error("the database refuses access: {0}")]
    Denied(String),
    /// The database did not answer in time.
    #[error("the database did not answer within {0}")]
    TimedOut(String),
    /// JobRunr's tables are not where they should be.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// No user, or a file of TLS that is of no use.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A secret's file could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database refused the statement.
    #[error("the database refused the query: {0}")]
    Refused(String),
    /// An answer that makes no sense.
    #[error("the database's answer makes no sense: {0}")]
    Unreadable(String),
}

/// JobRunr's tables are not where they should be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SchemaError {
    /// Tables are missing.
    #[error(
        "{database} has no table {}: looked with the table prefix `{prefix}`; set tablePrefix to JobRunr's jobrunr.database.table-prefix, or start JobRunr once so that it creates its tables; MySQL and MariaDB also hide a table from a user without SELECT on it: see jobrunr-scaler grants-sql",
        tables.join(", ")
    )]
    TablesMissing {
        /// The database, and the schema where one was named.
        database: String,
        /// The missing tables, prefix included.
        tables: Vec<String>,
        /// The prefix that was tried.
        prefix: String,
    },
    /// A table that lacks columns which JobRunr has had since 1.0.
    #[error("the table {table} lacks {}: it is not JobRunr's, or a migration of it was not finished", columns.join(", "))]
    ColumnsMissing {
        /// The table, prefix included.
        table: String,
        /// The missing columns.
        columns: Vec<&'static str>,
    },
}
