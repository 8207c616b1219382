//! Runs the one statement, on whichever database.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row as _, Type};

use tokio::time::Instant;

use super::StorageError;
use super::errors::storage_error;
use super::heads::Heads;
use super::recurring;
use super::sql::{Bind, Part, Reading, Row, Statement, of};
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
    let from_heads = known.heads.suffice(questions);
    let statements = Reading { heads: from_heads.then_some(&known.heads), ..*reading }.statements(questions, now);
    let began = Instant::now();
    let mut rows = Vec::new();
    for statement in statements {
        rows.extend(connection.rows(statement).await?);
    }
    let mut snapshot = reading.snapshot(questions, now, &rows);
    if from_heads {
        known.heads.look_at(&snapshot);
    } else {
        known.heads.look_at_all(&snapshot, began.elapsed());
    }
    if questions.want_demand() {
        known.recurring.add(connection, reading, &rows, &mut snapshot).await?;
    }
    Ok(snapshot)
}

/// Whether an idle storage is idle still: the cheapest question there is. What it finds is the business of a read.
///
/// # Errors
/// [`StorageError`]
pub(super) async fn is_still_idle(
    connection: &mut dyn Connection,
    reading: &Reading<'_>,
    known: &Known,
    questions: &Questions,
    snapshot: &Snapshot,
) -> Result<bool, StorageError> {
    // A server's heartbeats have to be read; and of several next instants a new one may lie between.
    let nexts: BTreeSet<_> = questions.all().map(|question| snapshot.next_scheduled_at(&question)).collect();
    let next = nexts.first().copied().flatten();
    if !snapshot.is_idle(questions) || !snapshot.servers.is_empty() || 1 < nexts.len() {
        return Ok(false);
    }
    let from_heads = known.heads.suffice(questions);
    let reading = Reading { heads: from_heads.then_some(&known.heads), ..*reading };
    let demand = questions.want_demand();
    let rows = connection.rows(reading.work(next, demand)).await?;
    let no_work = of(&rows, Part::Work).all(|row| row.a == Some(0));
    let no_server = of(&rows, Part::Server).next().is_none();
    Ok(no_work && no_server && (!demand || known.recurring.has_same_mark(&rows)))
}

/// What a session knows from its earlier reads.
#[derive(Default)]
pub(super) struct Known {
    recurring: recurring::Known,
    heads: Heads,
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
