//! A database with JobRunr's tables, one a test, and the rows that the test wants in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::{SignedDuration, Timestamp};
use jobrunr_scaler::config::{Config, StorageConfig};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// The databases that every storage test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
    Sqlite,
}

pub const ALL: [Kind; 3] = [Kind::Postgres, Kind::MariaDb, Kind::Sqlite];

enum Connected {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

/// A database of this test's own.
pub struct Database {
    pub kind: Kind,
    pub url: String,
    pub prefix: String,
    pub now: Timestamp,
    connection: Connected,
    _folder: TempDir,
}

/// What a test's tables look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// The table prefix.
    pub prefix: &'static str,
    /// UUID ids, zoned times, booleans, no indexes: as people copy JobRunr's schema by hand.
    pub hand_made: bool,
    /// The columns of JobRunr Pro.
    pub pro: bool,
}

fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests by scripts/test.sh, which starts the servers"))
}

impl Database {
    /// An empty database with JobRunr's tables.
    pub async fn new(kind: Kind, shape: Shape) -> Self {
        static N: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::new().unwrap();
        let (url, connection) = match kind {
            Kind::Postgres => {
                let url = server("TEST_POSTGRES_URL");
                let mut admin = PgConnection::connect(&url).await.unwrap();
                admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
                let mut connection = PgConnection::connect(&url).await.unwrap();
                // A zoned column takes the literals below for the session's own time.
                connection.execute("SET TIME ZONE 'UTC'").await.unwrap();
                (url, Connected::Postgres(connection))
            }
            Kind::MariaDb => {
                let url = server("TEST_MARIADB_URL");
                let mut admin = MySqlConnection::connect(&url).await.unwrap();
                admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
                let connection = MySqlConnection::connect(&url).await.unwrap();
                (url, Connected::MariaDb(connection))
            }
            Kind::Sqlite => {
                let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
                let connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
                (url, Connected::Sqlite(connection))
            }
        };
        // In MariaDB a schema is a database, of which all tests share one server.
        let prefix = match (kind, shape.prefix.split_once('.')) {
            (Kind::MariaDb, Some((_, rest))) => format!("{name}_s.{rest}"),
            _ => shape.prefix.to_owned(),
        };
        let mut database = Self { kind, url, prefix, now: now_in_micros(), connection, _folder: folder };
        if let Some((schema, _)) = database.prefix.clone().split_once('.') {
            database.run(format!("CREATE SCHEMA {schema}")).await;
        }
        database.create_tables(shape).await;
        database
    }

    pub async fn run(&mut self, sql: String) {
        let sql = AssertSqlSafe(sql);
        match &mut self.connection {
            Connected::Postgres(connection) => drop(connection.execute(sql).await.unwrap()),
            Connected::MariaDb(connection) => drop(connection.execute(sql).await.unwrap()),
            Connected::Sqlite(connection) => drop(connection.execute(sql).await.unwrap()),
        }
    }

    async fn create_tables(&mut self, shape: Shape) {
        let (id, time, boolean) = match (self.kind, shape.hand_made) {
            (Kind::Postgres, true) => ("UUID", "TIMESTAMPTZ", "BOOLEAN"),
            (Kind::Postgres, false) => ("CHAR(36)", "TIMESTAMP", "INT"),
            (Kind::MariaDb, _) => ("CHAR(36)", "DATETIME(6)", "INT"),
            (Kind::Sqlite, _) => ("NCHAR(36)", "TIMESTAMP", "INT"),
        };
        let pro = |columns: &'static str| if shape.pro { columns } else { "" };
        let jobs_pro = pro(
            ", priority INT DEFAULT 0 NOT NULL, serverTag VARCHAR(128) DEFAULT 'DEFAULT', dynamicQueue VARCHAR(128)",
        );
        let servers_pro = pro(", occupiedWorkers INT, serverTags VARCHAR(512)");
        let p = self.prefix.clone();
        let text = if self.kind == Kind::MariaDb { "MEDIUMTEXT" } else { "TEXT" };
        self.run(format!(
            "CREATE TABLE {p}jobrunr_jobs (id {id} PRIMARY KEY, version INT NOT NULL, jobAsJson {text} NOT NULL, \
             jobSignature VARCHAR(512) NOT NULL, state VARCHAR(36) NOT NULL, createdAt {time} NOT NULL, \
             updatedAt {time} NOT NULL, scheduledAt {time} NULL, recurringJobId VARCHAR(128) NULL{jobs_pro})"
        ))
        .await;
        self.run(format!(
            "CREATE TABLE {p}jobrunr_backgroundjobservers (id {id} PRIMARY KEY, workerPoolSize INT NOT NULL, \
             pollIntervalInSeconds INT NOT NULL, firstHeartbeat {time} NOT NULL, lastHeartbeat {time} NOT NULL, \
             running {boolean} NOT NULL, name VARCHAR(128){servers_pro})"
        ))
        .await;
        if !shape.hand_made {
            let schemaless = p.rsplit('.').next().unwrap().to_owned();
            for (name, columns) in [
                ("jobrunr_state_idx", "state"),
                ("jobrunr_job_scheduled_at_idx", "scheduledAt"),
                ("jobrunr_jobs_state_updated_idx", "state, updatedAt"),
            ] {
                self.run(format!("CREATE INDEX {schemaless}{name} ON {p}jobrunr_jobs ({columns})")).await;
            }
        }
    }

    /// A literal for the instant `ago` seconds before the test's now.
    pub fn at(&self, seconds_ago: f64) -> String {
        let instant = self.now.checked_sub(SignedDuration::from_secs_f64(seconds_ago)).unwrap();
        match self.kind {
            Kind::Sqlite => instant.as_millisecond().to_string(),
            _ => format!("'{}'", instant.strftime("%Y-%m-%d %H:%M:%S%.6f")),
        }
    }

    /// A job that entered its state `seconds_ago`, and is scheduled as given.
    pub async fn job(&mut self, state: &str, seconds_ago: f64, scheduled_ago: Option<f64>) {
        self.job_with(state, seconds_ago, scheduled_ago, "", "").await;
    }

    /// The same, with further columns and their literals.
    pub async fn job_with(&mut self, state: &str, ago: f64, scheduled: Option<f64>, columns: &str, values: &str) {
        let (at, scheduled) = (self.at(ago), scheduled.map_or("NULL".to_owned(), |ago| self.at(ago)));
        self.raw_job(state, &at, &scheduled, columns, values).await;
    }

    /// The same, with literals for the times.
    pub async fn raw_job(&mut self, state: &str, updated: &str, scheduled: &str, columns: &str, values: &str) {
        let (id, p, zone) = (id(), self.prefix.clone(), self.zone());
        let scheduled = if scheduled == "NULL" { scheduled.to_owned() } else { format!("{zone}{scheduled}") };
        self.run(format!(
            "INSERT INTO {p}jobrunr_jobs (id, version, jobAsJson, jobSignature, state, createdAt, updatedAt, scheduledAt{columns}) \
             VALUES ('{id}', 1, '{{}}', 'Service.work()', '{state}', {zone}{updated}, {zone}{updated}, {scheduled}{values})"
        ))
        .await;
    }

    /// What stands before a literal of an instant.
    fn zone(&self) -> &'static str {
        if self.kind == Kind::Postgres { "TIMESTAMP WITHOUT TIME ZONE " } else { "" }
    }

    pub async fn server(&mut self, workers: u32, poll_seconds: u32, heartbeat_ago: f64) {
        self.server_with(workers, poll_seconds, heartbeat_ago, "", "").await;
    }

    pub async fn server_with(&mut self, workers: u32, poll: u32, heartbeat_ago: f64, columns: &str, values: &str) {
        let (id, p, at, zone) = (id(), self.prefix.clone(), self.at(heartbeat_ago), self.zone());
        let running = if self.kind == Kind::Postgres { "'1'" } else { "1" };
        self.run(format!(
            "INSERT INTO {p}jobrunr_backgroundjobservers (id, workerPoolSize, pollIntervalInSeconds, firstHeartbeat, lastHeartbeat, running{columns}) \
             VALUES ('{id}', {workers}, {poll}, {zone}{at}, {zone}{at}, {running}{values})"
        ))
        .await;
    }

    /// The configuration of this storage, with further settings as of the environment.
    pub fn config_with(&self, settings: &[(&str, &str)]) -> StorageConfig {
        let setting = |name: &str, value: &str| (format!("JOBRUNR_SCALER_{name}"), value.to_owned());
        let own = [("URL", self.url.as_str()), ("TABLE_PREFIX", self.prefix.as_str())];
        // The map keeps the last of two: what the test sets goes above.
        let variables: BTreeMap<String, String> =
            own.iter().chain(settings).map(|(name, value)| setting(name, value)).collect();
        let config: Config = Config::load(None, variables).unwrap().config;
        config.storages.get("default").unwrap().clone()
    }

    pub fn config(&self) -> StorageConfig {
        self.config_with(&[])
    }
}

fn id() -> String {
    static N: AtomicU32 = AtomicU32::new(1);
    format!("00000000-0000-4000-8000-{:012}", N.fetch_add(1, Ordering::Relaxed))
}

fn now_in_micros() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap()
}
