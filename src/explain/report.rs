//! The report: what people and machines get.

use serde::Serialize;

use crate::kubernetes::manifest::KedaRequirement;
use crate::scaling::Reason;

/// The whole report. As JSON it is an interface: fields are added, but never renamed or removed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The ScaledObjects, in the order of the manifests.
    pub scaled_objects: Vec<ScaledObjectReport>,
    /// The storages that their triggers name. Empty if a running scaler was asked.
    pub storages: Vec<StorageReport>,
}

/// A storage that was read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageReport {
    /// Its name in the configuration.
    pub name: String,
    /// Whether the database notifies the scaler of new jobs: PostgreSQL with the trigger of `notify-sql`.
    #[serde(rename = "tellsOfNewJobs")]
    pub notifies: bool,
    /// How soon a new job is noticed, in words.
    pub activation: String,
    /// What is unusual about the tables and costs something.
    pub warnings: Vec<String>,
}

/// A ScaledObject, its triggers, and where they lead.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScaledObjectReport {
    /// Its namespace; `default` if neither the manifest nor the command line names one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The replicas of the workload.
    pub replicas: ReplicasReport,
    /// The annotation that pauses it, if one does: KEDA then does nothing.
    pub paused: Option<&'static str>,
    /// The annotations that prevent or force something, whatever the triggers say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<&'static str>,
    /// The versions of KEDA that the manifest needs, the newest first.
    pub needs_keda: Vec<KedaRequirement>,
    /// Whether any trigger for this scaler is active.
    pub active: bool,
    /// Its triggers.
    pub triggers: Vec<TriggerReport>,
    /// What in the manifest is likely not intended.
    pub warnings: Vec<String>,
    /// The errors of the triggers, each with its trigger.
    pub errors: Vec<String>,
    /// What KEDA and the HPA do, one sentence each.
    #[serde(skip)]
    pub summary: Vec<String>,
}

/// The numbers of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ReplicasReport {
    /// How many there are.
    pub now: u32,
    /// Whether `now` is an assumption.
    pub assumed: bool,
    /// How many KEDA and the HPA settle on if everything stays as it is.
    pub wanted: u32,
    /// `minReplicaCount`
    pub min: u32,
    /// `maxReplicaCount`
    pub max: u32,
}

/// A trigger, and what it asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TriggerReport {
    /// Its position in the manifest, from 0.
    pub index: usize,
    /// How messages call it: its position, and its name or metric.
    #[serde(skip)]
    pub label: String,
    /// Whether it is for this scaler.
    #[serde(skip)]
    pub is_ours: bool,
    /// `type`
    #[serde(rename = "type")]
    pub kind: String,
    /// `metadata.metric`; `None` if the trigger is not for this scaler or names none.
    pub metric: Option<String>,
    /// The metric's name towards KEDA.
    pub metric_name: Option<String>,
    /// `metricType`
    pub metric_type: &'static str,
    /// The value, in the metric's unit.
    pub value: Option<f64>,
    /// The target, in the metric's unit.
    pub target: Option<f64>,
    /// Whether it is active.
    pub active: Option<bool>,
    /// Whether the value comes from a truncated count: there may be more jobs. A running scaler does not say.
    pub truncated: Option<bool>,
    /// How many pods it asks for, before `min` and `max`.
    pub pods_wanted: Option<u32>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// The same reasons with their numbers. A running scaler does not give them.
    pub details: Vec<Reason>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// What in its metadata is likely not intended.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether every trigger for this scaler answered.
    #[must_use]
    pub(crate) fn is_healthy(&self) -> bool {
        self.scaled_objects.iter().all(|object| object.errors.is_empty())
    }

    /// The report as JSON, on one line if reports follow one another.
    ///
    /// # Errors
    /// Cannot fail: all keys are strings.
    pub(super) fn json(&self, on_one_line: bool) -> serde_json::Result<String> {
        let text = if on_one_line { serde_json::to_string(self) } else { serde_json::to_string_pretty(self) };
        Ok(text? + "\n")
    }
}
