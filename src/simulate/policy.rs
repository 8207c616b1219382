//! A ScaledObject as the simulation plays it, or a fixed number of pods.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::jobrunr::{Filter, Question, Questions};
use crate::kubernetes::hpa::{Behavior, MetricType};
use crate::kubernetes::keda::ScaledObjectRules;
use crate::kubernetes::manifest::{ScaledObject, TriggerKind, TriggerSpec};
use crate::scaling::Trigger;
use crate::simulate::{Settings, SimulationResult, Workload, clairvoyant, model};
use crate::text::joined;

/// What decides how many pods there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How results call it.
    pub name: String,
    /// What of the ScaledObject is not simulated or has no effect, one sentence each.
    pub notes: Vec<String>,
    pub(super) kind: PolicyKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum PolicyKind {
    /// That many pods, from before the first job on.
    Fixed(u32),
    /// Just the pods that are needed, by somebody who knows all jobs beforehand.
    Clairvoyant,
    /// KEDA and the HPA.
    Scaled(Box<ScaledPolicy>),
}

/// The part of a ScaledObject that is simulated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScaledPolicy {
    pub(super) rules: ScaledObjectRules,
    pub(super) behavior: Option<Behavior>,
    pub(super) triggers: Vec<PolicyTrigger>,
}

/// A trigger of this scaler.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PolicyTrigger {
    pub(super) trigger: Trigger,
    pub(super) metric_type: MetricType,
    /// Whether its stream is open: `external-push`. Without one, KEDA reads a computed target only once.
    pub(super) pushes: bool,
    /// `useCachedMetrics`.
    pub(super) cached: bool,
    /// How notes call it.
    label: String,
}

/// Why a ScaledObject cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// None of its triggers names this scaler.
    #[error("{name} has no trigger of type external-push or external, so there is nothing to simulate")]
    NoTrigger {
        /// The ScaledObject.
        name: String,
    },
    /// Its formula is not computed.
    #[error("{name} has scalingModifiers, whose formula is not simulated; remove them")]
    ScalingModifiers {
        /// The ScaledObject.
        name: String,
    },
    /// An annotation pauses it.
    #[error("{name} is paused by {annotation}: remove the annotation, or use --fixed")]
    Paused {
        /// The ScaledObject.
        name: String,
        /// The annotation.
        annotation: &'static str,
    },
    /// The metadata of a trigger is invalid.
    #[error("{name}, {trigger}: {problems}")]
    Metadata {
        /// The ScaledObject.
        name: String,
        /// The trigger.
        trigger: String,
        /// What is wrong.
        problems: String,
    },
}

impl Policy {
    /// A fixed number of pods, always on.
    #[must_use]
    pub fn fixed(n_pods: u32) -> Self {
        Self { name: format!("fixed-{n_pods}"), notes: Vec::new(), kind: PolicyKind::Fixed(n_pods) }
    }

    /// Perfect knowledge, a yardstick: pods just in time for the jobs, so that 95 % of them wait up to [`Settings::slo`].
    #[must_use]
    pub fn clairvoyant() -> Self {
        Self { name: "clairvoyant".to_owned(), notes: Vec::new(), kind: PolicyKind::Clairvoyant }
    }

    /// Notes the triggers that are for another storage than the one whose history is the workload.
    pub fn note_history_of(&mut self, storage: &str) {
        let PolicyKind::Scaled(scaled) = &self.kind else { return };
        let others = scaled.triggers.iter().filter(|trigger| trigger.trigger.storage != storage);
        self.notes.extend(others.map(|PolicyTrigger { label, trigger, .. }| {
            format!("{label} is for storage {}, but the history is that of {storage}: its jobs count", trigger.storage)
        }));
    }

    pub(super) fn play(&self, workload: &Workload, settings: &Settings) -> SimulationResult {
        match &self.kind {
            PolicyKind::Clairvoyant => clairvoyant::play(&self.name, workload, settings),
            PolicyKind::Fixed(n_pods) => model::play(workload, self, None, *n_pods, settings),
            PolicyKind::Scaled(scaled) => {
                model::play(workload, self, Some(scaled), scaled.resting_replicas(), settings)
            }
        }
    }

    /// A ScaledObject.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn scaled(object: &ScaledObject) -> Result<Self, PolicyError> {
        let name = || object.name.clone();
        if !object.triggers.iter().any(TriggerSpec::is_ours) {
            return Err(PolicyError::NoTrigger { name: name() });
        }
        if object.scaling_modifiers {
            return Err(PolicyError::ScalingModifiers { name: name() });
        }
        if let Some(paused) = object.paused {
            return Err(PolicyError::Paused { name: name(), annotation: paused.annotation });
        }
        let mut notes = object.unknown_fields.clone();
        notes.extend(object.overrides.iter().map(|force| format!("not simulated: {force}")));
        let mut triggers = Vec::new();
        for (index, spec) in object.triggers.iter().enumerate() {
            let label = spec.label(index);
            if spec.is_ours() {
                triggers.push(trigger(&object.name, &label, spec, &mut notes)?);
            } else {
                notes.push(format!("{label} is not simulated: only triggers of this scaler are"));
            }
        }
        notes.extend(several_storages(&triggers));
        let (rules, behavior) = (object.rules.clone(), object.behavior.clone());
        let scaled = ScaledPolicy { rules, behavior, triggers };
        Ok(Self { name: name(), notes, kind: PolicyKind::Scaled(Box::new(scaled)) })
    }
}

/// Notes that a simulation has one storage only.
fn several_storages(triggers: &[PolicyTrigger]) -> Option<String> {
    let storages: BTreeSet<&str> = triggers.iter().map(|trigger| trigger.trigger.storage.as_str()).collect();
    (1 < storages.len()).then(|| {
        format!(
            "the triggers are for several storages ({}), and all jobs count for each of them",
            joined(storages, ", ")
        )
    })
}

fn trigger(name: &str, label: &str, spec: &TriggerSpec, notes: &mut Vec<String>) -> Result<PolicyTrigger, PolicyError> {
    let metadata = spec.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut trigger = Trigger::parse(metadata).map_err(|problems| PolicyError::Metadata {
        name: name.to_owned(),
        trigger: label.to_owned(),
        problems: problems.to_string(),
    })?;
    if trigger.question.filter != Filter::default() {
        notes.push(format!("{label}: the filter is not simulated, all jobs count"));
        trigger.question.filter = Filter::default();
    }
    Ok(PolicyTrigger {
        trigger,
        // Only triggers of other scalers can have none.
        metric_type: spec.metric_type.unwrap_or_default(),
        pushes: spec.kind == TriggerKind::ExternalPush,
        cached: spec.use_cached_metrics,
        label: label.to_owned(),
    })
}

impl ScaledPolicy {
    /// What the triggers ask of a storage.
    pub(super) fn questions(&self) -> Questions {
        self.triggers.iter().map(|trigger| trigger.trigger.question.clone()).collect()
    }

    /// The different look-aheads.
    pub(super) fn look_aheads(&self) -> Vec<SignedDuration> {
        self.questions().all().map(|Question { look_ahead, .. }| look_ahead).collect()
    }

    /// The replicas while there is nothing to do.
    pub(super) fn resting_replicas(&self) -> u32 {
        let bounds = self.rules.bounds;
        bounds.idle.unwrap_or(bounds.min)
    }
}
