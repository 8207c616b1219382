//! What is likely not intended in a trigger of a ScaledObject or ScaledJob.

use super::super::{TriggerKind, TriggerSpec};
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::keda::{HTTP_PORT, TRIGGER_TYPES, scaler_port};
use crate::text::suggest::did_you_mean;

/// Metrics that count something: their target is what one pod can take.
const COUNTS: [&str; 5] = ["enqueued-count", "scheduled-count", "occupied-workers", "total-workers", "demand"];

/// Keys that KEDA only reads from a TriggerAuthentication (`pkg/scalers/external_scaler.go`: `order=authParams`).
const AUTHENTICATION: [&str; 3] = ["caCert", "tlsClientCert", "tlsClientKey"];

/// Warns about a trigger of a ScaledObject or ScaledJob.
pub(super) fn warnings(trigger: &TriggerSpec) -> Vec<String> {
    if let TriggerKind::Other(kind) = &trigger.kind {
        return unknown_type(kind).into_iter().collect();
    }
    [metric_type_in_metadata(trigger), http_port(trigger), authentication_in_metadata(trigger)]
        .into_iter()
        .flatten()
        .collect()
}

fn unknown_type(kind: &str) -> Option<String> {
    (kind != "external-mock" && !TRIGGER_TYPES.contains(&kind)).then(|| {
        let hint = did_you_mean(kind, TRIGGER_TYPES);
        format!("KEDA up to 2.21 has no type {kind}; with an unknown type, the workload does not scale at all{hint}")
    })
}

fn metric_type_in_metadata(trigger: &TriggerSpec) -> Option<String> {
    let value = trigger.metadata.get("metricType")?;
    Some(format!(
        "KEDA does not read metricType inside metadata, so {value} has no effect; write it beside type and metadata"
    ))
}

fn http_port(trigger: &TriggerSpec) -> Option<String> {
    let address = trigger.metadata.get("scalerAddress")?;
    (scaler_port(address) == Ok(HTTP_PORT)).then(|| {
        format!(
            "port {HTTP_PORT} of scalerAddress is by default the scaler's HTTP port (health, metrics); KEDA needs the gRPC port, \
             by default 9090"
        )
    })
}

fn authentication_in_metadata(trigger: &TriggerSpec) -> Option<String> {
    let keys: Vec<&str> = AUTHENTICATION.into_iter().filter(|key| trigger.metadata.contains_key(*key)).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "KEDA does not read {} in the metadata, but sends it to the scaler; put it into a TriggerAuthentication",
            keys.join(", ")
        )
    })
}

/// Warns about a metric whose `metricType` does not fit.
pub(super) fn metric_type_of_metric(trigger: &TriggerSpec) -> Option<String> {
    let metric = trigger.metric()?;
    match trigger.metric_type? {
        MetricType::Value if COUNTS.contains(&metric) => Some(format!(
            "with metricType: Value, the HPA multiplies the ready pods by {metric} ÷ target every 15 s, up to the maximum; use \
             AverageValue, with what one pod can take as the target"
        )),
        MetricType::AverageValue if metric == "worker-usage" => Some(
            "a usage is at most 1, so with metricType: AverageValue it asks for at most 1 ÷ target pods, however busy they are; \
             use Value"
                .to_owned(),
        ),
        _ => None,
    }
}
