//! Rights and locks: a session reads, holds no locks, and needs few rights.

use std::time::Duration;

use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions};
use jobrunr_scaler::storage::{Storage, StorageError, grants_sql};
use sqlx::Connection;

use super::{counts, demand, plain, question, read};
use crate::database::{Database, Kind, Layout, SERVERS};
use crate::rows::{job, server};

/// Creates a user who can log in to the test's database and has no other rights.
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

/// Whether the user of the address can run a statement.
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

/// Creates a user who owns JobRunr's tables and nothing else, as an ordinary application's user.
async fn new_owner(database: &mut Database) -> String {
    let owner = format!("o_{}", database.name);
    let (schema, prefix) = match database.jobs().split_once('.') {
        Some((schema, _)) => (schema.to_owned(), format!("{schema}.{}", database.layout.prefix)),
        None => (database.name.clone(), database.layout.prefix.to_owned()),
    };
    let mut statements = match database.kind {
        Kind::Postgres => vec![format!("CREATE ROLE {owner} LOGIN PASSWORD 'a-secret'")],
        _ => vec![
            format!("CREATE USER {owner} IDENTIFIED BY 'a-secret'"),
            format!("GRANT ALL PRIVILEGES ON {schema}.* TO {owner} WITH GRANT OPTION"),
        ],
    };
    if database.kind == Kind::Postgres {
        if database.layout.schema {
            statements.push(format!("ALTER SCHEMA {schema} OWNER TO {owner}"));
        }
        for table in ["jobs", "backgroundjobservers", "recurring_jobs", "migrations"] {
            statements.push(format!("ALTER TABLE IF EXISTS {prefix}jobrunr_{table} OWNER TO {owner}"));
        }
    }
    for statement in statements {
        database.execute(&statement).await;
    }
    owner
}

/// Runs statements as a user; all users have the same password.
async fn run_as(database: &Database, user: &str, sql: &str) {
    let url = database.url.replace("jobrunr:jobrunr@", &format!("{user}:a-secret@"));
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match database.kind {
        Kind::Postgres => {
            let mut connection = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
        _ => {
            let url = match database.jobs().split_once('.') {
                Some((schema, _)) => url.replace(&format!("/{}", database.name), &format!("/{schema}")),
                None => url,
            };
            let mut connection = sqlx::mysql::MySqlConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    }
}

/// An administrator creates the role and an ordinary owner grants its rights, with and without the optional tables.
async fn role_reads_everything_and_writes_nothing(mut database: Database, has_optional_tables: bool) {
    let (kind, layout) = (database.kind, database.layout);
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    if has_optional_tables {
        database.insert_recurring("nightly", "0 3 * * *").await;
    } else {
        database.execute(&format!("DROP TABLE {}", database.recurring_jobs())).await;
        let migrations = database.jobs().replace("jobrunr_jobs", "jobrunr_migrations");
        database.execute(&format!("DROP TABLE IF EXISTS {migrations}")).await;
    }
    let owner = new_owner(&mut database).await;
    // A name that needs its quotes, from the configuration. MySQL takes at most 32 characters.
    let role = format!("S-{}", database.name);
    let login = |database: &Database| database.url.replace("jobrunr:jobrunr@", &format!("{role}:change-me@"));
    let grants = grants_sql(&crate::database::config(&login(&database), database.config().table_prefix.as_str()), None);
    database.execute(&grants.administrator).await;
    run_as(&database, &owner, &grants.owner).await;
    // A second run changes nothing and is no error.
    run_as(&database, &owner, &grants.owner).await;
    database.url = login(&database);
    if let (true, Some((schema, _))) = (kind.is_mysql(), database.jobs().split_once('.')) {
        // As the statements say: only there the user has rights.
        database.url = database.url.replace(&format!("/{}", database.name), &format!("/{schema}"));
    }
    let snapshot = read(&database, &database.config(), [demand()]).await.unwrap();
    assert_eq!(counts(&snapshot), [1, 0, 0, 0], "{kind:?} {layout:?}");
    let recurring = snapshot.recurring.unwrap();
    assert_eq!(recurring.jobs.len(), usize::from(has_optional_tables), "{kind:?} {layout:?}");
    assert_eq!(recurring.note.is_none(), has_optional_tables, "{kind:?} {layout:?}: {:?}", recurring.note);
    let jobs = database.jobs();
    assert!(may(kind, &database.url, &format!("SELECT count(*) FROM {jobs}")).await);
    for write in [format!("DELETE FROM {jobs}"), format!("UPDATE {jobs} SET version = 2"), format!("DROP TABLE {jobs}")]
    {
        assert!(!may(kind, &database.url, &write).await, "{kind:?} {layout:?}: {write}");
    }
}

#[tokio::test]
async fn grants_sql_is_run_by_administrator_and_owner() {
    for kind in SERVERS {
        for layout in [Layout::default(), Layout { schema: true, prefix: "tbl_", ..Layout::default() }] {
            for has_optional_tables in [true, false] {
                let database = Database::with(kind, layout).await;
                role_reads_everything_and_writes_nothing(database, has_optional_tables).await;
            }
        }
    }
}

/// If PUBLIC has no right on the schema, the owner of schema and tables grants it to the role.
#[tokio::test]
async fn grants_sql_opens_a_closed_schema_of_the_search_path() {
    for is_quoted in [false, true] {
        let mut database = Database::with(Kind::Postgres, Layout { schema: true, ..Layout::default() }).await;
        let owner = new_owner(&mut database).await;
        let mut schema = database.jobs().split_once('.').unwrap().0.to_owned();
        if is_quoted {
            database.execute(&format!("ALTER SCHEMA {schema} RENAME TO \"Jobs\"")).await;
            schema = "%22Jobs%22".to_owned();
        }
        database.execute("REVOKE ALL ON SCHEMA public FROM public").await;
        let role = format!("scaler_{}", database.name);
        let login = database.url.replace("jobrunr:jobrunr@", &format!("{role}:change-me@"));
        let config = crate::database::config(&format!("{login}?currentSchema={schema}"), "");
        let grants = grants_sql(&config, None);
        database.execute(&grants.administrator).await;
        run_as(&database, &owner, &grants.owner).await;
        let snapshot = read(&database, &config, [plain()]).await.unwrap();
        assert_eq!(counts(&snapshot), [0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn error_names_every_host_that_fails() {
    for kind in SERVERS {
        let mut database = Database::new(kind).await;
        let check = async |url: &str, expected: &[&str]| {
            let error = read(&database, &crate::database::config(url, ""), [plain()]).await.unwrap_err();
            let text = error.to_string();
            assert!(expected.iter().all(|part| text.contains(part)), "{kind:?} {url}: {text}");
            error
        };
        let server = crate::database::server_url(kind);
        let place = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap());
        let both = |hosts: &str| database.url.replace(&place, hosts);
        let refused = "Connection refused";
        check(&both("127.0.0.1:1,[::1]:2"), &["127.0.0.1:1: ", refused, "; [::1]:2: "]).await;
        let wrong = both(&format!("{place},127.0.0.1:1")).replace(":jobrunr@", ":wrong@");
        let error = check(&wrong, &[&format!("{place}: "), "jobrunr", "; 127.0.0.1:1: ", refused]).await;
        assert!(matches!(error, StorageError::Unreachable(_)), "{error:?}");
        let error = check(&both(&format!("{place},{place}")).replace(":jobrunr@", ":wrong@"), &[&place]).await;
        assert!(matches!(error, StorageError::Denied(_)), "{error:?}");
        // One that answers is enough.
        let one = both(&format!("127.0.0.1:1,{place}"));
        assert!(read(&database, &crate::database::config(&one, ""), [plain()]).await.is_ok());
        database.execute(&format!("DROP TABLE {}", database.jobs())).await;
        let both = database.url.replace(&place, &format!("{place},{place}"));
        let error = read(&database, &crate::database::config(&both, ""), [plain()]).await.unwrap_err();
        assert!(matches!(error, StorageError::Schema(_)), "{error:?}");
    }
}

#[tokio::test]
async fn missing_right_is_denied() {
    let mut database = Database::new(Kind::Postgres).await;
    new_user(&mut database).await;
    let error = read(&database, &database.config(), [plain()]).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied(_)), "{error:?}");
    assert!(error.to_string().contains("permission denied for table jobrunr_"), "{error}");
}

#[tokio::test]
async fn postgres_session_holds_neither_locks_nor_a_transaction() {
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
async fn sqlite_file_is_opened_for_reading_and_never_created() {
    let database = Database::empty(Kind::Sqlite, crate::database::Layout::default()).await;
    let url = format!("{}-missing", database.url);
    let error = read(&database, &crate::database::config(&url, ""), [plain()]).await.unwrap_err();
    assert!(matches!(error, StorageError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("jobrunr.db-missing"), "{error}");
    assert!(!std::path::Path::new(url.trim_start_matches("sqlite:")).exists());
}

#[tokio::test]
async fn session_does_not_block_writers() {
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await;
        let config = database.config();
        let mut session = config.connect().await.unwrap();
        session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
        // A migration needs an exclusive lock: it would hang if the session had left something open.
        let jobs = database.jobs();
        let migrate = format!("ALTER TABLE {jobs} ADD COLUMN later int NULL");
        tokio::time::timeout(std::time::Duration::from_secs(5), database.execute(&migrate)).await.unwrap();
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        // The session must notice that its plans are outdated.
        let snapshot = session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
        assert_eq!(counts(&snapshot), [1, 0, 0, 0], "{kind:?}");
        session.close().await;
    }
}

/// A filter that is blamed has no answer for a minute. PostgreSQL ends the wait for a lock, the others the statement; after either
/// the session is usable.
#[tokio::test]
async fn locked_table_is_blamed_on_no_filter() {
    for kind in SERVERS {
        let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
        let priority = |n| question(Filter { priority: Some(n), ..Filter::default() }, 60);
        let questions = Questions::from_iter([priority(1), priority(2)]);
        let (lock, unlock, statement_timeout) = match kind {
            Kind::Postgres => ("BEGIN; LOCK TABLE jobrunr_jobs IN ACCESS EXCLUSIVE MODE", "COMMIT", 5),
            _ => ("LOCK TABLES jobrunr_jobs WRITE", "UNLOCK TABLES", 1),
        };
        let statement_timeout = Duration::from_secs(statement_timeout);
        let mut session = StorageConfig { statement_timeout, ..database.config() }.connect().await.unwrap();
        session.read(&questions, database.now).await.unwrap();
        database.execute(lock).await;
        let error = session.read(&questions, database.now).await.unwrap_err();
        assert!(matches!(error, StorageError::TimedOut(_)), "{kind:?}: {error}");
        assert!(session.is_usable_after(&error), "{kind:?}: {error}");
        database.execute(unlock).await;
        let snapshot = session.read(&questions, database.now).await.unwrap();
        assert!(snapshot.queues.values().all(Result::is_ok), "{kind:?}: {snapshot:?}");
        session.close().await;
    }
}

/// A slow statement leaves less time to those that follow, so that the session's limit changes, and changes back at the next read.
#[tokio::test]
async fn statements_after_a_slow_one_are_limited_on_every_server() {
    for (kind, is_pooled) in
        [(Kind::Postgres, false), (Kind::Postgres, true), (Kind::MariaDb, false), (Kind::MySql, false)]
    {
        let mut database = Database::new(kind).await;
        database.insert_jobs(&[job("PROCESSING", 1.0)]).await;
        let config = if is_pooled { super::pooler::pooled(&database) } else { database.config() };
        let mut session = config.connect().await.unwrap();
        let (now, questions) = (database.now, Questions::from_iter([Question { running: true, ..plain() }]));
        let (lock, unlock) = match kind {
            Kind::Postgres => ("BEGIN; LOCK TABLE jobrunr_jobs IN ACCESS EXCLUSIVE MODE", "COMMIT"),
            _ => ("LOCK TABLES jobrunr_jobs WRITE", "UNLOCK TABLES"),
        };
        for _ in 0..2 {
            database.execute(lock).await;
            let unlocking = async {
                tokio::time::sleep(Duration::from_millis(700)).await;
                database.execute(unlock).await;
            };
            let (slow, ()) = tokio::join!(session.read(&questions, now), unlocking);
            for snapshot in [slow, session.read(&questions, now).await] {
                let running = snapshot.unwrap().running.unwrap();
                assert!(running.is_complete() && running.jobs.len() == 1, "{kind:?} {is_pooled}: {running:?}");
            }
        }
        session.close().await;
    }
}
