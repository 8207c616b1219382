//! SQL databases: one backend for all of them, on a connection and a dialect.

mod connect;
mod connection;
mod dialect;
mod errors;
mod grants;
mod login;
mod mysql;
mod postgres;
mod schema;
mod sqlite;
mod statement;

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{Duration, Instant};

pub(super) use mysql::MySql;
pub(super) use postgres::Postgres;
pub(super) use sqlite::Sqlite;

use self::connection::SqlConnection;
use self::dialect::Dialect;
use self::schema::Schema;
use self::statement::{Row, StateScan, Writer};
use super::backend::{Backend, Probe, SchemaFindings};
use super::plan::DueState;
use super::plan::ReadPlan;
use super::rows::{DefinitionRow, ExcerptKind, Excerpts, Rows, RunningRow};
use super::{HistoryPage, HistoryRow, Inspection, Notifications, StorageError};
use crate::config::{ReadBounds, StorageConfig};
use crate::jobrunr::{Filter, FinishedRun, UnsupportedFilter};

/// A connection to an SQL database, and the schema of its tables.
struct SqlBackend {
    connection: Box<dyn SqlConnection>,
    dialect: Box<dyn Dialect>,
    schema: Schema,
    findings: SchemaFindings,
    heartbeat_multiplicand: u32,
    /// The time of one statement, and of all statements of a read.
    time_limit: Duration,
    /// Whether the connection has less than that.
    is_limit_reduced: bool,
}

/// With less than this part of the time limit left, no further statement of a read is begun; until this part is used, the next one
/// may take all of it.
const LEAST_PART: u32 = 10;

impl SqlBackend {
    fn new(
        connection: Box<dyn SqlConnection>,
        dialect: Box<dyn Dialect>,
        schema: Schema,
        config: &StorageConfig,
    ) -> Self {
        let recurring_unavailable = schema.recurring.is_none().then(|| {
            let table = &schema.recurring_table;
            format!("recurring jobs are not counted: the table {table} does not exist, or the user has no SELECT on it")
        });
        let findings = SchemaFindings { notes: schema.notes.clone(), recurring_unavailable };
        let StorageConfig { heartbeat_multiplicand, statement_timeout: time_limit, .. } = *config;
        Self { connection, dialect, schema, findings, heartbeat_multiplicand, time_limit, is_limit_reduced: false }
    }

    fn writer(&self) -> Writer<'_> {
        Writer::new(self.dialect.as_ref(), &self.schema, self.heartbeat_multiplicand)
    }

    async fn rows(&mut self, statement: statement::Statement) -> Result<Vec<Row>, StorageError> {
        let mut rows = Vec::new();
        self.connection
            .rows(statement, &mut |row| {
                rows.push(row);
                true
            })
            .await?;
        Ok(rows)
    }

    /// Runs the statements of a read, one after the other in the time of one.
    async fn rows_of_all(&mut self, statements: Vec<statement::Statement>) -> Result<Vec<Row>, StorageError> {
        let (began, mut rows) = (Instant::now(), Vec::new());
        let part = self.time_limit.checked_div(LEAST_PART).unwrap_or_default();
        for (nth, statement) in statements.into_iter().enumerate() {
            if 0 < nth && part < began.elapsed() {
                let left = self.time_limit.saturating_sub(began.elapsed());
                if left < part {
                    return Err(StorageError::TimedOut(format!("{:?} for all queries of a read", self.time_limit)));
                }
                self.is_limit_reduced = true;
                self.connection.set_time_limit(left).await?;
            }
            rows.extend(self.rows(statement).await?);
        }
        Ok(rows)
    }
}

#[async_trait]
impl Backend for SqlBackend {
    fn findings(&self) -> &SchemaFindings {
        &self.findings
    }

    fn unsupported_filter(&self, filter: &Filter) -> Option<UnsupportedFilter> {
        let key = filter.keys().find(|column| !self.schema.jobs_have(column))?;
        Some(UnsupportedFilter { key, missing: format!("the column {}.{key}", self.schema.jobs) })
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        self.time_limit = limit;
        self.connection.set_time_limit(limit).await
    }

    async fn read(&mut self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError> {
        self.connection.begin_read().await?;
        let statements = self.writer().read(plan);
        let rows = self.rows_of_all(statements).await;
        if std::mem::take(&mut self.is_limit_reduced) {
            self.connection.set_time_limit(self.time_limit).await?;
        }
        let state_scan =
            StateScan { is_bounded: self.schema.bounds_state_scan(), is_in_order: self.schema.has_state_time_index };
        Ok(statement::decode(plan, state_scan, &rows?))
    }

    async fn earliest_due(
        &mut self,
        filter: &Filter,
        state: DueState,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError> {
        let statement = self.writer().earliest_due(filter, state, until);
        Ok(statement::earliest(&self.rows(statement).await?))
    }

    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        self.connection.is_unchanged().await
    }

    async fn probe(&mut self, next: Option<Timestamp>, recurring: bool) -> Result<Probe, StorageError> {
        let statement = self.writer().probe(next, recurring);
        Ok(statement::probe(&self.rows(statement).await?))
    }

    async fn definitions(&mut self, bounds: &ReadBounds) -> Result<Vec<DefinitionRow>, StorageError> {
        let statement = self.writer().definitions(bounds);
        let (mut rows, mut n_bytes) = (Vec::new(), 0_usize);
        self.connection
            .rows(statement, &mut |row| {
                n_bytes = n_bytes.saturating_add(row.text.as_ref().map_or(0, String::len));
                rows.extend(statement::definition(row));
                n_bytes <= bounds.definition_bytes
            })
            .await?;
        Ok(rows)
    }

    async fn active_runs_of(&mut self, ids: &[&str], states: &[&str]) -> Result<BTreeSet<String>, StorageError> {
        let statement = self.writer().active_runs_of(ids, states);
        Ok(statement::active_runs(&self.rows(statement).await?, u64::MAX).ids)
    }

    async fn running(&mut self, limit: u64, since: Option<Timestamp>) -> Result<Vec<RunningRow>, StorageError> {
        let statement = self.writer().running(limit, since);
        Ok(statement::running(self.rows(statement).await?))
    }

    async fn excerpts(&mut self, ids: &[&str], kind: ExcerptKind) -> Result<Excerpts, StorageError> {
        let statement = self.writer().excerpts(ids, kind);
        let jobs = self.rows(statement).await?.into_iter().filter_map(statement::excerpt).collect();
        Ok(Excerpts { jobs, is_partial: false })
    }

    async fn major_version(&mut self) -> Result<Option<u32>, StorageError> {
        if let Some(migrations) = &self.schema.migrations {
            let statement = self.writer().migration(migrations);
            if statement::has_migration(&self.rows(statement).await?) {
                return Ok(Some(8));
            }
        }
        Ok(match () {
            () if self.schema.is_version_8 => Some(8),
            () if self.schema.migrations.is_some() || self.schema.has_stats => Some(7),
            () => None,
        })
    }

    async fn history(&mut self, page: &HistoryPage) -> Result<Vec<HistoryRow>, StorageError> {
        let statement = self.writer().history(page);
        Ok(statement::history(self.rows(statement).await?, page.limit))
    }

    async fn finished_runs(&mut self, since: Option<Timestamp>, limit: u64) -> Result<Vec<FinishedRun>, StorageError> {
        let statement = self.writer().finished_runs(since, limit);
        Ok(statement::finished_runs(&self.rows(statement).await?))
    }

    async fn notifications(&mut self) -> Result<Notifications, StorageError> {
        self.connection.notifications(&self.schema.jobs).await
    }

    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        let schema = &self.schema;
        let tables = [Some(&schema.jobs), Some(&schema.servers), schema.recurring.as_ref().map(|found| &found.table)];
        let tables: Vec<&str> = tables.into_iter().flatten().map(String::as_str).collect();
        self.connection.inspect(&tables).await
    }

    async fn close(self: Box<Self>) {
        self.connection.close().await;
    }
}
