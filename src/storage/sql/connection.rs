//! Runs statements on a connection of any driver.

use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row as _, Type};

use super::dialect::Bind;
use super::errors::storage_error;
use super::statement::{Row, Statement};
use super::{Inspection, StorageError};
use crate::storage::Notifications;

/// A connection of any driver.
#[async_trait]
pub(super) trait SqlConnection: Send {
    /// Passes the rows of a statement to `each`, one by one, until it returns false.
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError>;

    /// Limits the time of each statement from now on.
    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError>;

    /// Called before the statements of a read.
    async fn begin_read(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Returns whether the database is unchanged since the last read; `None` if it cannot tell by itself.
    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        Ok(None)
    }

    /// Returns whether the database notifies of new jobs in this table.
    async fn notifications(&mut self, jobs: &str) -> Result<Notifications, StorageError> {
        let _ = jobs;
        Ok(Notifications::Unsupported)
    }

    /// Inspects the server, the user and the user's rights on these tables, of which the first is the jobs table.
    async fn inspect(&mut self, tables: &[&str]) -> Result<Inspection, StorageError>;

    /// Closes the connection.
    async fn close(self: Box<Self>);
}

/// Whether the server keeps a statement, prepared under a name, for the rest of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    Named,
    Unnamed,
}

/// Runs a statement on a connection of one of sqlx's drivers: see [`SqlConnection::rows`].
pub(super) async fn rows<DB>(
    connection: &mut DB::Connection,
    statement: Statement,
    prepared: Prepared,
    each: &mut (dyn FnMut(Row) -> bool + Send),
) -> Result<(), StorageError>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    DB: sqlx::database::HasStatementCache,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'a> i64: Encode<'a, DB> + Decode<'a, DB> + Type<DB>,
    for<'a> f64: Encode<'a, DB> + Type<DB>,
    for<'a> String: Encode<'a, DB> + Decode<'a, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut query = sqlx::query::<DB>(AssertSqlSafe(statement.sql)).persistent(prepared == Prepared::Named);
    for bind in statement.binds {
        query = match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Int(int) => query.bind(int),
            Bind::Real(real) => query.bind(real),
        };
    }
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage_error)? {
        if !each(decode::<DB>(&row).map_err(storage_error)?) {
            break;
        }
    }
    Ok(())
}

fn decode<DB>(row: &DB::Row) -> Result<Row, sqlx::Error>
where
    DB: Database,
    for<'a> i64: Decode<'a, DB> + Type<DB>,
    for<'a> String: Decode<'a, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    Ok(Row {
        kind: row.try_get(0)?,
        queue: row.try_get(1)?,
        a: row.try_get(2)?,
        b: row.try_get(3)?,
        c: row.try_get(4)?,
        d: row.try_get(5)?,
        text: row.try_get(6)?,
    })
}
