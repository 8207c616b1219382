//! From the insert of a job to `true` on KEDA's stream; and what it costs who inserts.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::{Duration, Instant};

use common::{ScalerProcess, Times, heading, ms, name, sized, table, verdict};
use futures::future::join_all;
use jobrunr_scaler::grpc::proto::IsActiveResponse;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::storage::notify_sql;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgListener};
use support::database::{Database, Kind};
use support::rows::{job, scheduled};
use support::scaler::reference;
use tonic::Streaming;

const TRIGGER: &str = "metric=demand targetValue=4 pushInactive=true";

const KINDS: [Kind; 5] = [Kind::Postgres, Kind::MariaDb, Kind::MySql, Kind::Sqlite, Kind::MongoDb];

fn start_scaler(database: &Database) -> ScalerProcess {
    let mongodb = (database.kind == Kind::MongoDb).then_some(&*database.name);
    ScalerProcess::start_with(&database.url, mongodb)
}

/// Waits until the stream says so, however often it says the contrary.
async fn until(stream: &mut Streaming<IsActiveResponse>, active: bool) {
    while stream.message().await.unwrap().unwrap().result != active {}
}

/// A time between 0 and a second that is not in step with anything.
fn somewhen(round: u32) -> Duration {
    Duration::from_millis(u64::from(round) * 379 % 1_000)
}

/// Inserts a job again and again, and measures until it is pushed.
async fn insert_to_push(database: &mut Database, n_rounds: u32) -> Times {
    let scaler = start_scaler(database);
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    let mut stream = client.stream_is_active(reference(TRIGGER)).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut times = Times::default();
    for round in 0..n_rounds {
        tokio::time::sleep(somewhen(round)).await;
        database.now = jiff::Timestamp::now();
        let inserted = Instant::now();
        database.insert_jobs(&[job("ENQUEUED", 0.0)]).await;
        until(&mut stream, true).await;
        times.add(inserted.elapsed());
        database.clear().await;
        until(&mut stream, false).await;
    }
    times
}

/// Schedules a job so that it enters the look-ahead of a minute soon, and measures from then on.
async fn due_to_push(database: &mut Database, n_rounds: u32) -> Times {
    let scaler = start_scaler(database);
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    let mut stream = client.stream_is_active(reference(TRIGGER)).await.unwrap().into_inner();
    let mut times = Times::default();
    for round in 0..n_rounds {
        database.now = jiff::Timestamp::now();
        let due = Instant::now() + Duration::from_secs(2) + somewhen(round);
        database.insert_jobs(&[scheduled(62.0 + somewhen(round).as_secs_f64())]).await;
        until(&mut stream, true).await;
        let early = due.saturating_duration_since(Instant::now());
        assert!(early < Duration::from_millis(5), "it was pushed {early:?} before the job was due");
        times.add(due.elapsed());
        database.clear().await;
        until(&mut stream, false).await;
    }
    times
}

/// Inserts jobs on so many connections, each in a transaction that waits for the disk; inserts a second.
async fn insert(url: &str, n_connections: usize, lasting: Duration) -> f64 {
    let mut connections = Vec::new();
    for _ in 0..n_connections {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query("SET synchronous_commit = on").execute(&mut connection).await.unwrap();
        connections.push(connection);
    }
    let began = Instant::now();
    let inserting = connections.into_iter().map(|mut connection| {
        tokio::spawn(async move {
            let mut n_inserts = 0_u32;
            while began.elapsed() < lasting {
                let insert = "INSERT INTO jobrunr_jobs (id, version, jobAsJson, jobSignature, state, createdAt, updatedAt) \
                              VALUES (gen_random_uuid(), 1, '{}', 'App.run()', 'ENQUEUED', now(), now())";
                sqlx::query(insert).execute(&mut connection).await.unwrap();
                n_inserts += 1;
            }
            n_inserts
        })
    });
    let mut n_inserts = 0;
    for inserted in inserting.collect::<Vec<_>>() {
        n_inserts += inserted.await.unwrap();
    }
    f64::from(n_inserts) / began.elapsed().as_secs_f64()
}

/// Inserts a second, with and without the trigger, in turns, while somebody listens.
async fn cost_of_telling(n_connections: usize) -> Vec<String> {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    let jobs = database.jobs();
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen("jobrunr_scaler").await.unwrap();
    let hearing = tokio::spawn(async move { while listener.recv().await.is_ok() {} });
    let mut rates = [0.0, 0.0];
    let n_rounds = sized(1, 8);
    for _ in 0..n_rounds {
        for (with, rate) in [false, true].into_iter().zip(&mut rates) {
            database.execute(&format!("TRUNCATE {jobs}; DROP TRIGGER IF EXISTS jobrunr_scaler_notify ON {jobs}")).await;
            if with {
                database.execute(&notify_sql(&database.config()).unwrap()).await;
            }
            let lasting = sized(Duration::from_millis(200), Duration::from_secs(2));
            *rate += insert(&database.url, n_connections, lasting).await / f64::from(n_rounds);
        }
    }
    hearing.abort();
    let [without, with] = rates;
    let more = n_connections as f64 * 1e6 * (1.0 / with - 1.0 / without);
    vec![
        n_connections.to_string(),
        format!("{without:.0}"),
        format!("{with:.0}"),
        format!("{:.0} %", with / without * 100.0),
        format!("{more:.0}"),
    ]
}

#[tokio::main]
async fn main() {
    heading(
        "Activation",
        "From the insert of a job, or from the instant at which it enters the look-ahead, to `true` on a stream. MongoDB is\n\
         FerretDB, which speaks its protocol.\n\
         Wanted: p99 below 50 ms with NOTIFY and for a known future; by polling at most a refresh, 1 s.",
    );
    let mut rows = Vec::new();
    let mut add = |what: String, times: &mut Times, wanted: Duration| {
        let p99 = times.at(0.99);
        rows.push(vec![what, ms(times.at(0.5)), ms(p99), ms(times.at(1.0)), verdict(p99 <= wanted)]);
    };
    let (soon, refresh) = (Duration::from_millis(50), Duration::from_millis(1_050));
    let mut telling = Database::new(Kind::Postgres).await.at_present();
    telling.execute(&notify_sql(&telling.config()).unwrap()).await;
    add("PostgreSQL, NOTIFY".to_owned(), &mut insert_to_push(&mut telling, sized(2, 60)).await, soon);
    // All at once: they wait for most of the time.
    let polling = KINDS.map(async |kind| {
        let mut database = Database::new(kind).await.at_present();
        insert_to_push(&mut database, sized(1, 30)).await
    });
    for (kind, mut times) in KINDS.into_iter().zip(join_all(polling).await) {
        add(format!("{}, polling", name(kind)), &mut times, refresh);
    }
    let due = KINDS.map(async |kind| {
        let mut database = Database::new(kind).await.at_present();
        due_to_push(&mut database, sized(1, 15)).await
    });
    for (kind, mut times) in KINDS.into_iter().zip(join_all(due).await) {
        add(format!("{}, enters the look-ahead", name(kind)), &mut times, soon);
    }
    table(&["", "p50 ms", "p99 ms", "max ms", "wanted"], &rows);

    heading(
        "What NOTIFY costs",
        "Inserts of one job each, every one its own transaction that waits for the disk, while somebody listens; with and\n\
         without the trigger in turns. PostgreSQL lets transactions that notify commit one after the other.",
    );
    let mut rows = Vec::new();
    for n_connections in [1, 16] {
        rows.push(cost_of_telling(n_connections).await);
    }
    table(&["connections", "inserts/s", "with the trigger", "share", "µs more an insert"], &rows);
}
