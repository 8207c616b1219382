//! What KEDA and the HPA do with a ScaledObject, in words.

use super::obstacle::Obstacle;
use super::report::TriggerReport;
use crate::kubernetes::hpa::DOWNSCALE_STABILIZATION;
use crate::kubernetes::keda::{Fallback, FallbackBehavior};
use crate::kubernetes::manifest::{Override, Paused, ScaledObject};
use crate::text::{counted, joined};

/// The state of a workload, and the size that KEDA and the HPA lead it to.
pub(super) struct Situation<'a> {
    /// The triggers for this scaler.
    pub(super) triggers: Vec<&'a TriggerReport>,
    /// Whether one of them is active.
    pub(super) active: bool,
    /// The replicas that there are.
    pub(super) now: u32,
    /// The replicas that KEDA and the HPA settle on.
    pub(super) wanted: u32,
    /// What keeps them from what the triggers ask for.
    pub(super) obstacle: Option<Obstacle>,
}

/// Returns what KEDA and the HPA do, one sentence each.
pub(super) fn summary(object: &ScaledObject, situation: &Situation<'_>) -> Vec<String> {
    if let Some(paused) = object.paused {
        return vec![paused_sentence(paused)];
    }
    if situation.triggers.is_empty() {
        return vec!["none of the triggers is for this scaler, so nothing is known about the replicas".to_owned()];
    }
    let mut sentences = vec![replicas_sentence(object, situation)];
    sentences.extend(object.rules.fallback.iter().flat_map(|fallback| fallback_sentences(fallback, situation)));
    sentences.extend(object.overrides.iter().map(Override::to_string));
    if object.scaling_modifiers {
        sentences
            .push("scalingModifiers: the HPA gets the result of the formula, which is not computed here".to_owned());
    }
    if situation.triggers.len() < object.triggers.len() {
        sentences.push("triggers of other scalers may ask for more pods and keep the workload active".to_owned());
    }
    sentences
}

fn paused_sentence(Paused { annotation, replicas }: Paused) -> String {
    let size = replicas.map_or_else(|| "as it is".to_owned(), |replicas| format!("at {}", replicas_text(replicas)));
    format!("paused by {annotation}: KEDA keeps the workload {size}, regardless of the triggers")
}

fn replicas_sentence(object: &ScaledObject, situation: &Situation<'_>) -> String {
    let &Situation { ref triggers, active, now, wanted, ref obstacle } = situation;
    let n_failed = triggers.iter().filter(|trigger| trigger.error.is_some()).count();
    match (active, n_failed) {
        (true, 0) => {
            let most = triggers.iter().filter_map(|trigger| trigger.pods_wanted).max().unwrap_or(0);
            active_sentence(object, most, now, wanted, obstacle.as_ref())
        }
        (true, _) => active_though_failed_sentence(object, now, wanted),
        (false, 0) => inactive_sentence(object, now, wanted),
        (false, _) => {
            let outcome = if wanted == now {
                format!("KEDA keeps {}", replicas_text(now))
            } else {
                format!("the HPA scales to {wanted}")
            };
            format!("no trigger is active, but {n_failed} failed and might be: {outcome}")
        }
    }
}

/// Says what KEDA's fallback does for the triggers that failed, and which of them have none (`pkg/fallback/fallback.go`).
fn fallback_sentences(fallback: &Fallback, situation: &Situation<'_>) -> Vec<String> {
    let failed = situation.triggers.iter().copied().filter(|trigger| trigger.error.is_some());
    let (named, nameless): (Vec<&TriggerReport>, Vec<_>) = failed.partition(|trigger| trigger.metric_name.is_some());
    // With `Value`, KEDA divides by the ready pods.
    let (without, with): (Vec<&TriggerReport>, Vec<_>) =
        named.into_iter().partition(|trigger| situation.now == 0 && trigger.metric_type == "Value");
    let mut sentences = Vec::new();
    if !with.is_empty() {
        let (threshold, replicas) = (fallback.failure_threshold, fallback_replicas(fallback, situation.now));
        sentences.push(format!("after more than {threshold} failures in a row, KEDA falls back to {replicas}"));
    }
    let labels = |triggers: &[&TriggerReport]| joined(triggers.iter().map(|trigger| &trigger.label), ", ");
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

fn fallback_replicas(fallback: &Fallback, now: u32) -> String {
    const CURRENT: &str = "the current number";
    const FALLBACK: &str = "fallback.replicas";
    let given = fallback.replicas;
    let one_of_both = |replicas: u32| (replicas, if replicas == given { FALLBACK } else { CURRENT });
    let (replicas, which) = match fallback.behavior {
        FallbackBehavior::Static => (given, FALLBACK),
        FallbackBehavior::CurrentReplicas => (now, CURRENT),
        FallbackBehavior::CurrentReplicasIfHigher => one_of_both(given.max(now)),
        FallbackBehavior::CurrentReplicasIfLower => one_of_both(given.min(now)),
        FallbackBehavior::ScalingModifiers => return "what the formula makes of the missing value".to_owned(),
    };
    format!("{}, {which}", replicas_text(replicas))
}

fn active_sentence(object: &ScaledObject, most: u32, now: u32, wanted: u32, obstacle: Option<&Obstacle>) -> String {
    let bounds = object.rules.bounds;
    let least = bounds.hpa_min();
    let limit = if let Some(Obstacle { cause, .. }) = obstacle {
        format!(" (the triggers ask for {most}, which {cause} prevents)")
    } else if bounds.max < most {
        format!(" (the triggers ask for {most}, maxReplicaCount is {})", bounds.max)
    } else if most < least {
        format!(" (the triggers ask for {most}, the HPA's minimum is {least})")
    } else {
        String::new()
    };
    match (now, wanted) {
        (0, 0) => format!("a trigger is active: the workload stays at 0{limit}"),
        (0, _) if wanted <= least => format!("a trigger is active: KEDA starts {}{limit}", replicas_text(least)),
        (0, _) => {
            format!(
                "a trigger is active: KEDA starts {}, then the HPA scales up to {wanted}{limit}",
                replicas_text(least)
            )
        }
        _ if wanted == now => format!("a trigger is active: the HPA stays at {wanted}{limit}"),
        _ if wanted < now => {
            let window = object.behavior.as_ref().map(|behavior| behavior.scale_down.stabilization_window);
            let seconds = window.unwrap_or(DOWNSCALE_STABILIZATION).as_secs();
            format!(
                "a trigger is active: the HPA scales down to {wanted}{limit} once that has been enough for {seconds} s"
            )
        }
        _ => format!("a trigger is active: the HPA scales up to {wanted}{limit}"),
    }
}

fn active_though_failed_sentence(object: &ScaledObject, now: u32, wanted: u32) -> String {
    let least = replicas_text(object.rules.bounds.hpa_min());
    match now {
        0 => format!("a trigger is active: KEDA starts {least}; another failed and might ask for more"),
        _ if now < wanted => {
            format!("a trigger is active: the HPA scales up to {wanted}; another failed and might ask for more")
        }
        _ => "a trigger is active, but another failed and might ask for more: the HPA removes no pods".to_owned(),
    }
}

fn inactive_sentence(object: &ScaledObject, now: u32, wanted: u32) -> String {
    let bounds = object.rules.bounds;
    let may_stop = bounds.may_stop();
    if may_stop && wanted < now {
        let cooldown = object.rules.cooldown.as_secs();
        return format!("no trigger is active: KEDA scales to {wanted} after cooldownPeriod, {cooldown} s");
    }
    if may_stop {
        return format!("no trigger is active: the workload stays at {wanted}");
    }
    let min = bounds.min;
    if wanted <= min {
        return format!("no trigger is active: the HPA keeps minReplicaCount, {min}");
    }
    format!("no trigger is active, but minReplicaCount is {min}, so the HPA decides: {wanted}")
}

fn replicas_text(n: u32) -> String {
    counted(n.into(), "replica")
}
