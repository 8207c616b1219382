//! SQLite, with the four forms in which its JDBC driver writes times.
//!
//! xerial's sqlite-jdbc writes epoch milliseconds by default, and with `date_class` and `date_precision` epoch seconds, text
//! in UTC or a Julian day. The column's type does not show the form, and a Julian day at noon is stored as an integer, so
//! that only the size of a value does. Each form is one range of the index.

#![expect(clippy::disallowed_types, reason = "the driver's thread compares the deadline, outside of the runtime")]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _, Row as _};

use super::SqlBackend;
use super::connect::connected;
use super::connection::{Prepared, SqlConnection, rows};
use super::dialect::{Bind, Condition, Dialect, LastState};
use super::errors::storage_error;
use super::schema::{Columns, Schema, Table};
use super::statement::{Row, Statement};
use crate::config::StorageConfig;
use crate::storage::backend::{Backend, Driver};
use crate::storage::{Grants, Inspection, StorageError, within};

/// The number of SQLite's virtual instructions between two checks of the deadline: well below a millisecond.
const STEPS_PER_CHECK: i32 = 10_000;

/// A storage on SQLite.
pub(in crate::storage) struct Sqlite<'a> {
    pub(in crate::storage) path: &'a Path,
    pub(in crate::storage) config: &'a StorageConfig,
}

#[async_trait]
impl Driver for Sqlite<'_> {
    async fn connect(&self) -> Result<Box<dyn Backend>, StorageError> {
        Ok(Box::new(connect(self.path, self.config).await?))
    }

    fn grants_sql(&self, _role: &str) -> Grants {
        let owner = format!(
            "-- SQLite has no users: anyone who can read the file can read the tables. The scaler opens it read-only.\n\
             -- It needs the right to read {0}, and with a write-ahead log also to read {0}-wal and to write {0}-shm.\n",
            self.path.display()
        );
        Grants { administrator: String::new(), owner }
    }
}

async fn connect(path: &Path, config: &StorageConfig) -> Result<SqlBackend, StorageError> {
    // Read before the file is opened: a file that replaces it in between is noticed at the first read.
    let file = FileIdentity::of(path).await?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_millis(500))
        // The driver would log slow statements in full, which are kilobytes long. The monitor logs slow reads in one line.
        .disable_statement_logging();
    let place = path.display().to_string();
    let mut connection = connected(SqliteConnection::connect_with(&options), config, &place).await?;
    let deadline = Arc::new(Mutex::new(None));
    interrupt_at(&mut connection, Arc::clone(&deadline)).await?;
    let schema = within(config.statement_timeout, prepare(&mut connection, path, config)).await?;
    let statement_timeout = config.statement_timeout;
    let file = SqliteFile { connection, deadline, statement_timeout, path: path.to_owned(), file, data_version: None };
    Ok(SqlBackend::new(Box::new(file), Box::new(SqliteDialect), schema, config))
}

/// Distinguishes a file from another one with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    async fn of(path: &Path) -> Result<Self, StorageError> {
        let metadata = tokio::fs::metadata(path).await.map_err(|error| {
            let cause = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                _ => error.to_string(),
            };
            StorageError::Unreachable(format!("{}: {cause}", path.display()))
        })?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The instant at which a running statement is interrupted.
type Deadline = Arc<Mutex<Option<Instant>>>;

/// SQLite has no statement timeout; it asks this handler whether to continue.
async fn interrupt_at(connection: &mut SqliteConnection, deadline: Deadline) -> Result<(), StorageError> {
    let mut handle = connection.lock_handle().await.map_err(storage_error)?;
    handle.set_progress_handler(STEPS_PER_CHECK, move || {
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

/// An open file, usable for as long as its name refers to it.
struct SqliteFile {
    connection: SqliteConnection,
    deadline: Deadline,
    statement_timeout: Duration,
    path: PathBuf,
    file: FileIdentity,
    /// SQLite's `data_version` at the last read.
    data_version: Option<i64>,
}

impl SqliteFile {
    /// Checks that the file was not replaced: a file that was moved or deleted stays readable and never changes again.
    async fn check_file(&self) -> Result<(), StorageError> {
        if FileIdentity::of(&self.path).await? == self.file {
            return Ok(());
        }
        Err(StorageError::Unreachable(format!("{} was replaced by another file", self.path.display())))
    }

    /// Gives the next statement its time. Every statement needs this, however short it is: SQLite counts the steps of a prepared
    /// statement over all of its runs, so that it asks about the deadline during any of them.
    fn renew_deadline(&self) {
        if let Ok(mut deadline) = self.deadline.lock() {
            *deadline = Instant::now().checked_add(self.statement_timeout);
        }
    }

    /// A number that changes with every commit of another connection. Reading it touches no table.
    async fn data_version(&mut self) -> Result<i64, StorageError> {
        self.renew_deadline();
        sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await.map_err(storage_error)
    }
}

#[async_trait]
impl SqlConnection for SqliteFile {
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError> {
        self.renew_deadline();
        rows::<sqlx::Sqlite>(&mut self.connection, statement, Prepared::Named, each).await
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        self.statement_timeout = limit;
        Ok(())
    }

    async fn begin_read(&mut self) -> Result<(), StorageError> {
        self.check_file().await?;
        // Read before the rows: a change in between is noticed next time.
        self.data_version = Some(self.data_version().await?);
        Ok(())
    }

    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        self.check_file().await?;
        let version = self.data_version().await?;
        Ok(Some(self.data_version == Some(version)))
    }

    async fn inspect(&mut self, _tables: &[&str]) -> Result<Inspection, StorageError> {
        self.renew_deadline();
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&mut self.connection)
            .await
            .map_err(storage_error)?;
        Ok(Inspection { product: format!("SQLite {version}"), ..Inspection::default() })
    }

    async fn close(self: Box<Self>) {
        // The connection is gone either way.
        let _ = sqlx::Connection::close(self.connection).await;
    }
}

struct SqliteDialect;

/// Values from here on are epoch milliseconds: in seconds this is the year 5138.
const FIRST_MILLIS: &str = "100000000000";
/// Values from here on, and below [`FIRST_MILLIS`], are epoch seconds: as a Julian day this is far in the future.
const FIRST_SECONDS: &str = "100000000";
/// The Julian day of 1970-01-01T00:00:00Z.
const EPOCH_JULIAN_DAY: f64 = 2_440_587.5;
const MILLIS_PER_DAY: f64 = 86_400_000.0;
/// The Julian days of the years 1 and 10000, and the epoch milliseconds of the latter.
const FIRST_JULIAN_DAY: &str = "1721425.5";
const AFTER_LAST_JULIAN_DAY: &str = "5373484.5";
const AFTER_LAST_MILLIS: &str = "253402300800000";

impl Dialect for SqliteDialect {
    fn placeholder(&self, n: usize) -> String {
        format!("?{n}")
    }

    fn int(&self, expression: &str) -> String {
        format!("CAST({expression} AS INTEGER)")
    }

    fn text(&self, expression: &str) -> String {
        format!("CAST({expression} AS TEXT)")
    }

    fn last_characters(&self, expression: &str, n: usize) -> String {
        format!("substr({expression}, -{n})")
    }

    fn is_short(&self, column: &str, max_bytes: usize) -> Option<String> {
        // Columns after a long text are at the end of a chain of pages.
        Some(format!("octet_length({column}) <= {max_bytes}"))
    }

    fn process_duration(&self, json: &str, max_bytes: usize, n: usize) -> String {
        let duration = format!("json_extract({json}, '$.jobHistory[#-1].processDuration')");
        let is_readable = format!("length({json}) <= {max_bytes} AND json_valid({json})");
        format!("CASE WHEN {is_readable} THEN substr({duration}, 1, {n}) END")
    }

    fn last_state(&self, column: &str, _column_type: &str) -> String {
        // There is no function that searches from the end. An invalid document would make the statement fail.
        let json = self.text(column);
        let state = format!("json_extract({json}, '$.jobHistory[#-1]')");
        format!("CASE WHEN json_valid({json}) THEN substr({state}, 1, {}) END", LastState::CHARACTERS)
    }

    fn micros(&self, column: &str) -> String {
        // Every text compares greater than every number. Julian days are doubles, exact to about 40 µs: rounded to
        // milliseconds.
        let from_julian =
            |day: &str| format!("CAST(ROUND(({day} - {EPOCH_JULIAN_DAY:.1}) * {MILLIS_PER_DAY:.1}) AS INTEGER) * 1000");
        format!(
            "CASE WHEN {column} IS NULL THEN NULL WHEN {column} >= '' THEN {} \
             WHEN {column} >= {AFTER_LAST_MILLIS} THEN NULL \
             WHEN {column} >= {FIRST_MILLIS} THEN CAST({column} AS INTEGER) * 1000 \
             WHEN {column} >= {FIRST_SECONDS} THEN CAST({column} AS INTEGER) * 1000000 \
             WHEN {column} >= {FIRST_JULIAN_DAY} AND {column} < {AFTER_LAST_JULIAN_DAY} THEN {} END",
            from_julian(&format!("julianday({column})")),
            from_julian(column)
        )
    }

    fn earliest_micros(&self, column: &str) -> String {
        // Values of different forms cannot be compared.
        format!("min({})", self.micros(column))
    }

    fn comparable(&self, column: &str) -> String {
        self.micros(column)
    }

    fn is_at_most(&self, comparable: &str, instant: Timestamp) -> Condition {
        // No form is more precise than milliseconds.
        Condition::new(format!("{comparable} <= ? * 1000"), vec![Bind::Int(instant.as_millisecond())])
    }

    fn in_range(&self, column: &str, from: Option<Timestamp>, until: Timestamp) -> Vec<Condition> {
        let ranges = [
            format!("{column} >= {FIRST_MILLIS} AND {column} < ''"),
            format!("{column} >= {FIRST_SECONDS} AND {column} < {FIRST_MILLIS}"),
            format!("{column} < {FIRST_SECONDS}"),
            format!("{column} >= ''"),
        ];
        let until = forms(until);
        let mut conditions: Vec<Condition> = std::iter::zip(ranges, until)
            .map(|(range, until)| Condition::new(format!("{range} AND {column} <= ?"), vec![until]))
            .collect();
        for (condition, from) in std::iter::zip(&mut conditions, from.map(forms).into_iter().flatten()) {
            condition.sql += &format!(" AND {column} >= ?");
            condition.binds.push(from);
        }
        conditions
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition> {
        let [millis, seconds, julian, text] = forms(instant);
        vec![
            Condition::new(
                format!("{column} > ? AND {column} >= {FIRST_MILLIS} AND {column} < {AFTER_LAST_MILLIS}"),
                vec![millis],
            ),
            Condition::new(
                format!("{column} > ? AND {column} >= {FIRST_SECONDS} AND {column} < {FIRST_MILLIS}"),
                vec![seconds],
            ),
            Condition::new(format!("{column} > ? AND {column} < {AFTER_LAST_JULIAN_DAY}"), vec![julian]),
            Condition::new(format!("{column} > ? AND {column} >= ''"), vec![text]),
        ]
    }

    fn since_cursor(&self, _column: &str, _cursor: Timestamp) -> Option<Condition> {
        // SQLite keeps no index entries of jobs that have moved on.
        None
    }

    fn value_classes(&self, column: &str) -> Vec<String> {
        vec![
            format!("{column} >= {FIRST_MILLIS} AND {column} < {AFTER_LAST_MILLIS}"),
            format!("{column} >= {FIRST_SECONDS} AND {column} < {FIRST_MILLIS}"),
            format!("{column} >= {FIRST_JULIAN_DAY} AND {column} < {AFTER_LAST_JULIAN_DAY}"),
            format!("{column} >= ''"),
        ]
    }

    fn before_calendar(&self, column: &str) -> Vec<String> {
        vec![format!("{column} < {FIRST_JULIAN_DAY}")]
    }

    fn after_calendar(&self, column: &str) -> Vec<String> {
        vec![
            format!("{column} >= {AFTER_LAST_MILLIS} AND {column} < ''"),
            format!("{column} >= {AFTER_LAST_JULIAN_DAY} AND {column} < {FIRST_SECONDS}"),
        ]
    }
}

/// An instant in the four forms: epoch milliseconds, epoch seconds, a Julian day, text.
fn forms(instant: Timestamp) -> [Bind; 4] {
    let millis = instant.as_millisecond();
    #[expect(clippy::cast_precision_loss, reason = "a Julian day is stored as a double")]
    let julian = millis as f64 / MILLIS_PER_DAY + EPOCH_JULIAN_DAY;
    let text = instant.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    [Bind::Int(millis), Bind::Int(instant.as_second()), Bind::Real(julian), Bind::Text(text)]
}

#[cfg(test)]
mod tests;
