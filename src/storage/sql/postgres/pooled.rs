//! PostgreSQL behind a pooler in transaction mode, such as PgBouncer, where each transaction may run in another session.
//!
//! What otherwise holds for a session, read-only and time limits among it, is set for each transaction: `SET LOCAL` ends with
//! it, so that nothing of ours reaches the application's transactions. Statements have no names, which would belong to a session.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::super::connection::{Prepared, SqlConnection, rows};
use super::super::errors::storage_error;
use super::super::statement::{Row, Statement};
use super::inspect;
use crate::storage::{Inspection, Notifications, StorageError};

/// Adds advice to an error if a pooler rejected the settings of a session.
pub(super) fn explained(error: StorageError) -> StorageError {
    match error {
        StorageError::Unreachable(text) if text.contains("unsupported startup parameter") => {
            let advice = "a pooler in transaction mode needs pooler=transaction in the address";
            StorageError::Unreachable(format!("{text}; {advice}"))
        }
        error => error,
    }
}

/// A connection to a pooler.
pub(super) struct PooledConnection {
    connection: PgConnection,
    /// Begins a transaction with the settings of a session.
    begin: String,
    /// The time limit of a statement, if it differs from that in the settings.
    limit: Option<Duration>,
}

impl PooledConnection {
    /// `settings` are names and values that need no quotes but those written here.
    pub(super) fn new(connection: PgConnection, settings: &[(&str, String)]) -> Self {
        // The transaction itself is read-only, which no setting can change after its first statement.
        let settings = settings.iter().filter(|(name, _)| *name != "default_transaction_read_only");
        let settings = settings.map(|(name, value)| match *name {
            // A list of names, which the configuration has checked.
            "search_path" => format!("; SET LOCAL {name} = {value}"),
            _ => format!("; SET LOCAL {name} = '{value}'"),
        });
        Self { connection, begin: format!("BEGIN READ ONLY{}", settings.collect::<String>()), limit: None }
    }

    async fn begin(&mut self) -> Result<(), StorageError> {
        let mut begin = self.begin.clone();
        if let Some(limit) = self.limit {
            begin += &format!("; SET LOCAL statement_timeout = {}", limit.as_millis().max(1));
        }
        self.run(&begin).await
    }

    async fn run(&mut self, sql: &str) -> Result<(), StorageError> {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop).map_err(storage_error)
    }

    /// Runs `read` in a transaction.
    pub(super) async fn in_transaction<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.begin().await?;
        let result = read(&mut self.connection).await;
        // Nothing was written. After an error the session goes back to the pool as well, and the connection remains usable.
        self.run("ROLLBACK").await?;
        result
    }
}

#[async_trait]
impl SqlConnection for PooledConnection {
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError> {
        self.begin().await?;
        let result = rows::<sqlx::Postgres>(&mut self.connection, statement, Prepared::Unnamed, each).await;
        self.run("ROLLBACK").await?;
        result
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        self.limit = Some(limit);
        Ok(())
    }

    /// LISTEN belongs to a session.
    async fn notifications(&mut self, _jobs: &str) -> Result<Notifications, StorageError> {
        Ok(Notifications::Unsupported)
    }

    async fn inspect(&mut self, tables: &[&str]) -> Result<Inspection, StorageError> {
        self.begin().await?;
        let inspection = inspect(&mut self.connection, tables).await;
        self.run("ROLLBACK").await?;
        Ok(Inspection { notifications: Notifications::Unsupported, ..inspection? })
    }

    async fn close(self: Box<Self>) {
        // The connection is gone either way.
        let _ = Connection::close(self.connection).await;
    }
}
