//! What KEDA accepts in a manifest and does something else with than was intended. Each warning says what to do instead.

mod trigger;

use jiff::SignedDuration;

use super::{ScaledJob, ScaledObject, TriggerKind, TriggerSpec};
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::keda::TRIGGER_TYPES;

/// Metrics that are 0 while there are no pods, whatever waits.
const OF_WORKERS: [&str; 3] = ["worker-usage", "total-workers", "occupied-workers"];

/// A cooldown below this takes pods away between two jobs.
const SHORT_COOLDOWN: SignedDuration = SignedDuration::from_secs(60);

/// Beyond these, seconds are likely milliseconds.
const LONG_POLLING: SignedDuration = SignedDuration::from_mins(10);
const LONG_COOLDOWN: SignedDuration = SignedDuration::from_hours(24);
const LATE_FALLBACK: SignedDuration = SignedDuration::from_hours(1);

/// Triggers that ask nobody, so that they do not fail.
const ASK_NOBODY: [&str; 4] = ["cpu", "memory", "cron", "kubernetes-workload"];

/// What in a ScaledObject is likely not intended, as sentences.
#[must_use]
pub fn warnings(object: &ScaledObject) -> Vec<String> {
    let mut warnings = object.unknown_fields.clone();
    for (index, trigger) in object.triggers.iter().enumerate() {
        let label = trigger.label(index);
        let of_trigger = trigger::warnings(trigger).into_iter().chain(trigger::metric_type_of_metric(trigger));
        warnings.extend(of_trigger.chain(cached(object, trigger)).map(|warning| format!("{label}: {warning}")));
    }
    let of_object = [
        same_triggers,
        never_activates,
        no_behavior,
        short_cooldown,
        long_cooldown,
        long_polling,
        idle_above_zero,
        fallback_to_zero,
        fallback_above_maximum,
        late_fallback,
        push_and_formula,
        push_without_zero,
        errors_of_others,
    ];
    warnings.extend(of_object.iter().filter_map(|warning| warning(object)));
    warnings
}

/// What in a ScaledJob is likely not intended, as sentences.
#[must_use]
pub fn job_warnings(job: &ScaledJob) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, trigger) in job.triggers.iter().enumerate() {
        let label = trigger.label(index);
        warnings.extend(trigger::warnings(trigger).into_iter().map(|warning| format!("{label}: {warning}")));
        if trigger.kind == TriggerKind::ExternalPush {
            warnings.push(format!("{label}: {PUSH_TO_JOB}"));
        }
        if trigger.is_ours() && trigger.metric_type == Some(MetricType::Value) {
            warnings.push(format!("{label}: {VALUE_IN_JOB}"));
        }
    }
    warnings
}

const PUSH_TO_JOB: &str = "KEDA opens the stream of an external-push trigger for a ScaledJob but ignores what it says; \
     use type: external, and a short pollingInterval";

const VALUE_IN_JOB: &str =
    "KEDA takes the target of metricType: Value as 0 in a ScaledJob and starts no jobs; use AverageValue";

/// Whether KEDA may take the workload to zero or idle, so that it has to poll.
fn may_stop(object: &ScaledObject) -> bool {
    object.rules.bounds.min == 0 || object.rules.bounds.idle.is_some()
}

fn pushes(object: &ScaledObject) -> bool {
    object.triggers.iter().any(|trigger| trigger.kind == TriggerKind::ExternalPush)
}

fn cached(object: &ScaledObject, trigger: &TriggerSpec) -> Option<String> {
    (trigger.is_ours() && trigger.use_cached_metrics).then(|| {
        format!(
            "useCachedMetrics gives the HPA what the last poll saw, up to pollingInterval ago ({} s); the scaler answers from \
             memory, so that nothing is saved by it",
            object.rules.polling_interval.as_secs()
        )
    })
}

fn same_triggers(object: &ScaledObject) -> Option<String> {
    let same = |a: &TriggerSpec, b: &TriggerSpec| {
        let (a, b) = ((&a.kind, a.metric_type, &a.metadata), (&b.kind, b.metric_type, &b.metadata));
        a == b
    };
    let mut pairs = object.triggers.iter().enumerate().filter_map(|(index, trigger)| {
        let first = object.triggers[..index].iter().position(|earlier| same(earlier, trigger))?;
        Some((index, first))
    });
    pairs.next().map(|(index, first)| format!("trigger {index} is the same as trigger {first}, which changes nothing"))
}

fn never_activates(object: &ScaledObject) -> Option<String> {
    let may_be_zero = object.rules.bounds.min == 0 || object.rules.bounds.idle == Some(0);
    // Processor and memory have no activity of their own, so they cannot start the workload either.
    let cannot_start = |trigger: &TriggerSpec| match &trigger.kind {
        TriggerKind::Other(kind) => kind == "cpu" || kind == "memory",
        _ => trigger.metric().is_some_and(|metric| OF_WORKERS.contains(&metric)),
    };
    let any_of_ours = object.triggers.iter().any(TriggerSpec::is_ours);
    (may_be_zero && any_of_ours && object.triggers.iter().all(cannot_start)).then(|| {
        "at zero pods there are no workers, so these triggers are 0 whatever waits and never start the workload; add a trigger \
         for demand or enqueued-count, or set minReplicaCount: 1"
            .to_owned()
    })
}

fn no_behavior(object: &ScaledObject) -> Option<String> {
    let max = object.rules.bounds.max;
    (object.behavior.is_none() && object.rules.bounds.hpa_min() < max).then(|| {
        "without advanced.horizontalPodAutoscalerConfig.behavior a workload that returns from zero grows to the size it had up \
         to five minutes ago, even for one job; set scaleDown.stabilizationWindowSeconds: 300 there, which changes nothing else \
         on the way down"
            .to_owned()
    })
}

fn short_cooldown(object: &ScaledObject) -> Option<String> {
    let cooldown = object.rules.cooldown;
    (may_stop(object) && cooldown < SHORT_COOLDOWN).then(|| {
        format!(
            "cooldownPeriod is {} s: KEDA removes all pods at once that soon after the last activity, and starts them anew for \
             the next job; use 300, the default, or more than the longest usual pause",
            cooldown.as_secs()
        )
    })
}

fn long_cooldown(object: &ScaledObject) -> Option<String> {
    let cooldown = object.rules.cooldown;
    (may_stop(object) && LONG_COOLDOWN < cooldown).then(|| {
        format!(
            "cooldownPeriod is {} s, {cooldown}: pods stay that long with nothing to do; the unit is seconds",
            cooldown.as_secs()
        )
    })
}

fn long_polling(object: &ScaledObject) -> Option<String> {
    let interval = object.rules.polling_interval;
    (may_stop(object) && LONG_POLLING < interval).then(|| {
        format!(
            "pollingInterval is {} s, {interval}: only a poll tells KEDA that no trigger is active any longer and, with type: \
             external, that one is; the unit is seconds, the default 30",
            interval.as_secs()
        )
    })
}

fn idle_above_zero(object: &ScaledObject) -> Option<String> {
    let idle = object.rules.bounds.idle.filter(|idle| 0 < *idle)?;
    Some(format!(
        "idleReplicaCount: {idle} is below the HPA's minimum, which raises the replicas again as often as KEDA lowers them; \
         only 0 works"
    ))
}

fn fallback_to_zero(object: &ScaledObject) -> Option<String> {
    object.rules.fallback.filter(|fallback| fallback.replicas == 0)?;
    let warning = "fallback.replicas: 0 lets KEDA scale to zero while the triggers cannot be read; use 1 or more";
    Some(warning.to_owned())
}

fn fallback_above_maximum(object: &ScaledObject) -> Option<String> {
    let (fallback, max) = (object.rules.fallback?.replicas, object.rules.bounds.max);
    (max < fallback).then(|| {
        format!("fallback.replicas: {fallback} is above maxReplicaCount, which the HPA does not exceed: {max} is what it comes to")
    })
}

fn late_fallback(object: &ScaledObject) -> Option<String> {
    let threshold = object.rules.fallback?.failure_threshold;
    let late = object.rules.polling_interval.saturating_mul(i32::try_from(threshold).unwrap_or(i32::MAX));
    (LATE_FALLBACK < late && object.rules.polling_interval <= LONG_POLLING).then(|| {
        format!(
            "fallback.failureThreshold: {threshold} counts failures and not seconds: at zero pods, one each pollingInterval, that \
             is {late} until the fallback"
        )
    })
}

fn push_and_formula(object: &ScaledObject) -> Option<String> {
    (object.scaling_modifiers && pushes(object)).then(|| {
        "a push starts the workload even if the formula of scalingModifiers is not above its activationTarget; use type: \
         external where the formula has to decide"
            .to_owned()
    })
}

/// A push starts the first pod, and brings KEDA 2.21 a computed target that has changed. Nothing else.
fn push_without_zero(object: &ScaledObject) -> Option<String> {
    let is_auto = |trigger: &TriggerSpec| trigger.metadata.get("targetValue").is_some_and(|text| text.trim() == "auto");
    (pushes(object) && !may_stop(object) && !object.triggers.iter().any(is_auto)).then(|| {
        format!(
            "with minReplicaCount: {} a push has no pod to start, and the HPA asks by itself every 15 s; use type: external, or \
             minReplicaCount: 0",
            object.rules.bounds.min
        )
    })
}

/// KEDA 2.21 drops all scalers of a ScaledObject after an error of any of them, and the last one closes the connection that the
/// streams use (`ClearScalersCache` in `pkg/scaling/scale_handler.go`, `releaseConnection` in `pkg/scalers/external_scaler.go`).
fn errors_of_others(object: &ScaledObject) -> Option<String> {
    let other = object.triggers.iter().enumerate().find(|(_, trigger)| match &trigger.kind {
        TriggerKind::Other(kind) => TRIGGER_TYPES.contains(&kind.as_str()) && !ASK_NOBODY.contains(&kind.as_str()),
        _ => false,
    });
    let (index, trigger) = other.filter(|_| pushes(object))?;
    Some(format!(
        "with KEDA 2.21 an error of {} also closes the push streams of this ScaledObject until up to a minute after it is over, \
         unless another ScaledObject has the same scalerAddress; a new job then waits for the next poll, pollingInterval is {} s",
        trigger.label(index),
        object.rules.polling_interval.as_secs()
    ))
}
