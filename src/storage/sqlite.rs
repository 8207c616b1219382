//! SQLite, in the four forms in which its JDBC driver writes instants.
//!
//! xerial's sqlite-jdbc writes epoch milliseconds unless told otherwise (`date_class`, `date_precision`): epoch
//! seconds, text in UTC, or a Julian day. The column's type says nothing, and a Julian day at noon is stored as an
//! integer, so that only the size of a value tells its form. Each form is one range of the index.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row as _};

use super::errors::{before, connected, storage_error};
use super::query::{Known, answer};
use super::schema::{Columns, Schema, Table};
use super::sql::{Bind, Dialect, Reading};
use super::{Session, StorageError};
use crate::config::StorageConfig;
use crate::jobrunr::{Questions, Snapshot};

/// How many of SQLite's virtual instructions pass between two looks at the clock: well below a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

pub(super) async fn connect(path: &Path, config: &StorageConfig) -> Result<Box<dyn Session>, StorageError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_millis(500))
        // The driver would log slow statements whole, which are kilobytes long. The monitor logs slow reads in a line.
        .disable_statement_logging();
    let place = path.display().to_string();
    let mut connection = connected(SqliteConnection::connect_with(&options), config, &place).await?;
    let deadline = Arc::new(Mutex::new(None));
    interrupt_at(&mut connection, Arc::clone(&deadline)).await?;
    let schema = before(config.statement_timeout, prepare(&mut connection, path, config)).await?;
    Ok(Box::new(Sqlite {
        connection,
        deadline,
        schema,
        known: Known::default(),
        data_version: None,
        config: config.clone(),
    }))
}

/// The instant at which a running statement is to be given up.
type Deadline = Arc<Mutex<Option<Instant>>>;

/// SQLite knows no statement timeout; it asks this handler whether to go on.
async fn interrupt_at(connection: &mut SqliteConnection, deadline: Deadline) -> Result<(), StorageError> {
    let mut handle = connection.lock_handle().await.map_err(storage_error)?;
    handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || {
        let deadline = deadline.lock().ok().and_then(|deadline| *deadline);
        deadline.is_none_or(|deadline| Instant::now() < deadline)
    });
    Ok(())
}

async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    config: &StorageConfig,
) -> Result<Schema, StorageError> {
    let mut found = [const { Columns::new() }; Table::ALL.len()];
    for (found, table) in found.iter_mut().zip(Table::ALL) {
        *found = columns(connection, &config.table_prefix.table(table.name())).await?;
    }
    let indexes = indexes(connection, &config.table_prefix.table(Table::Jobs.name())).await?;
    Ok(Schema::new(config, &format!("the database {}", path.display()), found, indexes)?)
}

async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Columns, StorageError> {
    let rows = sqlx::query("SELECT name, type FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(connection)
        .await
        .map_err(storage_error)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(storage_error)
}

/// The columns of each index, separated by commas.
async fn indexes(connection: &mut SqliteConnection, table: &str) -> Result<Vec<String>, StorageError> {
    sqlx::query_scalar(
        "SELECT group_concat(name) FROM (SELECT list.name AS of_index, info.name FROM pragma_index_list(?) AS list, \
         pragma_index_info(list.name) AS info ORDER BY list.name, info.seqno) GROUP BY of_index",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .map_err(storage_error)
}

struct Sqlite {
    connection: SqliteConnection,
    deadline: Deadline,
    schema: Schema,
    known: Known,
    /// SQLite's own mark of what others have committed, at the last read.
    data_version: Option<i64>,
    config: StorageConfig,
}

/// Changes with whatever another connection commits, and costs no look at any table.
async fn data_version(connection: &mut SqliteConnection) -> Result<i64, StorageError> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.map_err(storage_error)
}

#[async_trait]
impl Session for Sqlite {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        if let Ok(mut deadline) = self.deadline.lock() {
            *deadline = Instant::now().checked_add(self.config.statement_timeout);
        }
        // Asked before the read: a change in between is seen the next time.
        self.data_version = Some(data_version(&mut self.connection).await?);
        let reading = Reading::new(&SqliteDialect, &self.schema, &self.config);
        answer(&mut self.connection, &reading, &mut self.known, questions, now).await
    }

    async fn is_unchanged(&mut self, _questions: &Questions, _since: &Snapshot) -> Result<bool, StorageError> {
        let version = data_version(&mut self.connection).await?;
        Ok(self.data_version == Some(version))
    }

    async fn close(self: Box<Self>) {
        // Whatever the database says to the goodbye, we are gone.
        let _ = self.connection.close().await;
    }
}

struct SqliteDialect;

/// Values from here on are epoch milliseconds: in seconds this is the year 5138.
const FIRST_MILLIS: &str = "100000000000";
/// Values from here on, and below [`FIRST_MILLIS`], are epoch seconds: as a Julian day this is far in the future.
const FIRST_SECONDS: &str = "100000000";
/// The Julian day of 1970-01-01T00:00:00Z.
const EPOCH_JULIAN_DAY: f64 = 2_440_587.5;
const MILLIS_A_DAY: f64 = 86_400_000.0;

impl Dialect for SqliteDialect {
    fn placeholder(&self, n: usize) -> String {
        format!("?{n}")
    }

    fn int(&self, expression: &str) -> String {
        format!("CAST({expression} AS INTEGER)")
    }

    fn micros(&self, column: &str) -> String {
        // Every text is above every number. Julian days are doubles, exact to some 40 µs: rounded to milliseconds.
        let from_julian =
            |day: &str| format!("CAST(ROUND(({day} - {EPOCH_JULIAN_DAY:.1}) * {MILLIS_A_DAY:.1}) AS INTEGER) * 1000");
        format!(
            "CASE WHEN {column} IS NULL THEN NULL WHEN {column} >= '' THEN {} \
             WHEN {column} >= {FIRST_MILLIS} THEN CAST({column} AS INTEGER) * 1000 \
             WHEN {column} >= {FIRST_SECONDS} THEN CAST({column} AS INTEGER) * 1000000 ELSE {} END",
            from_julian(&format!("julianday({column})")),
            from_julian(column)
        )
    }

    fn at_most(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)> {
        let [millis, seconds, julian, text] = forms(instant);
        vec![
            (format!("{column} >= {FIRST_MILLIS} AND {column} <= ?"), vec![millis]),
            (format!("{column} >= {FIRST_SECONDS} AND {column} < {FIRST_MILLIS} AND {column} <= ?"), vec![seconds]),
            (format!("{column} < {FIRST_SECONDS} AND {column} <= ?"), vec![julian]),
            (format!("{column} >= '' AND {column} <= ?"), vec![text]),
        ]
    }

    fn at_least(&self, _column: &str, _instant: Timestamp) -> Option<(String, Vec<Bind>)> {
        // It keeps no entries of what has moved on.
        None
    }

    fn trusts_statistics(&self) -> bool {
        // Nobody runs ANALYZE on it, and an equal sign goes before a range.
        false
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)> {
        let [millis, seconds, julian, text] = forms(instant);
        vec![
            (format!("{column} > ? AND {column} >= {FIRST_MILLIS} AND {column} < ''"), vec![millis]),
            (format!("{column} > ? AND {column} >= {FIRST_SECONDS} AND {column} < {FIRST_MILLIS}"), vec![seconds]),
            (format!("{column} > ? AND {column} < {FIRST_SECONDS}"), vec![julian]),
            (format!("{column} > ? AND {column} >= ''"), vec![text]),
        ]
    }

    fn comparable(&self, column: &str) -> Vec<String> {
        vec![
            format!(" AND {column} >= {FIRST_MILLIS} AND {column} < ''"),
            format!(" AND {column} >= {FIRST_SECONDS} AND {column} < {FIRST_MILLIS}"),
            format!(" AND {column} < {FIRST_SECONDS}"),
            format!(" AND {column} >= ''"),
        ]
    }

    fn text(&self, expression: &str) -> String {
        format!("CAST({expression} AS TEXT)")
    }

    fn lines(&self, first: &str, second: &str) -> String {
        format!("{first} || char(10) || {second}")
    }
}

/// An instant in the four forms: epoch milliseconds, epoch seconds, a Julian day, text.
fn forms(instant: Timestamp) -> [Bind; 4] {
    let millis = instant.as_millisecond();
    #[expect(clippy::cast_precision_loss, reason = "a Julian day is a double, that is its form")]
    let julian = millis as f64 / MILLIS_A_DAY + EPOCH_JULIAN_DAY;
    let text = instant.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    [Bind::Int(millis), Bind::Int(instant.as_second()), Bind::Real(julian), Bind::Text(text)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::SignedDuration;

    use super::*;
    use crate::config::Config;
    use crate::jobrunr::{Filter, Question};

    const TABLES: &str = "
        CREATE TABLE jobrunr_jobs (id TEXT PRIMARY KEY, jobAsJson TEXT, state TEXT, createdAt TIMESTAMP,
            updatedAt TIMESTAMP, scheduledAt TIMESTAMP, recurringJobId TEXT);
        CREATE INDEX state_idx ON jobrunr_jobs (state);
        CREATE INDEX scheduled_at_idx ON jobrunr_jobs (scheduledAt);
        CREATE INDEX rci_idx ON jobrunr_jobs (recurringJobId);
        CREATE INDEX state_updated_idx ON jobrunr_jobs (state, updatedAt);
        CREATE TABLE jobrunr_recurring_jobs (id TEXT PRIMARY KEY, jobAsJson TEXT, createdAt BIGINT);
        CREATE TABLE jobrunr_backgroundjobservers (id TEXT PRIMARY KEY, workerPoolSize INT, pollIntervalInSeconds INT,
            lastHeartbeat TIMESTAMP);";

    /// SQLite counts no rows, but tells its plan: whatever looks at jobs has to search an index.
    #[tokio::test]
    async fn no_statement_scans_the_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobrunr.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(TABLES).execute(&mut connection).await.unwrap();
        let env = HashMap::from([("JOBRUNR_SCALER_URL".to_owned(), format!("sqlite:{}", path.display()))]);
        let config = Config::load(None, env).unwrap().config.storages.into_values().next().unwrap();
        let schema = prepare(&mut connection, &path, &config).await.unwrap();
        let reading = Reading::new(&SqliteDialect, &schema, &config);
        let now = Timestamp::UNIX_EPOCH;
        let look_ahead = SignedDuration::from_mins(1);
        let questions = Questions::from_iter([Question { filter: Filter::default(), look_ahead, demand: true }]);
        let mut statements = reading.statements(&questions, now);
        statements.push(reading.runs_of(&["a"], &["ENQUEUED", "SCHEDULED"]));
        let mut n_searches = 0;
        for statement in statements {
            let explain = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let plan = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
            for row in plan {
                let step: String = row.try_get("detail").unwrap();
                assert!(!step.starts_with("SCAN jobrunr_jobs"), "{step}\n{}", statement.sql);
                n_searches += usize::from(step.starts_with("SEARCH jobrunr_jobs"));
            }
        }
        assert!(20 < n_searches, "{n_searches}");
    }
}
