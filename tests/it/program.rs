//! The program as its users run it: exit codes, signals, what it prints.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use jobrunr_scaler::metrics::Metrics;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess};

use crate::database::{Database, Kind};
use crate::process::{Process, get, health, program};
use crate::rows::scheduled;
use crate::scaler::{next_push, reference};

#[tokio::test]
async fn serve_exits_with_0_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let database = Database::new(Kind::Sqlite).await;
        let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
        let mut client = process.client().await;
        let metadata = reference("metric=enqueued-count targetValue=1");
        let mut stream = client.stream_is_active(metadata.clone()).await.unwrap().into_inner();
        assert!(!client.is_active(metadata).await.unwrap().into_inner().result);
        assert_eq!(next_push(&mut stream, Duration::from_millis(50)).await, None);

        assert!(get(&process.http, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(get(&process.http, "/nowhere").starts_with("HTTP/1.1 404"));
        let metrics = get(&process.http, "/metrics");
        for told in [
            "jobrunr_scaler_calls_total{method=\"IsActive\",code=\"Ok\"} 1",
            "jobrunr_scaler_streams{kind=\"activity\"} 1",
            "jobrunr_scaler_storage_up{storage=\"default\"} 1",
            "metric=\"enqueued-count\",filter=\"\",trigger=\"targetValue=1\"} 0",
        ] {
            assert!(metrics.contains(told), "{told}: {metrics}");
        }
        assert_eq!(health(&process.http).0, Some(0));

        process.signal(signal);
        assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
        drop(client);
        let log = process.ended();
        assert!(log.contains("stopped"), "{signal}");
        // Some log stores reject a line with a key twice, and others keep one of the values.
        for line in log.lines() {
            let keys: Keys = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let distinct: BTreeSet<&String> = keys.0.iter().collect();
            assert_eq!(distinct.len(), keys.0.len(), "{line}");
        }
        assert!(log.lines().any(|line| line.contains("\"target\":1.0")), "{log}");
    }
}

/// The keys of a JSON object, as often as they are there.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Nobody is to be sent to a scaler that stops, while its last calls finish.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_with_the_stop() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(jobrunr_scaler::http::serve(listener, Metrics::default(), None, stop.clone()));
    let check = async |path: &'static str, status: &str, code: i32| {
        let of = address.clone();
        let answer = tokio::task::spawn_blocking(move || (get(&of, path), health(&of))).await.unwrap();
        assert!(answer.0.starts_with(status), "{path}: {}", answer.0);
        assert_eq!(answer.1.0, Some(code), "{}", answer.1.1);
    };
    check("/readyz", "HTTP/1.1 200", 0).await;
    stop.cancel();
    check("/readyz", "HTTP/1.1 503", 1).await;
    check("/healthz", "HTTP/1.1 200", 1).await;
    serving.abort();
    let _ = serving.await;
    let nobody = health(&address);
    assert!(nobody.0 == Some(1) && nobody.1.contains("no answer"), "{}", nobody.1);
}

#[test]
fn configuration_problems_are_all_reported_and_exit_with_64() {
    let env = [
        ("JOBRUNR_SCALER_URL", "jdbc:oracle:thin:@host:1521/jobs"),
        ("JOBRUNR_SCALER_REFRESH", "often"),
        ("JOBRUNR_SCALER_TABLE_PREFIX", "tbl; drop table x"),
        ("JOBRUNR_SCALER_LISTEN", "nowhere"),
        ("JOBRUNR_SCALER_PASSWORD", "hunter2"),
    ];
    let output = program(&env).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in env[..4].iter().map(|(name, _)| *name).chain(["Oracle", "often", "nowhere"]) {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn configuration_that_is_missing_exits_with_64() {
    let output = program(&[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("JOBRUNR_SCALER_URL"), "{text}");
}

#[test]
fn address_in_use_is_reported_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        program(&[("JOBRUNR_SCALER_URL", "sqlite:/nowhere.db")]).args(["--listen", &address]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}

/// KEDA does not say which of them it asks for.
#[tokio::test]
async fn triggers_with_the_same_metric_have_separate_series_and_lines() {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[scheduled(30.0), scheduled(600.0)]).await;
    let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let mut client = process.client().await;
    for _ in 0..5 {
        for metadata in
            ["metric=scheduled-count targetValue=1", "metric=scheduled-count targetValue=1 scheduledIn=PT1H"]
        {
            assert!(client.is_active(reference(metadata)).await.unwrap().into_inner().result);
        }
    }
    process.until_exposed("trigger=\"targetValue=1\"} 1").await;
    process.until_exposed("trigger=\"targetValue=1 scheduledIn=PT1H\"} 2").await;
    drop(client);
    let log = process.stop();
    for line in ["\"trigger\":\"targetValue=1\"", "\"trigger\":\"targetValue=1 scheduledIn=PT1H\""] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

/// The reader of the log may go away. The scaler goes on, and ends as it should.
#[tokio::test]
async fn log_that_nobody_reads_stops_nothing() {
    let database = Database::new(Kind::Sqlite).await;
    let mut process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let mut client = process.client().await;
    // Dropping the reader closes the pipe: to write a line is an error from here on.
    let empty = Command::new("true").stderr(Stdio::piped()).spawn().unwrap().stderr.unwrap();
    process.log = BufReader::new(empty).lines();
    let metadata = reference("metric=enqueued-count targetValue=1");
    assert!(!client.is_active(metadata.clone()).await.unwrap().into_inner().result);
    assert!(!client.is_active(metadata).await.unwrap().into_inner().result);
    drop(client);
    process.stop();
}
