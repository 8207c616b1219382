//! What there is to show, typed. Its serialization is the JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::problems::{self, Problem};
use super::query::Query;
use crate::jobrunr::Question;
use crate::monitor::{MonitorStatus, StorageHandle, StorageHandles};
use crate::recent::{Column, Recent, RecentTrigger};
use crate::scaling::Reason;
use crate::storage::Finding;
use crate::text::printable;

/// A trigger that was not asked for this long is called silent: its ScaledObject may be gone or paused. KEDA's polling interval is
/// rarely as long.
const SILENT_AFTER: Duration = Duration::from_secs(600);
/// The instants to come that are shown of a storage.
const MAX_NEXT: usize = 5;
/// The ScaledObjects that are named for one of them.
const MAX_NAMES: usize = 3;
/// The longest text that is shown, in characters.
pub(super) const MAX_TEXT: usize = 1_000;

/// Everything there is to show.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    /// The program's version.
    pub(super) version: &'static str,
    /// When it was collected.
    #[serde(serialize_with = "as_text")]
    pub(super) at: Timestamp,
    /// What is wrong, and what to do; the worst first.
    pub(super) problems: Vec<Problem>,
    pub(super) storages: Vec<StorageView>,
    /// By namespace and name.
    pub(super) triggers: Vec<TriggerView>,
    /// Decisions about triggers that are not remembered, because there are too many.
    pub(super) decisions_dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StorageState {
    /// The latest read succeeded.
    Up,
    /// The latest read failed, and the last answer still serves.
    Stale,
    /// KEDA gets errors.
    Down,
    /// Nobody asks, so nothing is read.
    Unused,
    /// The first answer is awaited.
    Starting,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StorageView {
    pub(super) name: String,
    pub(super) state: StorageState,
    /// Why the latest read failed.
    pub(super) cause: Option<String>,
    pub(super) retry_in_seconds: Option<f64>,
    pub(super) snapshot_age_seconds: Option<f64>,
    pub(super) read_seconds: Option<f64>,
    pub(super) live_servers: Option<u64>,
    pub(super) workers: Option<u64>,
    /// Whether the database notifies of new jobs.
    pub(super) is_listening: bool,
    /// The namespaces that may use it; `null` for all.
    pub(super) namespaces: Option<Vec<String>>,
    /// When it was checked.
    #[serde(serialize_with = "as_text_or_null")]
    pub(super) checked_at: Option<Timestamp>,
    /// What the check found.
    pub(super) findings: Vec<Finding>,
    /// What the latest read noticed, such as damaged rows.
    pub(super) notes: Vec<String>,
    /// What becomes due next, the soonest first.
    pub(super) next: Vec<NextView>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NextView {
    /// When a trigger starts to count it.
    #[serde(serialize_with = "as_text")]
    pub(super) counts_from: Timestamp,
    /// When it is due.
    #[serde(serialize_with = "as_text")]
    pub(super) at: Timestamp,
    /// The id of the recurring job, if it is a run that JobRunr has yet to create.
    pub(super) recurring_job: Option<String>,
    /// Some of the ScaledObjects that count it.
    pub(super) scaled_objects: Vec<String>,
}

/// How a trigger is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Active,
    Inactive,
    /// It has no answer.
    Failed,
    /// Nobody has asked for it for a while.
    Silent,
    /// It was asked for and has no decision yet.
    New,
}

impl State {
    /// Those that can be selected.
    pub(super) const SELECTABLE: [Self; 4] = [Self::Active, Self::Inactive, Self::Failed, Self::Silent];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::New => "new",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::SELECTABLE.into_iter().find(|state| state.name() == name)
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TriggerView {
    pub(super) namespace: String,
    pub(super) scaled_object: String,
    pub(super) storage: String,
    pub(super) metric: &'static str,
    /// `priority 1 and serverTag gpu`, or empty.
    pub(super) filter: String,
    /// Its settings, as in the metadata and without defaults.
    pub(super) settings: String,
    pub(super) state: State,
    pub(super) decision: Option<DecisionView>,
    /// Why it has no answer.
    pub(super) failure: Option<String>,
    /// What in the metadata is valid but likely not intended.
    pub(super) warnings: Vec<String>,
    pub(super) asked_seconds_ago: f64,
    /// Ten seconds each, the oldest first.
    #[serde(rename = "lastHalfHour", skip_serializing_if = "Vec::is_empty")]
    pub(super) columns: Vec<Column>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecisionView {
    pub(super) value: f64,
    pub(super) target: f64,
    pub(super) active: bool,
    pub(super) truncated: bool,
    /// The pods that it asks for as an AverageValue.
    pub(super) pods: u64,
    pub(super) seconds_ago: f64,
    /// Why, in words.
    pub(super) reasons: Vec<String>,
    /// Why, with numbers.
    pub(super) details: Vec<Reason>,
}

impl View {
    pub(super) fn collect(recent: &Recent, handles: &StorageHandles, now: Timestamp) -> Self {
        let mut triggers = recent.triggers();
        triggers.sort_by_cached_key(|known| {
            let (key, trigger) = (known.key(), known.trigger());
            let settings = trigger.settings().to_string();
            (
                key.namespace().to_owned(),
                key.name().to_owned(),
                trigger.storage.clone(),
                trigger.metric.name(),
                settings,
            )
        });
        let storages: Vec<StorageView> =
            handles.iter().map(|(name, handle)| StorageView::new(name, handle, &triggers)).collect();
        let triggers: Vec<TriggerView> = triggers.into_iter().map(|known| TriggerView::new(known, &storages)).collect();
        let problems = problems::find(&storages, &triggers, &recent.rejections());
        let decisions_dropped = recent.n_dropped();
        Self { version: env!("CARGO_PKG_VERSION"), at: now, problems, storages, triggers, decisions_dropped }
    }

    /// Returns what a link selects of it. A storage is shown if it is named, or if one of the triggers uses it.
    pub(super) fn selected(&self, query: &Query) -> Self {
        if query.is_empty() {
            return self.clone();
        }
        let triggers: Vec<TriggerView> =
            self.triggers.iter().filter(|trigger| query.selects(trigger)).cloned().collect();
        let is_shown = |name: &str| match &query.storage {
            Some(storage) => storage == name,
            None => triggers.iter().any(|trigger| trigger.storage == name),
        };
        let is_selected = |problem: &&Problem| match (&problem.key, &problem.storage) {
            (Some(key), storage) => {
                query.selects_key(&key.namespace, &key.scaled_object)
                    && storage.as_deref().is_none_or(|storage| query.selects_storage(storage))
            }
            (None, Some(storage)) => is_shown(storage),
            (None, None) => true,
        };
        Self {
            problems: self.problems.iter().filter(is_selected).cloned().collect(),
            storages: self.storages.iter().filter(|storage| is_shown(&storage.name)).cloned().collect(),
            triggers,
            ..Self { problems: Vec::new(), storages: Vec::new(), triggers: Vec::new(), ..*self }
        }
    }
}

impl StorageView {
    fn new(name: &str, handle: &StorageHandle, triggers: &[RecentTrigger]) -> Self {
        let status = handle.monitor.status();
        let snapshot = status.snapshot.as_deref();
        let checked = handle.findings.get();
        let state = state(&status);
        Self {
            name: name.to_owned(),
            state,
            cause: status.failure.as_ref().map(|failure| printable(&failure.cause, MAX_TEXT)),
            retry_in_seconds: status.failure.as_ref().map(|failure| failure.retry_in.as_secs_f64()),
            snapshot_age_seconds: status.age.map(|age| age.as_secs_f64()),
            read_seconds: status.read_took.map(|took| took.as_secs_f64()),
            live_servers: snapshot.map(|snapshot| snapshot.live_servers().count() as u64),
            workers: snapshot.map(|snapshot| {
                snapshot.live_servers().map(|server| server.worker_pool_size).fold(0, u64::saturating_add)
            }),
            is_listening: status.is_listening,
            namespaces: handle.namespaces.as_deref().map(<[String]>::to_vec),
            checked_at: checked.map(|checked| checked.at),
            findings: checked.map(|checked| printable_findings(&checked.findings)).unwrap_or_default(),
            notes: snapshot.map(|s| s.notes.iter().map(|note| printable(note, MAX_TEXT)).collect()).unwrap_or_default(),
            next: next(name, &status, triggers),
        }
    }

    /// Whether KEDA gets answers from it.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.state, StorageState::Up | StorageState::Stale | StorageState::Unused)
    }
}

fn state(status: &MonitorStatus) -> StorageState {
    match (&status.failure, status.is_served) {
        // Also after a failure: nobody gets an error, and it is not tried again.
        _ if status.questions.is_empty() => StorageState::Unused,
        (Some(_), true) => StorageState::Stale,
        (Some(_), false) => StorageState::Down,
        (None, _) if status.snapshot.is_none() => StorageState::Starting,
        (None, true) => StorageState::Up,
        (None, false) => StorageState::Down,
    }
}

fn printable_findings(findings: &[Finding]) -> Vec<Finding> {
    findings.iter().map(|f| Finding { level: f.level, topic: f.topic, text: printable(&f.text, MAX_TEXT) }).collect()
}

/// Returns what becomes due next for the triggers of a storage.
fn next(storage: &str, status: &MonitorStatus, triggers: &[RecentTrigger]) -> Vec<NextView> {
    let Some(snapshot) = status.snapshot.as_deref() else { return Vec::new() };
    let asked: Vec<Question> = status.questions.all().collect();
    let mut found: BTreeMap<(Timestamp, Timestamp, Option<String>), Vec<String>> = BTreeMap::new();
    for known in triggers.iter().filter(|known| known.trigger().storage == storage) {
        // What is not asked at present, the snapshot does not answer.
        let question = &known.trigger().question;
        let is_asked = asked.iter().any(|a| a.filter == question.filter && a.look_ahead == question.look_ahead);
        let Some(next) = snapshot.next_due(question).filter(|_| is_asked) else { continue };
        let job = next.recurring_job.map(|job| printable(job, MAX_TEXT));
        let names = found.entry((next.counts_from, next.at, job)).or_default();
        let name = known.key().to_string();
        if !names.contains(&name) && names.len() < MAX_NAMES {
            names.push(name);
        }
    }
    let next = found.into_iter().map(|((counts_from, at, recurring_job), scaled_objects)| NextView {
        counts_from,
        at,
        recurring_job,
        scaled_objects,
    });
    next.take(MAX_NEXT).collect()
}

impl TriggerView {
    fn new(known: RecentTrigger, storages: &[StorageView]) -> Self {
        let (key, trigger) = (known.key(), known.trigger());
        let is_answering = storages.iter().any(|storage| storage.name == trigger.storage && storage.is_answering());
        let state = match &known.decision {
            _ if SILENT_AFTER <= known.asked_age => State::Silent,
            _ if known.failure.is_some() => State::Failed,
            Some(_) if !is_answering => State::Failed,
            Some(decision) if decision.active => State::Active,
            Some(_) => State::Inactive,
            None => State::New,
        };
        Self {
            namespace: key.namespace().to_owned(),
            scaled_object: key.name().to_owned(),
            storage: trigger.storage.clone(),
            metric: trigger.metric.name(),
            filter: trigger.question.filter.to_string().trim_start_matches(" with ").to_owned(),
            settings: trigger.settings().to_string(),
            state,
            failure: known.failure.as_deref().map(str::to_owned),
            warnings: trigger.warnings.clone(),
            asked_seconds_ago: known.asked_age.as_secs_f64(),
            decision: known.decision.zip(known.decision_age).map(|(decision, age)| DecisionView {
                value: decision.value,
                target: decision.target,
                active: decision.active,
                truncated: decision.truncated,
                pods: decision.pods(),
                seconds_ago: age.as_secs_f64(),
                reasons: decision.reasons.iter().map(|reason| printable(&reason.to_string(), MAX_TEXT)).collect(),
                details: decision.reasons,
            }),
            columns: known.columns,
        }
    }
}

fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn as_text_or_null<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::*;
    use crate::metrics::Metrics;
    use crate::recent::Recent;
    use crate::scaling::{ScaledObjectKey, Trigger};

    /// A trigger that was corrected has another id, and nobody asks for the old one.
    #[tokio::test(start_paused = true)]
    async fn trigger_that_nobody_asks_for_is_no_problem() {
        let recent = Recent::new();
        let key = ScaledObjectKey::parse("shop", "worker").unwrap();
        let trigger = |storage| {
            Trigger::parse([("metric", "demand"), ("targetValue", "8"), ("storage", storage)].into_iter()).unwrap()
        };
        let (wrong, right) = (trigger("ordres"), trigger("orders"));
        let metrics = Metrics::default();
        recent.record_rejection(&key, "storage `ordres` is not configured");
        recent.record_failure(metrics.trigger_id(&key, &wrong), &key, &wrong, "storage `ordres` is not configured");
        let problems = || {
            let triggers: Vec<TriggerView> =
                recent.triggers().into_iter().map(|known| TriggerView::new(known, &[])).collect();
            problems::find(&[], &triggers, &recent.rejections()).len()
        };
        assert_eq!((problems(), recent.rejections().len()), (1, 0), "a new trigger may be the correction");
        recent.introduce(metrics.trigger_id(&key, &right), &key, &right);
        tokio::time::advance(SILENT_AFTER).await;
        assert_eq!((problems(), recent.triggers().len()), (0, 2));
    }
}
