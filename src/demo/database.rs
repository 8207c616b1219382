//! JobRunr's tables in SQLite, and the writes that JobRunr makes.
//!
//! Instants are epoch milliseconds, as xerial's JDBC driver writes them unless told otherwise.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row};

/// The tables of JobRunr 8 that a server and a client write.
const SCHEMA: &str = "
    CREATE TABLE jobrunr_jobs (
        id NCHAR(36) PRIMARY KEY, version INT NOT NULL, jobAsJson TEXT NOT NULL, jobSignature VARCHAR(512) NOT NULL,
        state VARCHAR(36) NOT NULL, createdAt TIMESTAMP NOT NULL, updatedAt TIMESTAMP NOT NULL,
        scheduledAt TIMESTAMP, recurringJobId VARCHAR(128));
    CREATE INDEX jobrunr_state_idx ON jobrunr_jobs (state);
    CREATE INDEX jobrunr_job_signature_idx ON jobrunr_jobs (jobSignature);
    CREATE INDEX jobrunr_job_created_at_idx ON jobrunr_jobs (createdAt);
    CREATE INDEX jobrunr_job_scheduled_at_idx ON jobrunr_jobs (scheduledAt);
    CREATE INDEX jobrunr_job_rci_idx ON jobrunr_jobs (recurringJobId);
    CREATE INDEX jobrunr_jobs_state_updated_idx ON jobrunr_jobs (state, updatedAt);

    CREATE TABLE jobrunr_recurring_jobs (
        id NCHAR(128) PRIMARY KEY, version INT NOT NULL, jobAsJson TEXT NOT NULL, createdAt BIGINT NOT NULL);

    CREATE TABLE jobrunr_backgroundjobservers (
        id NCHAR(36) PRIMARY KEY, workerPoolSize INT NOT NULL, pollIntervalInSeconds INT NOT NULL,
        firstHeartbeat TIMESTAMP(6) NOT NULL, lastHeartbeat TIMESTAMP(6) NOT NULL, running INT NOT NULL,
        systemTotalMemory BIGINT NOT NULL, systemFreeMemory BIGINT NOT NULL, systemCpuLoad NUMERIC(3, 2) NOT NULL,
        processMaxMemory BIGINT NOT NULL, processFreeMemory BIGINT NOT NULL,
        processAllocatedMemory BIGINT NOT NULL, processCpuLoad NUMERIC(3, 2) NOT NULL,
        deleteSucceededJobsAfter VARCHAR(32), permanentlyDeleteJobsAfter VARCHAR(32), name VARCHAR(128));
    CREATE INDEX jobrunr_bgjobsrvrs_fsthb_idx ON jobrunr_backgroundjobservers (firstHeartbeat);
    CREATE INDEX jobrunr_bgjobsrvrs_lsthb_idx ON jobrunr_backgroundjobservers (lastHeartbeat);

    CREATE TABLE jobrunr_migrations (id NCHAR(36) PRIMARY KEY, script VARCHAR(64) NOT NULL, installedOn VARCHAR(29) NOT NULL);
    INSERT INTO jobrunr_migrations VALUES ('00000000-0000-7000-8000-000000000016',
        'v016__alter_jobs_stats_add_awaiting_jobs.sql', '2026-11-23T20:00:00.000000Z');

    CREATE TABLE jobrunr_metadata (
        id VARCHAR(156) PRIMARY KEY, name VARCHAR(92) NOT NULL, owner VARCHAR(64) NOT NULL, value TEXT NOT NULL,
        createdAt TIMESTAMP NOT NULL, updatedAt TIMESTAMP NOT NULL);
";

const JOB_SIGNATURE: &str = "com.example.OrderService.confirm(java.lang.Long)";
const GIBIBYTE: i64 = 1 << 30;

/// A connection that writes as JobRunr does.
pub(super) struct Database {
    connection: SqliteConnection,
}

/// The jobs of the table, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) scheduled: u64,
    pub(super) enqueued: u64,
    pub(super) processing: u64,
    pub(super) succeeded: u64,
    /// Runs of the recurring job that succeeded. Its runs are in none of the other numbers.
    pub(super) recurring_runs: u64,
}

impl Counts {
    /// Jobs that are not done yet.
    pub(super) fn open(&self) -> u64 {
        self.scheduled + self.enqueued + self.processing
    }
}

impl Database {
    /// Creates the file and JobRunr's tables in it.
    pub(super) async fn create(path: &Path, now: Timestamp) -> Result<Self, sqlx::Error> {
        // With a write-ahead log the scaler reads while the application writes. Nothing here has to survive a crash.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        let mut database = Self { connection };
        database.write_metadata("database_version", "6.0.0", now).await?;
        database.write_metadata("succeeded-jobs-counter", "0", now).await?;
        Ok(database)
    }

    async fn write_metadata(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        let now = now.as_millisecond();
        let sql = "INSERT INTO jobrunr_metadata VALUES (?1 || '-cluster', ?1, 'cluster', ?2, ?3, ?3)";
        sqlx::query(sql).bind(name).bind(value).bind(now).execute(&mut self.connection).await?;
        Ok(())
    }

    /// A client schedules jobs, or enqueues them where there is no time to wait for. `first` numbers them.
    pub(super) async fn create_jobs(
        &mut self,
        first: u64,
        n_jobs: u64,
        scheduled_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let state = if scheduled_at.is_some() { "SCHEDULED" } else { "ENQUEUED" };
        let mut transaction = self.connection.begin().await?;
        for number in first..first + n_jobs {
            let id = uuid(number);
            sqlx::query("INSERT INTO jobrunr_jobs VALUES (?1, 1, ?2, ?3, ?4, ?5, ?5, ?6, NULL)")
                .bind(&id)
                .bind(job_as_json(&id, number))
                .bind(JOB_SIGNATURE)
                .bind(state)
                .bind(now.as_millisecond())
                .bind(scheduled_at.map(Timestamp::as_millisecond))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }

    /// A client defines a recurring job. JobRunr's own `createdAt` of a definition is in milliseconds everywhere.
    pub(super) async fn define_recurring(
        &mut self,
        id: &str,
        schedule: &str,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let json = json!({
            "version": 0, "jobSignature": JOB_SIGNATURE, "jobName": id, "labels": [], "id": id,
            "scheduleExpression": schedule, "zoneId": "UTC", "createdBy": "API", "createdAt": now.to_string(),
        });
        let query = sqlx::query("INSERT INTO jobrunr_recurring_jobs VALUES (?1, 1, ?2, ?3)").bind(id);
        query.bind(json.to_string()).bind(now.as_millisecond()).execute(&mut self.connection).await?;
        Ok(())
    }

    /// The schedule of a recurring job that is defined and has no run that is not done yet.
    pub(super) async fn schedule_without_run(&mut self, id: &str) -> Result<Option<String>, sqlx::Error> {
        let sql = "SELECT json_extract(jobAsJson, '$.scheduleExpression') FROM jobrunr_recurring_jobs WHERE id = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM jobrunr_jobs WHERE recurringJobId = ?1 \
                   AND state IN ('AWAITING', 'SCHEDULED', 'ENQUEUED', 'PROCESSING'))";
        sqlx::query_scalar(sql).bind(id).fetch_optional(&mut self.connection).await
    }

    /// The master writes the next run of a recurring job, ahead of time as JobRunr 8 does.
    pub(super) async fn write_run(
        &mut self,
        number: u64,
        recurring_job: &str,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let id = uuid(number);
        sqlx::query("INSERT INTO jobrunr_jobs VALUES (?1, 1, ?2, ?3, 'SCHEDULED', ?4, ?4, ?5, ?6)")
            .bind(&id)
            .bind(job_as_json(&id, number))
            .bind(JOB_SIGNATURE)
            .bind(now.as_millisecond())
            .bind(at.as_millisecond())
            .bind(recurring_job)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// The master enqueues what is scheduled until `until`. The column `scheduledAt` stays, as it does since JobRunr 8.
    pub(super) async fn enqueue_scheduled(&mut self, until: Timestamp, now: Timestamp) -> Result<u64, sqlx::Error> {
        let sql = "UPDATE jobrunr_jobs SET state = 'ENQUEUED', version = version + 1, updatedAt = ?1 \
                   WHERE state = 'SCHEDULED' AND scheduledAt <= ?2";
        let query = sqlx::query(sql).bind(now.as_millisecond()).bind(until.as_millisecond());
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }

    /// The master deletes what is done since `until`: first the state says so, and a while later the row goes.
    pub(super) async fn clean_up(&mut self, until: Timestamp, now: Timestamp) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM jobrunr_jobs WHERE state = 'DELETED' AND updatedAt < ?1";
        sqlx::query(sql).bind(until.as_millisecond()).execute(&mut self.connection).await?;
        let sql = "UPDATE jobrunr_jobs SET state = 'DELETED', version = version + 1, updatedAt = ?1 \
                   WHERE state = 'SUCCEEDED' AND updatedAt < ?2";
        let query = sqlx::query(sql).bind(now.as_millisecond()).bind(until.as_millisecond());
        query.execute(&mut self.connection).await?;
        Ok(())
    }

    /// A server takes jobs from the head of the queue, at most `n_jobs`. Gives their ids.
    pub(super) async fn take_jobs(&mut self, n_jobs: usize, now: Timestamp) -> Result<Vec<String>, sqlx::Error> {
        let sql = "UPDATE jobrunr_jobs SET state = 'PROCESSING', version = version + 1, updatedAt = ?1 WHERE id IN \
                   (SELECT id FROM jobrunr_jobs WHERE state = 'ENQUEUED' ORDER BY updatedAt LIMIT ?2) RETURNING id";
        let n_jobs = i64::try_from(n_jobs).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(now.as_millisecond()).bind(n_jobs);
        query.fetch_all(&mut self.connection).await?.iter().map(|row| row.try_get(0)).collect()
    }

    /// A job's heartbeat: its server is still at it.
    pub(super) async fn refresh_job(&mut self, id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        self.save_job(id, "PROCESSING", None, now).await
    }

    /// A job came to its end.
    pub(super) async fn finish_job(&mut self, id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        self.save_job(id, "SUCCEEDED", None, now).await
    }

    /// A job was interrupted: JobRunr's retry filter schedules it anew.
    pub(super) async fn retry_job(&mut self, id: &str, at: Timestamp, now: Timestamp) -> Result<(), sqlx::Error> {
        self.save_job(id, "SCHEDULED", Some(at), now).await
    }

    async fn save_job(
        &mut self,
        id: &str,
        state: &str,
        scheduled_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let sql = "UPDATE jobrunr_jobs SET state = ?1, version = version + 1, updatedAt = ?2, \
                   scheduledAt = coalesce(?3, scheduledAt) WHERE id = ?4 AND state = 'PROCESSING'";
        let query = sqlx::query(sql).bind(state).bind(now.as_millisecond());
        let query = query.bind(scheduled_at.map(Timestamp::as_millisecond)).bind(id);
        query.execute(&mut self.connection).await?;
        Ok(())
    }

    /// A server says that it is there, with its workers.
    pub(super) async fn announce_server(
        &mut self,
        id: &str,
        name: &str,
        n_workers: usize,
        poll_interval_seconds: i64,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO jobrunr_backgroundjobservers VALUES \
                   (?1, ?2, ?3, ?4, ?4, 1, ?5, ?5, 0.1, ?5, ?5, ?5, 0.1, 'PT1H', 'PT1H', ?6)";
        sqlx::query(sql)
            .bind(id)
            .bind(i64::try_from(n_workers).unwrap_or(i64::MAX))
            .bind(poll_interval_seconds)
            .bind(now.as_millisecond())
            .bind(GIBIBYTE)
            .bind(name)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// A server's heartbeat.
    pub(super) async fn refresh_server(&mut self, id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        let sql = "UPDATE jobrunr_backgroundjobservers SET lastHeartbeat = ?1 WHERE id = ?2";
        sqlx::query(sql).bind(now.as_millisecond()).bind(id).execute(&mut self.connection).await?;
        Ok(())
    }

    /// A server that stops takes its row along.
    pub(super) async fn remove_server(&mut self, id: &str) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM jobrunr_backgroundjobservers WHERE id = ?1";
        sqlx::query(sql).bind(id).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Counts the jobs by state.
    pub(super) async fn counts(&mut self) -> Result<Counts, sqlx::Error> {
        let sql = "SELECT state, count(*) FROM jobrunr_jobs WHERE recurringJobId IS NULL GROUP BY state \
                   UNION ALL SELECT 'RECURRING', count(*) FROM jobrunr_jobs WHERE recurringJobId IS NOT NULL \
                   AND state = 'SUCCEEDED'";
        let mut counts = Counts::default();
        for row in sqlx::query(sql).fetch_all(&mut self.connection).await? {
            let n_jobs = u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or_default();
            match row.try_get::<String, _>(0)?.as_str() {
                "SCHEDULED" => counts.scheduled = n_jobs,
                "ENQUEUED" => counts.enqueued = n_jobs,
                "PROCESSING" => counts.processing = n_jobs,
                "SUCCEEDED" => counts.succeeded = n_jobs,
                "RECURRING" => counts.recurring_runs = n_jobs,
                _ => {}
            }
        }
        Ok(counts)
    }
}

/// A UUID of our own counting: nothing here needs one that nobody can guess.
pub(super) fn uuid(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

/// A job as JobRunr serializes it, without its history: neither the scaler nor the demo reads that.
fn job_as_json(id: &str, number: u64) -> String {
    json!({
        "id": id,
        "version": 1,
        "jobSignature": JOB_SIGNATURE,
        "jobName": format!("Confirm order {number}"),
        "jobDetails": {
            "className": "com.example.OrderService",
            "methodName": "confirm",
            "jobParameters": [{"className": "java.lang.Long", "object": number}],
            "cacheable": true,
        },
        "labels": [],
        "metadata": {},
    })
    .to_string()
}
