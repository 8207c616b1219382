//! KEDA's decisions after errors, its cooldown against recorded traces, and laws.

use proptest::prelude::*;

use super::TriggerAnswer::{Active, Failed, Inactive};
use super::*;
use crate::kubernetes::hpa::{Behavior, Hpa, MetricType};

/// 20:00:00 on the day of the traces.
const START: Timestamp = Timestamp::constant(1_785_614_400, 0);

fn at(seconds: f64) -> Timestamp {
    START + SignedDuration::from_secs_f64(seconds)
}

fn bounds(min: u32, max: u32, idle: Option<u32>) -> ReplicaBounds {
    ReplicaBounds { min, max, idle }
}

fn fallback(replicas: u32) -> Option<Fallback> {
    Some(Fallback { failure_threshold: 3, replicas, behavior: FallbackBehavior::Static })
}

/// The rules of the traces: polled every 10 s, cooldown 20 s, at most 30 replicas.
fn trace_rules() -> ScaledObjectRules {
    ScaledObjectRules {
        bounds: bounds(0, 30, None),
        polling_interval: SignedDuration::from_secs(10),
        cooldown: SignedDuration::from_secs(20),
        ..ScaledObjectRules::default()
    }
}

/// Both controllers together, each with its own beat: KEDA polls at 7.8 s, 17.8 s, …, the HPA syncs at 2.9 s, 17.9 s, ….
fn simulate(
    keda: &mut KedaState,
    hpa: &mut Hpa,
    replicas: &mut u32,
    seconds: std::ops::Range<u32>,
    value: f64,
) -> Vec<(f64, u32)> {
    let mut changes = Vec::new();
    for tenth in seconds.start * 10..seconds.end * 10 {
        let now = f64::from(tenth) / 10.0;
        let before = *replicas;
        if tenth % 100 == 78 {
            let answer = if 0.0 < value { Active } else { Inactive };
            *replicas = keda.poll(at(now), *replicas, &[answer]).replicas;
        }
        if tenth % 150 == 29 {
            let reading = MetricReading { metric_type: MetricType::AverageValue, target: 10.0, value: Some(value) };
            let reading = keda.hpa_reading(0, reading, Replicas::settled(*replicas, *replicas));
            *replicas = hpa.sync(at(now), Replicas::settled(*replicas, *replicas), &[reading]).replicas;
        }
        if *replicas != before {
            changes.push((now, *replicas));
        }
    }
    changes
}

#[test]
fn keda_and_hpa_scale_from_a_push_to_zero_and_back() {
    #[track_caller]
    fn check(behavior: Option<Behavior>, up: &[u32], again: &[u32]) {
        let mut keda = KedaState::new(trace_rules(), START);
        let mut hpa = Hpa::new(1, 30, behavior);
        let mut replicas = keda.push_true(at(83.2), 0).replicas;
        assert_eq!(replicas, 1);

        let changes = simulate(&mut keda, &mut hpa, &mut replicas, 84..190, 195.0);
        assert_eq!(changes.iter().map(|change| change.1).collect::<Vec<_>>(), up);
        // Last active at 187.8, kept as 187; the poll 20 s later is the first beyond the cooldown.
        assert_eq!(simulate(&mut keda, &mut hpa, &mut replicas, 190..240, 0.0), [(207.8, 0)]);
        let changes = simulate(&mut keda, &mut hpa, &mut replicas, 240..330, 5.0);
        assert_eq!(changes.iter().map(|change| change.1).collect::<Vec<_>>(), again);
    }
    check(None, &[4, 8, 16, 20], &[1, 4, 8, 16, 20]);
    check(Some(Behavior::default()), &[5, 10, 20], &[1]);
}

#[test]
fn errors_of_triggers_lead_to_the_documented_decisions() {
    use KedaReason::{Activated, ActiveWithFailures, RaisedToMinimum, ScaledToIdle, ScaledToZero, StaysActive};
    #[track_caller]
    fn check(
        bounds: ReplicaBounds,
        fallback: Option<Fallback>,
        replicas: u32,
        triggers: &[TriggerAnswer],
        expected: (u32, KedaReason),
    ) {
        let rules = ScaledObjectRules { bounds, fallback, ..ScaledObjectRules::default() };
        let decision = KedaState::new(rules, START).poll(at(1000.0), replicas, triggers);
        assert_eq!((decision.replicas, decision.reason), expected);
    }
    let zero = bounds(0, 10, None);
    let three = bounds(3, 10, None);
    let idle = bounds(3, 10, Some(0));

    check(zero, None, 0, &[Active], (1, Activated));
    check(zero, None, 0, &[Active, Failed], (1, Activated));
    check(three, None, 0, &[Inactive, Active], (3, Activated));
    check(idle, None, 0, &[Active], (3, Activated));
    check(idle, None, 2, &[Active], (3, Activated));
    check(zero, None, 5, &[Active], (5, StaysActive));
    check(three, None, 2, &[Active], (2, StaysActive));
    check(zero, None, 5, &[Active, Failed], (5, ActiveWithFailures));

    check(zero, None, 5, &[Failed], (5, KedaReason::Failed));
    check(zero, None, 0, &[Failed], (0, KedaReason::Failed));
    check(zero, fallback(4), 5, &[Inactive, Failed], (5, KedaReason::Failed));
    check(zero, fallback(0), 5, &[Failed], (0, ScaledToZero));
    check(three, fallback(0), 2, &[Failed], (3, RaisedToMinimum));

    check(zero, None, 5, &[Inactive], (0, ScaledToZero));
    check(zero, None, 0, &[Inactive], (0, KedaReason::Inactive));
    check(idle, None, 5, &[Inactive], (0, ScaledToIdle));
    check(bounds(3, 10, Some(1)), None, 5, &[Inactive], (1, ScaledToIdle));
    check(idle, None, 0, &[Inactive], (0, KedaReason::Inactive));
    check(three, None, 5, &[Inactive], (5, KedaReason::Inactive));
    check(three, None, 1, &[Inactive], (3, RaisedToMinimum));
}

#[test]
fn initial_cooldown_holds_until_a_trigger_was_active() {
    let initial_cooldown = SignedDuration::from_secs(60);
    let mut keda = KedaState::new(ScaledObjectRules { initial_cooldown, ..trace_rules() }, START);
    assert_eq!(keda.poll(at(60.0), 5, &[Inactive]).reason, KedaReason::CoolingDown);
    assert_eq!(keda.poll(at(60.1), 5, &[Inactive]).reason, KedaReason::ScaledToZero);
    keda.poll(at(61.0), 5, &[Active]);
    assert_eq!(keda.poll(at(81.0), 5, &[Inactive]).reason, KedaReason::CoolingDown);
    assert_eq!(keda.poll(at(81.1), 5, &[Inactive]).reason, KedaReason::ScaledToZero);
}

#[test]
fn failure_beside_an_active_trigger_does_not_restart_the_cooldown() {
    let mut keda = KedaState::new(trace_rules(), START);
    keda.poll(at(10.0), 5, &[Active, Inactive]);
    keda.poll(at(20.5), 5, &[Active, Failed]);
    assert_eq!(keda.last_active(), Some(at(10.0)));
    keda.push_true(at(25.9), 5);
    assert_eq!(keda.last_active(), Some(at(25.0)));
}

#[test]
fn fallback_takes_effect_after_its_threshold() {
    let rules = ScaledObjectRules { fallback: fallback(4), ..trace_rules() };
    let mut keda = KedaState::new(rules, START);
    let unread = MetricReading { metric_type: MetricType::AverageValue, target: 10.0, value: None };
    let pods = Replicas::settled(2, 2);

    assert_eq!(keda.poll(at(0.0), 2, &[Failed]).reason, KedaReason::Failed);
    assert_eq!(keda.hpa_reading(0, unread, pods).value, None);
    assert_eq!(keda.hpa_reading(0, unread, pods).value, None);
    assert_eq!(keda.hpa_reading(0, unread, pods).value, Some(40.0));
    assert_eq!(keda.poll(at(10.0), 2, &[Failed]).reason, KedaReason::StaysActive);
    assert_eq!(keda.poll(at(20.0), 2, &[Inactive]).reason, KedaReason::CoolingDown);
    assert_eq!(keda.hpa_reading(0, unread, pods).value, None);
}

#[test]
fn fallback_value_makes_the_hpa_ask_for_its_replicas() {
    use FallbackBehavior::*;
    use MetricType::{AverageValue, Value};
    #[track_caller]
    fn check(behavior: FallbackBehavior, metric_type: MetricType, spec: u32, ready: u32, expected: Option<f64>) {
        let fallback = Fallback { failure_threshold: 0, replicas: 4, behavior };
        let reading = MetricReading { metric_type, target: 10.0, value: None };
        assert_eq!(fallback.value(&reading, Replicas::settled(spec, ready)), expected);
    }
    check(Static, AverageValue, 6, 6, Some(40.0));
    check(CurrentReplicas, AverageValue, 6, 6, Some(60.0));
    check(CurrentReplicasIfHigher, AverageValue, 6, 6, Some(60.0));
    check(CurrentReplicasIfHigher, AverageValue, 2, 2, Some(40.0));
    check(CurrentReplicasIfLower, AverageValue, 6, 6, Some(40.0));
    check(CurrentReplicasIfLower, AverageValue, 2, 2, Some(20.0));
    check(Static, Value, 6, 2, Some(20.0));
    check(Static, Value, 6, 0, None);
    check(ScalingModifiers, AverageValue, 6, 6, None);
}

#[test]
fn wanted_replicas_follow_activity_and_bounds() {
    #[track_caller]
    fn check(bounds: ReplicaBounds, replicas_now: u32, active: bool, pods_wanted: &[Option<u32>], expected: u32) {
        assert_eq!(wanted_replicas(bounds, replicas_now, active, pods_wanted), expected);
    }
    let zero = bounds(0, 10, None);
    let three = bounds(3, 10, None);
    let idle = bounds(3, 10, Some(1));

    check(zero, 0, true, &[Some(4), Some(7)], 7);
    check(zero, 0, true, &[Some(0)], 1);
    check(zero, 5, true, &[Some(99)], 10);
    // Activation goes before the metric.
    check(zero, 5, false, &[Some(4)], 0);
    check(idle, 5, false, &[Some(4)], 1);
    check(idle, 1, true, &[Some(2)], 3);
    // KEDA scales down to idle, not up.
    check(idle, 0, false, &[Some(4)], 0);
    check(bounds(3, 10, Some(2)), 1, false, &[Some(4)], 1);
    check(three, 5, false, &[Some(4)], 4);
    check(three, 5, false, &[Some(0)], 3);

    check(zero, 0, true, &[None, Some(4)], 4);
    check(zero, 5, true, &[None, Some(4)], 5);
    check(zero, 5, true, &[None, Some(8)], 8);
    check(zero, 5, false, &[None], 5);
    check(zero, 0, false, &[None], 0);
    check(three, 0, false, &[None], 0);
    check(three, 1, false, &[None], 3);
    check(zero, 20, false, &[None], 10);
}

fn triggers() -> impl Strategy<Value = Vec<TriggerAnswer>> {
    prop::collection::vec(prop_oneof![Just(Active), Just(Inactive), Just(Failed)], 1..4)
}

fn any_bounds() -> impl Strategy<Value = ReplicaBounds> {
    (0..10u32, 1..50u32, prop::option::of(0..10u32)).prop_map(|(min, above, idle)| {
        let idle = idle.filter(|idle| *idle < min);
        bounds(min, min + above, idle)
    })
}

proptest! {
    #[test]
    fn push_never_lowers_the_replicas(bounds in any_bounds(), replicas in 0..100u32, seconds in 0..10_000u32) {
        let rules = ScaledObjectRules { bounds, ..ScaledObjectRules::default() };
        let decision = KedaState::new(rules, START).push_true(at(seconds.into()), replicas);
        prop_assert!(replicas <= decision.replicas && 0 < decision.replicas);
    }

    #[test]
    fn failure_never_lowers_the_replicas(
        bounds in any_bounds(),
        triggers in triggers(),
        replicas in 0..100u32,
    ) {
        prop_assume!(triggers.contains(&Failed));
        let rules = ScaledObjectRules { bounds, ..ScaledObjectRules::default() };
        let decision = KedaState::new(rules, START).poll(at(1000.0), replicas, &triggers);
        prop_assert!(replicas <= decision.replicas);
    }

    #[test]
    fn wanted_replicas_are_within_the_bounds(
        bounds in any_bounds(),
        replicas_now in 0..100u32,
        active in any::<bool>(),
        pods_wanted in prop::collection::vec(prop::option::of(0..200u32), 0..4),
    ) {
        let wanted = wanted_replicas(bounds, replicas_now, active, &pods_wanted);
        prop_assert!(wanted <= bounds.max);
        prop_assert!(bounds.idle.unwrap_or(bounds.min).min(replicas_now) <= wanted);
        prop_assert!(!active || bounds.hpa_min() <= wanted);
    }
}
