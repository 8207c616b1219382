//! The time of a read as the table grows, beside the count that an SQL trigger would run; and with an old transaction open.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]
#![allow(dead_code, reason = "what the benchmarks share is more than each needs")]

mod common;
#[path = "../tests/it/database.rs"]
mod database;
#[path = "../tests/it/rows.rs"]
mod rows;

use std::time::Instant;

use common::{Times, heading, is_full, ms, sized, table};
use database::{Database, Kind};
use jiff::SignedDuration;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions};
use jobrunr_scaler::storage::{Session, Storage};
use rows::server;
use sqlx::Connection;

/// What a usual trigger and one on demand want to know.
fn questions() -> Questions {
    let question = |demand| Question { filter: Filter::default(), look_ahead: SignedDuration::from_mins(1), demand };
    Questions::from_iter([question(false), question(true)])
}

/// Adds jobs as fast as the database can: done ones that keep the time for which they were scheduled, as with JobRunr 8,
/// and jobs that wait.
async fn fill(database: &mut Database, first: u64, n_jobs: u64, state: &str) {
    let (kind, jobs, now) = (database.kind, database.jobs(), database.now);
    let base = now.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let (series, id, instant) = match kind {
        Kind::Postgres => (
            format!("generate_series({first} + 1, {first} + {n_jobs}) AS numbers(n)"),
            "lpad(n::text, 36, '0')".to_owned(),
            format!("timestamp '{base}' - (n % 1000000) * interval '0.1 second'"),
        ),
        Kind::MariaDb => (
            format!("(SELECT {first} + seq AS n FROM seq_1_to_{n_jobs}) numbers"),
            "LPAD(n, 36, '0')".to_owned(),
            format!("'{base}' - INTERVAL (n % 1000000) * 100000 MICROSECOND"),
        ),
        Kind::Sqlite => (
            format!(
                "(WITH RECURSIVE series(n) AS (SELECT {first} + 1 UNION ALL SELECT n + 1 FROM series \
                 WHERE n < {first} + {n_jobs}) SELECT n FROM series) numbers"
            ),
            "printf('%036d', n)".to_owned(),
            format!("{} - (n % 1000000) * 100", now.as_millisecond()),
        ),
    };
    let scheduled = if state == "ENQUEUED" { "NULL" } else { &instant };
    database
        .execute(&format!(
            "INSERT INTO {jobs} (id, version, jobAsJson, jobSignature, state, createdAt, updatedAt, scheduledAt) \
             SELECT {id}, 1, '{{\"jobName\":\"a job\"}}', 'App.run()', '{state}', {instant}, {instant}, {scheduled} \
             FROM {series}"
        ))
        .await;
}

/// The p50 of our read and of the plain count, in turns.
async fn measure(database: &mut Database, session: &mut dyn Session) -> (Times, Times) {
    let (questions, now) = (questions(), database.now);
    let count = format!("SELECT count(*) FROM {} WHERE state = 'ENQUEUED'", database.jobs());
    let (mut ours, mut plain) = (Times::default(), Times::default());
    session.read(&questions, now).await.unwrap();
    for _ in 0..sized(3, 40) {
        let began = Instant::now();
        session.read(&questions, now).await.unwrap();
        ours.add(began.elapsed());
        let began = Instant::now();
        database.number(&count).await;
        plain.add(began.elapsed());
    }
    (ours, plain)
}

async fn growth(kind: Kind, sizes: &[u64], rows: &mut Vec<Vec<String>>) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let mut n_done = 0;
    let mut first_read = None;
    for &size in sizes {
        fill(&mut database, n_done, size - n_done, "SUCCEEDED").await;
        n_done = size;
        let mut n_enqueued = 0;
        for share in [1_000, size / 10] {
            if share <= n_enqueued {
                continue;
            }
            fill(&mut database, 1_000_000_000 + n_enqueued, share - n_enqueued, "ENQUEUED").await;
            n_enqueued = share;
            let mut session = database.config().connect().await.unwrap();
            let (mut ours, mut plain) = measure(&mut database, session.as_mut()).await;
            session.close().await;
            let p50 = ours.at(0.5);
            let first = *first_read.get_or_insert(p50);
            let times = format!("{:.1}", p50.as_secs_f64() / first.as_secs_f64());
            let name = format!("{kind:?}");
            rows.push(vec![name, n_done.to_string(), n_enqueued.to_string(), ms(p50), ms(plain.at(0.5)), times]);
        }
        let jobs = database.jobs();
        database.execute(&format!("DELETE FROM {jobs} WHERE state = 'ENQUEUED'")).await;
        // As autovacuum does in its time: the entries of what is gone are another measurement.
        if kind == Kind::Postgres {
            database.execute(&format!("VACUUM {jobs}")).await;
        }
    }
}

/// PostgreSQL with an old transaction open: what has moved on stays in the index.
async fn old_transaction() {
    let (n_done, n_enqueued) = sized((20_000, 10_000), (1_000_000, 100_000));
    heading(
        "An old transaction on PostgreSQL",
        &format!(
            "{n_done} jobs are done, {n_enqueued} were enqueued and 99 % of them have moved on, while a transaction from before is\n\
             open. Beside it the plain queries: count(*) and min(updatedAt) of what is enqueued."
        ),
    );
    let mut database = Database::new(Kind::Postgres).await;
    fill(&mut database, 0, n_done, "SUCCEEDED").await;
    fill(&mut database, 1_000_000_000, n_enqueued, "ENQUEUED").await;
    let jobs = database.jobs();
    database.execute(&format!("ALTER TABLE {jobs} SET (autovacuum_enabled = false); ANALYZE {jobs}")).await;
    let mut old = sqlx::postgres::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobrunr_jobs")
        .execute(&mut old)
        .await
        .unwrap();
    // Workers take the oldest first.
    let move_on = format!(
        "UPDATE {jobs} SET state = 'SUCCEEDED' WHERE id IN (SELECT id FROM {jobs} WHERE state = 'ENQUEUED' \
         ORDER BY updatedAt LIMIT {})",
        n_enqueued / 100 * 99
    );
    database.execute(&move_on).await;
    let mut session = database.config().connect().await.unwrap();
    let questions = questions();
    let plain =
        format!("SELECT count(*) + extract(epoch FROM min(updatedAt))::int8 FROM {jobs} WHERE state = 'ENQUEUED'");
    let (mut all, mut ours, mut theirs) = (Times::default(), Times::default(), Times::default());
    for _ in 0..sized(3, 200) {
        let began = Instant::now();
        session.read(&questions, database.now).await.unwrap();
        let took = began.elapsed();
        ours.add(took);
        all.add(took);
        let began = Instant::now();
        database.number(&plain).await;
        theirs.add(began.elapsed());
    }
    let row =
        |what: &str, times: &mut Times| vec![what.to_owned(), ms(times.at(0.5)), ms(times.at(0.99)), ms(times.at(1.0))];
    table(&["", "p50 ms", "p99 ms", "max ms"], &[row("our read", &mut ours), row("plain queries", &mut theirs)]);
    println!("  the slowest of ours looked at everything; that takes one part in fifty of the time at most");
    drop(old);
}

#[tokio::main]
async fn main() {
    heading(
        "Growth",
        "A whole read (two questions, one on demand) beside count(*) of what is enqueued, p50.\n\
         Wanted: 10^7 rows within twice of 10^4 (the last column).",
    );
    let sizes: &[u64] = match (common::is_quick(), is_full()) {
        (true, _) => &[10_000],
        (false, false) => &[10_000, 100_000, 1_000_000],
        (false, true) => &[10_000, 100_000, 1_000_000, 10_000_000],
    };
    let mut rows = Vec::new();
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        growth(kind, sizes, &mut rows).await;
    }
    table(&["database", "rows", "enqueued", "read ms", "count ms", "times the first"], &rows);
    old_transaction().await;
}
