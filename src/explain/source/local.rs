//! Answers from the database, through the same monitors and the same decision as `serve`.

use std::collections::BTreeMap;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Reading, Reply, namespace_error, warnings};
use crate::clock::Clock;
use crate::config::StorageConfig;
use crate::explain::promise;
use crate::explain::report::StorageReport;
use crate::kubernetes::manifest::ScaledObject;
use crate::metrics::Metrics;
use crate::monitor::{AnswerError, AskError, StorageHandle, StorageHandles};
use crate::scaling::{Decision, KindEstimate, Metric, ScaledObjectKey, Trigger};
use crate::serve;
use crate::storage::{Notifications, Storage};
use crate::tasks::Tasks;

const CLOCK: Clock = Clock::System;
/// Kinds of jobs that are shown, those with the most work.
const MAX_KINDS: usize = 5;

/// The configured storages, each with its own monitor.
pub(in crate::explain) struct Local {
    handles: StorageHandles,
    configs: BTreeMap<String, StorageConfig>,
    /// Whether each storage notifies of new jobs, once that is known.
    notify_state: Mutex<BTreeMap<String, Notifications>>,
    _stop_readers: DropGuard,
}

impl Local {
    pub(in crate::explain) fn new(configs: BTreeMap<String, StorageConfig>) -> Self {
        let (metrics, tasks, stop) = (Metrics::default(), Tasks::default(), CancellationToken::new());
        let handles = configs
            .iter()
            .map(|(name, storage)| (name.clone(), serve::start_storage(name, storage, CLOCK, &metrics, &tasks, &stop)));
        Self { handles: handles.collect(), configs, notify_state: Mutex::default(), _stop_readers: stop.drop_guard() }
    }

    pub(super) async fn reply(&self, object: &ScaledObject, mut trigger: Trigger) -> Reply {
        // Also for a trigger without a promise, to see whether one is advisable.
        trigger.question.work |= trigger.metric == Metric::Demand;
        let namespace = object.namespace_or_default();
        let storage = match self.storage(object, &trigger) {
            Ok(storage) => storage,
            Err(error) => return Reply::error(error, warnings(trigger, None)),
        };
        let decision = self.decide(storage, &trigger, namespace).await;
        // GetMetricSpec answers even if the database does not.
        let snapshot = storage.monitor.last_known();
        let target = match &decision {
            Ok(decision) => decision.target,
            Err(_) => trigger.target_at(snapshot.as_deref()).0,
        };
        let mut reading = decision.map(Reading::from).map_err(|error| error.to_string());
        if let (Ok(reading), Some(snapshot)) = (&mut reading, &snapshot) {
            let kinds = KindEstimate::of(&trigger, snapshot).into_iter().take(MAX_KINDS);
            let is_estimated = trigger.promise.max_latency.is_some() || trigger.metric.is_estimate();
            reading.reasons.extend(kinds.filter(|_| is_estimated).map(|kind| kind.to_string()));
        }
        let short_jobs = snapshot.as_deref().and_then(|snapshot| promise::short_jobs(&trigger, snapshot));
        trigger.warnings.extend(short_jobs);
        Reply {
            metric_name: Some(trigger.metric_name()),
            target: Some(target),
            warnings: warnings(trigger, snapshot.as_deref()),
            reading,
        }
    }

    fn storage(&self, object: &ScaledObject, trigger: &Trigger) -> Result<&StorageHandle, String> {
        let namespace = object.namespace_or_default();
        ScaledObjectKey::parse(namespace, &object.name).map_err(|error| error.to_string())?;
        self.handles.find(&trigger.storage, namespace).map_err(|error| match error {
            AnswerError::ForbiddenStorage { .. } => namespace_error(object, error.to_string()),
            error => error.to_string(),
        })
    }

    async fn decide(
        &self,
        storage: &StorageHandle,
        trigger: &Trigger,
        namespace: &str,
    ) -> Result<Decision, AnswerError> {
        match storage.answer(trigger, namespace, CLOCK).await {
            Err(AnswerError::NoAnswer { cause: AskError::Unavailable { .. }, .. }) => {
                self.first_read(storage, trigger, namespace).await;
                storage.answer(trigger, namespace, CLOCK).await
            }
            answer => answer,
        }
    }

    /// Waits for a slow first connection, which KEDA's calls must not.
    async fn first_read(&self, storage: &StorageHandle, trigger: &Trigger, namespace: &str) {
        let Some(config) = self.configs.get(&trigger.storage) else { return };
        if let Ok(mut watcher) = storage.monitor.watch(trigger.question.clone(), namespace) {
            // It connects, inspects the tables, and reads.
            let patience = config.connect_timeout + 2 * config.statement_timeout;
            // However it ends, the next answer says so.
            let _ = timeout(patience, watcher.changed()).await;
        }
    }

    /// Describes the storages that were read.
    pub(super) async fn storages(&self) -> Vec<StorageReport> {
        let mut reports = Vec::new();
        for (name, config) in &self.configs {
            let Some(snapshot) = self.handles.get(name).and_then(|storage| storage.monitor.last_known()) else {
                continue;
            };
            let notifications = self.notifications(name, config).await;
            reports.push(StorageReport {
                name: name.clone(),
                notifies: notifications == Notifications::Installed,
                activation: notifications.delay(config.refresh),
                warnings: snapshot.notes.clone(),
            });
        }
        reports
    }

    async fn notifications(&self, name: &str, config: &StorageConfig) -> Notifications {
        let mut known = self.notify_state.lock().await;
        if let Some(notifications) = known.get(name) {
            return *notifications;
        }
        let answer = timeout(config.connect_timeout, config.notifications()).await;
        let notifications = if let Ok(Ok(known)) = answer { known } else { Notifications::NotInstalled };
        known.insert(name.to_owned(), notifications);
        notifications
    }
}

impl From<Decision> for Reading {
    fn from(decision: Decision) -> Self {
        let Decision { value, active, truncated, reasons, target: _ } = decision;
        let words = reasons.iter().map(ToString::to_string).collect();
        Self { value, active, truncated: Some(truncated), reasons: words, details: reasons }
    }
}
