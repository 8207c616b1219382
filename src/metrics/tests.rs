//! What Prometheus reads.

use std::collections::BTreeSet;

use super::*;

fn trigger(metadata: &str) -> Trigger {
    Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap()
}

fn key(name: &str) -> ScaledObjectKey {
    ScaledObjectKey::parse("shop", name).unwrap()
}

fn record(metrics: &Metrics, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) {
    metrics.record_decision(metrics.trigger_id(key, trigger), key, trigger, decision);
}

fn decision(value: f64, active: bool) -> Decision {
    Decision { value, target: 8.0, active, truncated: false, reasons: Vec::new() }
}

/// Returns the text with the series of each metric sorted: the library's own order differs each time.
fn in_order(text: &str) -> String {
    let blocks = text.split_inclusive('\n').fold(Vec::<Vec<&str>>::new(), |mut blocks, line| {
        match blocks.last_mut() {
            Some(block) if !line.starts_with("# HELP") && !line.starts_with("# EOF") => block.push(line),
            _ => blocks.push(vec![line]),
        }
        blocks
    });
    let sorted = blocks.into_iter().flat_map(|mut block| {
        let n_heads = block.iter().take_while(|line| line.starts_with('#')).count();
        block[n_heads..].sort_unstable();
        block
    });
    sorted.collect()
}

#[tokio::test(start_paused = true)]
async fn metrics_read_like_this() {
    let metrics = Metrics::default();
    let orders = metrics.storage("orders");
    orders.record_read(Duration::from_micros(1_500));
    orders.record_live_servers(3);
    orders.record_failed_read(Duration::from_secs(1));
    orders.record_listening(true);
    let open = metrics.stream(StreamKind::Activity);
    drop(metrics.stream(StreamKind::Spec));
    metrics.record_push(Push::Edge);
    metrics.record_reload(false);
    metrics.watch_certificate(|| (Timestamp::from_second(1_800_000_000).unwrap(), true));
    let gone = metrics.storage("gone");
    gone.record_failed_read(Duration::from_secs(1));
    metrics.remove_storage("gone");
    // Its reader ends a little later.
    gone.record_failed_read(Duration::from_secs(1));
    gone.record_listening(false);
    let calls = metrics.calls("GetMetrics");
    calls.record("Ok", Duration::from_micros(300));
    calls.record("Unavailable", Duration::from_millis(800));
    let demand = trigger("metric=demand targetValue=8 priority=1");
    record(&metrics, &key("worker"), &demand, &decision(12.0, true));
    // A tag may have anything in it but control characters.
    let hostile = trigger("metric=demand targetValue=8 scheduledIn=PT5M serverTag=\"}\\");
    let truncated = Decision { truncated: true, ..decision(10_000.0, true) };
    record(&metrics, &key("worker"), &hostile, &truncated);
    metrics.lines_dropped(LineDropped::Budget).inc();
    let _ = metrics.lines_dropped(LineDropped::Unread);
    let protect = metrics.protect();
    protect.record(ProtectFigures { busy_pods: 3, idle_pods: 2, servers_without_pod: 1, ..ProtectFigures::default() });
    protect.record_write("ok");
    tokio::time::advance(Duration::from_secs(7)).await;
    let text = metrics.text().unwrap();
    // A release changes no snapshot.
    let text = text.replace(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), "version=\"VERSION\"");
    insta::assert_snapshot!(in_order(&text));
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exposed = types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() });
    assert_eq!(exposed.collect::<BTreeSet<_>>(), BTreeSet::from(Metrics::names()));
    drop(open);
    assert!(metrics.text().unwrap().contains("jobrunr_scaler_streams{kind=\"activity\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn series_of_triggers_are_bounded() {
    let metrics = Metrics::default();
    let count = trigger("metric=enqueued-count targetValue=8");
    let n_series = |metrics: &Metrics| metrics.text().unwrap().matches("trigger_value{").count();
    for n in 0..1_500 {
        record(&metrics, &key(&format!("worker-{n}{}", "x".repeat(240))), &count, &decision(1.0, true));
    }
    assert_eq!(n_series(&metrics), 1_000);
    let text = metrics.text().unwrap();
    assert!(text.contains("triggers_dropped_total 500"));
    assert!(text.len() < 2_000_000, "{}", text.len());
    // Unused series make room.
    tokio::time::advance(Duration::from_secs(601)).await;
    record(&metrics, &key("new"), &count, &decision(1.0, true));
    assert_eq!(n_series(&metrics), 1);
}

#[test]
fn series_of_triggers_with_the_same_metric_are_separate() {
    let metrics = Metrics::default();
    let triggers = [
        "metric=scheduled-count targetValue=8",
        "metric=scheduled-count targetValue=8 scheduledIn=PT1H",
        "metric=scheduled-count targetValue=4",
        "metric=scheduled-count targetValue=auto",
        "metric=scheduled-count targetValue=8 activationTargetValue=5",
        "metric=scheduled-count targetValue=8 keepWhileProcessing=false",
    ];
    let record =
        |metadata: &str, value: f64| record(&metrics, &key("worker"), &trigger(metadata), &decision(value, true));
    for _ in 0..3 {
        for (n, metadata) in (1_u32..).zip(triggers) {
            record(metadata, f64::from(n));
        }
    }
    // Written in another way it is the same trigger.
    record("metric=scheduled-count targetValue=8.0 scheduledIn=PT60S serverTag= pushInactive=false", 1.0);
    let text = metrics.text().unwrap();
    let mut series: Vec<_> = text.lines().filter(|line| line.starts_with("jobrunr_scaler_trigger_value{")).collect();
    series.sort_unstable();
    insta::assert_snapshot!(series.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn storage_that_starts_again_is_exposed_as_its_new_reader_records_it() {
    let metrics = Metrics::default();
    let old = metrics.storage("orders");
    old.record_read(Duration::ZERO);
    let new = metrics.storage("orders");
    new.record_read(Duration::ZERO);
    old.record_failed_read(Duration::from_secs(1));
    let text = metrics.text().unwrap();
    assert!(text.contains("storage_up{storage=\"orders\"} 1"), "{text}");
    // They count together.
    assert!(text.contains("reads_total{storage=\"orders\",outcome=\"ok\"} 2"), "{text}");
}

/// Of two replicas KEDA asks one. The other must not keep exposing what it once saw, or an alert never fires, or never ends.
#[tokio::test(start_paused = true)]
async fn storage_that_nobody_asks_exposes_no_state() {
    let metrics = Metrics::default();
    let orders = metrics.storage("orders");
    orders.record_read(Duration::ZERO);
    orders.record_live_servers(3);
    orders.record_failed_read(Duration::from_secs(6));
    orders.record_unused();
    let exposed = |name: &str| metrics.text().unwrap().contains(&format!("jobrunr_scaler_{name}{{storage=\"orders\""));
    for name in ["storage_up", "live_servers", "snapshot_age_seconds", "listening"] {
        assert!(!exposed(name), "{name}");
    }
    assert!(exposed("reads_total"));
    orders.record_read(Duration::ZERO);
    assert!(exposed("storage_up"));
}
