//! Reads manifests for KEDA: ScaledObjects, as far as they decide how a workload scales.
//!
//! The fields and their limits are those of KEDA's `apis/keda/v1alpha1/{scaledobject,scaledjob,scaletriggers}_types.go`, and of
//! Kubernetes' `autoscaling/v2` for the behavior. [`read`] finds all errors in a file; [`warnings()`] reports what is allowed
//! but rarely intended.

mod annotations;
mod behavior;
mod fields;
mod objects;
mod triggers;
mod versions;
mod warnings;

use std::collections::BTreeMap;
use std::fmt;

pub use versions::{KedaRequirement, keda_requirements};
pub use warnings::{job_warnings, warnings};

use super::hpa::{Behavior, MetricType};
use super::keda::ScaledObjectRules;
use crate::text::joined;
use crate::yaml;
use fields::Problems;

/// The contents of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifests {
    /// Its ScaledObjects, in the order of the file.
    pub scaled_objects: Vec<ScaledObject>,
    /// Its ScaledJobs, in the order of the file.
    pub scaled_jobs: Vec<ScaledJob>,
    /// The kinds of the documents that were skipped, `Deployment` for example.
    pub skipped: Vec<String>,
}

/// A ScaledObject, with KEDA's defaults for what the manifest omits.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledObject {
    /// `metadata.namespace`; `None` leaves it to kubectl.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `spec.scaleTargetRef.name`: the workload.
    pub target: String,
    /// Replicas, intervals, cooldown and fallback.
    pub rules: ScaledObjectRules,
    /// `spec.advanced.horizontalPodAutoscalerConfig.behavior`, complete. `None` if there is no such block, which differs from a
    /// block with every default.
    pub behavior: Option<Behavior>,
    /// Whether `spec.advanced.scalingModifiers` is used: a formula over all triggers, which is not computed here.
    pub scaling_modifiers: bool,
    /// `spec.triggers`, in their order, by which KEDA numbers them.
    pub triggers: Vec<TriggerSpec>,
    /// Set if an annotation keeps KEDA from scaling at all.
    pub paused: Option<Paused>,
    /// What other annotations prevent or force.
    pub overrides: Vec<Override>,
    /// Fields and annotations that KEDA does not know, one sentence each. Kubernetes drops such fields.
    pub unknown_fields: Vec<String>,
}

/// An annotation that pauses a ScaledObject: KEDA does not poll, and there is no HPA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused {
    /// The annotation's name.
    pub annotation: &'static str,
    /// The replicas that it keeps; `None` for the current number.
    pub replicas: Option<u32>,
}

/// What an annotation prevents or forces, whatever the triggers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// KEDA and the HPA remove no pods.
    NoScaleIn,
    /// KEDA and the HPA start no pods.
    NoScaleOut,
    /// The triggers are active.
    Active,
}

/// A ScaledJob. KEDA starts a Kubernetes Job for each unit of work, without an HPA or a cooldown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaledJob {
    /// `metadata.namespace`; `None` leaves it to kubectl.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `spec.triggers`, in their order.
    pub triggers: Vec<TriggerSpec>,
}

/// One of `spec.triggers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerSpec {
    /// `type`.
    pub kind: TriggerKind,
    /// `name`.
    pub name: Option<String>,
    /// `metricType`, `AverageValue` if there is none. `None` is `Utilization`, which only triggers of other scalers can have.
    pub metric_type: Option<MetricType>,
    /// `metadata`. KEDA sends it with every call.
    pub metadata: BTreeMap<String, String>,
    /// `useCachedMetrics`: the HPA gets the value of the last poll.
    pub use_cached_metrics: bool,
    /// The line in which it begins, counted from 1.
    pub line: u64,
}

impl TriggerSpec {
    /// Whether an external scaler answers it, such as this one.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self.kind, TriggerKind::Other(_))
    }

    /// The metric that it names, if an external scaler answers it.
    #[must_use]
    pub fn metric(&self) -> Option<&str> {
        if self.is_ours() { self.metadata.get("metric").map(|name| name.trim()) } else { None }
    }

    /// Whether the scaler computes its target from the servers (`targetValue: auto`).
    #[must_use]
    pub fn has_computed_target(&self) -> bool {
        self.is_ours() && self.metadata.get("targetValue").is_some_and(|text| text.trim() == "auto")
    }

    /// How messages call it: its position in the manifest, and its name, metric or type.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        let kind = match &self.kind {
            TriggerKind::Other(kind) => Some(kind.as_str()),
            _ => None,
        };
        match self.name.as_deref().or(self.metric()).or(kind) {
            Some(name) => format!("trigger {index} ({name})"),
            None => format!("trigger {index}"),
        }
    }
}

impl ScaledObject {
    /// Its namespace; `default`, as with kubectl, if the manifest names none.
    #[must_use]
    pub fn namespace_or_default(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}

/// The type of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerKind {
    /// `external`: KEDA polls.
    External,
    /// `external-push`: KEDA polls, and also listens to a stream.
    ExternalPush,
    /// Any other type, for which KEDA has a scaler.
    Other(String),
}

impl fmt::Display for TriggerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "external",
            Self::ExternalPush => "external-push",
            Self::Other(kind) => kind,
        })
    }
}

/// An error in a manifest, and its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Problem {
    /// The file, as it was named to [`read`].
    pub file: String,
    /// The line, counted from 1; 0 if unknown.
    pub line: u64,
    /// The column in characters, counted from 1; 0 if unknown.
    pub column: u64,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// All errors in a file; as text, one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(problems, "\n"))]
pub struct ManifestError {
    /// The errors, in the order of the file. Never empty.
    pub problems: Vec<Problem>,
}

/// Reads a file of YAML documents. `file` is its name, for messages only. Items of lists (`kind: List`) are read too; documents of other
/// kinds are skipped.
///
/// ```
/// let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";
/// let manifests = jobrunr_scaler::kubernetes::manifest::read("web.yaml", text)?;
/// assert_eq!(manifests.skipped, ["Service"]);
/// # Ok::<(), jobrunr_scaler::kubernetes::manifest::ManifestError>(())
/// ```
///
/// # Errors
/// Everything in a ScaledObject that KEDA or Kubernetes would reject, and invalid YAML.
pub fn read(file: &str, text: &str) -> Result<Manifests, ManifestError> {
    let mut problems = Problems::new(file);
    let mut manifests = Manifests::default();
    match yaml::documents(text) {
        Ok(documents) => {
            for document in &documents {
                objects::document(document, &mut manifests, &mut problems);
            }
        }
        Err(error) => {
            problems.add(error.at.unwrap_or_default(), format!("invalid YAML: {}", error.message));
        }
    }
    problems.into_result(manifests)
}

/// Parses a boolean like Go's `strconv.ParseBool`, which KEDA uses for booleans in strings.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
