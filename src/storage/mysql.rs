//! MySQL and MariaDB.

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection, Row as _};

use super::errors::{before, connected, first_host, storage_error};
use super::query::{Known, answer, is_still_idle};
use super::schema::{Columns, Schema, Table};
use super::sql::{Bind, Dialect, Reading};
use super::{Session, StorageError, login};
use crate::config::{ServerAddress, StorageConfig, TlsMode, place};
use crate::jobrunr::{Questions, Snapshot};

pub(super) async fn connect(address: &ServerAddress, config: &StorageConfig) -> Result<Box<dyn Session>, StorageError> {
    let session = first_host(address, |host, port| connect_to(host, port, address, config)).await?;
    Ok(Box::new(session))
}

async fn connect_to(
    host: &str,
    port: u16,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<MySql, StorageError> {
    let options = options(host, port, address)?;
    let place = place(host, port);
    let connecting =
        async { MySqlConnection::connect_with(&options).await.map_err(|error| login::explained(error, &address.tls)) };
    let mut connection = connected(connecting, config, &place).await?;
    let prepared = prepare(&mut connection, address, config);
    let schema = before(config.statement_timeout, prepared).await?;
    Ok(MySql { connection, schema, known: Known::default(), config: config.clone() })
}

fn options(host: &str, port: u16, address: &ServerAddress) -> Result<MySqlConnectOptions, StorageError> {
    // The session runs in UTC, so that a hand-made TIMESTAMP column reads like JobRunr's DATETIME.
    let mut options = MySqlConnectOptions::new()
        .host(host)
        .port(port)
        // Without, the driver would take root.
        .username(login::user(address)?)
        .database(&address.database)
        .timezone(Some("+00:00".to_owned()))
        .ssl_mode(match address.tls.mode {
            TlsMode::Disable => MySqlSslMode::Disabled,
            TlsMode::Prefer => MySqlSslMode::Preferred,
            TlsMode::Require => MySqlSslMode::Required,
            TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
            TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
        });
    if let Some(password) = &address.password {
        options = options.password(password.read()?.expose_secret());
    }
    if let Some(certificate) = &address.tls.root_cert {
        options = options.ssl_ca(certificate);
    }
    if let Some(certificate) = &address.tls.client_cert {
        options = options.ssl_client_cert(certificate);
    }
    if let Some(key) = &address.tls.client_key {
        options = options.ssl_client_key(key);
    }
    Ok(options)
}

/// Makes the session read-only and bounded, and looks at the tables.
async fn prepare(
    connection: &mut MySqlConnection,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<Schema, StorageError> {
    let version: String = sqlx::query_scalar("SELECT CAST(VERSION() AS CHAR)")
        .fetch_one(&mut *connection)
        .await
        .map_err(storage_error)?;
    // MariaDB counts in seconds, MySQL in milliseconds, under another name.
    let timeout = if version.contains("MariaDB") {
        format!("SET SESSION max_statement_time = {}", config.statement_timeout.as_secs_f64())
    } else {
        format!("SET SESSION max_execution_time = {}", config.statement_timeout.as_millis())
    };
    for statement in [timeout, "SET SESSION TRANSACTION READ ONLY".to_owned()] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(storage_error)?;
    }
    let prefix = &config.table_prefix;
    let mut found = [const { Columns::new() }; Table::ALL.len()];
    for (found, table) in found.iter_mut().zip(Table::ALL) {
        *found = columns(connection, prefix.schema(), &prefix.table(table.name())).await?;
    }
    let indexes = indexes(connection, prefix.schema(), &prefix.table(Table::Jobs.name())).await?;
    Ok(Schema::new(config, &format!("the database {}", address.database), found, indexes)?)
}

async fn columns(
    connection: &mut MySqlConnection,
    database: Option<&str>,
    table: &str,
) -> Result<Columns, StorageError> {
    let name = table.rsplit('.').next().unwrap_or(table);
    let rows = sqlx::query(
        "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) FROM information_schema.columns \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
    )
    .bind(database)
    .bind(name)
    .fetch_all(connection)
    .await
    .map_err(storage_error)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(storage_error)
}

/// The columns of each index, separated by commas.
async fn indexes(
    connection: &mut MySqlConnection,
    database: Option<&str>,
    table: &str,
) -> Result<Vec<String>, StorageError> {
    let name = table.rsplit('.').next().unwrap_or(table);
    sqlx::query_scalar(
        "SELECT CAST(GROUP_CONCAT(column_name ORDER BY seq_in_index) AS CHAR) FROM information_schema.statistics \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? GROUP BY index_name",
    )
    .bind(database)
    .bind(name)
    .fetch_all(connection)
    .await
    .map_err(storage_error)
}

struct MySql {
    connection: MySqlConnection,
    schema: Schema,
    known: Known,
    config: StorageConfig,
}

#[async_trait]
impl Session for MySql {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        let reading = Reading::new(&MySqlDialect, &self.schema, &self.config);
        answer(&mut self.connection, &reading, &mut self.known, questions, now).await
    }

    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        let reading = Reading::new(&MySqlDialect, &self.schema, &self.config);
        is_still_idle(&mut self.connection, &reading, &self.known, questions, since).await
    }

    async fn close(self: Box<Self>) {
        // Whatever the database says to the goodbye, we are gone.
        let _ = self.connection.close().await;
    }
}

struct MySqlDialect;

impl Dialect for MySqlDialect {
    fn placeholder(&self, _n: usize) -> String {
        "?".to_owned()
    }

    fn int(&self, expression: &str) -> String {
        format!("CAST({expression} AS SIGNED)")
    }

    fn micros(&self, column: &str) -> String {
        // Never UNIX_TIMESTAMP, which takes the session's time zone into account.
        format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})")
    }

    fn at_most(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)> {
        vec![(format!("{column} <= CAST(? AS DATETIME(6))"), vec![wall_clock(instant)])]
    }

    fn at_least(&self, column: &str, instant: Timestamp) -> Option<(String, Vec<Bind>)> {
        Some((format!("{column} >= CAST(? AS DATETIME(6))"), vec![wall_clock(instant)]))
    }

    fn trusts_statistics(&self) -> bool {
        true
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)> {
        vec![(format!("{column} > CAST(? AS DATETIME(6))"), vec![wall_clock(instant)])]
    }

    fn text(&self, expression: &str) -> String {
        format!("CAST({expression} AS CHAR)")
    }

    fn lines(&self, first: &str, second: &str) -> String {
        format!("CONCAT({first}, '\\n', {second})")
    }
}

fn wall_clock(instant: Timestamp) -> Bind {
    Bind::Text(instant.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string())
}
