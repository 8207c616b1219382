//! KEDA's calls compared with the minimum work of a gRPC server: a health check on the same server and connection.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::{Duration, Instant};

use common::{ScalerProcess, Times, heading, ms, sized, table, verdict};
use jobrunr_scaler::grpc::proto::GetMetricsRequest;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use support::database::{Database, Kind};
use support::rows::{job, server};
use support::scaler::reference;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Empty,
    GetMetrics,
    IsActive,
}

const CALLS: [(Call, &str); 3] =
    [(Call::Empty, "health check"), (Call::GetMetrics, "GetMetrics"), (Call::IsActive, "IsActive")];

/// Makes one call. The request was made before, so that only the scaler's work is compared.
async fn make(call: Call, channel: &Channel, request: &GetMetricsRequest) {
    let trigger = || request.scaled_object_ref.clone().unwrap();
    match call {
        Call::Empty => {
            let request = HealthCheckRequest { service: String::new() };
            HealthClient::new(channel.clone()).check(request).await.unwrap();
        }
        Call::GetMetrics => {
            ExternalScalerClient::new(channel.clone()).get_metrics(request.clone()).await.unwrap();
        }
        Call::IsActive => {
            ExternalScalerClient::new(channel.clone()).is_active(trigger()).await.unwrap();
        }
    }
}

/// Lets callers call for a while. Returns the times of their calls, and how many there were per second.
async fn measure(call: Call, n_callers: usize, channel: &Channel, lasting: Duration) -> (Times, f64) {
    let began = Instant::now();
    let callers = (0..n_callers).map(|_| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let trigger = reference("scalerAddress=jobrunr-scaler.keda:9090 metric=enqueued-latency targetValue=300");
            let metric_name = "jobrunr-default-enqueued-latency".to_owned();
            let request = GetMetricsRequest { scaled_object_ref: Some(trigger), metric_name };
            let mut times = Times::default();
            while began.elapsed() < lasting {
                let called = Instant::now();
                make(call, &channel, &request).await;
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
    let mut rows = Vec::new();
    for n_callers in [1, 64] {
        let mut measured = [(); 3].map(|()| (Times::default(), Vec::new()));
        for _ in 0..n_rounds {
            for ((call, _), (times, rates)) in CALLS.iter().zip(&mut measured) {
                let (new, rate) = measure(*call, n_callers, &channel, lasting).await;
                times.extend(new);
                rates.push(rate);
            }
        }
        let mut empty = None;
        for ((_, name), (times, rates)) in CALLS.iter().zip(&mut measured) {
            let (p50, p99) = (times.at(0.5), times.at(0.99));
            let rate = rates.iter().sum::<f64>() / rates.len() as f64;
            let (empty_p50, empty_rate) = *empty.get_or_insert((p50, rate));
            let (slower, share) = (p50.as_secs_f64() / empty_p50.as_secs_f64(), rate / empty_rate);
            rows.push(vec![
                (*name).to_owned(),
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
