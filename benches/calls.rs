//! KEDA's calls compared with the minimum work of a gRPC server: a health check on the same server and connection.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::{Duration, Instant};

use axum::http::uri::PathAndQuery;
use common::{ScalerProcess, Times, heading, ms, sized, table, verdict};
use jobrunr_scaler::grpc::proto::GetMetricsRequest;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use support::database::{Database, Kind};
use support::rows::{job, server};
use support::scaler::reference;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;

/// Messages as bytes. They are encoded once and not decoded, so that only the scaler's work is compared.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A call, and its encoded request.
#[derive(Clone)]
struct Call {
    name: &'static str,
    path: PathAndQuery,
    request: Bytes,
}

impl Call {
    fn new(name: &'static str, path: &'static str, request: &impl Message) -> Self {
        Self { name, path: PathAndQuery::from_static(path), request: request.encode_to_vec().into() }
    }

    async fn make(&self, channel: &Channel) {
        let mut client = Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let answer = client.unary(Request::new(self.request.clone()), self.path.clone(), Encoded).await.unwrap();
        assert!(!answer.into_inner().is_empty(), "{}: all of these are healthy, active and above 0", self.name);
    }
}

/// The health check first: the others are compared with it.
fn calls() -> [Call; 3] {
    let trigger = reference("scalerAddress=jobrunr-scaler.keda:9090 metric=enqueued-latency targetValue=300");
    let metric_name = "jobrunr-default-enqueued-latency".to_owned();
    let get_metrics = GetMetricsRequest { scaled_object_ref: Some(trigger.clone()), metric_name };
    [
        Call::new("health check", "/grpc.health.v1.Health/Check", &HealthCheckRequest::default()),
        Call::new("GetMetrics", "/externalscaler.ExternalScaler/GetMetrics", &get_metrics),
        Call::new("IsActive", "/externalscaler.ExternalScaler/IsActive", &trigger),
    ]
}

/// Lets callers call for a while. Returns the times of their calls, and how many there were per second.
async fn measure(call: &Call, n_callers: usize, channel: &Channel, lasting: Duration) -> (Times, f64) {
    let began = Instant::now();
    let callers = (0..n_callers).map(|_| {
        let (call, channel) = (call.clone(), channel.clone());
        tokio::spawn(async move {
            let mut times = Times::default();
            while began.elapsed() < lasting {
                let called = Instant::now();
                call.make(&channel).await;
                times.add(called.elapsed());
            }
            times
        })
    });
    let mut all = Times::default();
    let mut n_calls = 0_u32;
    for caller in callers.collect::<Vec<_>>() {
        let times = caller.await.unwrap();
        n_calls += times.len();
        all.extend(times);
    }
    (all, f64::from(n_calls) / began.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&vec![job("ENQUEUED", 30.0); 100]).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let scaler = ScalerProcess::start(&database.url);
    let channel = scaler.channel().await;
    heading(
        "Calls",
        "GetMetrics and IsActive compared with a health check on the same server, in turns.\n\
         Wanted: a p50 of at most 1.1 times the health check's, 92 % of its throughput.",
    );
    let (n_rounds, lasting) = sized((2, Duration::from_millis(200)), (10, Duration::from_secs(1)));
    let calls = calls();
    let mut rows = Vec::new();
    for n_callers in [1, 64] {
        let mut measured = [(); 3].map(|()| (Times::default(), Vec::new()));
        for _ in 0..n_rounds {
            for (call, (times, rates)) in calls.iter().zip(&mut measured) {
                let (new, rate) = measure(call, n_callers, &channel, lasting).await;
                times.extend(new);
                rates.push(rate);
            }
        }
        let mut empty = None;
        for (call, (times, rates)) in calls.iter().zip(&mut measured) {
            let (p50, p99) = (times.at(0.5), times.at(0.99));
            let rate = rates.iter().sum::<f64>() / rates.len() as f64;
            let (empty_p50, empty_rate) = *empty.get_or_insert((p50, rate));
            let (slower, share) = (p50.as_secs_f64() / empty_p50.as_secs_f64(), rate / empty_rate);
            rows.push(vec![
                call.name.to_owned(),
                n_callers.to_string(),
                ms(p50),
                ms(p99),
                format!("{rate:.0}"),
                format!("{slower:.2}"),
                format!("{:.0} %", share * 100.0),
                verdict(slower <= 1.1 && 0.92 <= share),
            ]);
        }
    }
    let headings = ["call", "callers", "p50 ms", "p99 ms", "calls/s", "times p50", "of calls/s", "wanted"];
    table(&headings, &rows);
}
