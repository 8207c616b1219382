//! The HPA's behavior in a manifest. Each omitted field has Kubernetes' default.

use jiff::SignedDuration;

use super::fields::{Fields, MOST, Problems};
use crate::kubernetes::hpa::{Behavior, PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy};
use crate::yaml::{Node, Value};

/// The longest `stabilizationWindowSeconds` and `periodSeconds`: Kubernetes' `pkg/apis/autoscaling/validation/validation.go`.
const LONGEST_WINDOW: u32 = 3600;
const LONGEST_PERIOD: u32 = 1800;

/// Reads `spec.advanced.horizontalPodAutoscalerConfig.behavior`.
pub(super) fn behavior(fields: &Fields<'_>, unknown: &mut Vec<String>, problems: &mut Problems) -> Behavior {
    unknown.extend(fields.unknown(&["scaleUp", "scaleDown"]));
    let mut direction = |key: &str, default: ScalingRules| match fields.mapping(key, problems) {
        Some(fields) => rules(&fields, default, unknown, problems),
        None => default,
    };
    Behavior {
        scale_up: direction("scaleUp", ScalingRules::scale_up_default()),
        scale_down: direction("scaleDown", ScalingRules::scale_down_default()),
    }
}

fn rules(
    fields: &Fields<'_>,
    default: ScalingRules,
    unknown: &mut Vec<String>,
    problems: &mut Problems,
) -> ScalingRules {
    unknown.extend(fields.unknown(&["stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance"]));
    let window = fields.count("stabilizationWindowSeconds", 0..=LONGEST_WINDOW, problems).map(seconds);
    let choices = [("Max", SelectPolicy::Max), ("Min", SelectPolicy::Min), ("Disabled", SelectPolicy::Disabled)];
    let select = fields.choice("selectPolicy", &choices, problems);
    ScalingRules {
        stabilization_window: window.unwrap_or(default.stabilization_window),
        select_policy: select.unwrap_or(default.select_policy),
        policies: policies(fields, unknown, problems).unwrap_or(default.policies),
        tolerance: tolerance(fields, problems),
    }
}

fn policies(fields: &Fields<'_>, unknown: &mut Vec<String>, problems: &mut Problems) -> Option<Vec<ScalingPolicy>> {
    let nodes = fields.list("policies", problems)?;
    if nodes.is_empty() {
        let at = fields.get("policies").map_or(fields.at, |node| node.at);
        problems.add(at, format!("{} is empty, but must have a policy", fields.name("policies")));
    }
    let mut read = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{}[{index}]", fields.name("policies"));
        read.extend(Fields::of(node, path, problems).and_then(|fields| policy(&fields, unknown, problems)));
    }
    Some(read)
}

fn policy(fields: &Fields<'_>, unknown: &mut Vec<String>, problems: &mut Problems) -> Option<ScalingPolicy> {
    unknown.extend(fields.unknown(&["type", "value", "periodSeconds"]));
    let choices = [("Pods", PolicyKind::Pods), ("Percent", PolicyKind::Percent)];
    let kind = fields.required("type", problems, |f, key, p| f.choice(key, &choices, p));
    let value = fields.required("value", problems, |f, key, p| f.count(key, 1..=MOST, p));
    let period = fields.required("periodSeconds", problems, |f, key, p| f.count(key, 1..=LONGEST_PERIOD, p));
    Some(ScalingPolicy { kind: kind?, value: value?, period: seconds(period?) })
}

fn tolerance(fields: &Fields<'_>, problems: &mut Problems) -> Option<f64> {
    let node = fields.get("tolerance")?;
    let fraction = quantity(node).filter(|fraction| fraction.is_finite() && 0.0 <= *fraction);
    fraction.or_else(|| fields.wrong(node, "tolerance", "a fraction of at least 0, for example 0.05 or 50m", problems))
}

/// Parses a Kubernetes quantity, as far as fractions need it: plain, or in thousandths with an `m`.
fn quantity(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Whole(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::Text(text) => match text.strip_suffix('m') {
            Some(thousandths) => thousandths.parse::<f64>().ok().map(|number| number / 1000.0),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

/// Returns seconds as a duration.
pub(super) fn seconds(seconds: u32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}
