//! One file a database. Reads only; speaks questions and snapshots, and knows nothing of KEDA.

mod errors;
mod mysql;
mod postgres;
mod query;
mod sql;
mod sqlite;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use crate::config::{Address, SecretError, StorageConfig};
use crate::jobrunr::{Questions, Snapshot};

/// A connection to one JobRunr database. Whoever gets an error drops the session and connects anew.
#[async_trait]
pub trait Session: Send {
    /// Answers all questions in one round trip. `now` is the instant that the storage's times are compared with.
    ///
    /// # Errors
    /// [`StorageError`]; the session is then of no further use.
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError>;

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
        "{database} has no table {}: looked with the table prefix `{prefix}`; set tablePrefix to JobRunr's jobrunr.database.table-prefix, or start JobRunr once so that it creates its tables",
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

/// JobRunr's tables as they are in one storage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    /// The jobs table, prefix included.
    pub(crate) jobs: String,
    /// The background job servers' table, prefix included.
    pub(crate) servers: String,
    /// Lower-case column names and types.
    jobs_columns: BTreeMap<String, String>,
    servers_columns: BTreeMap<String, String>,
}

const JOBS: &str = "jobs";
const SERVERS: &str = "backgroundjobservers";
const JOBS_COLUMNS: [&str; 3] = ["state", "updatedAt", "scheduledAt"];
const SERVERS_COLUMNS: [&str; 3] = ["workerPoolSize", "pollIntervalInSeconds", "lastHeartbeat"];

/// Column names and types of a table, as the database's catalogue has them; empty for no such table.
type Columns = Vec<(String, String)>;

impl Schema {
    /// Checks what the catalogue says of the tables.
    fn new(
        config: &StorageConfig,
        database: &str,
        jobs_columns: Columns,
        servers_columns: Columns,
    ) -> Result<Self, SchemaError> {
        let prefix = &config.table_prefix;
        let lower = |columns: Columns| -> BTreeMap<String, String> {
            columns.into_iter().map(|(name, kind)| (name.to_lowercase(), kind.to_lowercase())).collect()
        };
        let schema = Self {
            jobs: prefix.table(JOBS),
            servers: prefix.table(SERVERS),
            jobs_columns: lower(jobs_columns),
            servers_columns: lower(servers_columns),
        };
        let tables = [
            (&schema.jobs, &schema.jobs_columns, JOBS_COLUMNS),
            (&schema.servers, &schema.servers_columns, SERVERS_COLUMNS),
        ];
        let missing: Vec<String> =
            tables.iter().filter(|(_, columns, _)| columns.is_empty()).map(|(table, ..)| (*table).clone()).collect();
        if !missing.is_empty() {
            let prefix = prefix.as_str().to_owned();
            return Err(SchemaError::TablesMissing { database: database.to_owned(), tables: missing, prefix });
        }
        for (table, columns, wanted) in tables {
            let missing: Vec<&str> = wanted.into_iter().filter(|c| !columns.contains_key(&c.to_lowercase())).collect();
            if !missing.is_empty() {
                return Err(SchemaError::ColumnsMissing { table: table.clone(), columns: missing });
            }
        }
        Ok(schema)
    }

    pub(crate) fn jobs_have(&self, column: &str) -> bool {
        self.jobs_columns.contains_key(&column.to_lowercase())
    }

    pub(crate) fn servers_have(&self, column: &str) -> bool {
        self.servers_columns.contains_key(&column.to_lowercase())
    }

    /// The type of a column of the jobs table, lower case.
    fn jobs_type(&self, column: &str) -> &str {
        self.jobs_columns.get(&column.to_lowercase()).map_or("", String::as_str)
    }
}
