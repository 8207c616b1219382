//! The ScaledObject of the demo: the three triggers of JobRunr's guide to
//! autoscaling, and `demand`, which makes zero safe. It is played and printed from here.

use std::collections::HashMap;

use jiff::SignedDuration;

use crate::grpc::proto::ScaledObjectRef;
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::keda::{ReplicaBounds, ScaledObjectRules};

pub(super) const NAMESPACE: &str = "orders";
pub(super) const NAME: &str = "jobrunr-workers";
const MAX_REPLICAS: u32 = 10;
const POLLING_INTERVAL: i64 = 30;
const COOLDOWN: i64 = 300;

/// A trigger of the ScaledObject.
#[derive(Clone, Copy)]
pub(super) struct TriggerSpec {
    pub(super) metric: &'static str,
    pub(super) metric_type: MetricType,
    target: &'static str,
    scheduled_in: Option<&'static str>,
}

pub(super) const TRIGGERS: [TriggerSpec; 4] = [
    TriggerSpec {
        metric: "scheduled-count",
        metric_type: MetricType::AverageValue,
        target: "8",
        scheduled_in: Some("PT2M"),
    },
    TriggerSpec { metric: "worker-usage", metric_type: MetricType::Value, target: "0.8", scheduled_in: None },
    TriggerSpec { metric: "enqueued-latency", metric_type: MetricType::Value, target: "300", scheduled_in: None },
    TriggerSpec { metric: "demand", metric_type: MetricType::AverageValue, target: "8", scheduled_in: None },
];

impl TriggerSpec {
    fn metadata(&self) -> Vec<(&'static str, &'static str)> {
        let scheduled_in = self.scheduled_in.map(|text| ("scheduledIn", text));
        [("metric", self.metric), ("targetValue", self.target)].into_iter().chain(scheduled_in).collect()
    }

    /// What KEDA sends with every call. All of the metadata goes along, the address too.
    pub(super) fn reference(&self, scaler_address: &str) -> ScaledObjectRef {
        let address = std::iter::once(("scalerAddress", scaler_address));
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let scaler_metadata: HashMap<String, String> = address.chain(self.metadata()).map(owned).collect();
        ScaledObjectRef { name: NAME.to_owned(), namespace: NAMESPACE.to_owned(), scaler_metadata }
    }

    pub(super) fn metric_type_name(&self) -> &'static str {
        match self.metric_type {
            MetricType::AverageValue => "AverageValue",
            MetricType::Value => "Value",
        }
    }
}

pub(super) fn cooldown() -> SignedDuration {
    SignedDuration::from_secs(COOLDOWN)
}

pub(super) fn max_replicas() -> u32 {
    MAX_REPLICAS
}

/// The rules as KEDA reads them from the manifest.
pub(super) fn rules() -> ScaledObjectRules {
    ScaledObjectRules {
        bounds: ReplicaBounds { min: 0, max: MAX_REPLICAS, idle: None },
        polling_interval: SignedDuration::from_secs(POLLING_INTERVAL),
        cooldown: cooldown(),
        ..ScaledObjectRules::default()
    }
}

/// The manifest.
pub(super) fn manifest(scaler_address: &str) -> String {
    let mut text = format!(
        "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {NAME}
  namespace: {NAMESPACE}
spec:
  scaleTargetRef:
    name: {NAME}
  minReplicaCount: 0
  maxReplicaCount: {MAX_REPLICAS}
  pollingInterval: {POLLING_INTERVAL}
  cooldownPeriod: {COOLDOWN}
  triggers:
"
    );
    for trigger in TRIGGERS {
        text.push_str("    - type: external-push\n");
        text.push_str(&format!("      metricType: {}\n", trigger.metric_type_name()));
        text.push_str(&format!("      metadata:\n        scalerAddress: {scaler_address}\n"));
        for (key, value) in trigger.metadata() {
            // Metadata are texts: a number without quotes is refused by Kubernetes.
            let quotes = if value.parse::<f64>().is_ok() { "\"" } else { "" };
            text.push_str(&format!("        {key}: {quotes}{value}{quotes}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::manifest;

    #[test]
    fn what_is_printed_is_what_is_played() {
        let address = "jobrunr-scaler.keda:9090";
        let read = manifest::read("scaled-object.yaml", &super::manifest(address)).unwrap();
        let [object] = read.scaled_objects.as_slice() else { panic!("one ScaledObject") };
        assert_eq!((object.name.as_str(), object.namespace.as_deref()), (NAME, Some(NAMESPACE)));
        assert_eq!(object.rules, rules());
        assert_eq!(object.unknown_fields, Vec::<String>::new());
        assert_eq!(object.triggers.len(), TRIGGERS.len());
        for (printed, played) in object.triggers.iter().zip(TRIGGERS) {
            let sent = played.reference(address).scaler_metadata;
            assert_eq!(printed.metadata, sent.into_iter().collect());
            assert_eq!(printed.metric_type, Some(played.metric_type));
        }
    }
}
