//! The plans of the statements on SQLite.

use std::collections::HashMap;

use jiff::SignedDuration;

use super::*;
use crate::config::{Config, ReadBounds};
use crate::jobrunr::Filter;
use crate::storage::plan::DueState;
use crate::storage::plan::{DuePlan, QueuePlan, ReadPlan};

const TABLES: &str = "
    CREATE TABLE jobrunr_jobs (id TEXT PRIMARY KEY, jobAsJson TEXT, state TEXT, createdAt TIMESTAMP,
        updatedAt TIMESTAMP, scheduledAt TIMESTAMP, recurringJobId TEXT);
    CREATE INDEX state_idx ON jobrunr_jobs (state);
    CREATE INDEX scheduled_at_idx ON jobrunr_jobs (scheduledAt);
    CREATE INDEX rci_idx ON jobrunr_jobs (recurringJobId);
    CREATE INDEX state_updated_idx ON jobrunr_jobs (state, updatedAt);
    CREATE TABLE jobrunr_recurring_jobs (id TEXT PRIMARY KEY, jobAsJson TEXT, createdAt BIGINT);
    CREATE TABLE jobrunr_backgroundjobservers (id TEXT PRIMARY KEY, workerPoolSize INT, pollIntervalInSeconds INT,
        lastHeartbeat TIMESTAMP);";

/// A connection whose statements take a while and find nothing.
#[derive(Default)]
struct Slow {
    took: Duration,
    limit: Duration,
}

#[async_trait]
impl SqlConnection for Slow {
    async fn rows(&mut self, _: Statement, _: &mut (dyn FnMut(Row) -> bool + Send)) -> Result<(), StorageError> {
        tokio::time::sleep(self.took.min(self.limit)).await;
        if self.took <= self.limit { Ok(()) } else { Err(StorageError::TimedOut("a statement".to_owned())) }
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        self.limit = limit;
        Ok(())
    }

    async fn inspect(&mut self, _: &[&str]) -> Result<Inspection, StorageError> {
        Ok(Inspection::default())
    }

    async fn close(self: Box<Self>) {}
}

/// A file with JobRunr's tables, and a connection to it.
struct Tables {
    path: PathBuf,
    connection: SqliteConnection,
    config: StorageConfig,
    /// Removes the file in the end.
    _folder: tempfile::TempDir,
}

async fn tables() -> Tables {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobrunr.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(TABLES).execute(&mut connection).await.unwrap();
    let env = HashMap::from([("JOBRUNR_SCALER_URL".to_owned(), format!("sqlite:{}", path.display()))]);
    let config = Config::load(None, env).unwrap().config.storages.into_values().next().unwrap();
    Tables { path, connection, config, _folder: folder }
}

/// A read that asks for everything, of so many queues.
fn plan(filter: &Filter, n_queues: usize) -> ReadPlan<'_> {
    let due = DuePlan { scan_by_time: true, earliest: Some(Timestamp::UNIX_EPOCH) };
    let now = Timestamp::UNIX_EPOCH;
    let until = [60, 600].map(|seconds| now + SignedDuration::from_secs(seconds)).to_vec();
    let queue = QueuePlan { filter, cursor: None, until, scheduled: due, awaiting: Some(due), work: true };
    ReadPlan {
        now,
        count_limit: Some(10_000),
        enqueued_limit: Some(10_000),
        bounds: ReadBounds::default(),
        queues: vec![queue; n_queues],
        recurring: true,
        first_cursor: None,
    }
}

#[tokio::test]
async fn statements_of_a_read_share_its_time() {
    let Tables { path, mut connection, config, _folder } = tables().await;
    tokio::time::pause();
    let filter = Filter::default();
    for (took, expected) in [(10, true), (900, true), (3_100, false), (4_900, false), (6_000, false)] {
        let schema = prepare(&mut connection, &path, &config).await.unwrap();
        let limit = config.statement_timeout;
        let slow = Slow { took: Duration::from_millis(took), limit };
        let mut backend = SqlBackend::new(Box::new(slow), Box::new(SqliteDialect), schema, &config);
        let plan = plan(&filter, 30);
        assert!((3..=5).contains(&backend.writer().read(&plan).len()));
        for _ in 0..2 {
            let began = tokio::time::Instant::now();
            let answer = backend.read(&plan).await;
            assert!(began.elapsed() < limit + Duration::from_millis(600), "{took} ms: {:?}", began.elapsed());
            assert_eq!(answer.is_ok(), expected, "{took} ms: {answer:?}");
            assert!(expected || matches!(answer, Err(StorageError::TimedOut(_))), "{took} ms: {answer:?}");
            assert!(!backend.is_limit_reduced);
        }
    }
}

/// SQLite does not count rows, but shows its plan: every access to the jobs must search an index.
#[tokio::test]
async fn statements_never_scan_the_jobs_table() {
    let Tables { path, mut connection, config, _folder } = tables().await;
    let schema = prepare(&mut connection, &path, &config).await.unwrap();
    let backend = SqlBackend::new(Box::new(Slow::default()), Box::new(SqliteDialect), schema, &config);
    let (filter, now) = (Filter::default(), Timestamp::UNIX_EPOCH);
    let mut statements = backend.writer().read(&plan(&filter, 1));
    statements.push(backend.writer().active_runs_of(&["a"], &["ENQUEUED", "SCHEDULED"]));
    statements.push(backend.writer().probe(Some(now), true));
    statements.push(backend.writer().earliest_due(&filter, DueState::Scheduled, now));
    let mut n_searches = 0;
    for statement in statements {
        let explain = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let plan = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
        for row in plan {
            let step: String = row.try_get("detail").unwrap();
            assert!(!step.starts_with("SCAN jobrunr_jobs"), "{step}\n{}", statement.sql);
            n_searches += usize::from(step.starts_with("SEARCH jobrunr_jobs"));
        }
    }
    assert!(20 < n_searches, "{n_searches}");
}

/// SQLite counts steps over all runs of a prepared statement, and a query of one number is one.
#[tokio::test]
async fn is_unchanged_has_its_own_deadline() {
    let Tables { path, config, .. } = &tables().await;
    let config = StorageConfig { statement_timeout: Duration::from_secs(2), ..config.clone() };
    let mut backend = connect(path, &config).await.unwrap();
    backend.probe(None, false).await.unwrap();
    backend.connection.begin_read().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    for n in 0..5_000 {
        assert_eq!(backend.is_unchanged().await.unwrap(), Some(true), "{n}");
    }
}
