//! The time of a read as the table grows, beside the count that an SQL trigger would run; and with an old transaction open.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use common::{Times, heading, is_full, is_wanted, ms, name, sized, table, verdict};
use jiff::SignedDuration;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions};
use jobrunr_scaler::storage::Storage;
use mongodb::bson::doc;
use sqlx::Connection;
use support::database::{Database, Kind, numbers_of_mysql};
use support::rows::{job, server};

/// The default `countLimit`, and one for a workload with few pods.
const COUNT_LIMIT: u64 = 10_000;
const LOW_COUNT_LIMIT: u64 = 1_000;

/// What a usual trigger and one on demand want to know.
fn questions() -> Questions {
    let question = |demand| Question {
        filter: Filter::default(),
        look_ahead: SignedDuration::from_mins(1),
        demand,
        ..Question::default()
    };
    Questions::from_iter([question(false), question(true)])
}

/// Adds jobs as fast as the database can, a tenth of a second apart over the last twelve days: done ones that keep the time
/// for which they were scheduled, as with JobRunr 8, and jobs that wait.
async fn fill(database: &mut Database, first: u64, n_jobs: u64, state: &str) {
    if database.kind == Kind::MongoDb {
        return fill_mongodb(database, first, n_jobs, state).await;
    }
    let (kind, jobs, now) = (database.kind, database.jobs(), database.now);
    let base = now.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let (series, id, instant) = match kind {
        Kind::Postgres => (
            format!("generate_series({first} + 1, {first} + {n_jobs}) AS numbers(n)"),
            "lpad(n::text, 36, '0')".to_owned(),
            format!("timestamp '{base}' - interval '12 days' + (n % 10000000) * interval '0.1 second'"),
        ),
        Kind::MariaDb => (
            format!("(SELECT {first} + seq AS n FROM seq_1_to_{n_jobs}) numbers"),
            "LPAD(n, 36, '0')".to_owned(),
            format!("'{base}' - INTERVAL 12 DAY + INTERVAL (n % 10000000) * 100000 MICROSECOND"),
        ),
        Kind::MySql => (
            format!("(SELECT {first} + n AS n FROM {}) numbers_from", numbers_of_mysql(n_jobs)),
            "LPAD(n, 36, '0')".to_owned(),
            format!("'{base}' - INTERVAL 12 DAY + INTERVAL (n % 10000000) * 100000 MICROSECOND"),
        ),
        Kind::MongoDb => unreachable!("it takes no SQL"),
        Kind::Sqlite => (
            format!(
                "(WITH RECURSIVE series(n) AS (SELECT {first} + 1 UNION ALL SELECT n + 1 FROM series \
                 WHERE n < {first} + {n_jobs}) SELECT n FROM series) numbers"
            ),
            "printf('%036d', n)".to_owned(),
            format!("{} - 12 * 86400000 + (n % 10000000) * 100", now.as_millisecond()),
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

/// The same for MongoDB.
async fn fill_mongodb(database: &Database, first: u64, n_jobs: u64, state: &str) {
    let base = (database.now - SignedDuration::from_hours(12 * 24)).as_microsecond();
    let document = |n: u64| {
        let at = base + i64::try_from(n % 10_000_000).unwrap() * 100_000;
        let mut document =
            doc! { "_id": format!("{n:036}"), "version": 1, "jobAsJson": "{\"jobName\":\"a job\"}", "state": state };
        document.extend(doc! { "jobSignature": "App.run()", "createdAt": at, "updatedAt": at });
        if state != "ENQUEUED" {
            document.insert("scheduledAt", at);
        }
        document
    };
    database.mongodb().insert("jobs", (first + 1..=first + n_jobs).map(document).collect()).await;
}

/// Counts what is enqueued, as anybody would.
async fn count(database: &mut Database) {
    match database.kind {
        Kind::MongoDb => database.mongodb().run(doc! { "count": "jobs", "query": { "state": "ENQUEUED" } }).await,
        _ => {
            let statement = format!("SELECT count(*) FROM {} WHERE state = 'ENQUEUED'", database.jobs());
            database.number(&statement).await;
        }
    }
}

/// The times of a session's first read, of its later reads, and of the plain count; the latter two in turns.
async fn measure(database: &mut Database, count_limit: u64) -> [Times; 3] {
    let (questions, now) = (questions(), database.now);
    let [mut first, mut later, mut plain] = [const { Times::new() }; 3];
    let config = StorageConfig { count_limit: Some(count_limit), ..database.config() };
    let mut session = config.connect().await.unwrap();
    for _ in 0..sized(2, 5) {
        session.close().await;
        session = config.connect().await.unwrap();
        first.time(session.read(&questions, now)).await.unwrap();
    }
    for _ in 0..sized(3, 40) {
        later.time(session.read(&questions, now)).await.unwrap();
        plain.time(count(database)).await;
    }
    session.close().await;
    [first, later, plain]
}

async fn growth(kind: Kind, sizes: &[u64], rows: &mut Vec<Vec<String>>) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let jobs = database.jobs();
    let mut n_done = 0;
    let mut smallest = None;
    for &size in sizes {
        fill(&mut database, n_done, size - n_done, "SUCCEEDED").await;
        n_done = size;
        let mut n_enqueued = 0;
        // The same number in each table, and a tenth of the table.
        let shares = if size == 10_000 { vec![1_000] } else { vec![1_000, size / 10] };
        for share in shares {
            fill(&mut database, 1_000_000_000 + n_enqueued, share - n_enqueued, "ENQUEUED").await;
            n_enqueued = share;
            settle(&mut database).await;
            // Where counts are truncated, also with a lower limit.
            let limits = if COUNT_LIMIT < share { vec![COUNT_LIMIT, LOW_COUNT_LIMIT] } else { vec![COUNT_LIMIT] };
            for limit in limits {
                let times = measure(&mut database, limit).await.map(|mut times| times.at(0.5));
                let [_, later, _] = times;
                let smallest = *smallest.get_or_insert(later);
                let factor = later.as_secs_f64() / smallest.as_secs_f64();
                let mut row = vec![name(kind).to_owned()];
                row.extend([n_done, n_enqueued, limit].map(|number| number.to_string()));
                row.extend(times.map(ms));
                row.extend([format!("{factor:.1}"), verdict(factor <= 2.0)]);
                rows.push(row);
            }
        }
        match kind {
            Kind::MongoDb => database.mongodb().delete("jobs", doc! { "state": "ENQUEUED" }).await,
            _ => database.execute(&format!("DELETE FROM {jobs} WHERE state = 'ENQUEUED'")).await,
        }
        settle(&mut database).await;
    }
}

/// What PostgreSQL's autovacuum does in its time. The index entries of what is gone are another measurement.
async fn settle(database: &mut Database) {
    if database.kind == Kind::Postgres {
        database.execute(&format!("VACUUM ANALYZE {}", database.jobs())).await;
    }
}

/// Jobs that move on between two reads of a busy queue.
const N_TAKEN: usize = 5;

/// PostgreSQL with an old transaction open: what has moved on stays in the index.
async fn old_transaction() {
    let (n_done, n_enqueued) = sized((20_000, 10_000), (1_000_000, 100_000));
    heading(
        "An old transaction on PostgreSQL",
        &format!(
            "{n_done} jobs are done, {n_enqueued} were enqueued and 99 % of them have moved on while a transaction from before is\n\
             open. {N_TAKEN} jobs come and {N_TAKEN} go between the reads. Beside them count(*) and min(updatedAt) of what is enqueued."
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
    let plain =
        format!("SELECT count(*) + extract(epoch FROM min(updatedAt))::int8 FROM {jobs} WHERE state = 'ENQUEUED'");
    let take = format!(
        "UPDATE {jobs} SET state = 'PROCESSING' WHERE id IN (SELECT id FROM {jobs} WHERE state = 'ENQUEUED' \
         ORDER BY updatedAt LIMIT {N_TAKEN})"
    );
    let mut session = database.config().connect().await.unwrap();
    let [mut first, mut ours, mut theirs] = [const { Times::new() }; 3];
    first.time(session.read(&questions(), database.now)).await.unwrap();
    for _ in 0..sized(3, 200) {
        // The queue is busy: some come, and as many go.
        database.insert_jobs(&vec![job("ENQUEUED", 0.0); N_TAKEN]).await;
        database.execute(&take).await;
        ours.time(session.read(&questions(), database.now)).await.unwrap();
        theirs.time(database.number(&plain)).await;
    }
    let row =
        |what: &str, times: &mut Times| vec![what.to_owned(), ms(times.at(0.5)), ms(times.at(0.99)), ms(times.at(1.0))];
    let rows = [
        row("a session's first read", &mut first),
        row("its later reads", &mut ours),
        row("plain queries", &mut theirs),
    ];
    table(&["", "p50 ms", "p99 ms", "max ms"], &rows);
    old.close().await.unwrap();
}

#[tokio::main]
async fn main() {
    heading(
        "Growth",
        "A whole read (two questions, one of them for demand) beside count(*) of what is enqueued; p50.\n\
         Wanted: 10^7 rows within twice of 10^4.",
    );
    let sizes: &[u64] = match (common::is_quick(), is_full()) {
        (true, _) => &[10_000],
        (false, false) => &[10_000, 100_000, 1_000_000],
        (false, true) => &[10_000, 100_000, 1_000_000, 10_000_000],
    };
    let mut rows = Vec::new();
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::MySql, Kind::Sqlite].into_iter().filter(|kind| is_wanted(*kind)) {
        growth(kind, sizes, &mut rows).await;
    }
    // FerretDB filters documents one by one instead of by an index: that it grows says nothing about MongoDB.
    // One read of it takes longer than all others together.
    if is_full() && is_wanted(Kind::MongoDb) {
        growth(Kind::MongoDb, &sizes[..sizes.len().min(2)], &mut rows).await;
    }
    let headings = [
        "database",
        "done",
        "enqueued",
        "countLimit",
        "first read ms",
        "read ms",
        "count(*) ms",
        "times 10^4",
        "wanted",
    ];
    table(&headings, &rows);
    if is_wanted(Kind::Postgres) {
        old_transaction().await;
    }
}
