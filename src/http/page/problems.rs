//! What is wrong, and what to do about it.

use serde::Serialize;

use super::view::{MAX_TEXT, State, StorageState, StorageView, TriggerView};
use crate::recent::Rejection;
use crate::storage::Level;
use crate::text::printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// KEDA gets errors.
    Error,
    /// It works, and should be looked at.
    Warning,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    pub(super) severity: Severity,
    /// The storage that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storage: Option<String>,
    /// The ScaledObject that it is about.
    #[serde(flatten)]
    pub(super) key: Option<Key>,
    /// What.
    pub(super) text: String,
    /// What that means, or what to do.
    pub(super) remedy: String,
}

/// Names a ScaledObject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) scaled_object: String,
}

/// Finds what is wrong, the worst first.
pub(super) fn find(storages: &[StorageView], triggers: &[TriggerView], rejections: &[Rejection]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = storages.iter().flat_map(of_storage).collect();
    problems.extend(rejections.iter().map(of_rejection));
    let is_down = |name: &str| storages.iter().any(|storage| storage.name == name && !storage.is_answering());
    // Nobody asks for the others: they were corrected or deleted.
    let asked = || triggers.iter().filter(|trigger| trigger.state != State::Silent);
    // A storage that is down was named already.
    problems.extend(asked().filter(|trigger| !is_down(&trigger.storage)).filter_map(of_failure));
    problems.extend(asked().flat_map(of_warnings));
    problems.sort_by_key(|problem| problem.severity);
    problems
}

fn of_storage(storage: &StorageView) -> Vec<Problem> {
    let problem = |severity, text: String, remedy: &str| Problem {
        severity,
        storage: Some(storage.name.clone()),
        key: None,
        text,
        remedy: remedy.to_owned(),
    };
    let check = "`kubectl exec deploy/jobrunr-scaler -- /jobrunr-scaler check` says more.";
    let mut problems = Vec::new();
    let cause = storage.cause.as_deref().unwrap_or("the latest answer is too old");
    match storage.state {
        StorageState::Down => {
            let remedy =
                format!("KEDA gets errors: it keeps the pods, or uses the fallback of the ScaledObject. {check}");
            problems.push(problem(Severity::Error, cause.to_owned(), &remedy));
        }
        StorageState::Stale => {
            let remedy = format!("The last answer serves until it is older than maxStaleness. {check}");
            problems.push(problem(Severity::Error, cause.to_owned(), &remedy));
        }
        StorageState::Up | StorageState::Unused | StorageState::Starting => {}
    }
    for finding in &storage.findings {
        match finding.level {
            // What was wrong at the start is known better by now.
            Level::Problem | Level::Ok => {}
            Level::Warning => {
                let text = format!("{}: {}", finding.topic, finding.text);
                problems.push(problem(Severity::Warning, text, "Found when the storage was checked at the start."));
            }
        }
    }
    let is_known = |note: &String| storage.findings.iter().any(|finding| finding.text == *note);
    for note in storage.notes.iter().filter(|note| !is_known(note)) {
        problems.push(problem(Severity::Warning, note.clone(), "Found by the latest read."));
    }
    problems
}

fn of_rejection(rejection: &Rejection) -> Problem {
    Problem {
        severity: Severity::Error,
        storage: None,
        key: Some(Key {
            namespace: rejection.key.namespace().to_owned(),
            scaled_object: rejection.key.name().to_owned(),
        }),
        text: printable(&rejection.why, MAX_TEXT),
        remedy: "KEDA's call was rejected, so this trigger does not scale. Correct its metadata, then check it with \
                 `jobrunr-scaler explain -f FILE`."
            .to_owned(),
    }
}

fn of_trigger(trigger: &TriggerView, severity: Severity, text: &str, remedy: &str) -> Problem {
    Problem {
        severity,
        storage: Some(trigger.storage.clone()),
        key: Some(Key { namespace: trigger.namespace.clone(), scaled_object: trigger.scaled_object.clone() }),
        text: text.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn of_failure(trigger: &TriggerView) -> Option<Problem> {
    let failure = trigger.failure.as_ref()?;
    let remedy = "KEDA gets this error: it keeps the pods, or uses the fallback of the ScaledObject.";
    Some(of_trigger(trigger, Severity::Error, failure, remedy))
}

fn of_warnings(trigger: &TriggerView) -> impl Iterator<Item = Problem> {
    let remedy = "It works; `jobrunr-scaler explain -f FILE` says the same of the manifest.";
    trigger.warnings.iter().map(move |warning| of_trigger(trigger, Severity::Warning, warning, remedy))
}
