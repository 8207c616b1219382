//! What there is to say about a ScaledObject.

use serde::Serialize;

use super::ask::Answer;
use super::outcome;
use crate::kubernetes::hpa::{MetricType, pods_wanted};
use crate::kubernetes::keda::answer;
use crate::kubernetes::manifest::{self, NeedsVersion, ScaledObject};

/// All that was explained. As JSON this is an interface: fields are added, but neither renamed nor removed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The ScaledObjects, in the order of the manifests.
    pub scaled_objects: Vec<ScaledObjectReport>,
    /// The storages behind their triggers. Empty where a running scaler was asked.
    pub storages: Vec<StorageReport>,
}

/// A storage, and how it is read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageReport {
    /// Its name in the configuration.
    pub name: String,
    /// Whether the database tells of new jobs by itself: PostgreSQL with the trigger of `notify-sql`.
    pub tells_of_new_jobs: bool,
    /// How soon a new job is seen, in words.
    pub activation: String,
    /// What is odd about the tables and costs something.
    pub warnings: Vec<String>,
}

/// A ScaledObject, its triggers, and what they come to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectReport {
    /// Its namespace; `default` where the manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where the workload goes.
    pub replicas: ReplicasReport,
    /// The annotation that has paused it, if one has: KEDA does nothing then.
    pub paused: Option<&'static str>,
    /// What in the manifest needs a certain version of KEDA, the newest first.
    pub needs_keda: Vec<NeedsKeda>,
    /// Whether any trigger of ours is active.
    pub active: bool,
    /// Its triggers.
    pub triggers: Vec<TriggerReport>,
    /// What in the manifest is likely not intended.
    pub warnings: Vec<String>,
    /// The triggers' errors, each with the trigger.
    pub errors: Vec<String>,
    /// What KEDA and the HPA do, in words.
    #[serde(skip)]
    pub outcome: Vec<String>,
}

/// The numbers of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicasReport {
    /// How many there are taken to be.
    pub now: u32,
    /// Whether `now` is an assumption: nobody said how many there are.
    pub assumed: bool,
    /// Where KEDA and the HPA lead them if everything stays as it is.
    pub wanted: u32,
    /// `minReplicaCount`
    pub min: u32,
    /// `maxReplicaCount`
    pub max: u32,
}

/// A version of KEDA that a manifest needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedsKeda {
    /// The first version that does what the manifest asks for.
    pub version: &'static str,
    /// What that is, and what KEDA does before.
    pub because: &'static str,
}

/// A trigger, and what it asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerReport {
    /// Its place in the manifest, from 0.
    pub index: usize,
    /// `type`
    #[serde(rename = "type")]
    pub kind: String,
    /// `metadata.metric`; `None` where the trigger is not ours or names none.
    pub metric: Option<String>,
    /// The metric's name towards KEDA.
    pub metric_name: Option<String>,
    /// `metricType`
    pub metric_type: &'static str,
    /// The value, in the metric's unit.
    pub value: Option<f64>,
    /// The target, in the metric's unit.
    pub target: Option<f64>,
    /// Whether it lets pods be.
    pub active: Option<bool>,
    /// Whether the value comes from a count that ended at its bound: there may be more. A running scaler does not say.
    pub truncated: Option<bool>,
    /// How many pods it asks for, before `min` and `max`.
    pub pods_wanted: Option<u32>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// What in its metadata is likely not intended.
    pub warnings: Vec<String>,
}

impl From<NeedsVersion> for NeedsKeda {
    fn from(needs: NeedsVersion) -> Self {
        let NeedsVersion { version, because } = needs;
        Self { version, because }
    }
}

/// The replicas where nobody says how many there are.
const ASSUMED_REPLICAS: u32 = 1;

/// The namespace of a ScaledObject; kubectl's own default where it names none.
pub(super) fn namespace(object: &ScaledObject) -> &str {
    object.namespace.as_deref().unwrap_or("default")
}

/// The reports of the triggers that are ours.
pub(super) fn ours<'a>(
    object: &'a ScaledObject,
    triggers: &'a [TriggerReport],
) -> impl Iterator<Item = &'a TriggerReport> {
    std::iter::zip(&object.triggers, triggers).filter(|(trigger, _)| trigger.is_ours()).map(|(_, report)| report)
}

impl Report {
    /// Whether every trigger of ours answered.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.scaled_objects.iter().all(|object| object.errors.is_empty())
    }
}

impl ScaledObjectReport {
    /// `answers` has one for each trigger, `None` for one that is not ours. `replicas` is how many there are, if that is known.
    pub(super) fn new(object: &ScaledObject, answers: Vec<Option<Answer>>, replicas: Option<u32>) -> Self {
        let bounds = object.rules.bounds;
        let assumed = replicas.is_none();
        let replicas = replicas.unwrap_or(ASSUMED_REPLICAS);
        let is_active = |answer: &Answer| answer.reading.as_ref().is_ok_and(|reading| reading.active);
        let active = answers.iter().flatten().any(is_active);
        // The HPA never sees zero: KEDA starts the workload first.
        let hpa_replicas = if replicas == 0 && active { bounds.hpa_min() } else { replicas };
        let triggers: Vec<TriggerReport> = std::iter::zip(&object.triggers, answers)
            .enumerate()
            .map(|(index, (trigger, answer))| TriggerReport::new(index, trigger, answer, hpa_replicas))
            .collect();
        let asked: Vec<Option<u32>> = ours(object, &triggers).map(|trigger| trigger.pods_wanted).collect();
        // Of other scalers' triggers we know nothing, so they leave the replicas alone.
        let wanted = match object.paused {
            Some(paused) => paused.replicas.unwrap_or(replicas),
            None if asked.is_empty() => replicas,
            None => answer(bounds, replicas, active, &asked),
        };
        let error = |trigger: &TriggerReport| Some(format!("{}: {}", trigger.label(), trigger.error.as_deref()?));
        Self {
            namespace: namespace(object).to_owned(),
            name: object.name.clone(),
            replicas: ReplicasReport { now: replicas, assumed, wanted, min: bounds.min, max: bounds.max },
            paused: object.paused.map(|paused| paused.annotation),
            needs_keda: manifest::needed_versions(object).into_iter().map(NeedsKeda::from).collect(),
            active,
            warnings: manifest::warnings(object),
            errors: triggers.iter().filter_map(error).collect(),
            outcome: outcome::sentences(object, &triggers, active, replicas, wanted),
            triggers,
        }
    }
}

impl TriggerReport {
    fn new(index: usize, trigger: &manifest::Trigger, answer: Option<Answer>, replicas: u32) -> Self {
        let mut report = Self {
            index,
            kind: trigger.kind.to_string(),
            metric: trigger.metric().map(str::to_owned),
            metric_name: None,
            metric_type: metric_type_name(trigger.metric_type),
            value: None,
            target: None,
            active: None,
            truncated: None,
            pods_wanted: None,
            reasons: Vec::new(),
            error: None,
            warnings: Vec::new(),
        };
        match answer {
            Some(answer) => {
                report.fill(answer, trigger.metric_type.unwrap_or_default(), replicas);
            }
            None => report.reasons.push(format!("not ours: KEDA has a scaler of its own for `{}`", trigger.kind)),
        }
        report
    }

    fn fill(&mut self, answer: Answer, metric_type: MetricType, replicas: u32) {
        self.metric_name = answer.metric_name;
        self.target = answer.target;
        self.warnings = answer.warnings;
        let reading = match answer.reading {
            Ok(reading) => reading,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.value = Some(reading.value);
        self.active = Some(reading.active);
        self.truncated = reading.truncated;
        self.reasons = reading.reasons;
        match pods_wanted(metric_type, reading.value, answer.target.unwrap_or_default(), replicas, replicas) {
            Ok(pods) => self.pods_wanted = Some(pods),
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// How messages call it: its place, and its metric.
    pub(super) fn label(&self) -> String {
        let metric = self.metric.as_deref().map(|metric| format!(" ({metric})")).unwrap_or_default();
        format!("trigger {}{metric}", self.index)
    }
}

fn metric_type_name(metric_type: Option<MetricType>) -> &'static str {
    match metric_type {
        Some(MetricType::AverageValue) => "AverageValue",
        Some(MetricType::Value) => "Value",
        None => "Utilization",
    }
}
