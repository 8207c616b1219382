//! What KEDA accepts in a manifest although it likely does something unintended. Each warning says what to do instead.

mod trigger;

use jiff::SignedDuration;

use super::{ScaledJob, ScaledObject, TriggerKind, TriggerSpec};
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::keda::TRIGGER_TYPES;

/// Metrics that are 0 while there are no pods, however many jobs wait.
const WORKER_METRICS: [&str; 3] = ["worker-usage", "total-workers", "occupied-workers"];

/// A shorter cooldown removes pods between two jobs.
const SHORT_COOLDOWN: SignedDuration = SignedDuration::from_secs(60);

/// Longer periods are likely milliseconds.
const LONG_POLLING: SignedDuration = SignedDuration::from_mins(10);
const LONG_COOLDOWN: SignedDuration = SignedDuration::from_hours(24);
const LATE_FALLBACK: SignedDuration = SignedDuration::from_hours(1);

/// Types of triggers that ask no other system and therefore do not fail.
const LOCAL_TYPES: [&str; 4] = ["cpu", "memory", "cron", "kubernetes-workload"];

/// Returns what in a ScaledObject is likely not intended, one sentence each.
#[must_use]
pub fn warnings(object: &ScaledObject) -> Vec<String> {
    let mut warnings = object.unknown_fields.clone();
    for (index, trigger) in object.triggers.iter().enumerate() {
        let label = trigger.label(index);
        let of_trigger = trigger::warnings(trigger).into_iter().chain(trigger::metric_type_of_metric(trigger));
        let of_trigger = of_trigger.chain(cached(object, trigger)).chain(target_of_a_poll(trigger));
        warnings.extend(of_trigger.map(|warning| format!("{label}: {warning}")));
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

/// Returns what in a ScaledJob is likely not intended, one sentence each.
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

const PUSH_TO_JOB: &str = "KEDA opens the stream of an external-push trigger for a ScaledJob but ignores its messages; \
     use type: external and a short pollingInterval";

const VALUE_IN_JOB: &str =
    "in a ScaledJob, KEDA reads the target of metricType: Value as 0 and starts no jobs; use AverageValue";

fn pushes(object: &ScaledObject) -> bool {
    object.triggers.iter().any(|trigger| trigger.kind == TriggerKind::ExternalPush)
}

fn cached(object: &ScaledObject, trigger: &TriggerSpec) -> Option<String> {
    (trigger.is_ours() && trigger.use_cached_metrics).then(|| {
        format!(
            "useCachedMetrics gives the HPA the value of the last poll, which is up to pollingInterval ({} s) old; the scaler \
             answers from memory, so this saves nothing",
            object.rules.polling_interval.as_secs()
        )
    })
}

/// KEDA 2.21 opens the stream of targets beside that of pushes only (`externalPushScaler.Run` in `pkg/scalers/external_scaler.go`).
fn target_of_a_poll(trigger: &TriggerSpec) -> Option<String> {
    (trigger.has_computed_target() && trigger.kind == TriggerKind::External).then(|| {
        "with type: external, every version of KEDA reads the target of targetValue: auto only when it reconciles the ScaledObject: \
         it does not follow the servers; use external-push, or a number"
            .to_owned()
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
    pairs.next().map(|(index, first)| format!("trigger {index} is the same as trigger {first} and has no effect"))
}

fn never_activates(object: &ScaledObject) -> Option<String> {
    let may_be_zero = object.rules.bounds.min == 0 || object.rules.bounds.idle == Some(0);
    // Triggers of type cpu and memory have no activity, so they cannot start the workload either.
    let cannot_start = |trigger: &TriggerSpec| match &trigger.kind {
        TriggerKind::Other(kind) => kind == "cpu" || kind == "memory",
        _ => trigger.metric().is_some_and(|metric| WORKER_METRICS.contains(&metric)),
    };
    let any_of_ours = object.triggers.iter().any(TriggerSpec::is_ours);
    (may_be_zero && any_of_ours && object.triggers.iter().all(cannot_start)).then(|| {
        "at zero pods there are no workers, so these triggers are 0 however many jobs wait, and never start the workload; add a \
         trigger for demand or enqueued-count, or set minReplicaCount: 1"
            .to_owned()
    })
}

fn no_behavior(object: &ScaledObject) -> Option<String> {
    let max = object.rules.bounds.max;
    (object.behavior.is_none() && object.rules.bounds.hpa_min() < max).then(|| {
        "without advanced.horizontalPodAutoscalerConfig.behavior, a workload that returns from zero grows to the size that it \
         had up to five minutes ago, even for one job; set scaleDown.stabilizationWindowSeconds: 300 there, which changes \
         nothing else for scaling down"
            .to_owned()
    })
}

fn short_cooldown(object: &ScaledObject) -> Option<String> {
    let cooldown = object.rules.cooldown;
    (object.rules.bounds.may_stop() && cooldown < SHORT_COOLDOWN).then(|| {
        format!(
            "cooldownPeriod is {} s: KEDA removes all pods that soon after the last activity, and starts new ones for the next \
             job; use 300, the default, or more than the longest usual pause",
            cooldown.as_secs()
        )
    })
}

fn long_cooldown(object: &ScaledObject) -> Option<String> {
    let cooldown = object.rules.cooldown;
    (object.rules.bounds.may_stop() && LONG_COOLDOWN < cooldown).then(|| {
        format!(
            "cooldownPeriod is {} s, {cooldown}: pods without work stay that long; the unit is seconds",
            cooldown.as_secs()
        )
    })
}

fn long_polling(object: &ScaledObject) -> Option<String> {
    let interval = object.rules.polling_interval;
    (object.rules.bounds.may_stop() && LONG_POLLING < interval).then(|| {
        format!(
            "pollingInterval is {} s, {interval}: only a poll tells KEDA that no trigger is active any longer and, with type: \
             external, that one is active; the unit is seconds, the default is 30",
            interval.as_secs()
        )
    })
}

fn idle_above_zero(object: &ScaledObject) -> Option<String> {
    let idle = object.rules.bounds.idle.filter(|idle| 0 < *idle)?;
    Some(format!(
        "idleReplicaCount: {idle} is below the HPA's minimum, so the HPA raises the replicas each time KEDA lowers them; only 0 \
         works"
    ))
}

fn fallback_to_zero(object: &ScaledObject) -> Option<String> {
    object.rules.fallback.filter(|fallback| fallback.replicas == 0)?;
    let warning = "with fallback.replicas: 0, KEDA scales to zero while the triggers cannot be read; use 1 or more";
    Some(warning.to_owned())
}

fn fallback_above_maximum(object: &ScaledObject) -> Option<String> {
    let (fallback, max) = (object.rules.fallback?.replicas, object.rules.bounds.max);
    (max < fallback)
        .then(|| format!("fallback.replicas: {fallback} is above maxReplicaCount, which limits it to {max}"))
}

fn late_fallback(object: &ScaledObject) -> Option<String> {
    let threshold = object.rules.fallback?.failure_threshold;
    let late = object.rules.polling_interval.saturating_mul(i32::try_from(threshold).unwrap_or(i32::MAX));
    (LATE_FALLBACK < late && object.rules.polling_interval <= LONG_POLLING).then(|| {
        format!(
            "fallback.failureThreshold: {threshold} counts failures, not seconds: at zero pods, with one per pollingInterval, the \
             fallback starts after {late}"
        )
    })
}

fn push_and_formula(object: &ScaledObject) -> Option<String> {
    (object.scaling_modifiers && pushes(object)).then(|| {
        "a push starts the workload even if the formula of scalingModifiers is not above its activationTarget; use type: \
         external if the formula must decide"
            .to_owned()
    })
}

/// A push starts the first pod, and gives KEDA 2.21 a new computed target. It does nothing else.
fn push_without_zero(object: &ScaledObject) -> Option<String> {
    let is_auto = object.triggers.iter().any(TriggerSpec::has_computed_target);
    (pushes(object) && !object.rules.bounds.may_stop() && !is_auto).then(|| {
        format!(
            "with minReplicaCount: {}, a push has no pod to start, and the HPA asks every 15 s anyway; use type: external, or \
             minReplicaCount: 0",
            object.rules.bounds.min
        )
    })
}

/// KEDA 2.21 drops all scalers of a ScaledObject after an error of one of them, and the last one closes the connection of the
/// streams (`ClearScalersCache` in `pkg/scaling/scale_handler.go`, `releaseConnection` in `pkg/scalers/external_scaler.go`).
fn errors_of_others(object: &ScaledObject) -> Option<String> {
    let other = object.triggers.iter().enumerate().find(|(_, trigger)| match &trigger.kind {
        TriggerKind::Other(kind) => TRIGGER_TYPES.contains(&kind.as_str()) && !LOCAL_TYPES.contains(&kind.as_str()),
        _ => false,
    });
    let (index, trigger) = other.filter(|_| pushes(object))?;
    Some(format!(
        "with KEDA 2.21, an error of {} also closes the push streams of this ScaledObject, and up to a minute passes after the \
         error until they are open again, unless another ScaledObject has the same scalerAddress; a new job then waits for the \
         next poll, pollingInterval is {} s",
        trigger.label(index),
        object.rules.polling_interval.as_secs()
    ))
}
