//! The log: no caller can forge or flood it, and a reader that stopped reading blocks nothing.

use std::time::Duration;

use jobrunr_scaler::grpc::proto::ScaledObjectRef;

use super::{Logged, check_answered, is_printable, refusals};
use crate::database::{Database, Kind};
use crate::process::Process;
use crate::scaler::reference;

async fn database() -> Database {
    Database::new(Kind::Sqlite).await.at_present()
}

fn trigger(key: &str, value: &str) -> ScaledObjectRef {
    let mut reference = reference("metric=enqueued-count targetValue=1");
    reference.scaler_metadata.insert(key.to_owned(), value.to_owned());
    reference
}

#[tokio::test]
async fn log_lines_cannot_be_forged() {
    const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR forged\r\0\u{1b}[2J\u{9b}2J\u{202e}\u{2028}forged too";
    for format in ["text", "json"] {
        let database = database().await;
        let process = Logged::start(&database.url, format).await;
        let base = || reference("metric=enqueued-count targetValue=1");
        for reference in [
            ScaledObjectRef { namespace: FORGED.to_owned(), ..base() },
            ScaledObjectRef { name: FORGED.to_owned(), ..base() },
            trigger("storage", FORGED),
            trigger("metric", FORGED),
            trigger("serverTag", FORGED),
        ] {
            refusals(&process.client, &reference).await;
        }
        // These are no mistakes: an unknown key, and a tag that is odd but no control character.
        let answer = process.client.clone().is_active(trigger(FORGED, "x")).await;
        assert!(!answer.unwrap().into_inner().result);
        let tag = "a\u{202e}b\u{2028}c";
        process.client.clone().get_metric_spec(trigger("serverTag", tag)).await.unwrap();
        let (code, log) = process.stop().await;
        assert_eq!(code, Some(0));
        assert!(log.contains("forged"), "the mistakes are logged: {log}");
        for line in log.split('\n') {
            assert!(is_printable(line), "{line:?}");
            let is_ours = line.is_empty() || line.starts_with("20") || line.starts_with("{\"timestamp\":\"20");
            assert!(is_ours && !line.starts_with("2026-01-01T00:00:00Z"), "{line:?}");
        }
    }
}

#[tokio::test]
async fn log_of_a_trigger_with_many_unknown_keys_is_a_few_lines_once() {
    let database = database().await;
    let process = Logged::start(&database.url, "json").await;
    let mut odd = reference("metric=enqueued-count targetValue=1");
    odd.scaler_metadata.extend((0..90).map(|n| (format!("unknownKey{n}"), "value".to_owned())));
    let mut wrong = odd.clone();
    wrong.scaler_metadata.extend((0..10_000).map(|n| (format!("moreKeys{n}"), "value".to_owned())));
    for _ in 0..20 {
        process.client.clone().is_active(odd.clone()).await.unwrap();
        process.client.clone().is_active(wrong.clone()).await.unwrap_err();
    }
    let (_, log) = process.stop().await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("\"WARN\"")).collect();
    assert!((2..=8).contains(&lines.len()), "{} lines: {log:.3000}", lines.len());
    assert_eq!(lines.iter().filter(|line| line.contains("and 85 more")).count(), 1, "{log:.3000}");
    assert_eq!(lines.iter().filter(|line| line.contains("10092")).count(), 1, "{log:.3000}");
}

/// A wrong trigger of another ScaledObject each time, with as much to say of it as there can be.
fn wrong(n: usize) -> ScaledObjectRef {
    let mut wrong = ScaledObjectRef { name: format!("worker-{n}"), ..reference("metric=x") };
    for key in ["targetValue", "priority", "scheduledIn", "keepWhileProcessing", "pushInactive", "targetUsage"] {
        wrong.scaler_metadata.insert(key.to_owned(), "wrong".repeat(20));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_of_many_mistakes_is_bounded_and_says_so() {
    let database = database().await;
    let process = Logged::start(&database.url, "json").await;
    for n in 0..3_000 {
        process.client.clone().get_metric_spec(wrong(n)).await.unwrap_err();
    }
    check_answered(&process.client).await;
    let metric = "jobrunr_scaler_log_lines_dropped_total{reason=\"budget\"} ";
    let metrics = crate::process::get(&process.http, "/metrics");
    let dropped = metrics.lines().find_map(|line| line.strip_prefix(metric)).expect("the metric exists");
    assert_ne!(dropped, "0");
    let (_, log) = process.stop().await;
    assert!(log.len() < 600 * 1024, "{} bytes", log.len());
    let left_out = log.lines().find(|line| line.contains("log lines dropped")).expect("what is left out is reported");
    assert!(left_out.contains("grpc::warnings"), "{left_out}");
    // What is ours is still there.
    assert!(log.contains("stopping") && log.contains("stopped"), "{log:.3000}");
}

/// The pipe is full and stays full: its reader lives but does not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_pipe_that_is_full_stops_neither_calls_nor_probes_nor_the_shutdown() {
    let database = database().await;
    let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let client = process.client().await;
    let flood = async {
        for n in 0..1_000 {
            client.clone().get_metric_spec(wrong(n)).await.unwrap_err();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), flood).await.expect("calls are answered");
    check_answered(&client).await;
    let http = process.http.clone();
    let probe = tokio::task::spawn_blocking(move || crate::process::get(&http, "/readyz"));
    let answer = tokio::time::timeout(Duration::from_secs(3), probe).await.expect("probes are answered").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(client);
    process.signal("TERM");
    // The pipe is read only after the end.
    let log = process.ended();
    assert!(log.len() < 600 * 1024, "{} bytes", log.len());
}
