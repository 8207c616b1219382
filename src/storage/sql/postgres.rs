//! PostgreSQL, and databases that speak its protocol.

mod grants;
mod notify;
mod pooled;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};

use self::pooled::PooledConnection;
use super::connect::{connected, first_host};
use super::connection::{Prepared, SqlConnection, rows};
use super::dialect::{Bind, Condition, Dialect, LastState};
use super::errors::storage_error;
use super::schema::{Columns, Schema, Table};
use super::statement::{Row, Statement};
use super::{SqlBackend, login};
use crate::config::{ServerAddress, StorageConfig, TlsMode, host_and_port};
use crate::storage::backend::{Backend, Driver};
use crate::storage::{Grants, Inspection, Listener, Notifications, StorageError, within};

/// A storage on PostgreSQL.
pub(in crate::storage) struct Postgres<'a> {
    pub(in crate::storage) server: &'a ServerAddress,
    pub(in crate::storage) config: &'a StorageConfig,
}

#[async_trait]
impl Driver for Postgres<'_> {
    async fn connect(&self) -> Result<Box<dyn Backend>, StorageError> {
        let backend = first_host(self.server, |host, port| self.connect_to(host, port)).await?;
        Ok(Box::new(backend))
    }

    async fn notifications(&self) -> Result<Notifications, StorageError> {
        if self.server.is_pooled {
            return Ok(Notifications::Unsupported);
        }
        first_host(self.server, |host, port| async move {
            notify::connect_and_check(&self.options(host, port)?, &host_and_port(host, port), self.config).await
        })
        .await
    }

    /// Fails on a standby, which does not support LISTEN.
    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        if self.server.is_pooled {
            return Ok(None);
        }
        first_host(self.server, |host, port| async move {
            notify::listen(self.options(host, port)?, &host_and_port(host, port), self.config).await
        })
        .await
    }

    fn notify_sql(&self) -> Option<String> {
        Some(notify::notify_sql(&self.config.table_prefix))
    }

    fn grants_sql(&self, role: &str) -> Grants {
        grants::grants_sql(self.server, &self.config.table_prefix, role)
    }
}

impl Postgres<'_> {
    async fn connect_to(&self, host: &str, port: u16) -> Result<SqlBackend, StorageError> {
        let options = self.options(host, port)?;
        let tls = &self.server.tls;
        let connecting =
            async { PgConnection::connect_with(&options).await.map_err(|error| login::explained(error, tls)) };
        let place = host_and_port(host, port);
        let mut connection = connected(connecting, self.config, &place).await.map_err(pooled::explained)?;
        let limit = self.config.statement_timeout;
        let (connection, schema): (Box<dyn SqlConnection>, Schema) = if self.server.is_pooled {
            let mut connection = PooledConnection::new(connection, &settings(self.server, self.config));
            let prepared = connection.in_transaction(async |session| prepare(session, self.server, self.config).await);
            let schema = within(limit, prepared).await?;
            (Box::new(connection), schema)
        } else {
            let schema = within(limit, prepare(&mut connection, self.server, self.config)).await?;
            (Box::new(connection), schema)
        };
        let dialect = PostgresDialect::new(&schema);
        Ok(SqlBackend::new(connection, Box::new(dialect), schema, self.config))
    }

    fn options(&self, host: &str, port: u16) -> Result<PgConnectOptions, StorageError> {
        let options = options(host, port, self.server)?;
        Ok(if self.server.is_pooled {
            // A pooler rejects settings at the start.
            options.extra_float_digits(None)
        } else {
            options.options(settings(self.server, self.config))
        })
    }
}

#[async_trait]
impl SqlConnection for PgConnection {
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError> {
        rows::<sqlx::Postgres>(self, statement, Prepared::Named, each).await
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        let statement = format!("SET statement_timeout = {}", limit.as_millis().max(1));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(self).await.map(drop).map_err(storage_error)
    }

    async fn notifications(&mut self, jobs: &str) -> Result<Notifications, StorageError> {
        Ok(notify::state(notify::triggered_table(self, jobs).await?.as_ref()))
    }

    async fn inspect(&mut self, tables: &[&str]) -> Result<Inspection, StorageError> {
        inspect(self, tables).await
    }

    async fn close(self: Box<Self>) {
        // The connection is gone either way.
        let _ = Connection::close(*self).await;
    }
}

/// The options of a connection. The driver starts from libpq's variables and the operating system's user, so everything is
/// overwritten; the configuration rejects the variables that cannot be (`PGOPTIONS`, `PGSSLCERT`, `PGSSLKEY`).
fn options(host: &str, port: u16, address: &ServerAddress) -> Result<PgConnectOptions, StorageError> {
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(host)
        .port(port)
        .username(login::user(address)?)
        .database(&address.database)
        .application_name("jobrunr-scaler")
        .ssl_mode(match address.tls.mode {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        });
    // The driver would log slow statements in full, which are kilobytes long. The monitor logs slow reads in one line.
    options = options.disable_statement_logging();
    options = match &address.password {
        Some(password) => options.password(password.read()?.expose_secret()),
        None => options.password(""),
    };
    options = match &address.tls.root_cert {
        Some(certificate) => options.ssl_root_cert(certificate),
        None => options.ssl_root_cert_from_pem(Vec::new()),
    };
    if let Some(certificate) = &address.tls.client_cert {
        options = options.ssl_client_cert(certificate);
    }
    if let Some(key) = &address.tls.client_key {
        options = options.ssl_client_key(key);
    }
    Ok(options)
}

/// Session settings: read-only, time limits, index scans only.
///
/// They are sent when the session starts, not as statements: behind a pooler that shares sessions, a `SET` would affect the
/// application's own transactions. Such a pooler rejects them instead, with an error, unless the address says that it is one
/// (`pooler=transaction`): then each transaction gets them.
fn settings(address: &ServerAddress, config: &StorageConfig) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", config.statement_timeout.as_millis().to_string()),
        ("lock_timeout", "1000".to_owned()),
        // A count up to a limit is cheap only by walking an index: a bitmap is built completely before it returns the first
        // row, and stale statistics make a table scan look cheap.
        ("enable_seqscan", "off".to_owned()),
        ("enable_bitmapscan", "off".to_owned()),
        // For the same reason: the first rows in an order are cheap only from the index that has it.
        ("enable_sort", "off".to_owned()),
        ("plan_cache_mode", "force_custom_plan".to_owned()),
        ("max_parallel_workers_per_gather", "0".to_owned()),
        ("jit", "off".to_owned()),
    ];
    settings.extend(address.search_path.clone().map(|path| ("search_path", path)));
    settings
}

/// Reads the schema, and checks that the server is a primary if the address requires it.
async fn prepare(
    connection: &mut PgConnection,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Schema, StorageError> {
    if address.primary_only {
        reject_standby(connection).await?;
    }
    let mut found = [const { Columns::new() }; Table::ALL.len()];
    for (found, table) in found.iter_mut().zip(Table::ALL) {
        *found = columns(connection, &config.table_prefix.table(table.name()), table).await?;
    }
    let indexes = indexes(connection, &config.table_prefix.table(Table::Jobs.name())).await?;
    Ok(Schema::new(config, &format!("the database {}", address.database), found, indexes)?)
}

async fn reject_standby(connection: &mut PgConnection) -> Result<(), StorageError> {
    let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(storage_error)?;
    if standby {
        return Err(StorageError::Unreachable("the host is a standby, and the address requires a primary".to_owned()));
    }
    Ok(())
}

/// The columns of a table. An optional table that the user cannot read counts as missing. For a required one the error of the
/// read itself is the clearest.
async fn columns(connection: &mut PgConnection, name: &str, table: Table) -> Result<Columns, StorageError> {
    let rows = sqlx::query(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
         AND ($2 OR has_table_privilege(attrelid, 'SELECT'))",
    )
    .bind(name)
    .bind(matches!(table, Table::Jobs | Table::Servers | Table::Stats))
    .persistent(false)
    .fetch_all(connection)
    .await
    .map_err(storage_error)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(storage_error)
}

/// The columns of each index, separated by commas. Partial and incomplete indexes are ignored.
async fn indexes(connection: &mut PgConnection, table: &str) -> Result<Vec<String>, StorageError> {
    sqlx::query_scalar(
        "SELECT string_agg(attname, ',' ORDER BY place) FROM pg_index \
         CROSS JOIN LATERAL unnest(indkey) WITH ORDINALITY AS keys (number, place) \
         JOIN pg_attribute ON attrelid = indrelid AND attnum = number \
         WHERE indrelid = to_regclass($1) AND indisvalid AND indpred IS NULL GROUP BY indexrelid",
    )
    .bind(table)
    .persistent(false)
    .fetch_all(connection)
    .await
    .map_err(storage_error)
}

/// Inspects the server, the user and the user's rights.
async fn inspect(connection: &mut PgConnection, tables: &[&str]) -> Result<Inspection, StorageError> {
    let row = sqlx::query(
        "SELECT current_setting('server_version'), current_user::text, \
         (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::int8, \
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await
    .map_err(storage_error)?;
    let (version, user): (String, String) = (get(&row, 0)?, get(&row, 1)?);
    let (now, is_superuser): (i64, Option<bool>) = (get(&row, 2)?, get(&row, 3)?);
    let mut excess_rights = Vec::new();
    if is_superuser == Some(true) {
        excess_rights.push("it is a superuser".to_owned());
    } else {
        for table in tables {
            let rights: Option<String> = sqlx::query_scalar(
                "SELECT string_agg(name, ', ') FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS rights(name) \
                 WHERE has_table_privilege(to_regclass($1)::oid, name)",
            )
            .bind(table)
            .persistent(false).fetch_one(&mut *connection)
            .await
            .map_err(storage_error)?;
            excess_rights.extend(rights.map(|rights| format!("{rights} on {table}")));
        }
    }
    let jobs = tables.first().copied().unwrap_or_default();
    Ok(Inspection {
        product: format!("PostgreSQL {}", version.split_whitespace().next().unwrap_or_default()),
        user: Some(user),
        now: Timestamp::from_microsecond(now).ok(),
        excess_rights,
        notifications: notify::state(notify::triggered_table(connection, jobs).await?.as_ref()),
        ..Inspection::default()
    })
}

fn get<'r, T>(row: &'r PgRow, index: usize) -> Result<T, StorageError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(index).map_err(storage_error)
}

/// JobRunr's own schema has `timestamp without time zone`, schemas made by hand also `timestamptz`. A parameter has to be
/// cast to the column's type, or the index on the column is not used.
struct PostgresDialect {
    scheduled_at: &'static str,
    updated_at: &'static str,
}

impl PostgresDialect {
    /// The type of a column with times. A comparison of two types would depend on the session's time zone.
    fn kind(&self, column: &str) -> &'static str {
        if column == "updatedAt" { self.updated_at } else { self.scheduled_at }
    }

    fn new(schema: &Schema) -> Self {
        let kind = |column| {
            let is_zoned = schema.jobs_type(column).ends_with("with time zone");
            if is_zoned { "timestamptz" } else { "timestamp" }
        };
        Self { scheduled_at: kind("scheduledAt"), updated_at: kind("updatedAt") }
    }
}

impl Dialect for PostgresDialect {
    fn placeholder(&self, n: usize) -> String {
        format!("${n}")
    }

    fn int(&self, expression: &str) -> String {
        format!("({expression})::int8")
    }

    fn text(&self, expression: &str) -> String {
        format!("({expression})::text")
    }

    fn last_characters(&self, expression: &str, n: usize) -> String {
        format!("right({expression}, {n})")
    }

    fn process_duration(&self, json: &str, max_bytes: usize, n: usize) -> String {
        // `split_part` counts from the end only since PostgreSQL 14.
        let after = format!("reverse(split_part(reverse({json}), reverse('\"processDuration\":'), 1))");
        format!("CASE WHEN octet_length({json}) <= {max_bytes} THEN left({after}, {n}) END")
    }

    fn last_state(&self, column: &str, column_type: &str) -> String {
        if column_type.starts_with("json") {
            return format!("left(({column} -> 'jobHistory' -> -1)::text, {})", LastState::CHARACTERS);
        }
        // Without the key this is the end of the record.
        let (json, key): (String, String) = (self.text(column), LastState::KEY.chars().rev().collect());
        let before = LastState::BEFORE.saturating_add(LastState::KEY.len());
        let begin = format!("length({json}) - strpos(reverse({json}), '{key}') - {before}");
        format!("substr({json}, greatest(1, {begin}), {})", LastState::CHARACTERS)
    }

    fn id_value(&self, placeholder: &str, column_type: &str) -> String {
        match column_type {
            "uuid" => format!("{placeholder}::text::uuid"),
            padded if padded.starts_with("character(") => format!("{placeholder}::text::bpchar"),
            _ => format!("{placeholder}::text"),
        }
    }

    fn concatenated(&self, texts: &[&str]) -> String {
        // The cast removes the blanks of a padded text.
        texts.iter().map(|text| format!("({text})::text")).collect::<Vec<_>>().join(" || ")
    }

    fn micros(&self, column: &str) -> String {
        format!(
            "(CASE WHEN {column} >= {FIRST_YEAR} AND {column} < {AFTER_LAST_YEAR} \
             THEN EXTRACT(EPOCH FROM {column}) * 1000000 END)::int8"
        )
    }

    fn is_at_most(&self, column: &str, instant: Timestamp) -> Condition {
        Condition::new(format!("{column} <= ?::text::{}", self.scheduled_at), vec![wall_clock(instant)])
    }

    fn in_range(&self, column: &str, from: Option<Timestamp>, until: Timestamp) -> Vec<Condition> {
        let kind = self.kind(column);
        let mut condition = Condition::new(format!("{column} <= ?::text::{kind}"), vec![wall_clock(until)]);
        if let Some(from) = from {
            condition.sql += &format!(" AND {column} >= ?::text::{kind}");
            condition.binds.push(wall_clock(from));
        }
        vec![condition]
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition> {
        let sql = format!("{column} > ?::text::{} AND {column} < {AFTER_LAST_YEAR}", self.kind(column));
        vec![Condition::new(sql, vec![wall_clock(instant)])]
    }

    fn since_cursor(&self, column: &str, cursor: Timestamp) -> Option<Condition> {
        Some(Condition::new(format!("{column} >= ?::text::{}", self.updated_at), vec![wall_clock(cursor)]))
    }

    fn value_classes(&self, column: &str) -> Vec<String> {
        vec![format!("{column} >= {FIRST_YEAR} AND {column} < {AFTER_LAST_YEAR}")]
    }

    fn before_calendar(&self, column: &str) -> Vec<String> {
        vec![format!("{column} < {FIRST_YEAR}")]
    }

    fn after_calendar(&self, column: &str) -> Vec<String> {
        vec![format!("{column} >= {AFTER_LAST_YEAR}")]
    }
}

/// PostgreSQL has times from 4713 BC to 294276 AD, and infinite ones.
const FIRST_YEAR: &str = "'0001-01-01'";
const AFTER_LAST_YEAR: &str = "'10000-01-01'";

fn wall_clock(instant: Timestamp) -> Bind {
    Bind::Text(format!("{}+00", instant.strftime("%Y-%m-%d %H:%M:%S%.6f")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a comparison of the two types, the session's time zone decides.
    #[test]
    fn parameters_are_cast_to_the_type_of_their_column() {
        let dialect = PostgresDialect { scheduled_at: "timestamp", updated_at: "timestamptz" };
        let at = Timestamp::UNIX_EPOCH;
        for (column, kind) in [("scheduledAt", "::timestamp"), ("updatedAt", "::timestamptz")] {
            let conditions = [dialect.after(column, at), dialect.in_range(column, Some(at), at)].concat();
            for sql in conditions.iter().map(|condition| condition.sql.as_str()) {
                let casts = sql.match_indices("::text").map(|(at, text)| &sql[at + text.len()..]);
                let casts: Vec<&str> = casts.map(|rest| rest.split(' ').next().unwrap()).collect();
                assert!(!casts.is_empty() && casts.iter().all(|cast| *cast == kind), "{column}: {sql}");
            }
        }
    }
}
