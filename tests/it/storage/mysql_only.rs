//! MySQL 8, where it differs from MariaDB, and what both can be configured to do.

use jobrunr_scaler::jobrunr::Questions;
use jobrunr_scaler::scaling::{Metric, Trigger, decide};
use jobrunr_scaler::storage::{Storage, StorageError};
use sqlx::{Connection, MySqlConnection};

use super::{counts, plain, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{job, scheduled, server};
use crate::support::servers::OwnServer;

/// `caching_sha2_password` is MySQL 8's default. Without TLS the first login since the server's start, of any user, sends the
/// password encrypted by the server's RSA key; later ones use what the server then remembers.
#[tokio::test]
async fn default_login_works_without_tls_and_with_nothing_cached() {
    let mut database = Database::new(Kind::MySql).await;
    let user = database.name.clone();
    let create = format!(
        "CREATE USER {user} IDENTIFIED WITH caching_sha2_password BY 'a-secret'; GRANT SELECT ON {user}.* TO {user}"
    );
    database.execute(&create).await;
    let url = database.url.replace("jobrunr:jobrunr@", &format!("{user}:a-secret@"));
    for url in [&url, &format!("{url}?ssl-mode=DISABLED"), &url.replace("mysql://", "jdbc:mysql://")] {
        // Forgets all logins, as a restart does.
        database.execute("FLUSH PRIVILEGES").await;
        for attempt in ["first", "second"] {
            let snapshot = read(&database, &crate::database::config(url, ""), [plain()]).await;
            assert_eq!(counts(&snapshot.unwrap()), [0, 0, 0, 0], "{attempt}");
        }
    }
    database.execute("FLUSH PRIVILEGES").await;
    let wrong = read(&database, &crate::database::config(&url.replace("a-secret", "another"), ""), [plain()]).await;
    assert!(wrong.unwrap_err().to_string().contains("Access denied"));
}

/// After a restart the server knows no login, and the first user to come is ours.
#[tokio::test]
async fn default_login_works_after_a_restart_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let start = || OwnServer::start(Kind::MySql, directory.path(), "LC_ALL", "C");
    let server = start();
    let mut administrator = MySqlConnection::connect(server.url.as_str()).await.unwrap();
    let statements = [
        "CREATE USER scaler IDENTIFIED WITH caching_sha2_password BY 'a-secret'",
        "GRANT SELECT ON jobrunr.* TO scaler",
        "CREATE TABLE jobrunr.jobrunr_jobs (id CHAR(36) PRIMARY KEY)",
    ];
    for statement in statements {
        sqlx::query(statement).execute(&mut administrator).await.unwrap();
    }
    administrator.close().await.unwrap();
    drop(server);
    let server = start();
    let url = server.url.as_str().replace("jobrunr:jobrunr@", "scaler:a-secret@");
    for attempt in ["first", "second"] {
        // The login succeeds: what the scaler misses then is JobRunr's other table.
        let error = crate::database::config(&url, "").connect().await.err();
        assert!(matches!(error, Some(StorageError::Schema(_))), "{attempt}: {error:?}");
    }
}

#[tokio::test]
async fn metrics_are_read_on_mysql() {
    let mut database = Database::new(Kind::MySql).await;
    database
        .insert_jobs(&[
            job("ENQUEUED", 30.0),
            job("ENQUEUED", 10.0),
            job("PROCESSING", 1.0),
            scheduled(-5.0),
            scheduled(20.0),
            scheduled(600.0),
        ])
        .await;
    database.insert_servers(&[server(4, 15, 1.0), server(4, 15, 900.0)]).await;
    database.insert_recurring("nightly", "0 3 * * *").await;
    let triggers = Metric::ALL.map(|metric| {
        let trigger = Trigger::parse([("metric", metric.name()), ("targetValue", "1")]);
        trigger.unwrap_or_else(|errors| panic!("{metric}: {errors}"))
    });
    let mut session = database.config().connect().await.unwrap();
    let questions: Questions = triggers.iter().map(|trigger| trigger.question.clone()).collect();
    let snapshot = session.read(&questions, database.now).await.unwrap();
    assert!(session.is_unchanged(&questions, &snapshot).await.is_ok());
    session.close().await;
    let value = |metric: Metric| {
        let trigger = triggers.iter().find(|trigger| trigger.metric == metric).unwrap();
        decide(trigger, &snapshot, database.now).unwrap().value
    };
    for (metric, expected) in [
        (Metric::EnqueuedLatency, 30.0),
        (Metric::EnqueuedCount, 2.0),
        (Metric::ScheduledCount, 2.0),
        (Metric::WorkerUsage, 0.25),
        (Metric::TotalWorkers, 4.0),
        (Metric::OccupiedWorkers, 1.0),
        // What is enqueued, processed and scheduled, and a recurring job of JobRunr 8 without a run.
        (Metric::Demand, 6.0),
    ] {
        assert_eq!(value(metric), expected, "{metric}");
    }
}

/// Some installations turn it off for every session: the first read would begin a transaction that never ends, and all later ones
/// would see the tables as they were then.
#[tokio::test]
async fn reads_see_new_jobs_where_the_server_does_not_commit_by_itself() {
    for kind in [Kind::MariaDb, Kind::MySql] {
        let directory = tempfile::tempdir().unwrap();
        let server = OwnServer::start(kind, directory.path(), "LC_ALL", "C");
        let mut database = Database::on_server(kind, Layout::default(), &server).await;
        database.execute("SET GLOBAL autocommit = 0").await;
        let mut session = database.config().connect().await.unwrap();
        for n_jobs in 0..3 {
            let snapshot = session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
            assert_eq!(counts(&snapshot), [n_jobs, 0, 0, 0], "{kind:?}");
            database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        }
        session.close().await;
    }
}
