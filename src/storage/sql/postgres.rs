//! PostgreSQL, and what speaks its protocol.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{ConnectOptions, Connection, Row as _};

use super::dialect::{Condition, Dialect};
use super::errors::{before, connected, first_host, storage_error};
use super::schema::{Columns, Schema, Table};
use super::statement::Bind;
use super::{SqlSource, login, notify};
use crate::config::{ServerAddress, StorageConfig, TlsMode, host_and_port};
use crate::storage::{Inspection, Listener, StorageError};

pub(super) async fn connect(address: &ServerAddress, config: &StorageConfig) -> Result<SqlSource, StorageError> {
    first_host(address, |host, port| connect_to(host, port, address, config)).await
}

/// Listens on a connection of its own, where the trigger is installed. A standby tells nothing.
pub(super) async fn listen(
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Option<Box<dyn Listener>>, StorageError> {
    first_host(address, |host, port| async move {
        let options = options(host, port, address)?.options(settings(address, config));
        notify::listen(options, &host_and_port(host, port), config).await
    })
    .await
}

async fn connect_to(
    host: &str,
    port: u16,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<SqlSource, StorageError> {
    let options = options(host, port, address)?.options(settings(address, config));
    let place = host_and_port(host, port);
    let connecting =
        async { PgConnection::connect_with(&options).await.map_err(|error| login::explained(error, &address.tls)) };
    let mut connection = connected(connecting, config, &place).await?;
    let prepared = prepare(&mut connection, address, config);
    let schema = before(config.statement_timeout, prepared).await?;
    let dialect = PostgresDialect::new(&schema);
    Ok(SqlSource::new(Box::new(connection), Box::new(dialect), schema, config))
}

/// How to connect. The driver begins with libpq's variables and the operating system's user, so everything is overwritten, and
/// what cannot be (`PGOPTIONS`, `PGSSLCERT`, `PGSSLKEY`) is refused with the configuration.
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
    // The driver would log slow statements whole, which are kilobytes long. The monitor logs slow reads in a line.
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

/// What makes the session read-only, bounded, and keen on indexes.
///
/// These go along with the start of the session and are no statements: behind a pooler that shares sessions, a `SET`
/// would reach the application's own transactions. Such a pooler refuses them instead, and says so.
fn settings(address: &ServerAddress, config: &StorageConfig) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", config.statement_timeout.as_millis().to_string()),
        ("lock_timeout", "1000".to_owned()),
        // A count up to a limit is cheap by an index, and only by walking it: a bitmap is built whole before the first
        // row comes, and stale statistics make a scan of the table look cheap.
        ("enable_seqscan", "off".to_owned()),
        ("enable_bitmapscan", "off".to_owned()),
        ("plan_cache_mode", "force_custom_plan".to_owned()),
        ("max_parallel_workers_per_gather", "0".to_owned()),
        ("jit", "off".to_owned()),
    ];
    settings.extend(address.search_path.clone().map(|path| ("search_path", path)));
    settings
}

/// Looks at the tables, and at who answers.
async fn prepare(
    connection: &mut PgConnection,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Schema, StorageError> {
    if address.primary_only {
        refuse_standby(connection).await?;
    }
    let mut found = [const { Columns::new() }; Table::ALL.len()];
    for (found, table) in found.iter_mut().zip(Table::ALL) {
        *found = columns(connection, &config.table_prefix.table(table.name()), table).await?;
    }
    let indexes = indexes(connection, &config.table_prefix.table(Table::Jobs.name())).await?;
    Ok(Schema::new(config, &format!("the database {}", address.database), found, indexes)?)
}

async fn refuse_standby(connection: &mut PgConnection) -> Result<(), StorageError> {
    let standby: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await.map_err(storage_error)?;
    if standby {
        return Err(StorageError::Unreachable("the host is a standby, and the address asks for a primary".to_owned()));
    }
    Ok(())
}

/// The columns of a table. One that we can do without, and may not read, counts as not there; without a right on the
/// others nothing goes, and the read itself says so best.
async fn columns(connection: &mut PgConnection, name: &str, table: Table) -> Result<Columns, StorageError> {
    let rows = sqlx::query(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
         AND ($2 OR has_table_privilege(attrelid, 'SELECT'))",
    )
    .bind(name)
    .bind(matches!(table, Table::Jobs | Table::Servers | Table::Stats))
    .fetch_all(connection)
    .await
    .map_err(storage_error)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(storage_error)
}

/// The columns of each index, separated by commas. One on a part of the rows, or unfinished, is as good as none.
async fn indexes(connection: &mut PgConnection, table: &str) -> Result<Vec<String>, StorageError> {
    sqlx::query_scalar(
        "SELECT string_agg(attname, ',' ORDER BY place) FROM pg_index \
         CROSS JOIN LATERAL unnest(indkey) WITH ORDINALITY AS keys (number, place) \
         JOIN pg_attribute ON attrelid = indrelid AND attnum = number \
         WHERE indrelid = to_regclass($1) AND indisvalid AND indpred IS NULL GROUP BY indexrelid",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .map_err(storage_error)
}

/// Looks at the server, the user and the user's rights.
pub(super) async fn inspect(connection: &mut PgConnection, tables: &[&str]) -> Result<Inspection, StorageError> {
    let row = sqlx::query(
        "SELECT current_setting('server_version'), current_user::text, \
         (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::int8, \
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
    )
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
            .fetch_one(&mut *connection)
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
        notifies: Some(notify::triggered_table(connection, jobs).await?.is_some()),
        ..Inspection::default()
    })
}

fn get<'r, T>(row: &'r PgRow, index: usize) -> Result<T, StorageError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(index).map_err(storage_error)
}

/// JobRunr's own schema has `timestamp without time zone`; hand-made copies also `timestamptz`. A parameter has to be
/// cast to the column's own type, or the index on the column is of no use.
struct PostgresDialect {
    scheduled_at: &'static str,
    updated_at: &'static str,
}

impl PostgresDialect {
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

    fn concatenated(&self, texts: &[&str]) -> String {
        // A blank-padded text loses its blanks by the cast.
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

    fn between(&self, column: &str, from: Option<Timestamp>, until: Timestamp) -> Vec<Condition> {
        let mut condition = self.is_at_most(column, until);
        if let Some(from) = from {
            condition.sql += &format!(" AND {column} >= ?::text::{}", self.scheduled_at);
            condition.binds.push(wall_clock(from));
        }
        vec![condition]
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition> {
        let sql = format!("{column} > ?::text::{} AND {column} < {AFTER_LAST_YEAR}", self.scheduled_at);
        vec![Condition::new(sql, vec![wall_clock(instant)])]
    }

    fn skip_to(&self, column: &str, instant: Timestamp) -> Option<Condition> {
        Some(Condition::new(format!("{column} >= ?::text::{}", self.updated_at), vec![wall_clock(instant)]))
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

/// PostgreSQL knows instants from 4713 BC to 294276 AD, and infinite ones.
const FIRST_YEAR: &str = "'0001-01-01'";
const AFTER_LAST_YEAR: &str = "'10000-01-01'";

fn wall_clock(instant: Timestamp) -> Bind {
    Bind::Text(format!("{}+00", instant.strftime("%Y-%m-%d %H:%M:%S%.6f")))
}
