//! What a storage may do and does: read, hold no locks, and need few rights.

use jobrunr_scaler::jobrunr::Questions;
use jobrunr_scaler::storage::{Storage, StorageError, grants_sql};
use sqlx::Connection;

use super::{counts, demand, plain, read};
use crate::database::{Database, Kind, Layout, SERVERS};
use crate::rows::{job, server};

/// A user who may log in to the test's database and nothing more.
async fn new_user(database: &mut Database) -> String {
    let user = database.name.clone();
    let create = match database.kind {
        Kind::Postgres => format!("CREATE ROLE {user} LOGIN PASSWORD 'a-secret'"),
        _ => format!("CREATE USER {user} IDENTIFIED BY 'a-secret'; GRANT USAGE ON *.* TO {user}"),
    };
    database.execute(&create).await;
    database.url = database.url.replace("jobrunr:jobrunr@", &format!("{user}:a-secret@"));
    user
}

#[tokio::test]
async fn select_on_two_tables_is_enough() {
    for kind in SERVERS {
        let mut database = Database::new(kind).await;
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        database.insert_servers(&[server(4, 5, 1.0)]).await;
        let user = new_user(&mut database).await;
        let text = read(&database, &database.config(), [plain()]).await.unwrap_err().to_string();
        assert!(!text.contains("a-secret"), "{text}");
        for table in [database.jobs(), database.servers()] {
            database.execute(&format!("GRANT SELECT ON {table} TO {user}")).await;
        }
        let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
        assert_eq!(counts(&snapshot), [1, 0, 0, 0], "{kind:?}");
    }
}

/// A statement as the scaler's user.
async fn may(kind: Kind, url: &str, sql: &str) -> bool {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match kind {
        Kind::Postgres => {
            let mut connection = sqlx::postgres::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.is_ok()
        }
        _ => {
            let mut connection = sqlx::mysql::MySqlConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.is_ok()
        }
    }
}

#[tokio::test]
async fn the_role_of_grants_sql_reads_everything_and_writes_nothing() {
    for kind in SERVERS {
        for layout in [Layout::default(), Layout { schema: true, prefix: "tbl_", ..Layout::default() }] {
            let mut database = Database::with(kind, layout).await;
            database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
            database.insert_recurring("nightly", "0 3 * * *").await;
            // A name that needs its quotes.
            let role = format!("Scaler-{}", database.name);
            let sql = grants_sql(&database.config(), &role);
            database.execute(&sql).await;
            let login = format!("{role}:change-me@");
            database.url = database.url.replace("jobrunr:jobrunr@", &login);
            if let (Kind::MariaDb, Some((schema, _))) = (kind, database.jobs().split_once('.')) {
                // As the statements say: only there the user has rights.
                database.url = database.url.replace(&format!("/{}", database.name), &format!("/{schema}"));
            }
            let snapshot = read(&database, &database.config(), [demand()]).await.unwrap();
            assert_eq!(counts(&snapshot), [1, 0, 0, 0], "{kind:?} {layout:?}");
            let recurring = snapshot.recurring.unwrap();
            assert_eq!((recurring.jobs.len(), recurring.note), (1, None), "{kind:?} {layout:?}");
            let jobs = database.jobs();
            assert!(may(kind, &database.url, &format!("SELECT count(*) FROM {jobs}")).await);
            for write in
                [format!("DELETE FROM {jobs}"), format!("UPDATE {jobs} SET version = 2"), format!("DROP TABLE {jobs}")]
            {
                assert!(!may(kind, &database.url, &write).await, "{kind:?} {layout:?}: {write}");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_right_is_called_so() {
    let mut database = Database::new(Kind::Postgres).await;
    new_user(&mut database).await;
    let error = read(&database, &database.config(), [plain()]).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied(_)), "{error:?}");
    assert!(error.to_string().contains("permission denied for table jobrunr_"), "{error}");
}

#[tokio::test]
async fn a_session_of_postgres_holds_neither_locks_nor_a_transaction() {
    let mut database = Database::new(Kind::Postgres).await;
    let mut session = database.config().connect().await.unwrap();
    session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
    let name = database.name.clone();
    let ours = format!("FROM pg_stat_activity WHERE application_name = 'jobrunr-scaler' AND datname = '{name}'");
    assert_eq!(database.number(&format!("SELECT count(*) {ours} AND state = 'idle'")).await, 1);
    let locks = format!("SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid {ours})");
    assert_eq!(database.number(&locks).await, 0);
    session.close().await;
}

#[tokio::test]
async fn sqlite_is_opened_for_reading_and_is_never_created() {
    let database = Database::empty(Kind::Sqlite, crate::database::Layout::default()).await;
    let url = format!("{}-missing", database.url);
    let error = read(&database, &crate::database::config(&url, ""), [plain()]).await.unwrap_err();
    assert!(matches!(error, StorageError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("jobrunr.db-missing"), "{error}");
    assert!(!std::path::Path::new(url.trim_start_matches("sqlite:")).exists());
}

#[tokio::test]
async fn a_reader_does_not_disturb_a_writer() {
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await;
        let config = database.config();
        let mut session = config.connect().await.unwrap();
        session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
        // A migration needs the table for itself: it would hang here if our session had left something open.
        let jobs = database.jobs();
        let migrate = format!("ALTER TABLE {jobs} ADD COLUMN later int NULL");
        tokio::time::timeout(std::time::Duration::from_secs(5), database.execute(&migrate)).await.unwrap();
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        // And what the session had planned is no longer right, which it has to notice by itself.
        let snapshot = session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
        assert_eq!(counts(&snapshot), [1, 0, 0, 0], "{kind:?}");
        session.close().await;
    }
}
