//! From the insert of a job to `true` on KEDA's stream; and what it costs who inserts.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]
#![allow(dead_code, reason = "what the benchmarks share is more than each needs")]

mod common;
#[path = "../tests/it/database.rs"]
mod database;
#[path = "../tests/it/rows.rs"]
mod rows;

use std::time::{Duration, Instant};

use common::{Scaler, Times, heading, ms, reference, sized, table, verdict};
use database::{Database, Kind};
use jobrunr_scaler::grpc::proto::IsActiveResponse;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::storage::notify_sql;
use rows::{job, scheduled};
use tonic::Streaming;

const TRIGGER: &str = "metric=demand targetValue=4 pushInactive=true";

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
    let scaler = Scaler::start(&database.url);
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    let mut stream = client.stream_is_active(reference(TRIGGER)).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut times = Times::default();
    for round in 0..n_rounds {
        tokio::time::sleep(somewhen(round)).await;
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
    let scaler = Scaler::start(&database.url);
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    let mut stream = client.stream_is_active(reference(TRIGGER)).await.unwrap().into_inner();
    let mut times = Times::default();
    for round in 0..n_rounds {
        database.now = jiff::Timestamp::now();
        let due = Instant::now() + Duration::from_secs(2) + somewhen(round);
        database.insert_jobs(&[scheduled(62.0 + somewhen(round).as_secs_f64())]).await;
        until(&mut stream, true).await;
        times.add(Instant::now().saturating_duration_since(due));
        database.clear().await;
        until(&mut stream, false).await;
    }
    times
}

/// Inserts a second, with and without the trigger, in turns.
async fn cost_of_telling(rows: &mut Vec<Vec<String>>) {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    let jobs = database.jobs();
    let mut rates = [Vec::new(), Vec::new()];
    let lasting = sized(Duration::from_millis(200), Duration::from_secs(2));
    for _ in 0..sized(1, 8) {
        for (with, rates) in rates.iter_mut().enumerate() {
            database.execute(&format!("DROP TRIGGER IF EXISTS jobrunr_scaler_notify ON {jobs}")).await;
            if with == 1 {
                database.execute(&notify_sql(&"".parse().unwrap())).await;
            }
            let (began, mut n_inserts) = (Instant::now(), 0_u32);
            while began.elapsed() < lasting {
                database.insert_jobs(&[job("ENQUEUED", 0.0)]).await;
                n_inserts += 1;
            }
            rates.push(f64::from(n_inserts) / began.elapsed().as_secs_f64());
        }
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let [without, with] = rates.map(|rates| mean(&rates));
    let micros = |rate: f64| format!("{:.0}", 1_000_000.0 / rate);
    rows.push(vec!["without the trigger".to_owned(), format!("{without:.0}"), micros(without)]);
    rows.push(vec!["with it".to_owned(), format!("{with:.0}"), micros(with)]);
}

#[tokio::main]
async fn main() {
    heading(
        "Activation",
        "From the insert of a job, or from the instant at which it enters the look-ahead, to `true` on a stream.\n\
         Wanted: p99 below 50 ms with NOTIFY and for a known future; by polling at most a refresh, 1 s.",
    );
    let mut rows = Vec::new();
    let mut add = |what: String, times: &mut Times, wanted: Duration| {
        let p99 = times.at(0.99);
        rows.push(vec![what, ms(times.at(0.5)), ms(p99), ms(times.at(1.0)), verdict(p99 <= wanted)]);
    };
    let (soon, refresh) = (Duration::from_millis(50), Duration::from_millis(1_050));
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.execute(&notify_sql(&"".parse().unwrap())).await;
    add("Postgres, NOTIFY".to_owned(), &mut insert_to_push(&mut database, sized(2, 60)).await, soon);
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await.at_present();
        add(format!("{kind:?}, polling"), &mut insert_to_push(&mut database, sized(1, 30)).await, refresh);
    }
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await.at_present();
        add(format!("{kind:?}, enters the look-ahead"), &mut due_to_push(&mut database, sized(1, 15)).await, soon);
    }
    table(&["", "p50 ms", "p99 ms", "max ms", "wanted"], &rows);

    heading("What NOTIFY costs", "Inserts of one job each, one connection, in turns.");
    let mut rows = Vec::new();
    cost_of_telling(&mut rows).await;
    table(&["", "inserts/s", "µs an insert"], &rows);
}
