//! MySQL and MariaDB.

mod grants;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};

use super::connect::{connected, first_host};
use super::connection::{Prepared, SqlConnection, rows};
use super::dialect::{Bind, Condition, Dialect, LastState};
use super::errors::storage_error;
use super::schema::{Columns, Schema, Table};
use super::statement::{Row, Statement};
use super::{SqlBackend, login};
use crate::config::{ServerAddress, StorageConfig, TlsMode, host_and_port};
use crate::storage::backend::{Backend, Driver};
use crate::storage::{Grants, Inspection, StorageError, within};

/// Characters of a list of rights; an administrator has dozens.
const MAX_RIGHTS_CHARACTERS: usize = 120;

/// A storage on MySQL or MariaDB.
pub(in crate::storage) struct MySql<'a> {
    pub(in crate::storage) server: &'a ServerAddress,
    pub(in crate::storage) config: &'a StorageConfig,
}

#[async_trait]
impl Driver for MySql<'_> {
    async fn connect(&self) -> Result<Box<dyn Backend>, StorageError> {
        let backend = first_host(self.server, |host, port| self.connect_to(host, port)).await?;
        Ok(Box::new(backend))
    }

    fn grants_sql(&self, role: &str) -> Grants {
        grants::grants_sql(&self.server.database, &self.config.table_prefix, role)
    }
}

impl MySql<'_> {
    async fn connect_to(&self, host: &str, port: u16) -> Result<SqlBackend, StorageError> {
        let options = options(host, port, self.server)?;
        let tls = &self.server.tls;
        let connecting =
            async { MySqlConnection::connect_with(&options).await.map_err(|error| login::explained(error, tls)) };
        let mut connection = connected(connecting, self.config, &host_and_port(host, port)).await?;
        let prepared = prepare(&mut connection, self.server, self.config);
        let (schema, is_mariadb) = within(self.config.statement_timeout, prepared).await?;
        let session = MySqlSession { connection, is_mariadb };
        Ok(SqlBackend::new(Box::new(session), Box::new(MySqlDialect), schema, self.config))
    }
}

/// A session on either server.
struct MySqlSession {
    connection: MySqlConnection,
    is_mariadb: bool,
}

/// The setting that limits the time of a statement. MariaDB's is in seconds, MySQL's in milliseconds, under another name.
fn time_limit(is_mariadb: bool, limit: Duration) -> String {
    if is_mariadb {
        format!("SESSION max_statement_time = {}", limit.as_secs_f64())
    } else {
        format!("SESSION max_execution_time = {}", limit.as_millis().max(1))
    }
}

#[async_trait]
impl SqlConnection for MySqlSession {
    async fn rows(
        &mut self,
        statement: Statement,
        each: &mut (dyn FnMut(Row) -> bool + Send),
    ) -> Result<(), StorageError> {
        rows::<sqlx::MySql>(&mut self.connection, statement, Prepared::Named, each).await
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        let statement = format!("SET {}", time_limit(self.is_mariadb, limit));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connection).await.map(drop).map_err(storage_error)
    }

    async fn inspect(&mut self, _tables: &[&str]) -> Result<Inspection, StorageError> {
        inspect(&mut self.connection).await
    }

    async fn close(self: Box<Self>) {
        // The connection is gone either way.
        let _ = Connection::close(self.connection).await;
    }
}

fn options(host: &str, port: u16, address: &ServerAddress) -> Result<MySqlConnectOptions, StorageError> {
    // The session runs in UTC, so that a TIMESTAMP column made by hand reads like JobRunr's DATETIME.
    let mut options = MySqlConnectOptions::new()
        .host(host)
        .port(port)
        // The driver's default is root.
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
    // The driver would log slow statements in full, which are kilobytes long. The monitor logs slow reads in one line.
    options = options.disable_statement_logging();
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

/// Makes the session read-only, limits its time and ends each transaction with its statement, then reads the schema. Returns also
/// whether the server is MariaDB.
async fn prepare(
    connection: &mut MySqlConnection,
    address: &ServerAddress,
    config: &StorageConfig,
) -> Result<(Schema, bool), StorageError> {
    let version: String = sqlx::query_scalar("SELECT CAST(VERSION() AS CHAR)")
        .fetch_one(&mut *connection)
        .await
        .map_err(storage_error)?;
    let is_mariadb = version.contains("MariaDB");
    // A server may be configured not to commit: the first read would then begin a transaction that never ends, and all later ones
    // would see the tables as they were then.
    let settings = format!("SET SESSION autocommit = 1, {}", time_limit(is_mariadb, config.statement_timeout));
    for statement in [settings, "SET SESSION TRANSACTION READ ONLY".to_owned()] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(storage_error)?;
    }
    let prefix = &config.table_prefix;
    let mut found = [const { Columns::new() }; Table::ALL.len()];
    for (found, table) in found.iter_mut().zip(Table::ALL) {
        *found = columns(connection, prefix.schema(), &prefix.table(table.name())).await?;
    }
    let indexes = indexes(connection, prefix.schema(), &prefix.table(Table::Jobs.name())).await?;
    let schema = Schema::new(config, &format!("the database {}", address.database), found, indexes)?;
    Ok((schema, is_mariadb))
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

/// Inspects the server, the user and the user's rights.
async fn inspect(connection: &mut MySqlConnection) -> Result<Inspection, StorageError> {
    let row = sqlx::query(
        "SELECT CAST(VERSION() AS CHAR), CAST(CURRENT_USER() AS CHAR), \
         CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS SIGNED)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(storage_error)?;
    let version: String = row.try_get(0).map_err(storage_error)?;
    let user: String = row.try_get(1).map_err(storage_error)?;
    let now: i64 = row.try_get(2).map_err(storage_error)?;
    let (number, is_mariadb) = (version.split('-').next().unwrap_or_default(), version.contains("MariaDB"));
    Ok(Inspection {
        product: format!("{} {number}", if is_mariadb { "MariaDB" } else { "MySQL" }),
        excess_rights: excess_rights(connection, &user).await?,
        user: Some(user),
        now: Timestamp::from_microsecond(now).ok(),
        ..Inspection::default()
    })
}

/// The user's rights besides reading. The server shows the user's own rights; those of roles are listed under the roles' names.
async fn excess_rights(connection: &mut MySqlConnection, user: &str) -> Result<Vec<String>, StorageError> {
    // CURRENT_USER returns `name@host`, and the views have `'name'@'host'`.
    let grantee = user.rsplit_once('@').map(|(name, host)| format!("'{name}'@'{host}'")).unwrap_or_default();
    let levels = [
        ("user_privileges", "'every database'"),
        ("schema_privileges", "CONCAT(table_schema, '.*')"),
        ("table_privileges", "CONCAT(table_schema, '.', table_name)"),
    ];
    let mut rights = Vec::new();
    for (view, scope) in levels {
        // MySQL groups by a column only, MariaDB also by an expression.
        let statement = format!(
            "SELECT CAST(CONCAT(GROUP_CONCAT(privilege_type ORDER BY privilege_type SEPARATOR ', '), ' on ', place) AS CHAR) \
             FROM (SELECT privilege_type, {scope} AS place FROM information_schema.{view} \
             WHERE grantee = ? AND privilege_type NOT IN ('USAGE', 'SELECT')) rights GROUP BY place"
        );
        let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&grantee)
            .fetch_all(&mut *connection)
            .await
            .map_err(storage_error)?;
        rights.extend(found.iter().map(|text| crate::text::printable(text, MAX_RIGHTS_CHARACTERS)));
    }
    Ok(rights)
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
        // Not UNIX_TIMESTAMP, which depends on the session's time zone.
        format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})")
    }

    fn text(&self, expression: &str) -> String {
        format!("CAST({expression} AS CHAR)")
    }

    fn length(&self, expression: &str) -> String {
        format!("CHAR_LENGTH({expression})")
    }

    fn last_characters(&self, expression: &str, n: usize) -> String {
        format!("RIGHT({expression}, {n})")
    }

    fn process_duration(&self, json: &str, max_bytes: usize, n: usize) -> String {
        let duration = format!("LEFT(SUBSTRING_INDEX({json}, '\"processDuration\":', -1), {n})");
        format!("CASE WHEN LENGTH({json}) <= {max_bytes} THEN {duration} END")
    }

    fn last_state(&self, column: &str, column_type: &str) -> String {
        if column_type == "json" {
            let state = format!("JSON_EXTRACT({column}, '$.jobHistory[last]')");
            return format!("LEFT(CAST({state} AS CHAR), {})", LastState::CHARACTERS);
        }
        // Without the key this is the beginning of the record.
        let json = self.text(column);
        let after = format!("CHAR_LENGTH(SUBSTRING_INDEX({json}, '{}', -1))", LastState::KEY);
        let before = LastState::BEFORE.saturating_add(LastState::KEY.len());
        // A difference of unsigned numbers would not be negative.
        let begin = format!("CAST(CHAR_LENGTH({json}) AS SIGNED) - {after} - {before}");
        format!("SUBSTRING({json}, GREATEST(1, {begin}), {})", LastState::CHARACTERS)
    }

    /// JobRunr Pro stores ids as bytes.
    fn id_text(&self, column: &str, column_type: &str) -> String {
        if column_type == "binary" { format!("HEX({column})") } else { self.text(column) }
    }

    fn id_value(&self, placeholder: &str, column_type: &str) -> String {
        if column_type == "binary" { format!("UNHEX({placeholder})") } else { placeholder.to_owned() }
    }

    fn concatenated(&self, texts: &[&str]) -> String {
        format!("CONCAT({})", texts.join(", "))
    }

    fn is_at_most(&self, column: &str, instant: Timestamp) -> Condition {
        Condition::new(format!("{column} <= CAST(? AS DATETIME(6))"), vec![wall_clock(instant)])
    }

    fn in_range(&self, column: &str, from: Option<Timestamp>, until: Timestamp) -> Vec<Condition> {
        let mut condition = self.is_at_most(column, until);
        if let Some(from) = from {
            condition.sql += &format!(" AND {column} >= CAST(? AS DATETIME(6))");
            condition.binds.push(wall_clock(from));
        }
        vec![condition]
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition> {
        vec![Condition::new(format!("{column} > CAST(? AS DATETIME(6))"), vec![wall_clock(instant)])]
    }

    fn since_cursor(&self, column: &str, cursor: Timestamp) -> Option<Condition> {
        Some(Condition::new(format!("{column} >= CAST(? AS DATETIME(6))"), vec![wall_clock(cursor)]))
    }

    fn value_classes(&self, _column: &str) -> Vec<String> {
        // MySQL's times end with the year 9999.
        vec![String::new()]
    }

    fn before_calendar(&self, _column: &str) -> Vec<String> {
        Vec::new()
    }

    fn after_calendar(&self, _column: &str) -> Vec<String> {
        Vec::new()
    }
}

fn wall_clock(instant: Timestamp) -> Bind {
    Bind::Text(instant.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string())
}
