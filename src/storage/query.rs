//! Runs the one statement, on whichever database.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row as _, Type};

use super::StorageError;
use super::errors::storage_error;
use super::sql::{Bind, Reading, Row};
use crate::jobrunr::{Questions, Snapshot};

/// Answers all questions in one round trip.
///
/// # Errors
/// [`StorageError`]
pub(super) async fn answer<DB>(
    connection: &mut DB::Connection,
    reading: &Reading<'_>,
    questions: &Questions,
    now: Timestamp,
) -> Result<Snapshot, StorageError>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'a> i64: Encode<'a, DB> + Decode<'a, DB> + Type<DB>,
    for<'a> f64: Encode<'a, DB> + Type<DB>,
    for<'a> String: Encode<'a, DB> + Decode<'a, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let statement = reading.statement(questions, now);
    let mut query = sqlx::query::<DB>(AssertSqlSafe(statement.sql));
    for bind in statement.binds {
        query = match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Int(int) => query.bind(int),
            Bind::Real(real) => query.bind(real),
        };
    }
    let rows = query.fetch_all(connection).await.map_err(storage_error)?;
    let rows = rows.iter().map(decode::<DB>).collect::<Result<Vec<_>, _>>().map_err(storage_error)?;
    Ok(reading.snapshot(questions, now, &rows))
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
