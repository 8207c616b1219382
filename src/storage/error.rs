//! Why a storage did not answer.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use crate::config::{LoginError, SecretError};

/// Why a storage did not answer. None of the texts contains a password.
#[derive(Debug, Error)]
pub enum StorageError {
    /// No connection, or it was lost.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The database is starting or stopping; it is expected back soon.
    #[error("the database is not ready: {0}")]
    Starting(String),
    /// The user or the password is rejected, or a right is missing.
    #[error("the database refuses access: {0}")]
    Denied(String),
    /// The database did not answer in time.
    #[error("the database did not answer within {0}")]
    TimedOut(String),
    /// JobRunr's tables are not as expected.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// No user is configured, or a TLS file is unusable.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The file of a secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database cannot run the query now, whatever it asks: a deadlock, a lack of memory. The connection remains usable.
    #[error("the database cannot run the query now: {0}")]
    Busy(String),
    /// The database rejected the query.
    #[error("the database rejected the query: {0}")]
    Rejected(String),
    /// The answer cannot be decoded.
    #[error("the database's answer cannot be decoded: {0}")]
    InvalidAnswer(String),
    /// The code that reads panicked.
    #[error("reading failed because of a bug in the scaler: {0}")]
    Panicked(String),
}

/// JobRunr's tables are not as expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SchemaError {
    /// Tables are missing.
    #[error(
        "{database} has no table {}: the table prefix is `{prefix}`; set tablePrefix to JobRunr's jobrunr.database.table-prefix, or start JobRunr once so that it creates its tables; MySQL and MariaDB also hide a table from a user without SELECT on it: see jobrunr-scaler grants-sql",
        tables.join(", ")
    )]
    TablesMissing {
        /// The database, and the schema if one is configured.
        database: String,
        /// The missing tables, with the prefix.
        tables: Vec<String>,
        /// The configured prefix.
        prefix: String,
    },
    /// Collections are missing.
    #[error(
        "the database {database} has no collection {}: the table prefix is `{prefix}`; set tablePrefix to JobRunr's jobrunr.database.table-prefix and database to its jobrunr.database.database-name, or start JobRunr once so that it creates its collections; a user also sees no collection without the right to `find` on it: see jobrunr-scaler grants-sql",
        collections.join(", ")
    )]
    CollectionsMissing {
        /// The database.
        database: String,
        /// The missing collections, with the prefix.
        collections: Vec<String>,
        /// The configured prefix.
        prefix: String,
    },
    /// A table lacks columns that JobRunr has had since 1.0.
    #[error(
        "the table {table} has no {}: it is not JobRunr's, or one of JobRunr's migrations is incomplete",
        columns.join(", ")
    )]
    ColumnsMissing {
        /// The table, with the prefix.
        table: String,
        /// The missing columns.
        columns: Vec<&'static str>,
    },
}

/// Waits for an answer, at most `limit`.
///
/// # Errors
/// The answer's, or [`StorageError::TimedOut`].
pub(crate) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(StorageError::TimedOut(format!("{limit:?}"))),
    }
}
