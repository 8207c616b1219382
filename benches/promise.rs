//! What `maxLatency` costs the database: a read that also asks how much work the jobs are, beside one that does not.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use common::{Times, heading, ms, name, sized, table, verdict};
use jiff::SignedDuration;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions};
use jobrunr_scaler::storage::Storage;
use support::database::{Database, Kind};
use support::rows::{Job, job, server};

/// Kinds of jobs.
const KINDS: usize = 50;
/// How many times as long as the plain read the other may take.
const WANTED: f64 = 2.0;

fn questions(is_work: bool) -> Questions {
    let look_ahead = SignedDuration::from_mins(1);
    Questions::from_iter([Question {
        filter: Filter::default(),
        look_ahead,
        demand: true,
        work: is_work,
        running: is_work,
    }])
}

/// A record of so many bytes.
fn record(bytes: usize) -> String {
    let parameter = "x".repeat(bytes);
    format!(
        r#"{{"jobDetails":{{"jobParameters":[{{"object":"{parameter}"}}]}},"jobHistory":[{{"state":"ENQUEUED"}},{{"state":"PROCESSING","createdAt":"2026-11-23T12:00:00Z","serverId":"3a364326-1111-4222-8333-444455556666","serverName":"a"}},{{"state":"SUCCEEDED","latencyDuration":1.0,"processDuration":0.25}}],"metadata":{{}}}}"#
    )
}

fn jobs(state: &str, n_jobs: usize, bytes: usize) -> Vec<Job> {
    let json = record(bytes);
    (0..n_jobs)
        .map(|number| {
            job(state, 1.0 + number as f64 / 100.0).kind(&format!("App.run{}()", number % KINDS)).json(json.clone())
        })
        .collect()
}

/// Inserts in portions that every server takes.
async fn insert(database: &mut Database, jobs: Vec<Job>, portion: usize) {
    for jobs in jobs.chunks(portion) {
        database.insert_jobs(jobs).await;
    }
}

async fn promise(kind: Kind, bytes: usize, rows: &mut Vec<Vec<String>>) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    // A megabyte each is too much for 20,000 jobs.
    let (n_enqueued, n_finished, portion) =
        if bytes < 10_000 { (sized(500, 20_000), 1_000, 500) } else { (sized(20, 100), 100, 4) };
    insert(&mut database, jobs("SUCCEEDED", n_finished, bytes), portion).await;
    insert(&mut database, jobs("ENQUEUED", n_enqueued, bytes), portion).await;
    insert(&mut database, jobs("PROCESSING", 8, bytes), portion).await;
    let (plain_questions, work_questions) = (questions(false), questions(true));
    let mut plain_session = database.config().connect().await.unwrap();
    let mut work_session = database.config().connect().await.unwrap();
    let [mut plain, mut work, mut first] = [const { Times::new() }; 3];
    plain_session.read(&plain_questions, database.now).await.unwrap();
    // The first read also reads finished jobs, as one does every 15 s.
    first.time(work_session.read(&work_questions, database.now)).await.unwrap();
    for _ in 0..sized(3, 100) {
        plain.time(plain_session.read(&plain_questions, database.now)).await.unwrap();
        work.time(work_session.read(&work_questions, database.now)).await.unwrap();
    }
    let (plain, work) = (plain.at(0.5), work.at(0.5));
    let factor = work.as_secs_f64() / plain.as_secs_f64();
    let mut row = vec![name(kind).to_owned(), n_enqueued.to_string(), bytes.to_string()];
    row.extend([plain, work, first.at(1.0)].map(ms));
    row.extend([format!("{factor:.2}"), verdict(factor <= WANTED)]);
    rows.push(row);
    plain_session.close().await;
    work_session.close().await;
}

#[tokio::main]
async fn main() {
    heading(
        "Promise",
        "A read with maxLatency beside one without, in turns; p50. Jobs of 50 kinds, with records of so many bytes. The first read also\n\
         reads how long finished jobs ran, which repeats every 15 s. Wanted: at most twice.",
    );
    let mut rows = Vec::new();
    let mut kinds = vec![Kind::Postgres, Kind::MariaDb, Kind::MySql, Kind::Sqlite];
    // FerretDB takes minutes.
    if common::is_full() {
        kinds.push(Kind::MongoDb);
    }
    for kind in kinds.into_iter().filter(|kind| common::is_wanted(*kind)) {
        for bytes in [1_000, 1_000_000] {
            promise(kind, bytes, &mut rows).await;
        }
    }
    let headings = ["database", "enqueued", "record bytes", "plain ms", "with ms", "first ms", "times", ""];
    table(&headings, &rows);
}
