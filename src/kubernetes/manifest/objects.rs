//! Reads ScaledObjects and ScaledJobs from the tree of a document.

use super::annotations::{Annotations, annotations};
use super::behavior::{behavior, seconds};
use super::fields::{Fields, MOST, Problems};
use super::triggers::triggers;
use super::{Manifests, ScaledJob, ScaledObject};
use crate::kubernetes::hpa::Behavior;
use crate::kubernetes::keda::{Fallback, FallbackBehavior, ReplicaBounds, ScaledObjectRules};
use crate::text::suggest;
use crate::yaml::{Node, Value};

const API_VERSION: &str = "keda.sh/v1alpha1";

const SPEC: [&str; 10] = [
    "scaleTargetRef",
    "pollingInterval",
    "initialCooldownPeriod",
    "cooldownPeriod",
    "idleReplicaCount",
    "minReplicaCount",
    "maxReplicaCount",
    "advanced",
    "triggers",
    "fallback",
];

const TARGET_REF: [&str; 4] = ["name", "kind", "apiVersion", "envSourceContainerName"];

const DOCUMENT: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Reads one document into `manifests`. A list is read item by item.
pub(super) fn document(node: &Node, manifests: &mut Manifests, problems: &mut Problems) {
    let Some(fields) = Fields::of(node, String::new(), problems) else { return };
    let Some(kind) = fields.required("kind", problems, Fields::text) else { return };
    match kind {
        "List" | "ScaledObjectList" | "ScaledJobList" => {
            for item in fields.list("items", problems).unwrap_or_default() {
                document(item, manifests, problems);
            }
        }
        "ScaledObject" => {
            api_version(&fields, problems);
            manifests.scaled_objects.extend(scaled_object(&fields, problems));
        }
        "ScaledJob" => {
            api_version(&fields, problems);
            manifests.scaled_jobs.extend(scaled_job(&fields, problems));
        }
        other => match suggest::closest(other, ["ScaledObject", "ScaledJob"]).filter(|_| is_keda(&fields)) {
            Some(likely) => {
                let at = fields.get("kind").map_or(fields.at, |node| node.at);
                problems.add(at, format!("kind is {other:?}, which KEDA does not have; did you mean `{likely}`?"));
            }
            None => manifests.skipped.push(other.to_owned()),
        },
    }
}

fn api_version(fields: &Fields<'_>, problems: &mut Problems) {
    fields.required("apiVersion", problems, |f, key, p| f.choice(key, &[(API_VERSION, ())], p));
}

/// Whether a document is for KEDA, or does not say for whom it is.
fn is_keda(fields: &Fields<'_>) -> bool {
    let api = fields.get("apiVersion");
    api.is_none_or(|node| matches!(&node.value, Value::Text(api) if api.starts_with("keda.sh/")))
}

fn scaled_object(document: &Fields<'_>, problems: &mut Problems) -> Option<ScaledObject> {
    let (namespace, name) = identity(document, problems);
    let spec = document.required("spec", problems, Fields::mapping)?;
    let mut unknown = document.unknown(&DOCUMENT);
    unknown.extend(spec.unknown(&SPEC));
    let Annotations { paused, overrides, unknown: unknown_annotations } = annotations(document, problems);
    unknown.extend(unknown_annotations);

    let target = spec.required("scaleTargetRef", problems, Fields::mapping);
    unknown.extend(target.iter().flat_map(|target| target.unknown(&TARGET_REF)));
    let target = target.and_then(|target| target.required("name", problems, Fields::text));
    let bounds = bounds(&spec, problems);
    let default = ScaledObjectRules::default();
    let duration =
        |key, least, default, problems: &mut Problems| spec.count(key, least..=MOST, problems).map_or(default, seconds);
    let rules = ScaledObjectRules {
        bounds,
        polling_interval: duration("pollingInterval", 1, default.polling_interval, problems),
        cooldown: duration("cooldownPeriod", 0, default.cooldown, problems),
        initial_cooldown: duration("initialCooldownPeriod", 0, default.initial_cooldown, problems),
        fallback: spec.mapping("fallback", problems).and_then(|fields| fallback(&fields, &mut unknown, problems)),
    };
    let (behavior, scaling_modifiers) = match spec.mapping("advanced", problems) {
        Some(fields) => advanced(&fields, &mut unknown, problems),
        None => (None, false),
    };
    if rules.fallback.is_some_and(|f| f.behavior == FallbackBehavior::ScalingModifiers) && !scaling_modifiers {
        problems.add(spec.at, "spec.fallback.behavior is scalingModifiers, which needs spec.advanced.scalingModifiers");
    }
    let triggers = triggers(&spec, scaling_modifiers, &mut unknown, problems)?;
    Some(ScaledObject {
        namespace,
        name: name?,
        target: target?.to_owned(),
        rules,
        behavior,
        scaling_modifiers,
        triggers,
        paused,
        overrides,
        unknown_fields: unknown,
    })
}

fn scaled_job(document: &Fields<'_>, problems: &mut Problems) -> Option<ScaledJob> {
    let (namespace, name) = identity(document, problems);
    let spec = document.required("spec", problems, Fields::mapping)?;
    let triggers = triggers(&spec, false, &mut Vec::new(), problems)?;
    Some(ScaledJob { namespace, name: name?, triggers })
}

/// Reads `metadata.namespace` and `metadata.name`.
fn identity(document: &Fields<'_>, problems: &mut Problems) -> (Option<String>, Option<String>) {
    let Some(metadata) = document.required("metadata", problems, Fields::mapping) else { return (None, None) };
    let namespace = metadata.text("namespace", problems);
    let name = metadata.required("name", problems, Fields::text);
    (namespace.map(str::to_owned), name.map(str::to_owned))
}

/// Reads the bounds of the replicas. Follows `CheckReplicaCountBoundsAreValid` in KEDA's `scaledobject_types.go`.
fn bounds(spec: &Fields<'_>, problems: &mut Problems) -> ReplicaBounds {
    let default = ReplicaBounds::default();
    let given_min = spec.count("minReplicaCount", 0..=MOST, problems);
    let bounds = ReplicaBounds {
        min: given_min.unwrap_or(default.min),
        max: spec.count("maxReplicaCount", 1..=MOST, problems).unwrap_or(default.max),
        idle: spec.count("idleReplicaCount", 0..=MOST, problems),
    };
    if bounds.max < bounds.min {
        let message =
            format!("spec.minReplicaCount is {}, but must be at most maxReplicaCount, {}", bounds.min, bounds.max);
        problems.add(spec.get("minReplicaCount").map_or(spec.at, |node| node.at), message);
    }
    // KEDA compares with the HPA's minimum if there is a minimum, otherwise with 0.
    let least = given_min.map_or(0, |_| bounds.hpa_min());
    if let Some(idle) = bounds.idle.filter(|idle| least <= *idle) {
        let message = format!("spec.idleReplicaCount is {idle}, but must be less than minReplicaCount, {}", bounds.min);
        problems.add(spec.get("idleReplicaCount").map_or(spec.at, |node| node.at), message);
    }
    bounds
}

fn fallback(fields: &Fields<'_>, unknown: &mut Vec<String>, problems: &mut Problems) -> Option<Fallback> {
    unknown.extend(fields.unknown(&["failureThreshold", "replicas", "behavior"]));
    let choices = [
        ("static", FallbackBehavior::Static),
        ("currentReplicas", FallbackBehavior::CurrentReplicas),
        ("currentReplicasIfHigher", FallbackBehavior::CurrentReplicasIfHigher),
        ("currentReplicasIfLower", FallbackBehavior::CurrentReplicasIfLower),
        ("scalingModifiers", FallbackBehavior::ScalingModifiers),
    ];
    let count = |f: &Fields<'_>, key: &str, p: &mut Problems| f.count(key, 0..=MOST, p);
    let failure_threshold = fields.required("failureThreshold", problems, count);
    let replicas = fields.required("replicas", problems, count);
    let behavior = fields.choice("behavior", &choices, problems).unwrap_or_default();
    Some(Fallback { failure_threshold: failure_threshold?, replicas: replicas?, behavior })
}

/// Reads the behavior, and whether there are scaling modifiers.
fn advanced(fields: &Fields<'_>, unknown: &mut Vec<String>, problems: &mut Problems) -> (Option<Behavior>, bool) {
    let known = ["horizontalPodAutoscalerConfig", "restoreToOriginalReplicaCount", "scalingModifiers"];
    unknown.extend(fields.unknown(&known));
    let modifiers = fields.mapping("scalingModifiers", problems).is_some_and(|fields| !fields.entries().is_empty());
    let Some(config) = fields.mapping("horizontalPodAutoscalerConfig", problems) else { return (None, modifiers) };
    unknown.extend(config.unknown(&["behavior", "name"]));
    let behavior = config.mapping("behavior", problems).map(|fields| behavior(&fields, unknown, problems));
    (behavior, modifiers)
}
