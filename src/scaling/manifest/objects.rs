//! From the tree of a document to ScaledObjects and ScaledJobs.

use std::collections::BTreeMap;

use super::behavior::{behavior, seconds};
use super::fields::{Fields, MOST, Problems};
use super::tree::{Entry, Node, Value};
use super::{Manifests, ScaledJob, ScaledObject, Trigger, TriggerKind};
use crate::scaling::hpa::{Behavior, MetricType};
use crate::scaling::keda::{Fallback, FallbackBehavior, ReplicaBounds, ScaledObjectRules};

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

const TRIGGER: [&str; 6] = ["type", "name", "useCachedMetrics", "metadata", "authenticationRef", "metricType"];

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
        other => manifests.skipped.push(other.to_owned()),
    }
}

fn api_version(fields: &Fields<'_>, problems: &mut Problems) {
    fields.required("apiVersion", problems, |f, key, p| f.choice(key, &[(API_VERSION, ())], p));
}

fn scaled_object(document: &Fields<'_>, problems: &mut Problems) -> Option<ScaledObject> {
    let (namespace, name) = identity(document, problems);
    let spec = document.required("spec", problems, Fields::mapping)?;
    let mut unknown = spec.unknown(&SPEC);

    let target = spec.required("scaleTargetRef", problems, Fields::mapping);
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
    let triggers = triggers(&spec, scaling_modifiers, &mut unknown, problems)?;
    Some(ScaledObject {
        namespace,
        name: name?,
        target: target?.to_owned(),
        rules,
        behavior,
        scaling_modifiers,
        triggers,
        unknown_fields: unknown,
    })
}

fn scaled_job(document: &Fields<'_>, problems: &mut Problems) -> Option<ScaledJob> {
    let (namespace, name) = identity(document, problems);
    let spec = document.required("spec", problems, Fields::mapping)?;
    let triggers = triggers(&spec, false, &mut Vec::new(), problems)?;
    Some(ScaledJob { namespace, name: name?, triggers })
}

/// `metadata.namespace` and `metadata.name`.
fn identity(document: &Fields<'_>, problems: &mut Problems) -> (Option<String>, Option<String>) {
    let Some(metadata) = document.required("metadata", problems, Fields::mapping) else { return (None, None) };
    let namespace = metadata.text("namespace", problems);
    let name = metadata.required("name", problems, Fields::text);
    (namespace.map(str::to_owned), name.map(str::to_owned))
}

/// The replicas. Follows `CheckReplicaCountBoundsAreValid` in KEDA's `scaledobject_types.go`.
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
    // KEDA compares with the HPA's minimum where a minimum is given, and with 0 where it is not.
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

/// The behaviour, and whether there are scaling modifiers.
fn advanced(fields: &Fields<'_>, unknown: &mut Vec<String>, problems: &mut Problems) -> (Option<Behavior>, bool) {
    let known = ["horizontalPodAutoscalerConfig", "restoreToOriginalReplicaCount", "scalingModifiers"];
    unknown.extend(fields.unknown(&known));
    let modifiers = fields.mapping("scalingModifiers", problems).is_some_and(|fields| !fields.entries().is_empty());
    let Some(config) = fields.mapping("horizontalPodAutoscalerConfig", problems) else { return (None, modifiers) };
    unknown.extend(config.unknown(&["behavior", "name"]));
    let behavior = config.mapping("behavior", problems).map(|fields| behavior(&fields, unknown, problems));
    (behavior, modifiers)
}

fn triggers(
    spec: &Fields<'_>,
    scaling_modifiers: bool,
    unknown: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<Vec<Trigger>> {
    let nodes = spec.required("triggers", problems, Fields::list)?;
    if nodes.is_empty() {
        problems.add(spec.at, "spec.triggers is empty, but must have a trigger");
    }
    let mut triggers: Vec<Trigger> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let Some(fields) = Fields::of(node, format!("spec.triggers[{index}]"), problems) else { continue };
        unknown.extend(fields.unknown(&TRIGGER));
        let name = fields.text("name", problems);
        if scaling_modifiers && name.is_none() {
            problems.add(fields.at, format!("{} is missing, which scalingModifiers need", fields.name("name")));
        }
        if name.is_some() && triggers.iter().any(|trigger| trigger.name.as_deref() == name) {
            problems.add(fields.at, format!("{} is that of another trigger, but must be unique", fields.name("name")));
        }
        triggers.extend(trigger(&fields, name, problems));
    }
    Some(triggers)
}

fn trigger(fields: &Fields<'_>, name: Option<&str>, problems: &mut Problems) -> Option<Trigger> {
    let kind = fields.required("type", problems, Fields::text).map(|kind| match kind {
        "external" => TriggerKind::External,
        "external-push" => TriggerKind::ExternalPush,
        other => TriggerKind::Other(other.to_owned()),
    });
    let ours = kind.as_ref().is_some_and(|kind| !matches!(kind, TriggerKind::Other(_)));
    let metadata = fields.required("metadata", problems, Fields::mapping);
    let metadata = metadata.map(|metadata| strings(&metadata, ours, problems));
    Some(Trigger {
        kind: kind?,
        name: name.map(str::to_owned),
        metric_type: metric_type(fields, ours, problems),
        metadata: metadata?,
        use_cached_metrics: fields.flag("useCachedMetrics", problems).unwrap_or_default(),
        line: fields.at.line,
    })
}

fn metric_type(fields: &Fields<'_>, ours: bool, problems: &mut Problems) -> Option<MetricType> {
    let mut choices = vec![("AverageValue", Some(MetricType::AverageValue)), ("Value", Some(MetricType::Value))];
    if !ours {
        // Only the triggers cpu and memory can have it. KEDA refuses external ones (`GetMetricTargetType` in `scaler.go`).
        choices.push(("Utilization", None));
    }
    fields.choice("metricType", &choices, problems).unwrap_or(Some(MetricType::AverageValue))
}

/// A trigger's metadata. Kubernetes takes text only, and a number in YAML is not text.
fn strings(fields: &Fields<'_>, ours: bool, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut strings = BTreeMap::new();
    for Entry { key, node, .. } in fields.entries() {
        let quoted = match &node.value {
            Value::Text(text) => {
                strings.insert(key.clone(), text.clone());
                continue;
            }
            Value::Null => Some(String::new()),
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Whole(number) => Some(number.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::List(_) | Value::Mapping(_) => None,
        };
        let hint = quoted.map(|text| format!(": write {key}: {text:?}")).unwrap_or_default();
        fields.wrong::<()>(node, key, &format!("text{hint}"), problems);
    }
    // A value that is not text was told already; it is there.
    if ours && !fields.entries().iter().any(|entry| entry.key == "scalerAddress") {
        problems.add(fields.at, format!("{} is missing, host:port of the scaler", fields.name("scalerAddress")));
    }
    strings
}
