//! Runs statements on a connection of any of the drivers.

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row as _, Type};

use super::errors::storage_error;
use super::statement::{Bind, Row, Statement};
use super::{Inspection, StorageError, mysql, notify, postgres};

/// A connection of any of the drivers.
#[async_trait]
pub(super) trait Connection: Send {
    /// Passes the rows of a statement to `each`, one by one, until it returns false.
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError>;

    /// Comes before the statements of a read.
    async fn begin_read(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Whether the database is what it was at the last read, where it knows that by itself.
    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        Ok(None)
    }

    /// Whether the database notifies of new jobs in this table by itself.
    async fn notifies(&mut self, jobs: &str) -> Result<bool, StorageError> {
        let _ = jobs;
        Ok(false)
    }

    /// Looks at the server, the user and the user's rights on these tables.
    async fn inspect(&mut self, tables: &[&str]) -> Result<Inspection, StorageError>;

    /// Closes the connection.
    async fn close(self: Box<Self>);
}

#[async_trait]
impl Connection for PgConnection {
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError> {
        rows::<sqlx::Postgres>(self, statement, each).await
    }

    async fn notifies(&mut self, jobs: &str) -> Result<bool, StorageError> {
        Ok(notify::triggered_table(self, jobs).await?.is_some())
    }

    async fn inspect(&mut self, tables: &[&str]) -> Result<Inspection, StorageError> {
        postgres::inspect(self, tables).await
    }

    async fn close(self: Box<Self>) {
        // It is gone either way.
        let _ = sqlx::Connection::close(*self).await;
    }
}

#[async_trait]
impl Connection for MySqlConnection {
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError> {
        rows::<sqlx::MySql>(self, statement, each).await
    }

    async fn inspect(&mut self, _tables: &[&str]) -> Result<Inspection, StorageError> {
        mysql::inspect(self).await
    }

    async fn close(self: Box<Self>) {
        // It is gone either way.
        let _ = sqlx::Connection::close(*self).await;
    }
}

pub(super) async fn rows<DB>(
    connection: &mut DB::Connection,
    statement: Statement,
    each: &mut (dyn FnMut(Row) -> bool + Send),
) -> Result<(), StorageError>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'a> i64: Encode<'a, DB> + Decode<'a, DB> + Type<DB>,
    for<'a> f64: Encode<'a, DB> + Type<DB>,
    for<'a> String: Encode<'a, DB> + Decode<'a, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut query = sqlx::query::<DB>(AssertSqlSafe(statement.sql));
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
