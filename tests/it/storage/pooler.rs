//! PostgreSQL behind PgBouncer in transaction mode.

use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::Questions;
use jobrunr_scaler::storage::{Storage, StorageError, check};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::{counts, demand, plain, read};
use crate::database::{Database, Kind};
use crate::rows::{job, scheduled, server};
use crate::support::servers::pooler_url;

/// The test's database through the pooler, with these parameters.
fn address(database: &Database, parameters: &str) -> String {
    let mut url = pooler_url();
    url.set_path(&database.name);
    format!("{url}?{parameters}")
}

pub(crate) fn pooled(database: &Database) -> StorageConfig {
    crate::database::config(&address(database, "pooler=transaction"), "")
}

async fn filled() -> Database {
    let mut database = Database::new(Kind::Postgres).await;
    database.insert_jobs(&[job("ENQUEUED", 9.0), job("PROCESSING", 1.0), scheduled(-5.0), scheduled(900.0)]).await;
    database.insert_servers(&[server(4, 15, 1.0)]).await;
    database.insert_recurring("nightly", "0 3 * * *").await;
    database
}

#[tokio::test]
async fn pooler_is_read_through_without_a_session() {
    let database = filled().await;
    let direct = read(&database, &database.config(), [demand()]).await.unwrap();
    let questions = Questions::from_iter([demand()]);
    let readers = (0..8).map(async |_| {
        let mut session = pooled(&database).connect().await.unwrap();
        for _ in 0..20 {
            let snapshot = session.read(&questions, database.now).await.unwrap();
            assert_eq!(counts(&snapshot), [1, 1, 1, 1]);
            assert_eq!(snapshot, direct);
            session.is_unchanged(&questions, &snapshot).await.unwrap();
        }
        session.close().await;
    });
    futures::future::join_all(readers).await;
}

/// The application's transactions run in the same sessions as ours.
#[tokio::test]
async fn pooler_keeps_our_settings_from_other_transactions() {
    let database = filled().await;
    let (address, questions) = (address(&database, ""), Questions::from_iter([demand()]));
    let options: PgConnectOptions = address.parse().unwrap();
    let options = options.extra_float_digits(None);
    let mut application = PgConnection::connect_with(&options).await.unwrap();
    let mut session = pooled(&database).connect().await.unwrap();
    for _ in 0..20 {
        session.read(&questions, database.now).await.unwrap();
        for (setting, expected) in [
            ("statement_timeout", "0"),
            ("transaction_read_only", "off"),
            ("enable_seqscan", "on"),
            ("lock_timeout", "0"),
        ] {
            sqlx::raw_sql("BEGIN").execute(&mut application).await.unwrap();
            let value: String = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT current_setting('{setting}')")))
                .persistent(false)
                .fetch_one(&mut application)
                .await
                .unwrap();
            sqlx::raw_sql("COMMIT").execute(&mut application).await.unwrap();
            assert_eq!(value, expected, "{setting}");
        }
    }
    session.close().await;
}

#[tokio::test]
async fn pooler_ends_a_read_at_the_statement_timeout() {
    let mut database = filled().await;
    let config = StorageConfig { statement_timeout: std::time::Duration::from_millis(500), ..pooled(&database) };
    let mut session = config.connect().await.unwrap();
    database.execute("BEGIN; LOCK TABLE jobrunr_jobs IN ACCESS EXCLUSIVE MODE").await;
    let error = session.read(&Questions::from_iter([plain()]), database.now).await.unwrap_err();
    assert!(matches!(error, StorageError::TimedOut(_)), "{error:?}");
    database.execute("COMMIT").await;
    // The connection remains usable.
    assert!(session.read(&Questions::from_iter([plain()]), database.now).await.is_ok());
    session.close().await;
}

#[tokio::test]
async fn pooler_without_its_parameter_is_rejected() {
    let database = filled().await;
    let error = read(&database, &crate::database::config(&address(&database, ""), ""), [plain()]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("unsupported startup parameter") && text.contains("pooler=transaction"), "{text}");
}

#[tokio::test]
async fn pooler_is_inspected_and_does_not_notify() {
    let database = filled().await.at_present();
    let config = pooled(&database);
    let checked = check(&config, jiff::Timestamp::now).await;
    assert!(checked.is_healthy(), "{checked:?}");
    assert!(
        checked.summary().contains("PostgreSQL 1") && !checked.summary().contains("NOTIFY"),
        "{}",
        checked.summary()
    );
    assert!(config.listen().await.unwrap().is_none());
}
