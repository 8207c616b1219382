//! The ScaledObject that is played: the recommended one, read from its file as `explain` reads it.

use crate::grpc::proto::ScaledObjectRef;
use crate::kubernetes::hpa::MetricType;
use crate::kubernetes::manifest::{self, ScaledObject};
use crate::scaling::Trigger;

/// Where the file is in the repository.
pub(super) const PATH: &str = "k8s/scaledobject.yaml";
/// The file.
const TEXT: &str = include_str!("../../k8s/scaledobject.yaml");
/// The key of a trigger's metadata that names the scaler.
const ADDRESS: &str = "scalerAddress";

/// Why the file cannot be played. A test makes sure that the shipped one can.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be played: {reason}", path = PATH)]
pub struct PlayError {
    reason: String,
}

/// A ScaledObject whose triggers ask the demo's scaler.
#[derive(Clone, Debug)]
pub(super) struct PlayedObject {
    /// What KEDA reads in the file.
    pub(super) object: ScaledObject,
    /// Its triggers, never none.
    pub(super) triggers: Vec<PlayedTrigger>,
    /// The file as it is played.
    pub(super) text: String,
}

/// A trigger of the ScaledObject.
#[derive(Clone, Debug)]
pub(super) struct PlayedTrigger {
    /// The metric's name.
    pub(super) metric: String,
    /// How the HPA compares value and target.
    pub(super) metric_type: MetricType,
    /// What KEDA sends with every call: all of the metadata, the scaler's address too.
    pub(super) reference: ScaledObjectRef,
    trigger: Trigger,
}

impl PlayedObject {
    /// Reads the file, with the scaler's address in place of the one that it has.
    ///
    /// # Errors
    /// [`PlayError`]
    pub(super) fn new(scaler_address: &str) -> Result<Self, PlayError> {
        let text = with_address(TEXT, scaler_address)?;
        let object = only_object(&text)?;
        let triggers = object.triggers.iter().map(|trigger| played(&object, trigger)).collect::<Result<Vec<_>, _>>()?;
        if triggers.is_empty() { Err(unexpected_shape()) } else { Ok(Self { object, triggers, text }) }
    }

    /// The trigger that asks for the pods.
    fn first(&self) -> &Trigger {
        // Never empty, by construction.
        &self.triggers[0].trigger
    }

    /// How far ahead it looks.
    pub(super) fn look_ahead(&self) -> jiff::SignedDuration {
        self.first().question.look_ahead
    }

    /// The jobs per pod that it asks for: its target. The file recommends a pod's workers.
    fn jobs_per_pod(&self) -> f64 {
        self.first().target_at(None).0
    }

    /// The workers of a pod that fits the file.
    pub(super) fn workers_per_pod(&self) -> usize {
        // A float-to-integer cast saturates.
        self.jobs_per_pod().round().max(1.0) as usize
    }

    /// The pods that it should get for so many jobs.
    pub(super) fn pods_for(&self, n_jobs: u64) -> u32 {
        let pods = (n_jobs as f64 / self.jobs_per_pod()).ceil() as u32;
        pods.min(self.object.rules.bounds.max)
    }
}

/// The file without comments and blank lines, to be printed.
pub(super) fn printed() -> String {
    let lines = TEXT.lines().map(without_comment).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// A line of the file without its comment. No text of the file has a ` #` in it.
fn without_comment(line: &str) -> &str {
    let comment = if line.starts_with('#') { Some(0) } else { line.find(" #") };
    line[..comment.unwrap_or(line.len())].trim_end()
}

fn only_object(text: &str) -> Result<ScaledObject, PlayError> {
    let mut objects = manifest::read(PATH, text).map_err(|error| unplayable(&error))?.scaled_objects;
    objects.pop().filter(|_| objects.is_empty()).ok_or_else(unexpected_shape)
}

fn unexpected_shape() -> PlayError {
    unplayable(&"it must have one ScaledObject, with triggers that all ask this scaler")
}

fn unplayable(reason: &dyn std::fmt::Display) -> PlayError {
    PlayError { reason: reason.to_string() }
}

/// The file with another address of the scaler.
fn with_address(text: &str, scaler_address: &str) -> Result<String, PlayError> {
    let object = only_object(text)?;
    let addresses = object.triggers.iter().filter_map(|trigger| trigger.metadata.get(ADDRESS));
    Ok(addresses.fold(text.to_owned(), |text, address| text.replace(address, scaler_address)))
}

fn played(object: &ScaledObject, trigger: &manifest::TriggerSpec) -> Result<PlayedTrigger, PlayError> {
    let metric_type = trigger.metric_type.filter(|_| trigger.is_ours()).ok_or_else(unexpected_shape)?;
    let metadata = trigger.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let reference = ScaledObjectRef {
        name: object.name.clone(),
        namespace: object.namespace.clone().unwrap_or_default(),
        scaler_metadata: trigger.metadata.clone().into_iter().collect(),
    };
    let trigger = Trigger::parse(metadata).map_err(|error| unplayable(&error))?;
    Ok(PlayedTrigger { metric: trigger.metric.to_string(), metric_type, reference, trigger })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn played_object_is_the_recommended_one_but_for_the_address() {
        let played = PlayedObject::new("127.0.0.1:1234").unwrap();
        let mut shipped = only_object(TEXT).unwrap();
        for trigger in &mut shipped.triggers {
            assert_eq!(
                trigger.metadata.insert(ADDRESS.to_owned(), "127.0.0.1:1234".to_owned()).unwrap(),
                "jobrunr-scaler.keda:9090"
            );
        }
        assert_eq!(played.object, shipped);
        assert_eq!(only_object(&played.text).unwrap(), shipped);
        assert_eq!(played.object.unknown_fields, Vec::<String>::new());
        for (trigger, shipped) in played.triggers.iter().zip(&shipped.triggers) {
            assert_eq!(trigger.reference.scaler_metadata, shipped.metadata.clone().into_iter().collect());
        }
    }

    /// What the story needs of it.
    #[test]
    fn recommended_object_asks_for_a_pod_per_eight_jobs_and_goes_to_zero() {
        let played = PlayedObject::new("127.0.0.1:1234").unwrap();
        assert_eq!((played.workers_per_pod(), played.pods_for(40), played.pods_for(1)), (8, 5, 1));
        assert_eq!(played.pods_for(1_000_000), played.object.rules.bounds.max);
        assert!(SignedDuration::ZERO < played.look_ahead());
        assert_eq!(played.object.rules.bounds.min, 0);
    }

    #[test]
    fn printed_file_says_the_same() {
        let without_lines = |text: &str| {
            let mut object = only_object(text).unwrap();
            object.triggers.iter_mut().for_each(|trigger| trigger.line = 0);
            object
        };
        let printed = printed();
        assert_eq!(without_lines(&printed), without_lines(TEXT));
        assert!(!printed.contains('#') && printed.lines().all(|line| line.len() <= 76), "{printed}");
    }
}
