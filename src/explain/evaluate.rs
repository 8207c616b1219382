//! Puts the replies of a ScaledObject's triggers together: where do they lead the workload?

use super::report::{ReplicasReport, ScaledObjectReport, TriggerReport};
use super::source::Reply;
use super::summary::{Situation, summary};
use super::{obstacle, promise};
use crate::kubernetes::hpa::{Behavior, MetricType, Tolerance, pods_wanted};
use crate::kubernetes::keda::wanted_replicas;
use crate::kubernetes::manifest::{self, Override, ScaledObject, TriggerSpec};

/// The replicas if nobody says how many there are.
const ASSUMED_REPLICAS: u32 = 1;

/// Evaluates a ScaledObject. `replies` has one for each trigger, `None` for one that is not for this scaler. `replicas` is the
/// current number, if it is known.
pub(super) fn evaluate(
    object: &ScaledObject,
    replies: Vec<Option<Reply>>,
    replicas: Option<u32>,
) -> ScaledObjectReport {
    let bounds = object.rules.bounds;
    let now = replicas.unwrap_or(ASSUMED_REPLICAS);
    let is_active = |reply: &Reply| reply.reading.as_ref().is_ok_and(|reading| reading.active);
    let active = object.overrides.contains(&Override::Active) || replies.iter().flatten().any(is_active);
    // The HPA sees neither zero, from which KEDA starts the workload, nor replicas outside of its bounds, which it corrects first.
    let hpa_replicas = if 0 < now || active { bounds.hpa_replicas(now) } else { now };
    let tolerance = object.behavior.as_ref().map(Behavior::tolerance).unwrap_or_default();
    let triggers: Vec<TriggerReport> = std::iter::zip(&object.triggers, replies)
        .enumerate()
        .map(|(index, (spec, reply))| trigger(index, spec, reply, hpa_replicas, tolerance))
        .collect();
    let pods_wanted: Vec<Option<u32>> = ours(&triggers).map(|trigger| trigger.pods_wanted).collect();
    let (wanted, obstacle) = match object.paused {
        Some(paused) => (paused.replicas.unwrap_or(now), None),
        // Nothing is known of the triggers of other scalers, so they leave the replicas alone.
        None if pods_wanted.is_empty() => (now, None),
        None => {
            let wanted = wanted_replicas(bounds, now, active, &pods_wanted);
            let obstacle = obstacle::find(object, now, wanted, active);
            (obstacle.as_ref().map_or(wanted, |obstacle| obstacle.replicas), obstacle)
        }
    };
    let error = |trigger: &TriggerReport| Some(format!("{}: {}", trigger.label, trigger.error.as_deref()?));
    ScaledObjectReport {
        namespace: object.namespace_or_default().to_owned(),
        name: object.name.clone(),
        replicas: ReplicasReport { now, assumed: replicas.is_none(), wanted, min: bounds.min, max: bounds.max },
        paused: object.paused.map(|paused| paused.annotation),
        overrides: object.overrides.iter().map(|force| force.annotation()).collect(),
        needs_keda: manifest::keda_requirements(object),
        active,
        warnings: [manifest::warnings(object), promise::warnings(object, &triggers, hpa_replicas)].concat(),
        errors: triggers.iter().filter_map(error).collect(),
        summary: summary(object, &Situation { triggers: ours(&triggers).collect(), active, now, wanted, obstacle }),
        triggers,
    }
}

fn ours(triggers: &[TriggerReport]) -> impl Iterator<Item = &TriggerReport> {
    triggers.iter().filter(|trigger| trigger.is_ours)
}

fn trigger(
    index: usize,
    spec: &TriggerSpec,
    reply: Option<Reply>,
    replicas: u32,
    tolerance: Tolerance,
) -> TriggerReport {
    let report = TriggerReport {
        index,
        label: spec.label(index),
        is_ours: spec.is_ours(),
        kind: spec.kind.to_string(),
        metric: spec.metric().map(str::to_owned),
        metric_name: None,
        metric_type: spec.metric_type.map_or("Utilization", MetricType::name),
        value: None,
        target: None,
        active: None,
        truncated: None,
        pods_wanted: None,
        reasons: Vec::new(),
        details: Vec::new(),
        error: None,
        warnings: Vec::new(),
    };
    match reply {
        Some(reply) => with_reply(report, reply, spec.metric_type.unwrap_or_default(), replicas, tolerance),
        None => {
            let reason = format!("not for this scaler: KEDA handles `{}` itself", spec.kind);
            TriggerReport { reasons: vec![reason], ..report }
        }
    }
}

fn with_reply(
    report: TriggerReport,
    reply: Reply,
    metric_type: MetricType,
    replicas: u32,
    tolerance: Tolerance,
) -> TriggerReport {
    let Reply { metric_name, target, warnings, reading } = reply;
    let report = TriggerReport { metric_name, target, warnings, ..report };
    let reading = match reading {
        Ok(reading) => reading,
        Err(error) => return TriggerReport { error: Some(error), ..report },
    };
    let pods = pods_wanted(metric_type, reading.value, target.unwrap_or_default(), replicas, replicas, tolerance);
    TriggerReport {
        value: Some(reading.value),
        active: Some(reading.active),
        truncated: reading.truncated,
        reasons: reading.reasons,
        details: reading.details,
        error: pods.err().map(|error| error.to_string()),
        pods_wanted: pods.ok(),
        ..report
    }
}
