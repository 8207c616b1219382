//! Many ScaledObjects, asked as KEDA asks: what it costs the database, and us.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]
#![allow(dead_code, reason = "what the benchmarks share is more than each needs")]

mod common;
#[path = "../tests/it/database.rs"]
mod database;
#[path = "../tests/it/rows.rs"]
mod rows;

use std::time::{Duration, Instant};

use common::{Scaler, heading, poll, reference, sized, table, verdict};
use database::{Database, Kind};
use futures::StreamExt;
use jobrunr_scaler::grpc::proto::ScaledObjectRef;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use rows::{job, scheduled, server};
use tonic::transport::Channel;

/// The triggers of JobRunr's guide.
const TRIGGERS: [&str; 3] = [
    "metric=worker-usage targetValue=0.8",
    "metric=scheduled-count targetValue=8 scheduledIn=PT2M",
    "metric=enqueued-latency targetValue=300",
];
/// KEDA's polling interval and the HPA's; each asks for every trigger (KEDA `scale_handler.go`).
const POLLING_INTERVAL: Duration = Duration::from_secs(30);
const HPA_INTERVAL: Duration = Duration::from_secs(15);

fn triggers(scaled_object: usize) -> Vec<ScaledObjectRef> {
    let of = |metadata: &&str| ScaledObjectRef { name: format!("worker-{scaled_object}"), ..reference(metadata) };
    TRIGGERS.iter().map(of).collect()
}

/// Asks for a ScaledObject as KEDA and the HPA do, until the end.
async fn ask(channel: Channel, scaled_object: usize, n_objects: usize, end: Instant) -> u64 {
    let mut client = ExternalScalerClient::new(channel);
    let triggers = triggers(scaled_object);
    let mut n_polls = 0;
    // They are not all asked at once.
    let start = HPA_INTERVAL.mul_f64(scaled_object as f64 / n_objects as f64);
    tokio::time::sleep(start).await;
    for round in 0_u32.. {
        if end < Instant::now() {
            break;
        }
        let polls = 1 + u32::from(round.is_multiple_of(2));
        for _ in 0..polls {
            for trigger in &triggers {
                poll(&mut client, trigger).await;
                n_polls += 1;
            }
        }
        tokio::time::sleep(HPA_INTERVAL).await;
    }
    n_polls
}

/// Transactions of a database so far: one a statement, as nobody groups them.
async fn transactions(database: &mut Database) -> i64 {
    // A session reports with a second's delay.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    database.number("SELECT xact_commit::int8 FROM pg_stat_database WHERE datname = current_database()").await
}

async fn fleet(n_objects: usize, is_streamed: bool, rows: &mut Vec<Vec<String>>) {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.insert_jobs(&vec![job("ENQUEUED", 5.0); 50]).await;
    database.insert_jobs(&vec![scheduled(600.0); 50]).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let scaler = Scaler::start(&database.url);
    let channel = scaler.channel().await;
    let mut streams = Vec::new();
    if is_streamed {
        for object in 0..n_objects {
            for trigger in triggers(object) {
                let mut client = ExternalScalerClient::new(channel.clone());
                streams.push(client.stream_is_active(trigger).await.unwrap().into_inner());
            }
        }
    }
    let listening = tokio::spawn(async move {
        // Whatever is pushed is read.
        futures::stream::select_all(streams).for_each(|_| std::future::ready(())).await;
    });
    let before = transactions(&mut database).await;
    let (began, processor) = (Instant::now(), scaler.processor_time());
    let end = began + sized(Duration::from_secs(2), POLLING_INTERVAL);
    let asking: Vec<_> =
        (0..n_objects).map(|object| tokio::spawn(ask(channel.clone(), object, n_objects, end))).collect();
    tokio::time::sleep(end - began).await;
    let connections = "SELECT count(*)::int8 FROM pg_stat_activity WHERE application_name = 'jobrunr-scaler' \
                       AND datname = current_database()";
    let n_connections = database.number(connections).await;
    let busy = (scaler.processor_time() - processor).as_secs_f64() / began.elapsed().as_secs_f64();
    let lasted = began.elapsed().as_secs_f64() + 1.5;
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let statements = (transactions(&mut database).await - before - 2) as f64 / lasted;
    asking.iter().for_each(|task| task.abort());
    listening.abort();
    rows.push(vec![
        n_objects.to_string(),
        if is_streamed { "polled and streamed" } else { "polled" }.to_owned(),
        format!("{statements:.1}"),
        n_connections.to_string(),
        format!("{:.1} %", busy * 100.0),
        format!("{:.1}", scaler.memory()),
        // What KEDA 2.20.2's own SQL scalers were seen to take for each ScaledObject of three triggers.
        format!("{:.1}", n_objects as f64 * 0.3),
        (n_objects * 3).to_string(),
    ]);
}

async fn many_streams() {
    let n_streams = sized(200, 10_000);
    heading("Open streams", "All on one connection. Wanted: 10,000 of them in less than 64 MiB more.");
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 5.0)]).await;
    let scaler = Scaler::start(&database.url);
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    poll(&mut client, &reference(TRIGGERS[1])).await;
    let before = scaler.memory();
    let mut streams = Vec::new();
    for n in 0..n_streams {
        let trigger = ScaledObjectRef { name: format!("worker-{n}"), ..reference(TRIGGERS[n % 3]) };
        streams.push(client.stream_is_active(trigger).await.unwrap().into_inner());
    }
    let processor = scaler.processor_time();
    let began = Instant::now();
    tokio::time::sleep(sized(Duration::from_secs(1), Duration::from_secs(5))).await;
    let busy = (scaler.processor_time() - processor).as_secs_f64() / began.elapsed().as_secs_f64();
    let more = scaler.memory() - before;
    let row = vec![n_streams.to_string(), format!("{more:.1}"), format!("{:.1} %", busy * 100.0), verdict(more < 64.0)];
    table(&["streams", "MiB more", "of a processor", "wanted"], &[row]);
}

#[tokio::main]
async fn main() {
    heading(
        "Fleet",
        "ScaledObjects of three triggers on PostgreSQL, asked as KEDA and the HPA ask, every 30 s and every 15 s.\n\
         The last two columns are KEDA 2.20.2's own SQL scalers: 0.3 queries/s and 3 connections for each ScaledObject,\n\
         measured once elsewhere and multiplied here. Wanted: the database's load flat.",
    );
    let mut rows = Vec::new();
    for &n_objects in sized(&[1, 10][..], &[1, 100, 1_000][..]) {
        for is_streamed in [false, true] {
            fleet(n_objects, is_streamed, &mut rows).await;
        }
    }
    let headings =
        ["objects", "", "statements/s", "connections", "processor", "MiB", "SQL scalers' /s", "their connections"];
    table(&headings, &rows);
    many_streams().await;
}
