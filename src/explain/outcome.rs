//! What KEDA and the HPA do with a ScaledObject, in words.

use super::report::{TriggerReport, ours};
use crate::kubernetes::hpa::DOWNSCALE_STABILIZATION;
use crate::kubernetes::keda::{Fallback, FallbackBehavior};
use crate::kubernetes::manifest::{Paused, ScaledObject};
use crate::text::counted;

/// What KEDA and the HPA do, one sentence each.
pub(super) fn sentences(
    object: &ScaledObject,
    triggers: &[TriggerReport],
    active: bool,
    now: u32,
    wanted: u32,
) -> Vec<String> {
    if let Some(Paused { annotation, replicas }) = object.paused {
        let size = replicas.map_or_else(|| "as it is".to_owned(), |replicas| format!("at {}", replicas_text(replicas)));
        return vec![format!("paused by {annotation}: KEDA keeps the workload {size}, whatever the triggers say")];
    }
    let ours: Vec<&TriggerReport> = ours(object, triggers).collect();
    if ours.is_empty() {
        return vec!["none of the triggers is ours: there is nothing to say about the replicas".to_owned()];
    }
    let n_failed = ours.iter().filter(|trigger| trigger.error.is_some()).count();
    let most = ours.iter().filter_map(|trigger| trigger.pods_wanted).max().unwrap_or(0);
    let mut sentences = vec![match (active, n_failed) {
        (true, 0) => active_sentence(object, most, now, wanted),
        (true, _) => active_though_failed_sentence(object, now, wanted),
        (false, 0) => inactive_sentence(object, now, wanted),
        (false, _) if wanted == now => {
            format!("no trigger is active, but {n_failed} failed and might be: KEDA keeps {}", replicas_text(now))
        }
        (false, _) => format!("no trigger is active, but {n_failed} failed and might be: the HPA goes to {wanted}"),
    }];
    sentences.extend(object.rules.fallback.iter().flat_map(|fallback| fallback_sentences(fallback, &ours, now)));
    sentences.extend(object.pauses.iter().cloned());
    if object.scaling_modifiers {
        sentences
            .push("scalingModifiers: the HPA gets the result of their formula, which is not computed here".to_owned());
    }
    if ours.len() < object.triggers.len() {
        sentences.push("triggers that are not ours may ask for more, and keep the workload active".to_owned());
    }
    sentences
}

/// What KEDA's fallback does for the triggers that failed, and where there is none (`pkg/fallback/fallback.go`).
fn fallback_sentences(fallback: &Fallback, ours: &[&TriggerReport], now: u32) -> Vec<String> {
    let failed: Vec<&TriggerReport> = ours.iter().copied().filter(|trigger| trigger.error.is_some()).collect();
    let (named, nameless): (Vec<&TriggerReport>, Vec<_>) = failed.into_iter().partition(|t| t.metric_name.is_some());
    // KEDA divides by the ready pods then.
    let (without, with): (Vec<&TriggerReport>, Vec<_>) =
        named.into_iter().partition(|t| now == 0 && t.metric_type == "Value");
    let mut sentences = Vec::new();
    if !with.is_empty() {
        let replicas = match fallback.behavior {
            FallbackBehavior::Static => format!("{}, fallback.replicas", replicas_text(fallback.replicas)),
            FallbackBehavior::CurrentReplicas => format!("{}, as many as there are", replicas_text(now)),
            FallbackBehavior::CurrentReplicasIfHigher => higher_or_lower(fallback.replicas.max(now), fallback, now),
            FallbackBehavior::CurrentReplicasIfLower => higher_or_lower(fallback.replicas.min(now), fallback, now),
            FallbackBehavior::ScalingModifiers => "what the formula makes of the missing value".to_owned(),
        };
        let threshold = fallback.failure_threshold;
        sentences.push(format!("after more than {threshold} failures in a row KEDA falls back to {replicas}"));
    }
    if !nameless.is_empty() {
        let labels = labels(&nameless);
        sentences
            .push(format!("no fallback for {labels}: GetMetricSpec fails, and KEDA does not count such a failure"));
    }
    if !without.is_empty() {
        let labels = labels(&without);
        sentences.push(format!("no fallback for {labels}: with metricType: Value KEDA has none while no pod is ready"));
    }
    sentences
}

fn higher_or_lower(replicas: u32, fallback: &Fallback, now: u32) -> String {
    let which = if replicas == now && now != fallback.replicas { "as many as there are" } else { "fallback.replicas" };
    format!("{}, {which}", replicas_text(replicas))
}

fn labels(triggers: &[&TriggerReport]) -> String {
    triggers.iter().map(|trigger| trigger.label()).collect::<Vec<_>>().join(", ")
}

fn active_sentence(object: &ScaledObject, most: u32, now: u32, wanted: u32) -> String {
    let bounds = object.rules.bounds;
    let least = bounds.hpa_min();
    let limit = if bounds.max < most {
        format!(" (the triggers ask for {most}, maxReplicaCount is {})", bounds.max)
    } else if most < least {
        format!(" (the triggers ask for {most}, the HPA's minimum is {least})")
    } else {
        String::new()
    };
    match (now, wanted) {
        (0, _) if wanted <= least => format!("a trigger is active: KEDA starts {}{limit}", replicas_text(least)),
        (0, _) => {
            format!("a trigger is active: KEDA starts {}, the HPA goes on to {wanted}{limit}", replicas_text(least))
        }
        _ if wanted == now => format!("a trigger is active: the HPA stays at {wanted}{limit}"),
        _ if wanted < now => {
            let window = object.behavior.as_ref().map(|behavior| behavior.scale_down.stabilization_window);
            let seconds = window.unwrap_or(DOWNSCALE_STABILIZATION).as_secs();
            format!("a trigger is active: the HPA goes down to {wanted}{limit} when that was enough for {seconds} s")
        }
        _ => format!("a trigger is active: the HPA goes up to {wanted}{limit}"),
    }
}

fn active_though_failed_sentence(object: &ScaledObject, now: u32, wanted: u32) -> String {
    let least = replicas_text(object.rules.bounds.hpa_min());
    match now {
        0 => format!("a trigger is active: KEDA starts {least}; another failed, and might ask for more"),
        _ if now < wanted => {
            format!("a trigger is active: the HPA goes up to {wanted}; another failed, and might ask for more")
        }
        _ => "a trigger is active, but another failed and might ask for more: the HPA takes no pods away".to_owned(),
    }
}

fn inactive_sentence(object: &ScaledObject, now: u32, wanted: u32) -> String {
    let bounds = object.rules.bounds;
    let may_stop = bounds.min == 0 || bounds.idle.is_some();
    if may_stop && wanted < now {
        let cooldown = object.rules.cooldown.as_secs();
        return format!("no trigger is active: to {wanted} after cooldownPeriod {cooldown} s");
    }
    if may_stop {
        return format!("no trigger is active: stays at {wanted}");
    }
    let min = bounds.min;
    if wanted <= min {
        return format!("no trigger is active: the HPA keeps minReplicaCount, {min}");
    }
    format!("no trigger is active, but minReplicaCount is {min}, so that the HPA decides all the same: {wanted}")
}

/// `1 replica`, `2 replicas`.
pub(super) fn replicas_text(n: u32) -> String {
    counted(n.into(), "replica")
}
