//! The HPA against traces recorded with Kubernetes 1.36 and KEDA 2.20, its formula, and laws.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::formula::combine;
use super::*;

const START: Timestamp = Timestamp::constant(1_785_614_483, 0);

fn at(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

fn average(value: f64) -> MetricReading {
    MetricReading { metric_type: MetricType::AverageValue, target: 10.0, value: Some(value) }
}

fn value(value: f64) -> MetricReading {
    MetricReading { metric_type: MetricType::Value, target: 10.0, value: Some(value) }
}

fn invalid() -> MetricReading {
    MetricReading { metric_type: MetricType::AverageValue, target: 10.0, value: None }
}

/// Syncs every 15 s from `first` on, with pods that are ready at once, and gives the replicas after each.
fn run(hpa: &mut Hpa, first: i64, spec: u32, metric: MetricReading, syncs: i64) -> Vec<u32> {
    let mut spec = spec;
    (0..syncs)
        .map(|sync| {
            spec = hpa.sync(at(first + 15 * sync), Replicas::settled(spec, spec), &[metric]).replicas;
            spec
        })
        .collect()
}

fn pods(value: u32, period: i64) -> ScalingPolicy {
    ScalingPolicy { kind: PolicyKind::Pods, value, period: SignedDuration::from_secs(period) }
}

fn percent(value: u32, period: i64) -> ScalingPolicy {
    ScalingPolicy { kind: PolicyKind::Percent, value, period: SignedDuration::from_secs(period) }
}

fn up(select_policy: SelectPolicy, policies: &[ScalingPolicy]) -> Behavior {
    let scale_up = ScalingRules { select_policy, policies: policies.to_vec(), ..ScalingRules::scale_up_default() };
    Behavior { scale_up, ..Behavior::default() }
}

fn down(select_policy: SelectPolicy, policies: &[ScalingPolicy]) -> Behavior {
    let scale_down = ScalingRules {
        select_policy,
        policies: policies.to_vec(),
        stabilization_window: SignedDuration::ZERO,
        ..ScalingRules::scale_down_default()
    };
    Behavior { scale_down, ..Behavior::default() }
}

#[test]
fn hpa_grows_by_doubling() {
    let mut hpa = Hpa::new(1, 30, None);
    assert_eq!(run(&mut hpa, 0, 1, average(195.0), 5), [4, 8, 16, 20, 20]);
}

#[test]
fn hpa_without_behavior_returns_to_the_old_size_after_zero() {
    let mut hpa = Hpa::new(1, 30, None);
    run(&mut hpa, 0, 1, average(195.0), 8);
    // KEDA took the workload to zero and back; the HPA still remembers 20.
    assert_eq!(run(&mut hpa, 120, 0, average(0.0), 2), [0, 0]);
    assert_eq!(run(&mut hpa, 150, 1, average(5.0), 5), [4, 8, 16, 20, 20]);
}

#[test]
fn hpa_that_has_seen_zero_grows_without_waiting_for_its_window() {
    let scale_up =
        ScalingRules { stabilization_window: SignedDuration::from_secs(300), ..ScalingRules::scale_up_default() };
    let behavior = Behavior { scale_up, ..Behavior::default() };
    for (zero_since, expected) in [(3600, [5, 10]), (60, [1, 1])] {
        let mut hpa = Hpa::new(1, 30, Some(behavior.clone()));
        run(&mut hpa, 0, 0, average(0.0), zero_since / 15);
        assert_eq!(run(&mut hpa, zero_since, 1, average(195.0), 2), expected, "{zero_since}");
    }
}

#[test]
fn hpa_with_behavior_stays_small_after_zero() {
    let mut hpa = Hpa::new(1, 30, Some(Behavior::default()));
    assert_eq!(run(&mut hpa, 0, 1, average(195.0), 8), [5, 10, 20, 20, 20, 20, 20, 20]);
    assert_eq!(run(&mut hpa, 120, 0, average(0.0), 2), [0, 0]);
    assert_eq!(run(&mut hpa, 150, 1, average(5.0), 5), [1, 1, 1, 1, 1]);
}

#[test]
fn value_metric_multiplies_by_the_ready_pods() {
    let mut hpa = Hpa::new(1, 30, None);
    let mut sync =
        |seconds, spec, ready| hpa.sync(at(seconds), Replicas { spec, status: spec, ready }, &[value(35.0)]).replicas;
    assert_eq!(sync(0, 1, 0), 1);
    assert_eq!(sync(15, 1, 0), 1);
    assert_eq!(sync(30, 1, 1), 4);
    assert_eq!(sync(45, 4, 4), 8);
    assert_eq!(sync(60, 8, 8), 16);
}

#[test]
fn hpa_scales_down_after_five_minutes() {
    let mut hpa = Hpa::new(1, 30, None);
    run(&mut hpa, 0, 20, average(195.0), 1);
    let later = run(&mut hpa, 15, 20, average(55.0), 21);
    // A recommendation that is exactly five minutes old still counts.
    assert_eq!(later[19], 20);
    assert_eq!(later[20], 6);

    let mut hpa = Hpa::new(1, 30, Some(Behavior::default()));
    run(&mut hpa, 0, 20, average(195.0), 1);
    let later = run(&mut hpa, 15, 20, average(55.0), 21);
    assert_eq!(later[18], 20);
    assert_eq!(later[19], 6);
}

#[test]
fn new_hpa_keeps_the_size_that_it_finds() {
    let mut hpa = Hpa::new(1, 30, None);
    let outcome = hpa.sync(at(0), Replicas::settled(12, 12), &[average(5.0)]);
    assert_eq!(outcome, HpaOutcome { replicas: 12, reason: HpaReason::ScaleDownStabilized });
}

#[test]
fn bounds_override_the_metrics() {
    #[track_caller]
    fn check(spec: u32, metrics: &[MetricReading], replicas: u32, reason: HpaReason) {
        let outcome = Hpa::new(2, 10, None).sync(at(0), Replicas::settled(spec, spec), metrics);
        assert_eq!(outcome, HpaOutcome { replicas, reason });
    }
    check(0, &[average(500.0)], 0, HpaReason::ScalingDisabled);
    check(12, &[average(500.0)], 10, HpaReason::AboveMaximum);
    check(1, &[average(500.0)], 2, HpaReason::BelowMinimum);
    check(5, &[invalid()], 5, HpaReason::MetricsInvalid);
    check(5, &[], 5, HpaReason::MetricsInvalid);
    check(8, &[average(500.0)], 10, HpaReason::TooManyReplicas);
    check(2, &[average(500.0)], 4, HpaReason::ScaleUpLimit);
    check(2, &[average(1.0)], 2, HpaReason::ScaleDownStabilized);
    check(5, &[average(51.0)], 5, HpaReason::DesiredWithinRange);
}

#[test]
fn pods_wanted_follows_the_formula() {
    use MetricType::{AverageValue, Value};
    #[track_caller]
    fn check(input: (MetricType, f64, f64, u32, u32), expected: u32) {
        let (metric_type, value, target, replicas, ready) = input;
        assert_eq!(pods_wanted(metric_type, value, target, replicas, ready, Tolerance::default()), Ok(expected));
    }
    check((AverageValue, 195.0, 10.0, 0, 0), 20);
    check((AverageValue, 195.0, 10.0, 1, 1), 20);
    check((AverageValue, 195.0, 10.0, 18, 18), 18);
    check((AverageValue, 195.0, 10.0, 17, 17), 20);
    check((AverageValue, 0.0, 10.0, 5, 5), 0);
    check((AverageValue, 0.0, 10.0, 0, 0), 0);
    check((AverageValue, 11.0, 10.0, 1, 1), 1);
    check((AverageValue, 11.001, 10.0, 1, 1), 2);
    check((AverageValue, 0.0004, 10.0, 5, 5), 0);
    check((AverageValue, 1.0, 0.001, 0, 0), 1000);
    check((AverageValue, f64::MAX, 1.0, 1, 1), i32::MAX as u32);
    check((AverageValue, f64::NAN, 1.0, 3, 3), 0);
    check((AverageValue, f64::INFINITY, 1.0, 3, 3), 0);
    check((AverageValue, -3.0, 1.0, 3, 3), 0);
    check((Value, 35.0, 10.0, 1, 0), 0);
    check((Value, 35.0, 10.0, 1, 1), 4);
    check((Value, 35.0, 10.0, 4, 4), 14);
    check((Value, 9.5, 10.0, 4, 4), 4);
    check((Value, 5.0, 10.0, 4, 4), 2);
    check((Value, 35.0, 10.0, 0, 0), 4);
}

#[test]
fn numbers_become_thousandths_as_in_keda() {
    // 1.0005 is stored as a little less than that, so KEDA prints 1.000.
    assert_eq!(pods_wanted(MetricType::AverageValue, 1000.0, 1.0005, 0, 0, Tolerance::default()), Ok(1000));
    assert_eq!(pods_wanted(MetricType::AverageValue, 0.001, 0.001, 0, 0, Tolerance::default()), Ok(1));
}

#[test]
fn targets_that_kubernetes_rejects_are_errors() {
    for target in [0.0, 0.0004, -1.0, f64::INFINITY] {
        let error = pods_wanted(MetricType::AverageValue, 1.0, target, 1, 1, Tolerance::default()).unwrap_err();
        assert_eq!(error, FormulaError::TargetTooSmall(target));
    }
    let error = pods_wanted(MetricType::Value, 1.0, 0.0004, 1, 1, Tolerance::default()).unwrap_err();
    insta::assert_snapshot!(error, @"target 0.0004 is less than 0.001, the smallest that Kubernetes can compare with");
}

#[test]
fn metrics_are_combined_by_the_maximum() {
    #[track_caller]
    fn check(metrics: &[MetricReading], expected: Option<u32>) {
        assert_eq!(combine(metrics, Replicas::settled(5, 5), Tolerance::default()), expected);
    }
    check(&[average(20.0), average(90.0), average(70.0)], Some(9));
    check(&[average(20.0)], Some(2));
    check(&[average(0.0), average(0.0)], Some(0));
    check(&[invalid(), average(90.0)], Some(9));
    check(&[average(50.0), invalid()], Some(5));
    check(&[invalid(), average(20.0)], None);
    check(&[invalid(), invalid()], None);
    check(&[], None);
}

#[test]
fn value_metric_needs_a_pod() {
    let no_pods = Replicas { spec: 3, status: 0, ready: 0 };
    assert_eq!(combine(&[value(35.0)], no_pods, Tolerance::default()), None);
    assert_eq!(combine(&[average(35.0)], no_pods, Tolerance::default()), Some(4));
}

#[test]
fn policies_limit_scaling_up() {
    use SelectPolicy::{Disabled, Max, Min};
    #[track_caller]
    fn check(behavior: Behavior, expected: &[u32]) {
        let mut hpa = Hpa::new(1, 100, Some(behavior));
        assert_eq!(run(&mut hpa, 0, 2, average(1000.0), expected.len() as i64), expected);
    }
    check(up(Max, &[pods(3, 15)]), &[5, 8, 11, 14]);
    check(up(Max, &[pods(3, 30)]), &[5, 5, 8, 8, 11]);
    check(up(Max, &[pods(3, 15), percent(100, 15)]), &[5, 10, 20, 40, 80, 100]);
    check(up(Min, &[pods(3, 15), percent(100, 15)]), &[4, 7, 10, 13]);
    check(up(Max, &[percent(10, 15)]), &[3, 4, 5, 6]);
    check(up(Disabled, &[pods(3, 15)]), &[2, 2]);
}

#[test]
fn policies_limit_scaling_down() {
    use SelectPolicy::{Disabled, Max, Min};
    #[track_caller]
    fn check(behavior: Behavior, expected: &[u32]) {
        let mut hpa = Hpa::new(1, 100, Some(behavior));
        assert_eq!(run(&mut hpa, 0, 20, average(5.0), expected.len() as i64), expected);
    }
    check(down(Max, &[pods(4, 15)]), &[16, 12, 8, 4, 1]);
    check(down(Max, &[pods(4, 60)]), &[16, 16, 16, 16, 12]);
    check(down(Max, &[percent(50, 15), pods(4, 15)]), &[10, 5, 1]);
    check(down(Min, &[percent(50, 15), pods(4, 15)]), &[16, 12, 8, 4, 2, 1]);
    check(down(Max, &[percent(100, 15)]), &[1]);
    check(down(Disabled, &[pods(4, 15)]), &[20, 20]);
}

#[test]
fn window_delays_scaling_up() {
    let mut behavior = Behavior::default();
    behavior.scale_up.stabilization_window = SignedDuration::from_secs(60);
    let mut hpa = Hpa::new(1, 100, Some(behavior));
    assert_eq!(run(&mut hpa, 0, 2, average(20.0), 1), [2]);
    assert_eq!(run(&mut hpa, 15, 2, average(1000.0), 5), [2, 2, 2, 6, 12]);
}

#[test]
fn tolerance_of_the_behavior_is_used() {
    let mut behavior = Behavior::default();
    behavior.scale_up.tolerance = Some(0.0);
    let mut hpa = Hpa::new(1, 100, Some(behavior));
    assert_eq!(run(&mut hpa, 0, 5, average(51.0), 1), [6]);
}

fn metric_types() -> impl Strategy<Value = MetricType> {
    prop_oneof![Just(MetricType::AverageValue), Just(MetricType::Value)]
}

fn behaviors() -> impl Strategy<Value = Option<Behavior>> {
    let select = prop_oneof![Just(SelectPolicy::Max), Just(SelectPolicy::Min), Just(SelectPolicy::Disabled)];
    let kind = prop_oneof![Just(PolicyKind::Pods), Just(PolicyKind::Percent)];
    let policy = (kind, 1..200u32, 1..1800i64).prop_map(|(kind, value, period)| ScalingPolicy {
        kind,
        value,
        period: SignedDuration::from_secs(period),
    });
    let rules =
        (select, prop::collection::vec(policy, 1..3), 0..3600i64).prop_map(|(select_policy, policies, window)| {
            let stabilization_window = SignedDuration::from_secs(window);
            ScalingRules { stabilization_window, select_policy, policies, tolerance: None }
        });
    prop::option::of((rules.clone(), rules).prop_map(|(scale_up, scale_down)| Behavior { scale_up, scale_down }))
}

proptest! {
    #[test]
    fn more_value_never_asks_for_fewer_pods(
        metric_type in metric_types(),
        value in 0.0..1e6f64,
        more in 0.0..1e6f64,
        target in 0.001..1e4f64,
        replicas in 0..200u32,
    ) {
        let less = pods_wanted(metric_type, value, target, replicas, replicas, Tolerance::default()).unwrap();
        let more = pods_wanted(metric_type, value + more, target, replicas, replicas, Tolerance::default()).unwrap();
        prop_assert!(less <= more);
    }

    #[test]
    fn replicas_stay_within_min_and_max(
        behavior in behaviors(),
        min in 1..10u32,
        above in 0..50u32,
        syncs in prop::collection::vec((0..100u32, prop::option::of(0.0..2e3f64), metric_types(), 0..100i64), 1..30),
    ) {
        let max = min + above;
        let mut hpa = Hpa::new(min, max, behavior);
        let mut now = START;
        for (spec, value, metric_type, pause) in syncs {
            now += SignedDuration::from_secs(pause);
            let reading = MetricReading { metric_type, target: 10.0, value };
            let outcome = hpa.sync(now, Replicas::settled(spec, spec), &[reading]);
            if spec == 0 {
                prop_assert_eq!(outcome.replicas, 0);
            } else {
                prop_assert!(min <= outcome.replicas && outcome.replicas <= max);
            }
        }
    }

    #[test]
    fn disabled_direction_never_scales(
        values in prop::collection::vec(0.0..2e3f64, 1..30),
        spec in 1..50u32,
    ) {
        let mut hpa = Hpa::new(1, 100, Some(down(SelectPolicy::Disabled, &[pods(4, 15)])));
        let mut spec = spec;
        for (index, value) in values.into_iter().enumerate() {
            let after = run(&mut hpa, 15 * index as i64, spec, average(value), 1)[0];
            prop_assert!(spec <= after);
            spec = after;
        }
    }
}
