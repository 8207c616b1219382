//! Reads the manifests that KEDA gets: ScaledObjects, as far as they decide how a workload scales.
//!
//! The fields and their limits are those of KEDA's `apis/keda/v1alpha1/{scaledobject,scaledjob,scaletriggers}_types.go`, and of
//! Kubernetes' `autoscaling/v2` for the behaviour. [`read`] finds everything that is wrong in a file, not only the first; what is
//! allowed but rarely intended is reported by [`warnings`].

mod annotations;
mod behavior;
mod fields;
mod objects;
mod triggers;
mod versions;
mod warnings;

use std::collections::BTreeMap;
use std::fmt;

pub use versions::{NeedsVersion, needed_versions};
pub use warnings::{job_warnings, warnings};

use super::hpa::{Behavior, MetricType};
use super::keda::ScaledObjectRules;
use crate::yaml;
use fields::Problems;

/// What a file contains.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifests {
    /// Its ScaledObjects, in the order of the file.
    pub scaled_objects: Vec<ScaledObject>,
    /// Its ScaledJobs, in the order of the file.
    pub scaled_jobs: Vec<ScaledJob>,
    /// The kinds of the documents that were skipped, `Deployment` for example.
    pub skipped: Vec<String>,
}

/// A ScaledObject, with KEDA's defaults for what the manifest leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledObject {
    /// `metadata.namespace`; `None` means the namespace that kubectl is told.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `spec.scaleTargetRef.name`: the workload.
    pub target: String,
    /// Replicas, intervals, cooldown and fallback.
    pub rules: ScaledObjectRules,
    /// `spec.advanced.horizontalPodAutoscalerConfig.behavior`, complete. `None` if there is no such block, which is not the same
    /// as all its defaults.
    pub behavior: Option<Behavior>,
    /// Whether `spec.advanced.scalingModifiers` is used: a formula over all triggers, which is not computed here.
    pub scaling_modifiers: bool,
    /// `spec.triggers`, in their order: KEDA numbers them.
    pub triggers: Vec<Trigger>,
    /// Whether an annotation keeps KEDA from scaling at all.
    pub paused: Option<Paused>,
    /// What other annotations keep KEDA from, or make it do, as sentences.
    pub pauses: Vec<String>,
    /// Fields and annotations that KEDA does not have, as sentences. Kubernetes drops such fields.
    pub unknown_fields: Vec<String>,
}

/// A ScaledObject that an annotation has paused: KEDA asks for nothing and there is no HPA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused {
    /// The annotation's name.
    pub annotation: &'static str,
    /// The replicas that it keeps; `None` for as many as there are.
    pub replicas: Option<u32>,
}

/// A ScaledJob. KEDA starts a Kubernetes Job for each unit of work, so neither HPA nor cooldown is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaledJob {
    /// `metadata.namespace`; `None` means the namespace that kubectl is told.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `spec.triggers`, in their order.
    pub triggers: Vec<Trigger>,
}

/// One of `spec.triggers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// `type`.
    pub kind: TriggerKind,
    /// `name`.
    pub name: Option<String>,
    /// `metricType`, `AverageValue` if there is none. `None` is `Utilization`, which only triggers that are not ours can have.
    pub metric_type: Option<MetricType>,
    /// `metadata`. KEDA sends it along with every call.
    pub metadata: BTreeMap<String, String>,
    /// `useCachedMetrics`: the HPA gets the value of the last poll.
    pub use_cached_metrics: bool,
    /// The line of the file that it begins in, counted from 1.
    pub line: u64,
}

impl Trigger {
    /// Whether an external scaler answers it, so that it may be for us.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self.kind, TriggerKind::Other(_))
    }

    /// The metric it names, if it is ours and names one.
    #[must_use]
    pub fn metric(&self) -> Option<&str> {
        if self.is_ours() { self.metadata.get("metric").map(|name| name.trim()) } else { None }
    }
}

/// The type of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerKind {
    /// `external`: KEDA polls.
    External,
    /// `external-push`: KEDA polls, and listens to a stream as well.
    ExternalPush,
    /// Any other type: KEDA deals with it without us.
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

/// One thing that is wrong in a manifest, and where.
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

/// Everything that is wrong in a file; as text, one problem a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct ManifestError {
    /// The problems, in the order of the file. Never empty.
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads a file of YAML documents. `file` is its name, for messages only. Lists (`kind: List`) are looked into, and documents of
/// other kinds are skipped.
///
/// ```
/// let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";
/// let manifests = jobrunr_scaler::kubernetes::manifest::read("web.yaml", text)?;
/// assert_eq!(manifests.skipped, ["Service"]);
/// # Ok::<(), jobrunr_scaler::kubernetes::manifest::ManifestError>(())
/// ```
///
/// # Errors
/// All that KEDA or Kubernetes would refuse in a ScaledObject, and YAML that cannot be read.
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
            problems.add(error.at.unwrap_or_default(), format!("not YAML that can be read: {}", error.message))
        }
    }
    problems.into_result(manifests)
}

/// Go's `strconv.ParseBool`, by which KEDA reads booleans that are text.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
