//! JobRunr's tables in SQLite, and the writes that JobRunr makes.
//!
//! Instants are epoch milliseconds, as xerial's JDBC driver writes them unless told otherwise.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row};

/// JobRunr's tables, empty.
const SCHEMA: &str = include_str!("jobrunr.sql");

const JOB_SIGNATURE: &str = "com.example.OrderService.confirm(java.lang.Long)";
const GIBIBYTE: i64 = 1 << 30;

/// A connection that writes what JobRunr writes.
pub(super) struct Tables {
    connection: SqliteConnection,
}

/// Jobs per state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) scheduled: u64,
    pub(super) enqueued: u64,
    pub(super) processing: u64,
    pub(super) succeeded: u64,
    /// Succeeded runs of the recurring job. The other numbers leave its runs out.
    pub(super) recurring_runs: u64,
}

impl Counts {
    /// Returns the number of jobs that are not done.
    pub(super) fn open(&self) -> u64 {
        self.scheduled + self.enqueued + self.processing
    }
}

impl Tables {
    /// Creates the file and JobRunr's tables in it.
    pub(super) async fn create(path: &Path, now: Timestamp) -> Result<Self, sqlx::Error> {
        // The write-ahead log lets the scaler read while the application writes. Nothing here has to survive a crash.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        let mut tables = Self { connection };
        tables.write_metadata("database_version", "6.0.0", now).await?;
        tables.write_metadata("succeeded-jobs-counter", "0", now).await?;
        Ok(tables)
    }

    async fn write_metadata(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        let now = now.as_millisecond();
        let sql = "INSERT INTO jobrunr_metadata VALUES (?1 || '-cluster', ?1, 'cluster', ?2, ?3, ?3)";
        sqlx::query(sql).bind(name).bind(value).bind(now).execute(&mut self.connection).await?;
        Ok(())
    }

    /// A client schedules jobs for `scheduled_at`, or enqueues them if that is `None`. They are numbered from `first`.
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

    /// A client defines a recurring job. The definition's `createdAt` is in milliseconds on every database.
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

    /// Returns the schedule of a recurring job, if it is defined and all its runs are done.
    pub(super) async fn schedule_without_run(&mut self, id: &str) -> Result<Option<String>, sqlx::Error> {
        let sql = "SELECT json_extract(jobAsJson, '$.scheduleExpression') FROM jobrunr_recurring_jobs WHERE id = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM jobrunr_jobs WHERE recurringJobId = ?1 \
                   AND state IN ('AWAITING', 'SCHEDULED', 'ENQUEUED', 'PROCESSING'))";
        sqlx::query_scalar(sql).bind(id).fetch_optional(&mut self.connection).await
    }

    /// The master writes the next run of a recurring job ahead of time, as JobRunr 8 does.
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

    /// The master enqueues the jobs that are scheduled until `until`, and returns their number. `scheduledAt` keeps its value,
    /// as in JobRunr 8.
    pub(super) async fn enqueue_scheduled(&mut self, until: Timestamp, now: Timestamp) -> Result<u64, sqlx::Error> {
        let sql = "UPDATE jobrunr_jobs SET state = 'ENQUEUED', version = version + 1, updatedAt = ?1 \
                   WHERE state = 'SCHEDULED' AND scheduledAt <= ?2";
        let query = sqlx::query(sql).bind(now.as_millisecond()).bind(until.as_millisecond());
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }

    /// The master deletes jobs that were done before `until`, in two steps: the state becomes DELETED, and later the row goes.
    pub(super) async fn clean_up(&mut self, until: Timestamp, now: Timestamp) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM jobrunr_jobs WHERE state = 'DELETED' AND updatedAt < ?1";
        sqlx::query(sql).bind(until.as_millisecond()).execute(&mut self.connection).await?;
        let sql = "UPDATE jobrunr_jobs SET state = 'DELETED', version = version + 1, updatedAt = ?1 \
                   WHERE state = 'SUCCEEDED' AND updatedAt < ?2";
        let query = sqlx::query(sql).bind(now.as_millisecond()).bind(until.as_millisecond());
        query.execute(&mut self.connection).await?;
        Ok(())
    }

    /// A server takes up to `n_jobs` jobs from the head of the queue. Returns their ids.
    pub(super) async fn take_jobs(&mut self, n_jobs: usize, now: Timestamp) -> Result<Vec<String>, sqlx::Error> {
        let sql = "UPDATE jobrunr_jobs SET state = 'PROCESSING', version = version + 1, updatedAt = ?1 WHERE id IN \
                   (SELECT id FROM jobrunr_jobs WHERE state = 'ENQUEUED' ORDER BY updatedAt LIMIT ?2) RETURNING id";
        let n_jobs = i64::try_from(n_jobs).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(now.as_millisecond()).bind(n_jobs);
        query.fetch_all(&mut self.connection).await?.iter().map(|row| row.try_get(0)).collect()
    }

    /// A job's heartbeat: its server still processes it.
    pub(super) async fn refresh_job(&mut self, id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        self.save_job(id, "PROCESSING", None, now).await
    }

    /// A job has succeeded.
    pub(super) async fn finish_job(&mut self, id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        self.save_job(id, "SUCCEEDED", None, now).await
    }

    /// A job was interrupted: JobRunr's retry filter schedules it again.
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

    /// A server announces itself, with the number of its workers.
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

    /// A server that stops deletes its row.
    pub(super) async fn remove_server(&mut self, id: &str) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM jobrunr_backgroundjobservers WHERE id = ?1";
        sqlx::query(sql).bind(id).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Counts the jobs per state.
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

/// Returns the UUID with this number. Nothing here needs an unpredictable one.
pub(super) fn uuid(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

/// Returns a job as JobRunr serializes it, without its history, which neither the scaler nor the demo reads.
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
