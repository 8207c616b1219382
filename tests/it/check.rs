//! What `check` and the start of `serve` report about a storage.

use std::process::{Command, Output};

use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::storage::{Check, Level, check, grants_sql};

use crate::database::{Database, Kind, Layout, SERVERS};
use crate::process::Process;
use crate::rows::{job, server};
use crate::scaler::reference;

const ALL: [Kind; 4] = [Kind::Postgres, Kind::MariaDb, Kind::MySql, Kind::Sqlite];

async fn checked(database: &Database, config: &StorageConfig) -> Check {
    let now = database.now;
    check(config, || now).await
}

/// The text of the finding with this level and topic.
#[track_caller]
fn finding(check: &Check, level: Level, topic: &str) -> String {
    let findings = check.findings();
    let found = findings.iter().find(|finding| finding.level == level && finding.topic == topic);
    found.unwrap_or_else(|| panic!("no {level:?} {topic} in {findings:?}")).text.clone()
}

#[tokio::test]
async fn healthy_storage_has_no_warnings() {
    for kind in ALL {
        let mut database = Database::new(kind).await.at_present();
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        database.insert_servers(&[server(8, 15, 1.0), server(16, 15, 2.0)]).await;
        if kind != Kind::Sqlite {
            let role = format!("r_{}", database.name);
            let grants = grants_sql(&database.config(), Some(&role)).to_string().replace("change-me", "a-secret");
            database.execute(&grants).await;
            database.url = database.url.replace("jobrunr:jobrunr@", &format!("{role}:a-secret@"));
        }
        let check = check(&database.config(), jiff::Timestamp::now).await;
        assert!(check.is_healthy(), "{kind:?} {check:?}");
        let others: Vec<_> = check.findings().into_iter().filter(|finding| finding.level != Level::Ok).collect();
        assert!(others.is_empty(), "{kind:?} {others:?}");
        assert_eq!(finding(&check, Level::Ok, "servers"), "2 live servers, 24 workers", "{kind:?}");
        let summary = check.summary();
        let product = match kind {
            Kind::Postgres => "PostgreSQL 1",
            Kind::MariaDb => "MariaDB 1",
            Kind::MySql => "MySQL 8",
            Kind::Sqlite => "SQLite 3",
            Kind::MongoDb => unreachable!("FerretDB has no users to inspect"),
        };
        for part in [product, "JobRunr 8, 2 live servers", "indexes complete"] {
            assert!(summary.contains(part), "{kind:?}: {part} in {summary}");
        }
        assert_eq!(summary.contains("NOTIFY not installed"), kind == Kind::Postgres, "{summary}");
    }
}

#[tokio::test]
async fn excess_rights_are_named() {
    for kind in SERVERS {
        let mut database = Database::new(kind).await;
        let superuser = checked(&database, &database.config()).await;
        let text = finding(&superuser, Level::Warning, "rights");
        assert!(text.contains("grants-sql"), "{text}");

        let (role, jobs) = (format!("r_{}", database.name), database.jobs());
        let grants = grants_sql(&database.config(), Some(&role)).to_string().replace("change-me", "a-secret");
        database.execute(&grants).await;
        database.execute(&format!("GRANT DELETE ON {jobs} TO {role}")).await;
        database.url = database.url.replace("jobrunr:jobrunr@", &format!("{role}:a-secret@"));
        let text = finding(&checked(&database, &database.config()).await, Level::Warning, "rights");
        assert!(text.contains("DELETE on ") && text.contains("jobrunr_jobs") && !text.contains("INSERT"), "{text}");
    }
}

#[tokio::test]
async fn slow_or_incomplete_schema_is_a_warning() {
    for kind in ALL {
        let mut database = Database::with(kind, Layout { hand_made: true, ..Layout::default() }).await;
        database.insert_jobs(&[job("ENQUEUED", 1.0), job("ENQUEUED", 2.0)]).await;
        database.insert_servers(&[server(8, 15, 500.0)]).await;
        database.execute("DROP TABLE jobrunr_recurring_jobs").await;
        let check = checked(&database, &database.config()).await;
        assert!(check.is_healthy(), "{kind:?}");
        assert!(finding(&check, Level::Warning, "indexes").contains("CREATE INDEX"), "{kind:?}");
        assert!(finding(&check, Level::Warning, "tables").contains("jobrunr_recurring_jobs"), "{kind:?}");
        assert!(finding(&check, Level::Warning, "version").contains("jobrunrVersion"), "{kind:?}");
        assert!(
            finding(&check, Level::Warning, "servers").starts_with("2 jobs wait and no server is alive"),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn clock_differences_are_named() {
    for kind in ALL {
        // The test's clock stands still, far behind the database's.
        let mut database = Database::new(kind).await;
        database.insert_servers(&[server(8, 15, -30.0)]).await;
        let check = checked(&database, &database.config()).await;
        let clocks: Vec<_> = check.findings().into_iter().filter(|finding| finding.topic == "clocks").collect();
        let n_apart = if kind == Kind::Sqlite { 1 } else { 2 };
        assert_eq!(clocks.len(), n_apart, "{kind:?} {clocks:?}");
        assert!(clocks[n_apart - 1].text.starts_with("the workers' clock is 30.0 s ahead of"), "{clocks:?}");
    }
}

#[tokio::test]
async fn unreadable_storage_is_a_problem() {
    for kind in SERVERS {
        let database = Database::empty(kind, Layout::default()).await;
        let empty = checked(&database, &database.config()).await;
        assert!(!empty.is_healthy());
        assert!(finding(&empty, Level::Problem, "tables").contains("jobrunr_jobs"), "{kind:?}");

        let url = database.url.replace("jobrunr:jobrunr@", "jobrunr:wrong@");
        let wrong = checked(&database, &crate::database::config(&url, "")).await;
        let text = finding(&wrong, Level::Problem, "login");
        assert!(!text.contains("wrong"), "{text}");
        assert!(wrong.summary().starts_with("not available: "), "{}", wrong.summary());
    }
}

fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    command.arg("check").args(arguments).env_clear().env("JOBRUNR_SCALER_URL", url);
    command.output().unwrap()
}

#[tokio::test]
async fn check_exit_code_follows_the_findings() {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let well = run(&database.url, &[]);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    let text = String::from_utf8(well.stdout).unwrap();
    assert!(text.starts_with("storage default\n  ok: connection: connected to "), "{text}");
    assert!(text.contains("  ok: servers: 1 live server, 8 workers\n"), "{text}");

    let json = run(&database.url, &["--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let storage = &report["storages"][0];
    assert_eq!((&storage["name"], &storage["healthy"]), (&"default".into(), &true.into()));
    assert_eq!(storage["findings"][0]["level"], "ok");

    let missing = run("sqlite:nowhere.db", &[]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stdout).contains("problem: connection: "), "{missing:?}");
    let wrong = run("sqlite:", &[]);
    assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    let unknown = run(&database.url, &["--storage", "orders"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("configured: default"), "{unknown:?}");
}

/// An unreachable database is no reason not to start.
#[tokio::test]
async fn serve_logs_the_findings_of_each_storage_at_the_start() {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let mut scaler = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let line = scaler.line_about("default");
    let message = line["message"].as_str().unwrap();
    assert_eq!(line["level"], "INFO");
    for part in
        ["connected as jobrunr to PostgreSQL 1", "JobRunr 8, 1 live server, NOTIFY not installed, indexes complete"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    scaler.stop();

    let mut scaler = Process::start(&[("JOBRUNR_SCALER_URL", "sqlite:/nowhere/jobs.db")], &[]);
    let line = scaler.line_about("default");
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().starts_with("not available: "), "{line}");
    let spec = scaler.client().await.get_metric_spec(reference("metric=demand targetValue=4")).await;
    assert_eq!(spec.unwrap().into_inner().metric_specs.len(), 1);
    scaler.stop();
}
