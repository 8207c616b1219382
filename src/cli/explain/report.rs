//! What there is to say about a ScaledObject.

use serde::Serialize;

use super::ask::Answer;
use crate::scaling::Trigger;
use crate::scaling::hpa::{DOWNSCALE_STABILIZATION, MetricType, pods_wanted};
use crate::scaling::keda::answer;
use crate::scaling::manifest::{self, ScaledObject};

/// All that was explained. As JSON this is an interface: fields are added, but neither renamed nor removed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The ScaledObjects, in the order of the manifests.
    pub scaled_objects: Vec<ScaledObjectReport>,
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
    /// Whether any trigger of ours is active.
    pub active: bool,
    /// Its triggers.
    pub triggers: Vec<TriggerReport>,
    /// What in the manifest is likely not meant that way.
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
    /// Where KEDA and the HPA lead them if everything stays as it is.
    pub wanted: u32,
    /// `minReplicaCount`
    pub min: u32,
    /// `maxReplicaCount`
    pub max: u32,
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
    /// How many pods it asks for, before `min` and `max`.
    pub pods_wanted: Option<u32>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// What in its metadata is likely not meant that way.
    pub warnings: Vec<String>,
}

/// The namespace of a ScaledObject; kubectl's own default where it names none.
pub(super) fn namespace(object: &ScaledObject) -> &str {
    object.namespace.as_deref().unwrap_or("default")
}

impl Report {
    /// Whether every trigger of ours answered.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.scaled_objects.iter().all(|object| object.errors.is_empty())
    }
}

impl ScaledObjectReport {
    /// `answers` has one for each trigger, `None` for one that is not ours. `replicas` is how many there are.
    pub(super) fn new(object: &ScaledObject, answers: Vec<Option<Answer>>, replicas: u32) -> Self {
        let bounds = object.rules.bounds;
        let is_active = |answer: &Answer| answer.reading.as_ref().is_ok_and(|reading| reading.active);
        let active = answers.iter().flatten().any(is_active);
        // The HPA never sees zero: KEDA starts the workload first.
        let hpa_replicas = if replicas == 0 && active { bounds.hpa_min() } else { replicas };
        let triggers: Vec<TriggerReport> = std::iter::zip(&object.triggers, answers)
            .enumerate()
            .map(|(index, (trigger, answer))| TriggerReport::new(index, trigger, answer, hpa_replicas))
            .collect();
        let ours =
            || std::iter::zip(&object.triggers, &triggers).filter(|(t, _)| t.is_ours()).map(|(_, report)| report);
        let asked: Vec<Option<u32>> = ours().map(|trigger| trigger.pods_wanted).collect();
        // Of other scalers' triggers we know nothing, so they leave the replicas alone.
        let wanted = if asked.is_empty() { replicas } else { answer(bounds, replicas, active, &asked) };
        let error = |trigger: &TriggerReport| Some(format!("{}: {}", trigger.label(), trigger.error.as_deref()?));
        Self {
            namespace: namespace(object).to_owned(),
            name: object.name.clone(),
            replicas: ReplicasReport { now: replicas, wanted, min: bounds.min, max: bounds.max },
            active,
            warnings: manifest::warnings(object),
            errors: triggers.iter().filter_map(error).collect(),
            outcome: outcome(object, &asked, active, replicas, wanted),
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
            pods_wanted: None,
            reasons: Vec::new(),
            error: None,
            warnings: Vec::new(),
        };
        match answer {
            Some(answer) => {
                report.warnings = metadata_warnings(trigger);
                report.fill(answer, trigger.metric_type.unwrap_or_default(), replicas);
            }
            None => report.reasons.push(format!("not ours: KEDA has a scaler of its own for `{}`", trigger.kind)),
        }
        report
    }

    fn fill(&mut self, answer: Answer, metric_type: MetricType, replicas: u32) {
        self.metric_name = answer.metric_name;
        self.target = answer.target;
        let reading = match answer.reading {
            Ok(reading) => reading,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.value = Some(reading.value);
        self.active = Some(reading.active);
        self.reasons = reading.reasons;
        match pods_wanted(metric_type, reading.value, answer.target.unwrap_or_default(), replicas, replicas) {
            Ok(pods) => self.pods_wanted = Some(pods),
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    fn label(&self) -> String {
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

/// What is odd about the metadata. A misplaced `metricType` is among the manifest's warnings already, with more to it.
fn metadata_warnings(trigger: &manifest::Trigger) -> Vec<String> {
    let metadata = trigger.metadata.iter().filter(|(key, _)| *key != "metricType");
    let parsed = Trigger::parse(metadata.map(|(key, value)| (key.as_str(), value.as_str())));
    parsed.map(|trigger| trigger.warnings).unwrap_or_default()
}

/// What KEDA and the HPA do, one sentence each.
fn outcome(object: &ScaledObject, asked: &[Option<u32>], active: bool, now: u32, wanted: u32) -> Vec<String> {
    if asked.is_empty() {
        return vec!["none of the triggers is ours: there is nothing to say about the replicas".to_owned()];
    }
    let n_failed = asked.iter().filter(|asked| asked.is_none()).count();
    let mut sentences = vec![match (active, n_failed) {
        (true, 0) => active_sentence(object, asked, now, wanted),
        (true, _) => active_though_failed_sentence(object, now, wanted),
        (false, 0) => inactive_sentence(object, now, wanted),
        (false, _) if wanted == now => {
            format!("no trigger is active, but {n_failed} failed and might be: KEDA keeps {}", replicas_text(now))
        }
        (false, _) => format!("no trigger is active, but {n_failed} failed and might be: the HPA goes to {wanted}"),
    }];
    if let Some(fallback) = object.rules.fallback.filter(|_| 0 < n_failed) {
        sentences.push(format!(
            "after more than {} failures in a row KEDA goes by fallback.replicas, {}, instead",
            fallback.failure_threshold, fallback.replicas
        ));
    }
    if object.scaling_modifiers {
        sentences
            .push("scalingModifiers: the HPA gets the result of their formula, which is not computed here".to_owned());
    }
    if asked.len() < object.triggers.len() {
        sentences.push("triggers that are not ours may ask for more, and keep the workload active".to_owned());
    }
    sentences
}

fn active_sentence(object: &ScaledObject, asked: &[Option<u32>], now: u32, wanted: u32) -> String {
    let bounds = object.rules.bounds;
    let least = bounds.hpa_min();
    let most = asked.iter().flatten().copied().max().unwrap_or(0);
    let limit = if bounds.max < most {
        format!(" (the triggers ask for {most}, maxReplicaCount is {})", bounds.max)
    } else if most < least {
        format!(" (the triggers ask for {most}, the HPA's minimum is {least})")
    } else {
        String::new()
    };
    match (now, wanted) {
        (0, _) if wanted <= least => format!("a trigger is active: KEDA starts {}{limit}", replicas_text(least)),
        (0, _) => {
            format!("a trigger is active: KEDA starts {}, the HPA goes on to {wanted}{limit}", replicas_text(least))
        }
        _ if wanted == now => format!("a trigger is active: the HPA stays at {wanted}{limit}"),
        _ if wanted < now => {
            let window = object.behavior.as_ref().map(|behavior| behavior.scale_down.stabilization_window);
            let seconds = window.unwrap_or(DOWNSCALE_STABILIZATION).as_secs();
            format!("a trigger is active: the HPA goes down to {wanted}{limit} when that was enough for {seconds} s")
        }
        _ => format!("a trigger is active: the HPA goes up to {wanted}{limit}"),
    }
}

fn active_though_failed_sentence(object: &ScaledObject, now: u32, wanted: u32) -> String {
    let least = replicas_text(object.rules.bounds.hpa_min());
    match now {
        0 => format!("a trigger is active: KEDA starts {least}; another failed, and might ask for more"),
        _ if now < wanted => {
            format!("a trigger is active: the HPA goes up to {wanted}; another failed, and might ask for more")
        }
        _ => "a trigger is active, but another failed and might ask for more: the HPA takes no pods away".to_owned(),
    }
}

fn inactive_sentence(object: &ScaledObject, now: u32, wanted: u32) -> String {
    let bounds = object.rules.bounds;
    let may_stop = bounds.min == 0 || bounds.idle.is_some();
    if may_stop && wanted < now {
        let cooldown = object.rules.cooldown.as_secs();
        return format!("no trigger is active: to {wanted} after cooldownPeriod {cooldown} s");
    }
    if may_stop {
        return format!("no trigger is active: stays at {wanted}");
    }
    format!("no trigger is active: {wanted}, since minReplicaCount is {}", bounds.min)
}

/// `1 replica`, `2 replicas`.
pub(super) fn replicas_text(n: u32) -> String {
    format!("{n} replica{}", if n == 1 { "" } else { "s" })
}
