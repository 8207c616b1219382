//! What Prometheus sees.

use super::*;

fn trigger(metadata: &str) -> Trigger {
    Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap()
}

fn key(name: &str) -> ScaledObjectKey {
    ScaledObjectKey::parse("shop", name).unwrap()
}

fn decision(value: f64, active: bool) -> Decision {
    Decision { value, target: 8.0, active, truncated: false, reasons: Vec::new() }
}

/// The text with the series of each metric in order: the library's own order is another each time.
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
async fn everything_is_told_in_prometheus_words() {
    let metrics = Metrics::default();
    let orders = metrics.storage("orders");
    orders.read(Some(Duration::from_micros(1_500)));
    orders.live_servers(3);
    orders.read(None);
    orders.listening(true);
    let open = metrics.stream(StreamKind::Activity);
    drop(metrics.stream(StreamKind::Spec));
    metrics.pushed(Push::Edge);
    metrics.reloaded(false);
    metrics.watch_certificate(|| (Timestamp::from_second(1_800_000_000).unwrap(), true));
    let gone = metrics.storage("gone");
    gone.read(None);
    metrics.forget_storage("gone");
    // Its reader ends a little later.
    gone.read(None);
    gone.listening(false);
    metrics.called("GetMetrics", Code::Ok, Duration::from_micros(300));
    metrics.called("GetMetrics", Code::Unavailable, Duration::from_millis(800));
    let demand = trigger("metric=demand targetValue=8 priority=1");
    metrics.decided(&key("worker"), &demand, &decision(12.0, true));
    // A tag may have anything in it but control characters.
    let hostile = trigger("metric=demand targetValue=8 scheduledIn=PT5M serverTag=\"}\\");
    let truncated = Decision { truncated: true, ..decision(10_000.0, true) };
    metrics.decided(&key("worker"), &hostile, &truncated);
    metrics.lines_dropped(LineDropped::Budget).inc();
    let _ = metrics.lines_dropped(LineDropped::Unread);
    tokio::time::advance(Duration::from_secs(7)).await;
    insta::assert_snapshot!(in_order(&metrics.text().unwrap()));
    drop(open);
    assert!(metrics.text().unwrap().contains("jobrunr_scaler_streams{kind=\"activity\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn however_many_triggers_there_are_the_series_are_bounded() {
    let metrics = Metrics::default();
    let count = trigger("metric=enqueued-count targetValue=8");
    let n_series = |metrics: &Metrics| metrics.text().unwrap().matches("trigger_value{").count();
    for n in 0..1_500 {
        metrics.decided(&key(&format!("worker-{n}{}", "x".repeat(240))), &count, &decision(1.0, true));
    }
    assert_eq!(n_series(&metrics), 1_000);
    let text = metrics.text().unwrap();
    assert!(text.contains("triggers_dropped_total 500"));
    assert!(text.len() < 2_000_000, "{}", text.len());
    // Who is not asked for any more makes room.
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(metrics.decided(&key("new"), &count, &decision(1.0, true)).is_some());
    assert_eq!(n_series(&metrics), 1);
}

#[tokio::test(start_paused = true)]
async fn triggers_of_a_scaled_object_with_the_same_metric_have_series_and_changes_of_their_own() {
    let metrics = Metrics::default();
    let triggers = [
        "metric=scheduled-count targetValue=8",
        "metric=scheduled-count targetValue=8 scheduledIn=PT1H",
        "metric=scheduled-count targetValue=4",
        "metric=scheduled-count targetValue=auto",
        "metric=scheduled-count targetValue=8 activationTargetValue=5",
        "metric=scheduled-count targetValue=8 keepWhileProcessing=false",
    ];
    let triggers = triggers.map(trigger);
    let mut n_changes = 0;
    for _ in 0..3 {
        for (n, trigger) in (1_u32..).zip(&triggers) {
            let decision = decision(f64::from(n), n % 2 == 0);
            n_changes += usize::from(metrics.decided(&key("worker"), trigger, &decision).is_some());
        }
        tokio::time::advance(Duration::from_secs(15)).await;
    }
    assert_eq!(n_changes, triggers.len(), "each is told once");
    let text = metrics.text().unwrap();
    let mut series: Vec<_> = text.lines().filter(|line| line.starts_with("jobrunr_scaler_trigger_value{")).collect();
    series.sort_unstable();
    insta::assert_snapshot!(series.join("\n"));
    // Written in another way it is the same trigger.
    let same = trigger("metric=scheduled-count targetValue=8.0 scheduledIn=PT60S serverTag= pushInactive=false");
    assert_eq!(metrics.decided(&key("worker"), &same, &decision(1.0, false)), None);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_once_and_a_restless_value_not_all_the_time() {
    let metrics = Metrics::default();
    let count = trigger("metric=enqueued-count targetValue=8");
    let check = async |after_seconds: u64, value: f64, active: bool, expected: Option<u64>| {
        tokio::time::advance(Duration::from_secs(after_seconds)).await;
        let change = metrics.decided(&key("worker"), &count, &decision(value, active));
        assert_eq!(change.map(|change| change.pods), expected, "{value} {active}");
    };
    check(0, 1.0, true, Some(1)).await;
    check(1, 1.0, true, None).await;
    check(1, 8.0, true, None).await;
    // More pods, but only now and then.
    check(1, 9.0, true, None).await;
    check(10, 17.0, true, Some(3)).await;
    check(1, 25.0, true, None).await;
    // Activity always.
    check(1, 0.0, false, Some(0)).await;
    check(1, 1.0, true, Some(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_begins_again_is_shown_as_its_new_reader_sees_it() {
    let metrics = Metrics::default();
    let old = metrics.storage("orders");
    old.read(Some(Duration::ZERO));
    let new = metrics.storage("orders");
    new.read(Some(Duration::ZERO));
    old.read(None);
    let text = metrics.text().unwrap();
    assert!(text.contains("storage_up{storage=\"orders\"} 1"), "{text}");
    // They count together.
    assert!(text.contains("reads_total{storage=\"orders\",outcome=\"ok\"} 2"), "{text}");
}
