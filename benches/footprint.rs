//! What the program takes: on disk, in memory while nobody asks, and until it serves.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]
#![allow(dead_code, reason = "what the benchmarks share is more than each needs")]

mod common;
#[path = "../tests/it/database.rs"]
mod database;
#[path = "../tests/it/rows.rs"]
mod rows;

use std::time::Duration;

use common::{Scaler, Times, binary, heading, ms, poll, reference, sized, table, verdict};
use database::{Database, Kind};
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use rows::job;

#[tokio::main]
async fn main() {
    heading(
        "Footprint",
        "The program on SQLite. Wanted: below 15 MiB on disk, 20 MiB in memory, 100 ms until it serves.",
    );
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let mut starts = Times::default();
    let mut scaler = Scaler::start(&database.url);
    for _ in 0..sized(2, 20) {
        scaler = Scaler::start(&database.url);
        starts.add(scaler.started_in);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let idle = scaler.memory();
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    poll(&mut client, &reference("metric=demand targetValue=auto")).await;
    let asked = scaler.memory();
    #[expect(clippy::cast_precision_loss, reason = "a file's size")]
    let size = std::fs::metadata(binary()).unwrap().len() as f64 / 1_048_576.0;
    let row = |what: &str, figure: String, is_met: bool| vec![what.to_owned(), figure, verdict(is_met)];
    let start = starts.at(0.5);
    let rows = [
        row("binary, MiB", format!("{size:.1}"), size < 15.0),
        row("memory when it has started, MiB", format!("{idle:.1}"), idle < 20.0),
        row("memory after the first poll, MiB", format!("{asked:.1}"), asked < 20.0),
        row("start to serving, p50 ms", ms(start), start < Duration::from_millis(100)),
    ];
    table(&["", "figure", "wanted"], &rows);
}
