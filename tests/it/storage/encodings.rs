//! Forms of times: SQLite's four, and servers and sessions in other time zones.

use jiff::SignedDuration;
use jobrunr_scaler::jobrunr::Filter;

use super::{counts, plain, queue, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{Encoding, job, scheduled, seconds, server};
use crate::support::servers::OwnServer;

/// Inserts rows with times in whole seconds, because one of the forms has no fractions.
async fn insert_rows(database: &mut Database) {
    database
        .insert_jobs(&[
            job("ENQUEUED", 100.0),
            job("ENQUEUED", 7.0),
            job("PROCESSING", 20.0),
            job("PROCESSING", 21.0),
            scheduled(-86_400.0),
            scheduled(60.0),
            scheduled(61.0),
        ])
        .await;
    database.insert_servers(&[server(4, 5, 20.0), server(8, 5, 21.0)]).await;
}

async fn check(database: &Database, what: &str, n_times: u64) {
    let snapshot = read(database, &database.config(), [plain()]).await.unwrap();
    assert_eq!(counts(&snapshot), [2, 2, 1, 2].map(|n| n * n_times), "{what}");
    let oldest = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
    assert_eq!(database.now.duration_since(oldest), seconds(100.0), "{what}");
    assert_eq!(snapshot.live_servers().count() as u64, n_times, "{what}");
}

#[tokio::test]
async fn sqlite_reads_each_form_of_its_jdbc_driver() {
    for encoding in Encoding::OF_SQLITE {
        let mut database = Database::new(Kind::Sqlite).await;
        database.encoding = encoding;
        insert_rows(&mut database).await;
        check(&database, &format!("{encoding:?}"), 1).await;
    }
}

#[tokio::test]
async fn sqlite_reads_all_forms_in_one_table() {
    let mut database = Database::new(Kind::Sqlite).await;
    for (n_before, encoding) in Encoding::OF_SQLITE.into_iter().enumerate() {
        database.encoding = encoding;
        insert_rows(&mut database).await;
        check(&database, &format!("{encoding:?} and those before"), n_before as u64 + 1).await;
    }
}

#[tokio::test]
async fn sqlite_finds_the_oldest_in_any_form() {
    for oldest in Encoding::OF_SQLITE {
        let mut database = Database::new(Kind::Sqlite).await;
        for encoding in Encoding::OF_SQLITE {
            database.encoding = encoding;
            database.insert_jobs(&[job("ENQUEUED", if encoding == oldest { 500.0 } else { 5.0 })]).await;
        }
        let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
        let at = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
        assert_eq!(database.now.duration_since(at), seconds(500.0), "{oldest:?}");
    }
}

#[tokio::test]
async fn sqlite_reads_a_julian_day_at_noon_which_it_stores_as_an_integer() {
    let mut database = Database::new(Kind::Sqlite).await;
    database.encoding = Encoding::JulianDay;
    // A column of type TIMESTAMP has numeric affinity: a double without a fraction becomes an integer.
    database.insert_jobs(&[job("ENQUEUED", 0.0), job("PROCESSING", 0.0), scheduled(0.0)]).await;
    database.insert_servers(&[server(4, 5, 0.0)]).await;
    let n_integers = "SELECT count(*) FROM jobrunr_jobs WHERE typeof(updatedAt) = 'integer'";
    assert_eq!(database.number(n_integers).await, 2);
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    assert_eq!(counts(&snapshot), [1, 1, 1, 1]);
    assert_eq!(queue(&snapshot, &Filter::default()).oldest_enqueued_at, Some(database.now));
    assert_eq!(snapshot.servers[0].last_heartbeat, database.now);
}

#[tokio::test]
async fn sqlite_reads_text_without_milliseconds() {
    let mut database = Database::new(Kind::Sqlite).await;
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    database.execute("UPDATE jobrunr_jobs SET updatedAt = '2026-11-23 11:59:00'").await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    let at = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
    assert_eq!(database.now.duration_since(at), SignedDuration::from_mins(1));
}

#[tokio::test]
async fn postgres_reads_the_same_in_every_time_zone() {
    for hand_made in [false, true] {
        for zone in ["America/New_York", "Asia/Kathmandu", "UTC"] {
            let mut database = Database::with(Kind::Postgres, Layout { hand_made, ..Layout::default() }).await;
            insert_rows(&mut database).await;
            let name = database.name.clone();
            database.execute(&format!("ALTER DATABASE {name} SET timezone = '{zone}'")).await;
            check(&database, &format!("{zone}, hand-made: {hand_made}"), 1).await;
        }
    }
}

#[tokio::test]
async fn postgres_reads_the_same_in_a_role_with_a_time_zone_and_a_date_style() {
    let mut database = Database::new(Kind::Postgres).await;
    insert_rows(&mut database).await;
    let role = database.name.clone();
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; ALTER ROLE {role} SET timezone = 'Pacific/Auckland'; \
             ALTER ROLE {role} SET datestyle = 'SQL, DMY'; ALTER ROLE {role} SET intervalstyle = 'sql_standard'; \
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await;
    database.url = database.url.replace("jobrunr:jobrunr@", &format!("{role}:x@"));
    check(&database, "the role's settings", 1).await;
}

#[tokio::test]
async fn mariadb_reads_the_same_in_every_time_zone() {
    let directory = tempfile::tempdir().unwrap();
    // The setting counts for new sessions, all of which set their own.
    let server = OwnServer::start(Kind::MariaDb, directory.path(), "MARIADB_TIME_ZONE", "-05:00");
    for hand_made in [false, true] {
        let layout = Layout { hand_made, ..Layout::default() };
        let mut database = Database::on_server(Kind::MariaDb, layout, &server).await;
        assert_eq!(database.number("SELECT @@global.time_zone = '-05:00'").await, 1);
        // Our own connection writes in UTC, as JobRunr does.
        insert_rows(&mut database).await;
        check(&database, &format!("hand-made: {hand_made}"), 1).await;
    }
}
