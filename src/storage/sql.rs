//! SQL databases: one source for all of them, above a connection and a dialect.

mod connection;
mod dialect;
mod errors;
mod grants;
mod login;
mod mysql;
mod notify;
mod postgres;
mod schema;
mod sqlite;
mod statement;

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;

pub use grants::{DEFAULT_ROLE, Grants, grants_sql};
pub use notify::notify_sql;

use self::connection::Connection;
use self::dialect::Dialect;
use self::schema::Schema;
use self::statement::{ByState, Kind, Row, Writer};
use super::cursors::DueState;
use super::plan::ReadPlan;
use super::rows::{DefinitionRow, Rows};
use super::session::{Facts, Probe, Source};
use super::{Inspection, StorageError};
use crate::config::{Address, ReadBounds, ServerAddress, StorageConfig};
use crate::jobrunr::{Filter, MissingColumn};

/// Opens a connection and looks at the tables.
///
/// # Errors
/// [`StorageError`]
pub(super) async fn connect(config: &StorageConfig) -> Result<Box<dyn Source>, StorageError> {
    let source = match &config.address {
        Address::Postgres(address) => postgres::connect(address, config).await?,
        Address::Mysql(address) => mysql::connect(address, config).await?,
        Address::Sqlite(path) => sqlite::connect(path, config).await?,
    };
    Ok(Box::new(source))
}

/// Listens, where PostgreSQL's trigger is installed.
///
/// # Errors
/// [`StorageError`]
pub(super) async fn listen(
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Option<Box<dyn super::Listener>>, StorageError> {
    postgres::listen(address, config).await
}

/// A connection to an SQL database, and what is known of its tables.
struct SqlSource {
    connection: Box<dyn Connection>,
    dialect: Box<dyn Dialect>,
    schema: Schema,
    facts: Facts,
    heartbeat_multiplicand: u32,
}

impl SqlSource {
    fn new(connection: Box<dyn Connection>, dialect: Box<dyn Dialect>, schema: Schema, config: &StorageConfig) -> Self {
        let no_recurring = schema.recurring.is_none().then(|| {
            let table = &schema.recurring_table;
            format!("recurring jobs are not read: the table {table} is not there, or the user has no SELECT on it")
        });
        let facts = Facts { notes: schema.notes.clone(), no_recurring };
        Self { connection, dialect, schema, facts, heartbeat_multiplicand: config.heartbeat_multiplicand }
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
}

#[async_trait]
impl Source for SqlSource {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn missing_column(&self, filter: &Filter) -> Option<MissingColumn> {
        let wanted = [
            ("priority", filter.priority.is_some()),
            ("serverTag", filter.server_tag.is_some()),
            ("dynamicQueue", filter.dynamic_queue.is_some()),
        ];
        let (key, _) = wanted.into_iter().find(|(column, wanted)| *wanted && !self.schema.jobs_have(column))?;
        Some(MissingColumn { key, table: self.schema.jobs.clone(), column: key })
    }

    async fn read(&mut self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError> {
        self.connection.begin_read().await?;
        let mut rows = Vec::new();
        for statement in self.writer().read(plan) {
            rows.extend(self.rows(statement).await?);
        }
        let by_state = ByState {
            is_bounded: self.schema.has_instant_index || self.schema.has_state_instant_index,
            is_in_order: self.schema.has_state_instant_index,
        };
        Ok(statement::decode(plan, by_state, &rows))
    }

    async fn earliest_due(
        &mut self,
        filter: &Filter,
        state: DueState,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError> {
        let statement = self.writer().earliest_due(filter, state, until);
        let rows = self.rows(statement).await?;
        Ok(rows.iter().filter_map(|row| statement::instant(row.a)).min())
    }

    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        self.connection.is_unchanged().await
    }

    async fn probe(&mut self, next: Option<Timestamp>, recurring: bool) -> Result<Probe, StorageError> {
        let statement = self.writer().probe(next, recurring);
        let rows = self.rows(statement).await?;
        Ok(Probe {
            has_work: statement::of_kind(&rows, Kind::Work).any(|row| row.a != Some(0)),
            has_server: statement::of_kind(&rows, Kind::Server).next().is_some(),
            recurring: statement::recurring_mark(&rows),
        })
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

    async fn major_version(&mut self) -> Result<Option<u32>, StorageError> {
        if let Some(migrations) = &self.schema.migrations {
            let statement = self.writer().migration(migrations);
            let rows = self.rows(statement).await?;
            if statement::of_kind(&rows, Kind::Migration).any(|row| row.a.is_some_and(|n| 0 < n)) {
                return Ok(Some(8));
            }
        }
        Ok(match () {
            () if self.schema.is_version_8 => Some(8),
            () if self.schema.migrations.is_some() || self.schema.has_stats => Some(7),
            () => None,
        })
    }

    async fn notifies(&mut self) -> Result<bool, StorageError> {
        self.connection.notifies(&self.schema.jobs).await
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
