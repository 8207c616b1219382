//! Requests that are too large, have too many parts, or hold what must not be printed.

use futures::stream::{self, StreamExt};
use jobrunr_scaler::config::StorageName;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, ScaledObjectRef};
use jobrunr_scaler::scaling::Trigger;
use tonic::Code;

use super::{Logged, check_answered, check_refused, is_printable};
use crate::database::{Database, Kind};
use crate::scaler::{RunningScaler, reference, start};

/// What no name has: the start of a new line, the end of a C string, colours, a turned direction of writing.
const UNPRINTABLE: [&str; 6] = ["a\nb", "a\0b", "a\u{1b}[31mb", "a\u{9b}31mb", "a\u{202e}b", "a\u{2028}b"];

async fn scaler() -> (Database, RunningScaler) {
    let database = Database::new(Kind::Sqlite).await.at_present();
    let scaler = start(database.config()).await;
    (database, scaler)
}

fn trigger() -> ScaledObjectRef {
    reference("metric=enqueued-count targetValue=1")
}

/// The trigger with `n_keys` unknown keys.
fn with_keys(n_keys: usize) -> ScaledObjectRef {
    let mut reference = trigger();
    reference.scaler_metadata.extend((0..n_keys).map(|n| (format!("unknownKey{n}"), "value".to_owned())));
    reference
}

#[tokio::test]
async fn key_accepts_only_names_of_kubernetes() {
    let (_database, scaler) = scaler().await;
    let long = "x".repeat(250_000);
    let just_too_long = "x".repeat(254);
    for text in UNPRINTABLE.into_iter().chain(["a b", "ä", "Shop", "a/b", &just_too_long, &long]) {
        let namespace = ScaledObjectRef { namespace: text.to_owned(), ..trigger() };
        check_refused(&scaler.client, &namespace, &["namespace", "253"]).await;
        let name = ScaledObjectRef { name: text.to_owned(), ..trigger() };
        check_refused(&scaler.client, &name, &["name", "253"]).await;
    }
    for text in ["", "a", "worker-2.example", &"x".repeat(253)] {
        let reference = ScaledObjectRef { namespace: text.to_owned(), name: text.to_owned(), ..trigger() };
        assert!(scaler.client.clone().is_active(reference).await.is_ok(), "{text}");
    }
}

#[tokio::test]
async fn storage_accepts_only_names_of_storages() {
    let (_database, scaler) = scaler().await;
    let check = async |text: &str, allowed: &str| {
        let mut reference = trigger();
        reference.scaler_metadata.insert("storage".to_owned(), text.to_owned());
        check_refused(&scaler.client, &reference, &["`storage` is `", allowed]).await;
    };
    for text in UNPRINTABLE.into_iter().chain(["Orders", "or ders", "ä", &"x".repeat(41)]) {
        check(text, "at most 40 characters of a-z").await;
    }
    check(&"x".repeat(200_000), "at most 128 characters").await;
}

/// Neither knows the other: the configuration is not known where triggers are parsed.
#[test]
fn storage_names_are_the_same_in_triggers_and_in_the_configuration() {
    for name in ["default", "a", "-", "orders-2", &"x".repeat(40), &"x".repeat(41), "Orders", "a_b", "a.b", "ä", "a b"]
    {
        let trigger = Trigger::parse([("metric", "demand"), ("targetValue", "1"), ("storage", name)]);
        assert_eq!(trigger.is_ok(), name.parse::<StorageName>().is_ok(), "{name}");
    }
}

#[tokio::test]
async fn metadata_is_bounded_in_number_and_length() {
    let (_database, scaler) = scaler().await;
    for n_keys in [99, 9_000] {
        let n_all = (n_keys + 2).to_string();
        check_refused(&scaler.client, &with_keys(n_keys), &[&n_all, "100"]).await;
    }
    assert!(scaler.client.clone().is_active(with_keys(98)).await.is_ok());

    let long = "x".repeat(129);
    let mut long_key = trigger();
    long_key.scaler_metadata.insert(long.clone(), "value".to_owned());
    check_refused(&scaler.client, &long_key, &["xxx…", "129", "128"]).await;
    for key in ["metric", "targetValue", "priority", "serverTag", "scheduledIn", "pushInactive"] {
        for text in [&long, &"1".repeat(200_000)] {
            let mut long_value = trigger();
            long_value.scaler_metadata.insert(key.to_owned(), text.clone());
            check_refused(&scaler.client, &long_value, &[key, "…`; allowed is at most 128 characters"]).await;
        }
    }
}

#[tokio::test]
async fn errors_echo_short_and_printable_text() {
    let (_database, scaler) = scaler().await;
    let long = format!("\u{1b}[31m\n{}", "x".repeat(100_000));
    let request = GetMetricsRequest { scaled_object_ref: Some(trigger()), metric_name: long };
    let error = scaler.client.clone().get_metrics(request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().len() < 500 && is_printable(error.message()), "{:.1000}", error.message());
    for text in UNPRINTABLE {
        for key in ["metric", "targetValue", "priority", "scheduledIn", "pushInactive", "targetUsage"] {
            let mut reference = trigger();
            reference.scaler_metadata.insert(key.to_owned(), text.to_owned());
            check_refused(&scaler.client, &reference, &[&format!("`{key}` is `a\u{fffd}")]).await;
        }
    }
}

/// 250 KB of namespace in each of some hundred calls, and 300 streams with 9,000 keys: neither is kept, and others are
/// answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_do_not_grow_memory() {
    let database = Database::new(Kind::Sqlite).await.at_present();
    let process = Logged::start(&database.url, "json").await;
    for n in 0..300 {
        let namespace = format!("{n}{}", "x".repeat(250_000));
        let status = process.client.clone().is_active(ScaledObjectRef { namespace, ..trigger() }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    check_answered(&process.client).await;
    let many_keys = with_keys(9_000);
    let streams = stream::iter(0..300).map(async |n| {
        let reference = ScaledObjectRef { name: format!("worker-{n}"), ..many_keys.clone() };
        let status = process.client.clone().stream_is_active(reference).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        if n % 50 == 0 {
            check_answered(&process.client).await;
        }
    });
    streams.buffer_unordered(4).collect::<()>().await;
    let peak = process.peak_memory();
    assert!(peak < 64 * 1024 * 1024, "{peak} bytes");
    let (code, log) = process.stop().await;
    assert_eq!(code, Some(0));
    assert!(log.len() < 512 * 1024, "{} bytes of log", log.len());
}
