//! PostgreSQL, and what speaks its protocol.

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection, Row as _};

use super::errors::{before, connected, first_host, storage_error};
use super::query::{Known, answer, is_still_idle};
use super::schema::{Columns, Schema, Table};
use super::sql::{Bind, Dialect, Reading};
use super::{Listener, Session, StorageError, login, notify};
use crate::config::{ServerAddress, StorageConfig, TlsMode, place};
use crate::jobrunr::{Questions, Snapshot};

pub(super) async fn connect(address: &ServerAddress, config: &StorageConfig) -> Result<Box<dyn Session>, StorageError> {
    let session = first_host(address, |host, port| connect_to(host, port, address, config)).await?;
    Ok(Box::new(session))
}

/// Listens on a connection of its own, where the trigger is installed. A standby tells nothing.
pub(super) async fn listen(
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Option<Box<dyn Listener>>, StorageError> {
    first_host(address, |host, port| async move {
        let options = options(host, port, address)?.options(settings(address, config));
        notify::listen(options, &place(host, port), config).await
    })
    .await
}

async fn connect_to(
    host: &str,
    port: u16,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Postgres, StorageError> {
    let options = options(host, port, address)?.options(settings(address, config));
    let place = place(host, port);
    let connecting =
        async { PgConnection::connect_with(&options).await.map_err(|error| login::explained(error, &address.tls)) };
    let mut connection = connected(connecting, config, &place).await?;
    let prepared = prepare(&mut connection, address, config);
    let schema = before(config.statement_timeout, prepared).await?;
    let (dialect, known) = (PostgresDialect::new(&schema), Known::default());
    Ok(Postgres { connection, dialect, schema, known, config: config.clone() })
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

struct Postgres {
    connection: PgConnection,
    schema: Schema,
    dialect: PostgresDialect,
    known: Known,
    config: StorageConfig,
}

#[async_trait]
impl Session for Postgres {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        let reading = Reading::new(&self.dialect, &self.schema, &self.config);
        answer(&mut self.connection, &reading, &mut self.known, questions, now).await
    }

    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        let reading = Reading::new(&self.dialect, &self.schema, &self.config);
        is_still_idle(&mut self.connection, &reading, &self.known, questions, since).await
    }

    async fn close(self: Box<Self>) {
        // Whatever the database says to the goodbye, we are gone.
        let _ = self.connection.close().await;
    }
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

    fn micros(&self, column: &str) -> String {
        // PostgreSQL knows an infinite timestamp, which is no number.
        format!("(CASE WHEN isfinite({column}) THEN EXTRACT(EPOCH FROM {column}) * 1000000 END)::int8")
    }

    fn at_most(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)> {
        vec![(format!("{column} <= ?::text::{}", self.scheduled_at), vec![wall_clock(instant)])]
    }

    fn at_least(&self, column: &str, instant: Timestamp) -> Option<(String, Vec<Bind>)> {
        Some((format!("{column} >= ?::text::{}", self.updated_at), vec![wall_clock(instant)]))
    }

    fn trusts_statistics(&self) -> bool {
        true
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)> {
        // The infinite timestamp is after everything, and never comes.
        let condition = format!("{column} > ?::text::{0} AND {column} < 'infinity'::{0}", self.scheduled_at);
        vec![(condition, vec![wall_clock(instant)])]
    }

    fn text(&self, expression: &str) -> String {
        format!("({expression})::text")
    }

    fn lines(&self, first: &str, second: &str) -> String {
        format!("{first}::text || E'\\n' || {second}::text")
    }
}

fn wall_clock(instant: Timestamp) -> Bind {
    Bind::Text(format!("{}+00", instant.strftime("%Y-%m-%d %H:%M:%S%.6f")))
}
