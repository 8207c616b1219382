//! What the program needs: on disk, in memory with and without open streams, and until it serves.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use common::{ScalerProcess, Times, binary, heading, ms, poll, sized, table, verdict};
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{IsActiveResponse, ScaledObjectRef};
use prost::Message;
use support::database::{Database, Kind};
use support::process::memory;
use support::rows::job;
use support::scaler::reference;
use tokio::net::TcpStream;
use tonic::Streaming;
use tonic::transport::Channel;

const TRIGGER: &str = "scalerAddress=jobrunr-scaler.keda:9090 metric=enqueued-count targetValue=8";

/// Opens streams as KEDA does: all on one connection, each of a different ScaledObject, and read.
async fn open_streams(
    client: &mut ExternalScalerClient<Channel>,
    n_streams: usize,
) -> Vec<Streaming<IsActiveResponse>> {
    let mut streams = Vec::new();
    for n in 0..n_streams {
        let trigger = ScaledObjectRef { name: format!("worker-{n}"), ..reference(TRIGGER) };
        let mut stream = client.stream_is_active(trigger).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().unwrap().result);
        streams.push(stream);
    }
    streams
}

/// Opens streams on one connection, with no room for any message.
async fn unread_streams(address: &str, n_streams: usize) -> impl Sized {
    let connection = TcpStream::connect(address).await.unwrap();
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(connection).await.unwrap();
    let driver = tokio::spawn(connection);
    let message = reference(TRIGGER).encode_to_vec();
    let message = [&[0], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), &message].concat();
    let mut open = Vec::new();
    for _ in 0..n_streams {
        let request = Request::post(format!("http://{address}/externalscaler.ExternalScaler/StreamIsActive"));
        let request = request.header("te", "trailers").header("content-type", "application/grpc").body(()).unwrap();
        // A server that is full closes the connection.
        let Ok(mut client) = client.clone().ready().await else { break };
        let Ok((answer, mut body)) = client.send_request(request, false) else { break };
        body.send_data(message.clone().into(), true).unwrap();
        open.push((answer, body));
    }
    (open, driver)
}

#[tokio::main]
async fn main() {
    heading(
        "Footprint",
        "The program on SQLite. Wanted: below 15 MiB on disk, 20 MiB in memory, 100 ms until it serves; in memory below 32 MiB with\n\
         10,000 open streams, below 64 MiB with a client that opens 20,000 and reads nothing.",
    );
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let mut starts = Times::default();
    let mut scaler = ScalerProcess::start(&database.url);
    let unread = unread_streams(&scaler.address, sized(200, 20_000)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let with_unread = memory(scaler.id(), "VmRSS");
    drop(unread);
    for _ in 0..sized(2, 20) {
        scaler = ScalerProcess::start(&database.url);
        starts.add(scaler.started_in);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let idle = memory(scaler.id(), "VmRSS");
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    poll(&mut client, &reference("metric=demand targetValue=auto")).await;
    let asked = memory(scaler.id(), "VmRSS");
    let streams = open_streams(&mut client, sized(200, 10_000)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let with_streams = memory(scaler.id(), "VmRSS");
    drop(streams);
    #[expect(clippy::cast_precision_loss, reason = "a file's size")]
    let size = std::fs::metadata(binary()).unwrap().len() as f64 / 1_048_576.0;
    let row = |what: &str, figure: String, is_met: bool| vec![what.to_owned(), figure, verdict(is_met)];
    let start = starts.at(0.5);
    let rows = [
        row("binary, MiB", format!("{size:.1}"), size < 15.0),
        row("memory when it has started, MiB", format!("{idle:.1}"), idle < 20.0),
        row("memory after the first poll, MiB", format!("{asked:.1}"), asked < 20.0),
        row("memory with 10,000 streams, MiB", format!("{with_streams:.1}"), with_streams < 32.0),
        row("memory with 20,000 unread streams, MiB", format!("{with_unread:.1}"), with_unread < 64.0),
        row("start to serving, p50 ms", ms(start), start < Duration::from_millis(100)),
    ];
    table(&["", "figure", "wanted"], &rows);
}
