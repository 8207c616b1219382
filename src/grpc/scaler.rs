//! KEDA's five calls.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tracing::{info, warn};

use super::proto::external_scaler_server::ExternalScaler;
use super::proto::{GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef};
use super::{convert, push};
use crate::clock::Clock;
use crate::metrics::{Metrics, StreamKind};
use crate::monitor::Monitor;
use crate::scaling::{Decision, Trigger, decide};

/// Remembered warnings; beyond them an oddity may be logged again.
const MAX_WARNINGS: usize = 1_000;

/// A storage that triggers may name.
#[derive(Clone)]
pub struct StorageEntry {
    /// Its owner.
    pub monitor: Monitor,
    /// The namespaces that may use it; `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// Ends its streams, with OK: when the server stops, and when the storage is changed or removed.
    pub end: CancellationToken,
}

/// The storages that triggers may name, by name.
pub type Entries = Arc<BTreeMap<String, StorageEntry>>;

impl StorageEntry {
    fn is_open_to(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|allowed| allowed.iter().any(|name| name == namespace))
    }
}

/// Answers KEDA. Nothing of a decision is kept here: two of these agree.
pub struct Scaler {
    storages: watch::Receiver<Entries>,
    clock: Clock,
    metrics: Metrics,
    warned: Mutex<HashSet<String>>,
}

impl Scaler {
    /// A scaler for these storages, which may change.
    #[must_use]
    pub fn new(storages: watch::Receiver<Entries>, clock: Clock, metrics: Metrics) -> Self {
        Self { storages, clock, metrics, warned: Mutex::default() }
    }

    /// What the trigger of this call comes to, before it becomes a message: for `explain`, which shows what KEDA gets.
    ///
    /// # Errors
    /// The status that KEDA gets.
    pub async fn explain(&self, reference: &ScaledObjectRef) -> Result<Decision, Status> {
        let (trigger, storage) = self.trigger(reference)?;
        self.decision(reference, &trigger, &storage).await
    }

    fn trigger(&self, reference: &ScaledObjectRef) -> Result<(Trigger, StorageEntry), Status> {
        let metadata = reference.scaler_metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let result = Trigger::parse(metadata).map_err(|errors| convert::metadata_status(&errors));
        let result = result.and_then(|trigger| {
            let storage = self.storage(&trigger.storage, &reference.namespace)?;
            Ok((trigger, storage))
        });
        match &result {
            Ok((trigger, _)) => trigger.warnings.iter().for_each(|warning| self.warn_once(reference, warning)),
            // KEDA shows errors of GetMetricSpec nowhere but in its own log.
            Err(status) => self.warn_once(reference, status.message()),
        }
        result
    }

    /// A storage that is not open to the namespace is to it as one that is not there: the same code, the same text.
    fn storage(&self, name: &str, namespace: &str) -> Result<StorageEntry, Status> {
        let storages = Arc::clone(&self.storages.borrow());
        if let Some(storage) = storages.get(name).filter(|storage| storage.is_open_to(namespace)) {
            return Ok(storage.clone());
        }
        let open = storages.iter().filter(|(_, storage)| storage.is_open_to(namespace));
        let names: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        if storages.values().all(|storage| storage.namespaces.is_none()) {
            return Err(Status::not_found(format!(
                "`storage` is `{name}`, which is not configured; there are: {names}"
            )));
        }
        Err(Status::permission_denied(format!(
            "`storage` is `{name}`, which is not configured, or not open to the namespace `{namespace}`; open to it are: \
             {names}"
        )))
    }

    fn warn_once(&self, reference: &ScaledObjectRef, text: &str) {
        let scaled_object = format!("{}/{}", reference.namespace, reference.name);
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if MAX_WARNINGS <= warned.len() {
            warned.clear();
        }
        if warned.insert(format!("{scaled_object} {text}")) {
            warn!(scaled_object, "{text}");
        }
    }

    async fn decision(
        &self,
        reference: &ScaledObjectRef,
        trigger: &Trigger,
        storage: &StorageEntry,
    ) -> Result<Decision, Status> {
        let answer = storage.monitor.ask(&trigger.question).await;
        let snapshot = answer.map_err(|error| convert::no_answer_status(&trigger.storage, &error))?;
        let decision = decide(trigger, &snapshot, self.clock.now())
            .map_err(|missing| convert::missing_column_status(&trigger.storage, &missing))?;
        tell(&self.metrics, &reference.namespace, &reference.name, trigger, &decision);
        Ok(decision)
    }

    async fn answer_is_active(&self, reference: &ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let (trigger, storage) = self.trigger(reference)?;
        let decision = self.decision(reference, &trigger, &storage).await?;
        Ok(IsActiveResponse { result: decision.active })
    }

    async fn answer_metric_spec(&self, reference: &ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
        let (trigger, storage) = self.trigger(reference)?;
        let target = target(&trigger, &storage).await;
        Ok(convert::metric_spec(&trigger, target))
    }

    async fn answer_metrics(&self, request: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let Some(reference) = &request.scaled_object_ref else {
            return Err(Status::invalid_argument(
                "scaledObjectRef is missing: it names the ScaledObject and its metadata",
            ));
        };
        let (trigger, storage) = self.trigger(reference)?;
        let name = trigger.metric_name();
        // Old clients of Kubernetes lower-case the name on its way (kubernetes#72996).
        if !request.metric_name.eq_ignore_ascii_case(&name) {
            let text = format!("metricName is `{}`; this trigger's metric is `{name}`", request.metric_name);
            return Err(Status::not_found(text));
        }
        let decision = self.decision(reference, &trigger, &storage).await?;
        Ok(convert::metric_value(&trigger, &decision))
    }

    /// Counts a call, and makes its answer a response.
    async fn counted<T>(
        &self,
        method: &'static str,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, Status> {
        let began = Instant::now();
        let answer = answer.await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.called(method, code, began.elapsed());
        answer.map(Response::new)
    }
}

/// Shows what a trigger came to, and says in the log what has changed of it.
pub(super) fn tell(metrics: &Metrics, namespace: &str, name: &str, trigger: &Trigger, decision: &Decision) {
    let change = metrics.decided(namespace, name, trigger, decision);
    if let Some(change) = change {
        info!(
            scaled_object = %format_args!("{namespace}/{name}"),
            storage = trigger.storage,
            metric = %trigger.metric,
            value = decision.value,
            target = decision.target,
            active = decision.active,
            pods = change.pods,
            "{}",
            decision.reasons.join("; ")
        );
    }
}

/// A trigger's target. This never fails, whatever the database does: KEDA's fallback works only while GetMetricSpec does
/// (KEDA#8056). A number never touches the database; a computed target waits for it as long as any call does, and then
/// takes what was last known.
async fn target(trigger: &Trigger, storage: &StorageEntry) -> f64 {
    if !trigger.target.is_auto() {
        return trigger.target_at(None).0;
    }
    let snapshot = match storage.monitor.ask(&trigger.question).await {
        Ok(snapshot) => Some(snapshot),
        Err(_) => storage.monitor.last_known(),
    };
    trigger.target_at(snapshot.as_deref()).0
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        self.counted("IsActive", self.answer_is_active(request.get_ref())).await
    }

    type StreamIsActiveStream = BoxStream<'static, Result<IsActiveResponse, Status>>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let answer = async {
            let reference = request.into_inner();
            let (trigger, storage) = self.trigger(&reference)?;
            let watcher = storage.monitor.watch(trigger.question.clone());
            let watcher = watcher.map_err(|error| convert::no_answer_status(&trigger.storage, &error))?;
            let metrics = self.metrics.clone();
            // There may be thousands of them: the metadata are not kept.
            let of = push::Of { namespace: reference.namespace.into(), name: reference.name.into() };
            Ok(push::activity(of, trigger, watcher, self.clock, metrics, storage.end))
        };
        self.counted("StreamIsActive", answer).await
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.counted("GetMetricSpec", self.answer_metric_spec(request.get_ref())).await
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        self.counted("GetMetrics", self.answer_metrics(request.get_ref())).await
    }

    type StreamMetricSpecStream = BoxStream<'static, Result<GetMetricSpecResponse, Status>>;

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let answer = async {
            let (trigger, storage) = self.trigger(request.get_ref())?;
            // A number never changes, and each message makes KEDA reconcile the ScaledObject. KEDA's contract: "If unimplemented
            // (returns Unimplemented), KEDA silently falls back to the existing pull-based behavior."
            if !trigger.target.is_auto() {
                return Err(Status::unimplemented(
                    "targetValue is a number: the target never changes, GetMetricSpec has it",
                ));
            }
            let open = self.metrics.stream(StreamKind::Spec);
            // To say nothing before it changes is forbidden: "Servers implementing this RPC must […] Send the current metric specs
            // immediately when the stream is opened".
            let first = target(&trigger, &storage).await;
            let watcher = storage.monitor.watch(trigger.question.clone());
            let watcher = watcher.map_err(|error| convert::no_answer_status(&trigger.storage, &error))?;
            Ok(push::specs(trigger, first, watcher, open, storage.end))
        };
        self.counted("StreamMetricSpec", answer).await
    }
}
