//! The annotations that keep KEDA from scaling.

use std::fmt;

use super::fields::{Fields, Problems};
use super::{Override, Paused, go_bool};
use crate::text::suggest::did_you_mean;
use crate::yaml::{Node, Value};

const PREFIX: &str = "autoscaling.keda.sh/";
const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
const PAUSED_SCALE_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
const FORCE_ACTIVATION: &str = "autoscaling.keda.sh/force-activation";
const KNOWN: [&str; 5] = [PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT, FORCE_ACTIVATION];

impl Override {
    /// The annotation's name.
    #[must_use]
    pub fn annotation(self) -> &'static str {
        match self {
            Self::NoScaleIn => PAUSED_SCALE_IN,
            Self::NoScaleOut => PAUSED_SCALE_OUT,
            Self::Active => FORCE_ACTIVATION,
        }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self {
            Self::NoScaleIn => "KEDA and the HPA remove no pods",
            Self::NoScaleOut => "KEDA and the HPA start no pods",
            Self::Active => "KEDA treats the triggers as active, regardless of their values",
        };
        write!(f, "{}: {effect}", self.annotation())
    }
}

/// What the annotations of a ScaledObject do.
#[derive(Default)]
pub(super) struct Annotations {
    /// Set if KEDA does not scale the workload at all.
    pub(super) paused: Option<Paused>,
    /// What KEDA does not do, or does in any case.
    pub(super) overrides: Vec<Override>,
    /// Annotations and values that KEDA does not know, one sentence each.
    pub(super) unknown: Vec<String>,
}

/// Reads `metadata.annotations`.
pub(super) fn annotations(document: &Fields<'_>, problems: &mut Problems) -> Annotations {
    // If the metadata is not a mapping, that has been reported already.
    let metadata = document.get("metadata").filter(|node| matches!(node.value, Value::Mapping(_)));
    let metadata = metadata.and_then(|node| Fields::of(node, document.name("metadata"), problems));
    let mut read = Annotations::default();
    let Some(fields) = metadata.and_then(|metadata| metadata.mapping("annotations", problems)) else { return read };
    for entry in fields.entries().iter().filter(|entry| entry.key.starts_with(PREFIX)) {
        let key = entry.key.as_str();
        if !KNOWN.contains(&key) {
            let hint = did_you_mean(key, KNOWN);
            read.unknown.push(format!("line {}: KEDA has no annotation {key}{hint}", entry.at.line));
        } else if let Some(text) = text(&fields, key, &entry.node, problems) {
            annotation(&fields, key, text, &entry.node, &mut read, problems);
        }
    }
    read
}

fn text<'a>(fields: &Fields<'_>, key: &str, node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => fields.wrong(node, key, "text: put quotes around it", problems),
    }
}

fn annotation(
    fields: &Fields<'_>,
    key: &str,
    text: &str,
    node: &Node,
    read: &mut Annotations,
    problems: &mut Problems,
) {
    if key == PAUSED_REPLICAS {
        match text.parse::<i32>().ok().and_then(|replicas| u32::try_from(replicas).ok()) {
            Some(replicas) => read.paused = Some(Paused { annotation: PAUSED_REPLICAS, replicas: Some(replicas) }),
            None => fields.wrong(node, key, "a whole number of replicas", problems).unwrap_or_default(),
        }
        return;
    }
    // KEDA reads what is not a boolean as true.
    if go_bool(text) == Some(false) {
        return;
    }
    match key {
        // The other annotation may have set the replicas already.
        PAUSED => drop(read.paused.get_or_insert(Paused { annotation: PAUSED, replicas: None })),
        PAUSED_SCALE_IN => read.overrides.push(Override::NoScaleIn),
        PAUSED_SCALE_OUT => read.overrides.push(Override::NoScaleOut),
        _ => read.overrides.push(Override::Active),
    }
    if go_bool(text).is_none() {
        read.unknown.push(format!("{key} is {text:?}, which KEDA reads as true"));
    }
}
