//! The versions of KEDA that a ScaledObject needs.

use serde::Serialize;

use super::{ScaledObject, TriggerKind, TriggerSpec};
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::keda::FallbackBehavior;

/// A version of KEDA that a ScaledObject needs, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KedaRequirement {
    /// The first version that supports it, for example `2.18`.
    pub version: &'static str,
    /// What needs it, and what earlier versions do.
    pub because: &'static str,
}

/// Returns the versions of KEDA that a ScaledObject needs, the newest first. Read in KEDA's tags 2.9 to 2.21.
#[must_use]
pub fn keda_requirements(object: &ScaledObject) -> Vec<KedaRequirement> {
    let ours = || object.triggers.iter().filter(|trigger| trigger.is_ours());
    let any = |test: fn(&TriggerSpec) -> bool| ours().any(test);
    let fallback = object.rules.fallback;
    let behavior = fallback.map(|fallback| fallback.behavior).unwrap_or_default();
    let needs = [
        (
            any(|trigger| trigger.has_computed_target() && trigger.kind == TriggerKind::ExternalPush),
            "2.21",
            "targetValue: auto follows the servers; earlier versions ask for the target only when they reconcile the ScaledObject",
        ),
        (
            behavior == FallbackBehavior::ScalingModifiers,
            "2.20",
            "fallback.behavior: scalingModifiers; earlier versions reject it",
        ),
        (
            fallback.is_some() && any(|trigger| trigger.metric_type == Some(MetricType::Value)),
            "2.18",
            "fallback for metricType: Value; earlier versions have none for such triggers, and the webhook of 2.14 to 2.16 rejects the ScaledObject",
        ),
        (
            !matches!(behavior, FallbackBehavior::Static | FallbackBehavior::ScalingModifiers),
            "2.17",
            "fallback.behavior; earlier versions always use fallback.replicas",
        ),
        (
            any(|trigger| trigger.metadata.contains_key("enableTLS")),
            "2.17",
            "enableTLS; earlier versions use TLS only with the certificates of a TriggerAuthentication",
        ),
        (
            any(|trigger| target(trigger).and_then(|text| text.parse::<f64>().ok()).is_some_and(|n| n.fract() != 0.0)),
            "2.17",
            "targets with a fraction; earlier versions read whole numbers only",
        ),
    ];
    let needs = needs.into_iter().filter(|(is_used, ..)| *is_used);
    needs.map(|(_, version, because)| KedaRequirement { version, because }).collect()
}

fn target(trigger: &TriggerSpec) -> Option<&str> {
    trigger.metadata.get("targetValue").map(|text| text.trim())
}
