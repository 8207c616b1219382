//! The triggers of a ScaledObject or ScaledJob.

use std::collections::BTreeMap;

use super::fields::{Fields, Problems};
use super::{TriggerKind, TriggerSpec, go_bool};
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::keda::{TRIGGER_TYPES, scaler_port};
use crate::text::suggest;
use crate::yaml::{Entry, Value};

const TRIGGER: [&str; 6] = ["type", "name", "useCachedMetrics", "metadata", "authenticationRef", "metricType"];

/// The types that an external scaler answers. No other type has a `scalerAddress`.
const EXTERNAL_TYPES: [&str; 2] = ["external-push", "external"];

/// The booleans that KEDA reads in the metadata of an external trigger.
const SWITCHES: [&str; 2] = ["enableTLS", "unsafeSsl"];

/// Reads `spec.triggers`.
pub(super) fn triggers(
    spec: &Fields<'_>,
    scaling_modifiers: bool,
    unknown: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<Vec<TriggerSpec>> {
    let nodes = spec.required("triggers", problems, Fields::list)?;
    if nodes.is_empty() {
        problems.add(spec.at, "spec.triggers is empty, but must have a trigger");
    }
    let mut triggers: Vec<TriggerSpec> = Vec::new();
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

fn trigger(fields: &Fields<'_>, name: Option<&str>, problems: &mut Problems) -> Option<TriggerSpec> {
    let kind = fields.required("type", problems, Fields::text).map(|kind| match kind {
        "external" => TriggerKind::External,
        "external-push" => TriggerKind::ExternalPush,
        other => TriggerKind::Other(other.to_owned()),
    });
    if let Some(TriggerKind::Other(kind)) = &kind {
        misspelled_type(fields, kind, problems);
    }
    let ours = kind.as_ref().is_some_and(|kind| !matches!(kind, TriggerKind::Other(_)));
    let metadata = fields.required("metadata", problems, Fields::mapping);
    let metadata = metadata.map(|metadata| strings(&metadata, ours, problems));
    Some(TriggerSpec {
        kind: kind?,
        name: name.map(str::to_owned),
        metric_type: metric_type(fields, ours, problems),
        metadata: metadata?,
        use_cached_metrics: fields.flag("useCachedMetrics", problems).unwrap_or_default(),
        line: fields.at.line,
    })
}

/// Adds an error if the type is not one of KEDA's and an external type was likely intended.
fn misspelled_type(fields: &Fields<'_>, kind: &str, problems: &mut Problems) {
    let metadata = fields.get("metadata").map(|node| &node.value);
    let has_address =
        matches!(metadata, Some(Value::Mapping(entries)) if entries.iter().any(|e| e.key == "scalerAddress"));
    let hint = if TRIGGER_TYPES.contains(&kind) { String::new() } else { suggest::did_you_mean(kind, EXTERNAL_TYPES) };
    if has_address || !hint.is_empty() {
        let at = fields.get("type").map_or(fields.at, |node| node.at);
        let name = fields.name("type");
        problems.add(at, format!("{name} is {kind:?}, but scalerAddress belongs to external-push or external{hint}"));
    }
}

fn metric_type(fields: &Fields<'_>, ours: bool, problems: &mut Problems) -> Option<MetricType> {
    let mut choices = vec![("AverageValue", Some(MetricType::AverageValue)), ("Value", Some(MetricType::Value))];
    if !ours {
        // Only triggers of type cpu and memory can have it. KEDA rejects it for external ones (`GetMetricTargetType` in `scaler.go`).
        choices.push(("Utilization", None));
    }
    fields.choice("metricType", &choices, problems).unwrap_or(Some(MetricType::AverageValue))
}

/// Reads a trigger's metadata. Kubernetes accepts only text, and a number in YAML is not text.
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
    if ours {
        external(fields, &strings, problems);
    }
    strings
}

/// Checks what KEDA reads in the metadata of an external trigger.
fn external(fields: &Fields<'_>, strings: &BTreeMap<String, String>, problems: &mut Problems) {
    // A value that is not text has been reported already.
    let Some(Entry { node, .. }) = fields.entries().iter().find(|entry| entry.key == "scalerAddress") else {
        problems.add(fields.at, format!("{} is missing, HOST:PORT of the scaler", fields.name("scalerAddress")));
        return;
    };
    if let Some(Err(error)) = strings.get("scalerAddress").map(|address| scaler_port(address)) {
        fields.wrong::<()>(node, "scalerAddress", &error.to_string(), problems);
    }
    for key in SWITCHES {
        let is_wrong = |text: &String| !text.trim().is_empty() && go_bool(text.trim()).is_none();
        if let (Some(node), Some(_)) = (fields.get(key), strings.get(key).filter(|text| is_wrong(text))) {
            fields.wrong::<()>(node, key, "\"true\" or \"false\"", problems);
        }
    }
}
