//! What a read costs on a large, ugly table: counted in rows that the database touched, not in time.

use jiff::SignedDuration;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions};
use jobrunr_scaler::storage::Storage;
use sqlx::Connection;

use super::{demand, from_cursors, plain, question, queue};
use crate::database::{Database, Kind};
use crate::rows::server;
use crate::scaler::eventually;

/// Rows of a difficult table: finished jobs keep their due times, as with JobRunr 8, and there are so many enqueued and
/// scheduled jobs that neither an index on the state nor one on the due time is selective.
const N_DONE: u32 = 200_000;
const N_ENQUEUED: u32 = 60_000;
const N_SCHEDULED: u32 = 60_000;
/// Counting stops at 10,000 jobs, and so do the scans for due jobs, by state and by due time, for each of two look-aheads.
/// Walking any part of the table would be more.
const MOST_ROWS: i64 = 60_000;

async fn fill(database: &mut Database) {
    database.insert_series("SUCCEEDED", N_DONE, "-n", Some("-n - 1")).await;
    database.insert_series("ENQUEUED", N_ENQUEUED, "-n", None).await;
    database.insert_series("SCHEDULED", N_SCHEDULED, "-n", Some("86400 + n")).await;
}

/// The number of rows of the jobs table that all sessions have read, in the table and in its indexes.
async fn rows_read(database: &mut Database) -> i64 {
    match database.kind {
        Kind::Postgres => {
            let indexes =
                "SELECT coalesce(sum(idx_tup_read), 0)::int8 FROM pg_stat_user_indexes WHERE relname = 'jobrunr_jobs'";
            let table =
                "SELECT coalesce(sum(seq_tup_read), 0)::int8 FROM pg_stat_user_tables WHERE relname = 'jobrunr_jobs'";
            database.number(indexes).await + database.number(table).await
        }
        Kind::MariaDb => {
            let name = database.name.clone();
            let rows = "SELECT CAST(COALESCE(SUM(ROWS_READ), 0) AS SIGNED) FROM information_schema.TABLE_STATISTICS";
            database.number(&format!("{rows} WHERE TABLE_SCHEMA = '{name}' AND TABLE_NAME = 'jobrunr_jobs'")).await
        }
        Kind::MySql => {
            let name = database.name.clone();
            let rows = "SELECT CAST(COALESCE(SUM(COUNT_READ), 0) AS SIGNED) FROM performance_schema.table_io_waits_summary_by_table";
            database.number(&format!("{rows} WHERE OBJECT_SCHEMA = '{name}' AND OBJECT_NAME = 'jobrunr_jobs'")).await
        }
        Kind::Sqlite => unreachable!("SQLite does not count rows; its plans are tested beside its dialect"),
        Kind::MongoDb => unreachable!("FerretDB does not count documents"),
    }
}

/// The rows read since then. PostgreSQL reports the work of a session when it ends, which can take a moment.
async fn touched_since(database: &mut Database, before: i64) -> i64 {
    eventually("the database's count of rows", async || Some(rows_read(database).await - before).filter(|n| 0 < *n))
        .await
}

async fn read_of_a_large_table_touches_few_rows(kind: Kind) {
    let mut database = Database::new(kind).await;
    if kind == Kind::Postgres {
        database.execute("ALTER TABLE jobrunr_jobs SET (autovacuum_enabled = false); ANALYZE jobrunr_jobs").await;
    }
    database.insert_servers(&[server(4, 15, 1.0)]).await;
    fill(&mut database).await;
    let questions = Questions::from_iter([demand(), question(Filter::default(), 7_200)]);
    let mut touched = Vec::new();
    for n_reads in [1, 5] {
        let before = rows_read(&mut database).await;
        let mut session = database.config().connect().await.unwrap();
        for _ in 0..n_reads {
            let snapshot = session.read(&questions, database.now).await.unwrap();
            let queue = queue(&snapshot, &Filter::default());
            assert_eq!((queue.enqueued.n_jobs, queue.enqueued.limited), (10_000, true));
            let oldest = database.now - SignedDuration::from_secs(i64::from(N_ENQUEUED));
            assert_eq!(queue.oldest_enqueued_at, Some(oldest));
            let due = queue.scheduled[&SignedDuration::from_mins(1)];
            assert_eq!((due.n_jobs, due.limited), (0, false), "certain that none is due");
            let next = snapshot.next_scheduled_at(&plain()).unwrap();
            assert_eq!(next, database.now + SignedDuration::from_secs(86_401));
        }
        session.close().await;
        touched.push(touched_since(&mut database, before).await);
    }
    let (first, five) = (touched[0], touched[1]);
    println!("{kind:?}: the first read touched {first} rows, each of four more {}", (five - first) / 4);
    // One search covers all jobs, by state, by due time, or by an intersection of both indexes: nothing else shows that none
    // is due.
    assert!(first < 2 * MOST_ROWS + i64::from(N_SCHEDULED + N_DONE), "{kind:?}: the first read touched {first} rows");
    assert!((five - first) / 4 < MOST_ROWS, "{kind:?}: four more reads touched {} rows", five - first);
    running_jobs_of_a_large_table_touch_few_rows(&mut database).await;
    work_of_a_large_table_touches_few_rows(&mut database).await;
}

/// The kinds of waiting jobs are three samples of a thousand, and a first look at finished jobs has at most 125.
async fn work_of_a_large_table_touches_few_rows(database: &mut Database) {
    const N_READS: u32 = 3;
    const N_SAMPLED: u32 = 3 * 1_000;
    const N_FINISHED: u32 = 125;
    let mut touched = Vec::new();
    for work in [false, true] {
        let questions = Questions::from_iter([Question { work, ..plain() }]);
        let before = rows_read(database).await;
        // Whether a scan or a long count is repeated depends on how long the machine takes.
        let mut session = from_cursors(database).connect().await.unwrap();
        for _ in 0..N_READS {
            let snapshot = session.read(&questions, database.now).await.unwrap();
            assert_eq!(snapshot.service_times.is_some(), work);
            assert_eq!(!queue(&snapshot, &Filter::default()).waiting.is_empty(), work);
        }
        session.close().await;
        touched.push(touched_since(database, before).await);
    }
    let more = touched[1] - touched[0];
    println!("{:?}: {N_READS} looks at the work touched {more} rows", database.kind);
    // A row is touched in the index and in the table.
    let most = i64::from(2 * (N_READS * N_SAMPLED + N_FINISHED + 200));
    assert!(more <= most, "{:?}: {N_READS} looks at the work touched {more} rows", database.kind);
}

/// The list of the running jobs touches those jobs, and each once more when it is looked up.
async fn running_jobs_of_a_large_table_touch_few_rows(database: &mut Database) {
    const N_RUNNING: u32 = 500;
    const N_READS: u32 = 3;
    database.insert_series("PROCESSING", N_RUNNING, "-n", None).await;
    let mut touched = Vec::new();
    for running in [false, true] {
        let questions = Questions::from_iter([Question { running, ..plain() }]);
        let before = rows_read(database).await;
        // Whether a scan or a long count is repeated depends on how long the machine takes.
        let mut session = from_cursors(database).connect().await.unwrap();
        for _ in 0..N_READS {
            let snapshot = session.read(&questions, database.now).await.unwrap();
            // On a busy machine some are looked up by the next read only.
            let found = snapshot.running.map(|found| found.jobs.len() as u32 == N_RUNNING || found.is_truncated);
            assert_eq!(found, running.then_some(true));
        }
        session.close().await;
        touched.push(touched_since(database, before).await);
    }
    let more = touched[1] - touched[0];
    println!("{:?}: {N_READS} lists of {N_RUNNING} running jobs touched {more} rows", database.kind);
    // A row is touched in the index and in the table; a list of ids is filled up to a round number.
    let most = i64::from(2 * (N_READS * N_RUNNING + N_RUNNING + 200));
    assert!(more <= most, "{:?}: {N_READS} lists of {N_RUNNING} running jobs touched {more} rows", database.kind);
}

#[tokio::test]
async fn postgres_touches_few_rows_of_a_large_table() {
    read_of_a_large_table_touches_few_rows(Kind::Postgres).await;
}

#[tokio::test]
async fn mariadb_touches_few_rows_of_a_large_table() {
    read_of_a_large_table_touches_few_rows(Kind::MariaDb).await;
}

#[tokio::test]
async fn mysql_touches_few_rows_of_a_large_table() {
    read_of_a_large_table_touches_few_rows(Kind::MySql).await;
}

/// PostgreSQL keeps the index entries of jobs that have moved on while somebody might still have to see them there.
#[tokio::test]
async fn postgres_rarely_walks_over_entries_of_jobs_that_have_moved_on() {
    const N_DEAD: i64 = 40_000;
    const N_READS: usize = 20;
    let mut database = Database::new(Kind::Postgres).await;
    database.execute("ALTER TABLE jobrunr_jobs SET (autovacuum_enabled = false)").await;
    let instant = format!("timestamp '{}' - (50000 - n) * interval '1 second'", database.now.strftime("%F %T"));
    database
        .execute(&format!(
            "INSERT INTO jobrunr_jobs (id, version, jobAsJson, jobSignature, state, createdAt, updatedAt) \
             SELECT lpad(n::text, 36, '0'), 1, '{{}}', 'App.run()', 'ENQUEUED', {instant}, {instant} \
             FROM generate_series(1, {N_DEAD} + 500) AS numbers(n)"
        ))
        .await;
    // Statistics from before: nearly all jobs seem to be enqueued, and none to have moved on.
    database.execute("ANALYZE jobrunr_jobs").await;
    let mut old = sqlx::postgres::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobrunr_jobs")
        .execute(&mut old)
        .await
        .unwrap();
    let update = "UPDATE jobrunr_jobs SET state = 'SUCCEEDED' WHERE id <= lpad";
    database.execute(&format!("{update}('{N_DEAD}', 36, '0')")).await;

    let before = rows_read(&mut database).await;
    let mut session = database.config().connect().await.unwrap();
    let questions = Questions::from_iter([demand()]);
    for _ in 0..N_READS {
        let snapshot = session.read(&questions, database.now).await.unwrap();
        assert_eq!(queue(&snapshot, &Filter::default()).enqueued.n_jobs, 500);
    }
    session.close().await;
    let touched = touched_since(&mut database, before).await;
    println!("{N_READS} reads touched {touched} rows");
    // The dead entries are met by the count, the head and the runs of recurring jobs: once, not twenty times.
    assert!(N_DEAD < touched, "without dead entries this shows nothing: {touched}");
    assert!(touched < 2 * 3 * N_DEAD + 20 * 3 * 600, "{N_READS} reads touched {touched} rows");
    drop(old);
}
