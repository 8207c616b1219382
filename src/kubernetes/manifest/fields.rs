//! Typed access to the fields of a mapping. Errors are collected, and reading continues.

use std::ops::RangeInclusive;

use super::{ManifestError, Problem};
use crate::text::suggest;
use crate::yaml::{Entry, Node, Position, Value};

/// The largest number of replicas or seconds: Kubernetes stores them as `int32`.
pub(super) const MOST: u32 = i32::MAX as u32;

/// The place of fields that people often write elsewhere.
const PLACES: [(&str, &str); 20] = [
    ("scalerAddress", "the trigger's metadata"),
    ("storage", "the trigger's metadata"),
    ("metric", "the trigger's metadata"),
    ("targetValue", "the trigger's metadata"),
    ("activationTargetValue", "the trigger's metadata"),
    ("scheduledIn", "the trigger's metadata"),
    ("metricType", "the trigger, beside its metadata"),
    ("useCachedMetrics", "the trigger, beside its metadata"),
    ("scaleTargetRef", "spec"),
    ("pollingInterval", "spec"),
    ("cooldownPeriod", "spec"),
    ("minReplicaCount", "spec"),
    ("maxReplicaCount", "spec"),
    ("fallback", "spec"),
    ("triggers", "spec"),
    ("horizontalPodAutoscalerConfig", "spec.advanced"),
    ("scalingModifiers", "spec.advanced"),
    ("behavior", "spec.advanced.horizontalPodAutoscalerConfig"),
    ("scaleDown", "spec.advanced.horizontalPodAutoscalerConfig.behavior"),
    ("scaleUp", "spec.advanced.horizontalPodAutoscalerConfig.behavior"),
];

/// The errors found in a file.
pub(super) struct Problems {
    file: String,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Position, message: impl Into<String>) {
        let message = message.into();
        self.found.push(Problem { file: self.file.clone(), line: at.line, column: at.column, message });
    }

    /// Returns `value` if there were no errors.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, ManifestError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        Err(ManifestError { problems: self.found })
    }
}

/// The fields of a mapping. `path` is its place in the document, for example `spec.fallback`.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    pub(super) path: String,
    pub(super) at: Position,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// Returns the fields of `node`, which must be a mapping.
    pub(super) fn of(node: &'a Node, path: String, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Mapping(entries) => Some(Self { path, at: node.at, entries }),
            other => {
                let what = if path.is_empty() { "the document" } else { &path };
                problems.add(node.at, format!("{what} is {other}, but must be a mapping"));
                None
            }
        }
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// Returns the field's full name.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Returns a field. To Kubernetes, a field without a value is missing.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        let node = self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)?;
        if matches!(node.value, Value::Null) { None } else { Some(node) }
    }

    /// Reads a required field. `read` is one of the methods below.
    pub(super) fn required<T>(
        &self,
        key: &str,
        problems: &mut Problems,
        read: impl FnOnce(&Self, &str, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            let slip = self.entries.iter().find(|entry| suggest::is_slip(&entry.key, key));
            let hint = slip.map(|entry| format!("; did you mean `{key}` where `{}` is written?", entry.key));
            problems.add(self.at, format!("{} is missing{}", self.name(key), hint.unwrap_or_default()));
            return None;
        }
        read(self, key, problems)
    }

    pub(super) fn mapping(&self, key: &str, problems: &mut Problems) -> Option<Self> {
        self.get(key).and_then(|node| Self::of(node, self.name(key), problems))
    }

    pub(super) fn list(&self, key: &str, problems: &mut Problems) -> Option<&'a [Node]> {
        let node = self.get(key)?;
        match &node.value {
            Value::List(nodes) => Some(nodes),
            _ => self.wrong(node, key, "a list", problems),
        }
    }

    pub(super) fn text(&self, key: &str, problems: &mut Problems) -> Option<&'a str> {
        let node = self.get(key)?;
        match &node.value {
            Value::Text(text) => Some(text),
            _ => self.wrong(node, key, "text", problems),
        }
    }

    pub(super) fn flag(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        let node = self.get(key)?;
        match node.value {
            Value::Flag(flag) => Some(flag),
            _ => self.wrong(node, key, "true or false, without quotes", problems),
        }
    }

    pub(super) fn count(&self, key: &str, range: RangeInclusive<u32>, problems: &mut Problems) -> Option<u32> {
        let node = self.get(key)?;
        let count = match node.value {
            Value::Whole(number) => u32::try_from(number).ok().filter(|count| range.contains(count)),
            _ => None,
        };
        let (least, most) = (*range.start(), *range.end());
        let limits = if most == MOST { format!("at least {least}") } else { format!("from {least} to {most}") };
        count.or_else(|| self.wrong(node, key, &format!("a whole number, {limits}, without quotes"), problems))
    }

    /// Reads a field whose value is one of some words, and returns what the word means.
    pub(super) fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let node = self.get(key)?;
        let chosen = match &node.value {
            Value::Text(text) => choices.iter().find(|(word, _)| word == text).map(|(_, meaning)| meaning.clone()),
            _ => None,
        };
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let one_of = if words.len() == 1 { "" } else { "one of " };
        chosen.or_else(|| self.wrong(node, key, &format!("{one_of}{}", words.join(", ")), problems))
    }

    /// Adds the error that `key` has the wrong value. Always returns `None`, so that it can end a method.
    pub(super) fn wrong<T>(&self, node: &Node, key: &str, allowed: &str, problems: &mut Problems) -> Option<T> {
        problems.add(node.at, format!("{} is {}, but must be {allowed}", self.name(key), node.value));
        None
    }

    /// Returns a sentence about each field that is not among `known`.
    pub(super) fn unknown(&self, known: &[&str]) -> Vec<String> {
        let unknown = self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
        unknown
            .map(|entry| {
                let place = PLACES.iter().find(|(key, _)| *key == entry.key);
                let hint = match place {
                    Some((_, place)) => format!("; it belongs to {place}"),
                    None => suggest::did_you_mean(&entry.key, known.iter().copied()),
                };
                format!("line {}: KEDA has no field {}{hint}", entry.at.line, self.name(&entry.key))
            })
            .collect()
    }
}
