//! What KEDA accepts in a manifest and does something else with than was meant. Each warning says what to do instead.

use jiff::SignedDuration;

use super::{ScaledJob, ScaledObject, Trigger, TriggerKind};
use crate::scaling::hpa::MetricType;

/// Metrics that count something: their targets are "so many for each pod".
const COUNTS: [&str; 5] = ["enqueued-count", "scheduled-count", "occupied-workers", "total-workers", "demand"];

/// Metrics that are 0 while there are no pods, whatever waits.
const OF_WORKERS: [&str; 3] = ["worker-usage", "total-workers", "occupied-workers"];

/// A cooldown below this takes pods away between two jobs.
const SHORT_COOLDOWN: SignedDuration = SignedDuration::from_secs(60);

/// What in a ScaledObject is likely not meant that way, as sentences.
#[must_use]
pub fn warnings(object: &ScaledObject) -> Vec<String> {
    let mut warnings = object.unknown_fields.clone();
    for (index, trigger) in object.triggers.iter().enumerate().filter(|(_, trigger)| trigger.is_ours()) {
        let label = label(index, trigger);
        warnings.extend(metric_type_in_metadata(trigger).map(|warning| format!("{label}: {warning}")));
        warnings.extend(metric_type_of_metric(trigger).map(|warning| format!("{label}: {warning}")));
    }
    warnings.extend([never_activates(object), no_behavior(object), short_cooldown(object)].into_iter().flatten());
    warnings
        .extend([idle_above_zero(object), fallback_to_zero(object), push_and_formula(object)].into_iter().flatten());
    warnings
}

/// What in a ScaledJob is likely not meant that way, as sentences.
#[must_use]
pub fn job_warnings(job: &ScaledJob) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, trigger) in job.triggers.iter().enumerate().filter(|(_, trigger)| trigger.is_ours()) {
        let label = label(index, trigger);
        warnings.extend(metric_type_in_metadata(trigger).map(|warning| format!("{label}: {warning}")));
        if trigger.kind == TriggerKind::ExternalPush {
            warnings.push(format!("{label}: {PUSH_TO_JOB}"));
        }
        if trigger.metric_type == Some(MetricType::Value) {
            warnings.push(format!("{label}: {VALUE_IN_JOB}"));
        }
    }
    warnings
}

const PUSH_TO_JOB: &str = "KEDA opens the stream of an external-push trigger for a ScaledJob but ignores what it says; \
     use type: external, and a short pollingInterval";

const VALUE_IN_JOB: &str =
    "KEDA takes the target of metricType: Value as 0 in a ScaledJob and starts no jobs; use AverageValue";

fn label(index: usize, trigger: &Trigger) -> String {
    match trigger.name.as_deref().or(trigger.metric()) {
        Some(name) => format!("trigger {index} ({name})"),
        None => format!("trigger {index}"),
    }
}

fn metric_type_in_metadata(trigger: &Trigger) -> Option<String> {
    let given = trigger.metadata.get("metricType")?;
    Some(format!(
        "KEDA does not look at metricType inside metadata, so {given} has no effect; write it beside type and metadata"
    ))
}

fn metric_type_of_metric(trigger: &Trigger) -> Option<String> {
    let metric = trigger.metric()?;
    match trigger.metric_type? {
        MetricType::Value if COUNTS.contains(&metric) => Some(format!(
            "with metricType: Value the HPA multiplies the ready pods by {metric} ÷ target, again every 15 s, and runs away to \
             the maximum; use AverageValue, with what one pod can take as the target"
        )),
        MetricType::AverageValue if metric == "worker-usage" => Some(
            "a usage is at most 1, so with metricType: AverageValue it asks for 1 ÷ target pods at most, however busy they are; \
             use Value"
                .to_owned(),
        ),
        _ => None,
    }
}

fn never_activates(object: &ScaledObject) -> Option<String> {
    let may_be_zero = object.rules.bounds.min == 0 || object.rules.bounds.idle == Some(0);
    // Processor and memory have no activity of their own, so they cannot start the workload either.
    let cannot_start = |trigger: &Trigger| match &trigger.kind {
        TriggerKind::Other(kind) => kind == "cpu" || kind == "memory",
        _ => trigger.metric().is_some_and(|metric| OF_WORKERS.contains(&metric)),
    };
    let any_of_ours = object.triggers.iter().any(Trigger::is_ours);
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
    let may_stop = object.rules.bounds.min == 0 || object.rules.bounds.idle.is_some();
    let cooldown = object.rules.cooldown;
    (may_stop && cooldown < SHORT_COOLDOWN).then(|| {
        format!(
            "cooldownPeriod is {} s: KEDA removes all pods at once that soon after the last activity, and starts them anew for \
             the next job; use 300, the default, or more than the longest usual pause",
            cooldown.as_secs()
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

fn push_and_formula(object: &ScaledObject) -> Option<String> {
    let pushes = object.triggers.iter().any(|trigger| trigger.kind == TriggerKind::ExternalPush);
    (object.scaling_modifiers && pushes).then(|| {
        "a push starts the workload even if the formula of scalingModifiers is not above its activationTarget; use type: \
         external where the formula has to decide"
            .to_owned()
    })
}
