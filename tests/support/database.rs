//! A new database with JobRunr's tables for each test, on a real server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jobrunr_scaler::config::{Address, Config, StorageConfig};
use mongodb::bson::doc;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use url::Url;

use super::mongodb::{Collections, job_document, recurring_document, server_document};
use super::rows::{Encoding, Job, ServerRow};
use super::schema::create_tables;
use super::servers::OwnServer;
pub(crate) use super::servers::server_url;

/// The databases that every storage test runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    MariaDb,
    MySql,
    Sqlite,
    MongoDb,
}

impl Kind {
    /// Whether it takes MySQL's statements.
    pub(crate) fn is_mysql(self) -> bool {
        matches!(self, Self::MariaDb | Self::MySql)
    }
}

/// The SQL databases that are servers.
pub(crate) const SERVERS: [Kind; 3] = [Kind::Postgres, Kind::MariaDb, Kind::MySql];
/// The databases behind a network.
pub(crate) const NETWORKED: [Kind; 4] = [Kind::Postgres, Kind::MariaDb, Kind::MySql, Kind::MongoDb];
/// Those of the SQL databases whose TLS ours understands: the MySQL server for tests knows no cipher that rustls knows.
pub(crate) const TLS_SERVERS: [Kind; 2] = [Kind::Postgres, Kind::MariaDb];

/// How the tables were created.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    /// The tables are in another schema (MariaDB: database), which the prefix names.
    pub(crate) schema: bool,
    /// What stands before the tables' names.
    pub(crate) prefix: &'static str,
    /// With the columns that JobRunr Pro adds.
    pub(crate) pro: bool,
    /// Created by somebody's own migration: other types for ids, instants and booleans, no index, no migrations table.
    pub(crate) hand_made: bool,
}

enum Admin {
    Postgres(PgConnection),
    MySql(MySqlConnection),
    Sqlite(SqliteConnection),
    MongoDb(Collections),
}

/// A database of one test, and a superuser's connection to it.
pub(crate) struct Database {
    pub(crate) kind: Kind,
    pub(crate) layout: Layout,
    /// The database's name; SQLite's file.
    pub(crate) name: String,
    /// The address, with a superuser's name and password.
    pub(crate) url: String,
    /// The instant to which the rows' times are relative.
    pub(crate) now: Timestamp,
    pub(crate) encoding: Encoding,
    table_prefix: String,
    admin: Admin,
    n_rows: u64,
    _directory: tempfile::TempDir,
}

/// The instant for tests that take time as an argument: an hour at which no zone's clock changes.
pub(crate) fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn unique_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let millis = Timestamp::now().as_millisecond();
    format!("it_{millis}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Database {
    /// JobRunr's own tables, without a prefix.
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::with(kind, Layout::default()).await
    }

    pub(crate) async fn with(kind: Kind, layout: Layout) -> Self {
        let mut database = Self::empty(kind, layout).await;
        database.create_tables().await;
        database
    }

    /// JobRunr's tables in a database whose texts have this encoding.
    pub(crate) async fn with_encoding(kind: Kind, layout: Layout, encoding: &str) -> Self {
        let mut database = Self::empty_on(kind, layout, Some(encoding), || server_url(kind)).await;
        database.create_tables().await;
        database
    }

    /// JobRunr's tables on a server of the test's own.
    pub(crate) async fn on_server(kind: Kind, layout: Layout, server: &OwnServer) -> Self {
        let mut database = Self::empty_on(kind, layout, None, || server.url.clone()).await;
        database.create_tables().await;
        database
    }

    /// A database without any table.
    pub(crate) async fn empty(kind: Kind, layout: Layout) -> Self {
        Self::empty_on(kind, layout, None, || server_url(kind)).await
    }

    async fn empty_on(kind: Kind, layout: Layout, encoding: Option<&str>, server_url: impl FnOnce() -> Url) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = unique_name();
        let (admin, url) = match kind {
            Kind::Postgres => {
                let mut url = server_url();
                let mut maker = PgConnection::connect(url.as_str()).await.unwrap();
                let encoding = encoding.map(|encoding| format!(" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"));
                let statement = format!("CREATE DATABASE {name} TEMPLATE template0{}", encoding.unwrap_or_default());
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut maker).await.unwrap();
                url.set_path(&name);
                (Admin::Postgres(PgConnection::connect(url.as_str()).await.unwrap()), url.to_string())
            }
            Kind::MariaDb | Kind::MySql => {
                let mut url = server_url();
                let mut maker = MySqlConnection::connect(url.as_str()).await.unwrap();
                let encoding = encoding.map(|encoding| format!(" CHARACTER SET {encoding}")).unwrap_or_default();
                let statement = format!("CREATE DATABASE {name}{encoding}");
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut maker).await.unwrap();
                url.set_path(&name);
                let admin = MySqlConnection::connect(url.as_str()).await.unwrap();
                (Admin::MySql(admin), url.to_string())
            }
            Kind::MongoDb => {
                let url = server_url();
                (Admin::MongoDb(Collections::connect(&url, &name, layout).await), url.to_string())
            }
            Kind::Sqlite => {
                let file = directory.path().join("jobrunr.db");
                let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
                let options = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
                let admin = SqliteConnection::connect_with(&options).await.unwrap();
                (Admin::Sqlite(admin), format!("sqlite:{}", file.display()))
            }
        };
        let encoding = match kind {
            Kind::Postgres if layout.hand_made => Encoding::Zoned,
            Kind::Sqlite => Encoding::Millis,
            _ => Encoding::WallClock,
        };
        let schema = if layout.schema { format!("{}.", unique_name()) } else { String::new() };
        let table_prefix = format!("{schema}{}", layout.prefix);
        let now = noon();
        Self { kind, layout, name, url, now, encoding, table_prefix, admin, n_rows: 0, _directory: directory }
    }

    /// For tests with the machine's clock.
    pub(crate) fn at_present(mut self) -> Self {
        self.now = Timestamp::now();
        self
    }

    /// The configuration, with a superuser's rights.
    pub(crate) fn config(&self) -> StorageConfig {
        let config = config(&self.url, &self.table_prefix);
        match self.kind {
            Kind::MongoDb => in_database(config, &self.name),
            _ => config,
        }
    }

    pub(crate) fn jobs(&self) -> String {
        self.table("jobs")
    }

    pub(crate) fn servers(&self) -> String {
        match self.kind {
            Kind::MongoDb => self.table("background_job_servers"),
            _ => self.table("backgroundjobservers"),
        }
    }

    pub(crate) fn recurring_jobs(&self) -> String {
        self.table("recurring_jobs")
    }

    fn table(&self, name: &str) -> String {
        let jobrunr = if self.kind == Kind::MongoDb { "" } else { "jobrunr_" };
        format!("{}{jobrunr}{name}", self.table_prefix)
    }

    /// The collections of MongoDB.
    pub(crate) fn mongodb(&self) -> &Collections {
        match &self.admin {
            Admin::MongoDb(collections) => collections,
            _ => panic!("{:?} has no collections", self.kind),
        }
    }

    /// Makes the tables look like those of JobRunr 7.
    pub(crate) async fn forget_version_8(&mut self) {
        if let Admin::MongoDb(collections) = &self.admin {
            let json = r#"{"scheduleExpression":"0 3 * * *","zoneId":"UTC","createdAt":"2026-11-23T12:00:00Z"}"#;
            return collections.update("recurring_jobs", doc! {}, doc! { "$set": { "jobAsJson": json } }).await;
        }
        let statement = format!("DELETE FROM {}jobrunr_migrations WHERE script LIKE 'v016%'", self.table_prefix);
        self.execute(&statement).await;
    }

    /// Runs statements as a superuser.
    pub(crate) async fn execute(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        let result = match &mut self.admin {
            Admin::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
            Admin::MySql(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
            Admin::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
            Admin::MongoDb(_) => panic!("MongoDB takes no SQL"),
        };
        result.unwrap();
    }

    /// One number from a query as a superuser.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &mut self.admin {
            Admin::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
            Admin::MySql(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
            Admin::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
            Admin::MongoDb(_) => panic!("MongoDB takes no SQL"),
        }
        .unwrap()
    }

    pub(crate) async fn create_tables(&mut self) {
        if let Admin::MongoDb(collections) = &self.admin {
            return collections.create(self.layout).await;
        }
        if let Some((schema, _)) = self.table_prefix.split_once('.') {
            let schema = format!("CREATE SCHEMA {schema}");
            self.execute(&schema).await;
        }
        for statement in create_tables(self.kind, self.layout, &self.table_prefix) {
            self.execute(&statement).await;
        }
    }

    /// An instant as an SQL literal.
    pub(crate) fn instant(&self, instant: Timestamp) -> String {
        self.encoding.literal(instant)
    }

    /// A text as an SQL literal.
    pub(crate) fn text(&self, text: &str) -> String {
        // In MariaDB a backslash in a literal is an escape.
        let text = if self.kind.is_mysql() { text.replace('\\', "\\\\") } else { text.to_owned() };
        format!("'{}'", text.replace('\'', "''"))
    }

    fn next_id(&mut self) -> String {
        self.n_rows += 1;
        format!("00000000-0000-4000-8000-{:012}", self.n_rows)
    }

    pub(crate) async fn insert_jobs(&mut self, jobs: &[Job]) {
        if let Admin::MongoDb(collections) = &self.admin {
            let documents = jobs.iter().map(|job| job_document(job, self.now)).collect();
            return collections.insert("jobs", documents).await;
        }
        let mut rows = Vec::new();
        for job in jobs {
            let id = self.next_id();
            let updated_at = self.instant(self.now - job.updated_ago);
            let scheduled_at = job.scheduled_in.map_or("NULL".to_owned(), |due_in| self.instant(self.now + due_in));
            let mut row = format!(
                "('{id}', {}, {}, '{}', '{}', {updated_at}, {updated_at}, {scheduled_at}, {}",
                job.version,
                self.text(&job.json),
                job.kind,
                job.state,
                job.recurring_job.as_ref().map_or("NULL".to_owned(), |id| format!("'{id}'"))
            );
            if self.layout.pro {
                let text = |text: Option<&String>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
                let (queue, mutex) = (text(job.dynamic_queue.as_ref()), text(job.mutex.as_ref()));
                let in_use = text(job.mutex.as_ref().filter(|_| job.state == "PROCESSING"));
                let tag = job.server_tag.replace('\'', "''");
                row += &format!(", {}, '{tag}', {queue}, {mutex}, {in_use}", job.priority);
            }
            rows.push(row + ")");
        }
        if !rows.is_empty() {
            let pro = if self.layout.pro { ", priority, serverTag, dynamicQueue, mutex, mutexInUse" } else { "" };
            let statement = format!(
                "INSERT INTO {} (id, version, jobAsJson, jobSignature, state, createdAt, updatedAt, scheduledAt, \
                 recurringJobId{pro}) VALUES {}",
                self.jobs(),
                rows.join(", ")
            );
            self.execute(&statement).await;
        }
    }

    /// Inserts jobs as fast as the database can. `updated` and `scheduled` are seconds from now, as SQL; `n` is the row's
    /// number, from 1.
    pub(crate) async fn insert_series(&mut self, state: &str, n_rows: u32, updated: &str, scheduled: Option<&str>) {
        let series = match self.kind {
            Kind::Postgres => format!("generate_series(1, {n_rows}) AS numbers(n)"),
            Kind::MariaDb => format!("(SELECT CAST(seq AS SIGNED) AS n FROM seq_1_to_{n_rows}) numbers"),
            Kind::MongoDb => panic!("MongoDB takes no SQL"),
            Kind::MySql => numbers_of_mysql(n_rows.into()),
            Kind::Sqlite => format!(
                "(WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {n_rows}) \
                 SELECT n FROM series) numbers"
            ),
        };
        let base = self.now.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let instant = |seconds: &str| match self.kind {
            Kind::Postgres => format!("timestamp '{base}' + ({seconds}) * interval '1 second'"),
            Kind::MariaDb | Kind::MySql => format!("'{base}' + INTERVAL ({seconds}) SECOND"),
            Kind::Sqlite | Kind::MongoDb => format!("{} + ({seconds}) * 1000", self.now.as_millisecond()),
        };
        let first = self.n_rows;
        self.n_rows += u64::from(n_rows);
        let id = match self.kind {
            Kind::Postgres => format!("lpad(({first} + n)::text, 36, '0')"),
            Kind::MariaDb | Kind::MySql => format!("LPAD({first} + n, 36, '0')"),
            Kind::Sqlite | Kind::MongoDb => format!("printf('%036d', {first} + n)"),
        };
        let (updated_at, scheduled_at) = (instant(updated), scheduled.map_or("NULL".to_owned(), instant));
        let jobs = self.jobs();
        self.execute(&format!(
            "INSERT INTO {jobs} (id, version, jobAsJson, jobSignature, state, createdAt, updatedAt, scheduledAt) \
             SELECT {id}, 1, '{{}}', 'App.run()', '{state}', {updated_at}, {updated_at}, {scheduled_at} FROM {series}"
        ))
        .await;
    }

    /// Updates the planner's statistics.
    pub(crate) async fn analyze(&mut self) {
        let jobs = self.jobs();
        match self.kind {
            Kind::MariaDb | Kind::MySql => self.execute(&format!("ANALYZE TABLE {jobs}")).await,
            Kind::MongoDb => {}
            Kind::Postgres | Kind::Sqlite => self.execute(&format!("ANALYZE {jobs}")).await,
        }
    }

    pub(crate) async fn insert_servers(&mut self, servers: &[ServerRow]) {
        if let Admin::MongoDb(collections) = &self.admin {
            let documents = servers.iter().map(|server| server_document(server, self.now)).collect();
            return collections.insert("background_job_servers", documents).await;
        }
        // The column `running` has no meaning, so it is always false.
        let running = if self.kind == Kind::Postgres && self.layout.hand_made { "false" } else { "0" };
        for server in servers {
            let next_id = self.next_id();
            let id = server.id.as_ref().unwrap_or(&next_id);
            let name = server.name.as_ref().map_or("NULL".to_owned(), |name| self.text(name));
            let heartbeat = self.instant(self.now - server.heartbeat_ago);
            let mut row = format!(
                "'{id}', {}, {}, {heartbeat}, {heartbeat}, {running}, 1, 1, 0.5, 1, 1, 1, 0.5, 'PT36H', 'PT72H', {name}",
                server.workers, server.poll_seconds
            );
            if self.layout.pro {
                let occupied = server.occupied.map_or("NULL".to_owned(), |n| n.to_string());
                let tags = server.tags.as_ref().map_or("NULL".to_owned(), |tags| format!("'{tags}'"));
                row += &format!(", {occupied}, {tags}");
            }
            let statement = format!("INSERT INTO {} VALUES ({row})", self.servers());
            self.execute(&statement).await;
        }
    }

    /// Inserts a recurring job as a mapper of JobRunr's writes it, in UTC, created at [`now`](Self::now).
    pub(crate) async fn insert_recurring(&mut self, id: &str, expression: &str) {
        let json = format!(
            r#"{{"id":"{id}","scheduleExpression":"{expression}","zoneId":"UTC","createdAt":"{}","jobName":"a\nb","createdBy":"API"}}"#,
            self.now
        );
        self.insert_recurring_json(id, &json).await;
    }

    pub(crate) async fn insert_recurring_json(&mut self, id: &str, json: &str) {
        self.n_rows += 1;
        let created_at = self.now.as_millisecond() + i64::try_from(self.n_rows).unwrap();
        if let Admin::MongoDb(collections) = &self.admin {
            return collections.insert("recurring_jobs", vec![recurring_document(id, json, created_at)]).await;
        }
        let json = self.text(json);
        let statement = format!("INSERT INTO {} VALUES ('{id}', 1, {json}, {created_at})", self.recurring_jobs());
        self.execute(&statement).await;
    }

    /// Deletes a recurring job.
    pub(crate) async fn delete_recurring(&mut self, id: &str) {
        if let Admin::MongoDb(collections) = &self.admin {
            return collections.delete("recurring_jobs", doc! { "_id": id }).await;
        }
        let statement = format!("DELETE FROM {} WHERE id = '{id}'", self.recurring_jobs());
        self.execute(&statement).await;
    }

    /// Moves all jobs of a state to another.
    pub(crate) async fn move_jobs(&mut self, from: &str, to: &str) {
        if let Admin::MongoDb(collections) = &self.admin {
            return collections.update("jobs", doc! { "state": from }, doc! { "$set": { "state": to } }).await;
        }
        let statement = format!("UPDATE {} SET state = '{to}' WHERE state = '{from}'", self.jobs());
        self.execute(&statement).await;
    }

    /// Drops a table of JobRunr's, by its whole name.
    pub(crate) async fn drop_table(&mut self, table: &str) {
        match &self.admin {
            Admin::MongoDb(collections) => collections.run(doc! { "drop": table }).await,
            _ => self.execute(&format!("DROP TABLE {table}")).await,
        }
    }

    /// Empties the tables.
    pub(crate) async fn clear(&mut self) {
        if let Admin::MongoDb(collections) = &self.admin {
            for collection in ["jobs", "background_job_servers", "recurring_jobs"] {
                collections.delete(collection, doc! {}).await;
            }
            return;
        }
        for table in [self.jobs(), self.servers(), self.recurring_jobs()] {
            self.execute(&format!("DELETE FROM {table}")).await;
        }
    }
}

/// The numbers from 1 on, digit by digit: MySQL 5.7 knows neither `WITH` nor MariaDB's sequences.
pub(crate) fn numbers_of_mysql(n_rows: u64) -> String {
    let places = 0..n_rows.to_string().len();
    let ten = "SELECT 0 AS digit UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
               UNION SELECT 7 UNION SELECT 8 UNION SELECT 9";
    let number: Vec<String> =
        places.clone().map(|place| format!("{} * d{place}.digit", 10_u64.pow(place as u32))).collect();
    let digits: Vec<String> = places.map(|place| format!("({ten}) d{place}")).collect();
    let all = format!("SELECT CAST({} AS SIGNED) AS n FROM {}", number.join(" + "), digits.join(", "));
    format!("(SELECT n FROM ({all}) counted WHERE n BETWEEN 1 AND {n_rows}) numbers")
}

/// The storage in another database of MongoDB.
fn in_database(mut config: StorageConfig, name: &str) -> StorageConfig {
    let Address::MongoDb(address) = &mut config.address else { panic!("{} is not MongoDB", config.address) };
    name.clone_into(&mut address.server.database);
    config
}

/// The configuration of a storage as the environment gives it. A busy machine needs more time than the defaults give; a test of a
/// timeout sets its own.
pub(crate) fn config(url: &str, table_prefix: &str) -> StorageConfig {
    let env = HashMap::from([
        ("JOBRUNR_SCALER_URL".to_owned(), url.to_owned()),
        ("JOBRUNR_SCALER_TABLE_PREFIX".to_owned(), table_prefix.to_owned()),
        ("JOBRUNR_SCALER_STATEMENT_TIMEOUT".to_owned(), "PT1M".to_owned()),
        ("JOBRUNR_SCALER_CONNECT_TIMEOUT".to_owned(), "PT1M".to_owned()),
    ]);
    let loaded = Config::load(None, env).unwrap();
    loaded.config.storages.into_values().next().unwrap()
}
