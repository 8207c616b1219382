//! Why a storage did not answer.

use thiserror::Error;

use crate::config::{LoginError, SecretError};

/// Why a storage did not answer. None of the texts holds a password.
#[derive(Debug, Error)]
pub enum StorageError {
    /// No connection, or it broke.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The database is starting, or stopping: it will be there again soon.
    #[error("the database is not ready: {0}")]
    Starting(String),
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
    /// Reading panicked.
    #[error("the scaler failed while reading, which is a bug of it: {0}")]
    Panicked(String),
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
