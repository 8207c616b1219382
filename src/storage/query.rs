//! Runs the one statement, on whichever database.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row as _, Type};

use super::StorageError;
use super::errors::storage_error;
use super::recurring::Known;
use super::sql::{Bind, Reading, Row, Statement};
use crate::jobrunr::{Questions, Snapshot};

/// A connection to whichever database.
#[async_trait]
pub(super) trait Connection: Send {
    /// The rows of a statement.
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StorageError>;
}

#[async_trait]
impl Connection for PgConnection {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StorageError> {
        rows::<sqlx::Postgres>(self, statement).await
    }
}

#[async_trait]
impl Connection for MySqlConnection {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StorageError> {
        rows::<sqlx::MySql>(self, statement).await
    }
}

#[async_trait]
impl Connection for SqliteConnection {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StorageError> {
        rows::<sqlx::Sqlite>(self, statement).await
    }
}

/// Answers all questions: in one round trip, unless they are very many or definitions of recurring jobs have changed.
///
/// # Errors
/// [`StorageError`]
pub(super) async fn answer(
    connection: &mut dyn Connection,
    reading: &Reading<'_>,
    known: &mut Known,
    questions: &Questions,
    now: Timestamp,
) -> Result<Snapshot, StorageError> {
    let mut rows = Vec::new();
    for statement in reading.statements(questions, now) {
        rows.extend(connection.rows(statement).await?);
    }
    let mut snapshot = reading.snapshot(questions, now, &rows);
    if questions.want_demand() {
        known.add(connection, reading, &rows, &mut snapshot).await?;
    }
    Ok(snapshot)
}

async fn rows<DB>(connection: &mut DB::Connection, statement: Statement) -> Result<Vec<Row>, StorageError>
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
    let rows = query.fetch_all(connection).await.map_err(storage_error)?;
    rows.iter().map(decode::<DB>).collect::<Result<_, _>>().map_err(storage_error)
}

fn decode<DB>(row: &DB::Row) -> Result<Row, sqlx::Error>
where
    DB: Database,
    for<'a> i64: Decode<'a, DB> + Type<DB>,
    for<'a> String: Decode<'a, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    Ok(Row {
        part: row.try_get(0)?,
        slot: row.try_get(1)?,
        a: row.try_get(2)?,
        b: row.try_get(3)?,
        c: row.try_get(4)?,
        d: row.try_get(5)?,
        text: row.try_get(6)?,
    })
}
