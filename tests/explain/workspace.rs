//! A directory with JobRunr's tables in SQLite, and the program that runs there.

use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// As JobRunr writes them: instants in epoch milliseconds.
const TABLES: [&str; 4] = [
    "CREATE TABLE jobrunr_jobs (id TEXT PRIMARY KEY, version INT, jobAsJson TEXT, jobSignature TEXT, state TEXT, \
     createdAt TIMESTAMP, updatedAt TIMESTAMP, scheduledAt TIMESTAMP, recurringJobId TEXT)",
    "CREATE TABLE jobrunr_backgroundjobservers (id TEXT PRIMARY KEY, workerPoolSize INT, pollIntervalInSeconds INT, \
     firstHeartbeat TIMESTAMP, lastHeartbeat TIMESTAMP, running INT)",
    "CREATE INDEX jobrunr_jobs_state_updated_idx ON jobrunr_jobs (state, updatedAt)",
    "CREATE INDEX jobrunr_job_scheduled_at_idx ON jobrunr_jobs (scheduledAt)",
];

/// A directory with a database in it, in which the program runs.
pub(crate) struct Workspace {
    pub(crate) directory: TempDir,
}

impl Workspace {
    pub(crate) async fn new() -> Self {
        let workspace = Self { directory: tempfile::tempdir().unwrap() };
        for table in TABLES {
            workspace.sql(table).await;
        }
        workspace
    }

    pub(crate) async fn sql(&self, statement: &str) {
        let options =
            SqliteConnectOptions::new().filename(self.directory.path().join("jobs.db")).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Adds jobs whose state changed `seconds` ago.
    pub(crate) async fn jobs(&self, n_jobs: u32, state: &str, seconds: i64) {
        let then = millis() - 1000 * seconds;
        self.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n_jobs}) \
             INSERT INTO jobrunr_jobs SELECT '{state}' || {then} || '-' || i, 1, '{{}}', 's', '{state}', {then}, {then}, \
             NULL, NULL FROM n"
        ))
        .await;
    }

    pub(crate) async fn server(&self, n_workers: u32) {
        let now = millis();
        self.sql(&format!("INSERT INTO jobrunr_backgroundjobservers VALUES ('a', {n_workers}, 15, {now}, {now}, 1)"))
            .await;
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The program in the directory, without the environment of this machine.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
        command.current_dir(self.directory.path()).env_clear().args(arguments);
        command.env("JOBRUNR_SCALER_URL", "jdbc:sqlite:jobs.db");
        command
    }

    pub(crate) fn explain(&self, arguments: &[&str]) -> String {
        transcript(&self.command(&[&["explain"], arguments].concat()).output().unwrap())
    }
}

fn millis() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Everything that a person sees, and the exit code.
pub(crate) fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let errors = text(&output.stderr);
    let errors = if errors.is_empty() { String::new() } else { format!("\n[standard error]\n{errors}") };
    format!("{}{errors}\n[exit {}]", text(&output.stdout), output.status.code().unwrap())
}

/// A scaler that runs until it is dropped.
pub(crate) struct Serving {
    process: std::process::Child,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(workspace: &Workspace) -> Self {
        // The port is free at this moment. If another process takes it meanwhile, the test fails with a message.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let mut command = workspace.command(&["serve", "--listen", &address, "--http", "127.0.0.1:0"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let serving = Self { process, address };
        let is_up = || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::net::TcpStream::connect(&serving.address).is_ok()
        };
        assert!(std::iter::repeat_with(is_up).take(200).any(|up| up), "the scaler does not listen");
        serving
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
