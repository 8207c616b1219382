//! What the program takes: on disk, in memory while nobody asks, and until it serves.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::Duration;

use common::{ScalerProcess, Times, binary, heading, ms, poll, sized, table, verdict};
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use support::database::{Database, Kind};
use support::rows::job;
use support::scaler::reference;

#[tokio::main]
async fn main() {
    heading(
        "Footprint",
        "The program on SQLite. Wanted: below 15 MiB on disk, 20 MiB in memory, 100 ms until it serves.",
    );
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let mut starts = Times::default();
    let mut scaler = ScalerProcess::start(&database.url);
    for _ in 0..sized(2, 20) {
        scaler = ScalerProcess::start(&database.url);
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
