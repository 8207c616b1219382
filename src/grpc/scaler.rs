//! KEDA's five calls.

use std::sync::Arc;

use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::decision_log::DecisionLog;
use super::proto::external_scaler_server::ExternalScaler;
use super::proto::{GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef};
use super::trigger_cache::{Answer, LastAnswer, NamedTrigger, TriggerCache};
use super::warnings::Warnings;
use super::{convert, push};
use crate::clock::Clock;
use crate::metrics::{CallMetrics, Metrics, StreamKind};
use crate::monitor::{StorageHandle, StorageHandles};
use crate::recent::Recent;
use crate::scaling::{ScaledObjectKey, Trigger};
use crate::text::printable;

/// Answers KEDA. No answer depends on what is kept here, so that two replicas agree.
pub struct Scaler {
    storages: watch::Receiver<StorageHandles>,
    metrics: Metrics,
    calls: Calls,
    triggers: TriggerCache,
    warnings: Warnings,
    recent: Recent,
    decisions: Arc<DecisionLog>,
}

/// The metrics of each call.
struct Calls {
    is_active: CallMetrics,
    stream_is_active: CallMetrics,
    get_metric_spec: CallMetrics,
    get_metrics: CallMetrics,
    stream_metric_spec: CallMetrics,
}

impl Scaler {
    /// A scaler for these storages, which may change. `recent` gets its decisions.
    #[must_use]
    pub fn new(storages: watch::Receiver<StorageHandles>, clock: Clock, metrics: Metrics, recent: Recent) -> Self {
        let calls = Calls {
            is_active: metrics.calls("IsActive"),
            stream_is_active: metrics.calls("StreamIsActive"),
            get_metric_spec: metrics.calls("GetMetricSpec"),
            get_metrics: metrics.calls("GetMetrics"),
            stream_metric_spec: metrics.calls("StreamMetricSpec"),
        };
        let decisions = Arc::new(DecisionLog::new(clock, metrics.clone(), recent.clone()));
        let (triggers, warnings) = (TriggerCache::default(), Warnings::default());
        Self { storages, metrics, calls, triggers, warnings, recent, decisions }
    }

    /// Returns the trigger that a call asks for: checked, bounded and printable.
    fn trigger(&self, reference: &ScaledObjectRef) -> Result<Arc<NamedTrigger>, Status> {
        self.triggers.get_or_parse(reference, || self.parse(reference))
    }

    fn parse(&self, reference: &ScaledObjectRef) -> Result<NamedTrigger, Status> {
        let key = ScaledObjectKey::parse(&reference.namespace, &reference.name)
            .map_err(|error| self.rejected(None, convert::key_status(&error)))?;
        let metadata = reference.scaler_metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut trigger =
            Trigger::parse(metadata).map_err(|errors| self.rejected(Some(&key), convert::metadata_status(&errors)))?;
        let id = self.metrics.trigger_id(&key, &trigger);
        self.recent.introduce(id, &key, &trigger);
        // Taken out, because the trigger stays in the cache.
        for warning in std::mem::take(&mut trigger.warnings) {
            self.warnings.warn(Some(&key), &warning);
        }
        Ok(NamedTrigger { id, key, trigger, last: LastAnswer::default() })
    }

    /// Logs why a call is rejected, and shows it.
    fn rejected(&self, key: Option<&ScaledObjectKey>, status: Status) -> Status {
        self.warnings.warn(key, status.message());
        if let Some(key) = key {
            self.recent.record_rejection(key, status.message());
        }
        status
    }

    /// Returns the storages as they are now.
    fn storages(&self) -> StorageHandles {
        self.storages.borrow().clone()
    }

    fn find<'a>(&self, storages: &'a StorageHandles, named: &NamedTrigger) -> Result<&'a StorageHandle, Status> {
        let storage = storages.find(&named.trigger.storage, named.key.namespace());
        storage.map_err(|error| {
            let status = self.decisions.failed(named, &error);
            self.warnings.warn(Some(&named.key), status.message());
            status
        })
    }

    async fn answer(&self, named: &NamedTrigger) -> Result<Answer, Status> {
        let storages = self.storages();
        let storage = self.find(&storages, named)?;
        let snapshot = storage.ask(&named.trigger, named.key.namespace()).await;
        let snapshot = snapshot.map_err(|error| self.decisions.failed(named, &error))?;
        self.decisions.decide(named, &snapshot)
    }

    async fn answer_is_active(&self, reference: &ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let named = self.trigger(reference)?;
        Ok(IsActiveResponse { result: self.answer(&named).await?.active })
    }

    async fn answer_metric_spec(&self, reference: &ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
        let named = self.trigger(reference)?;
        let storages = self.storages();
        let target = target(&named, self.find(&storages, &named)?).await;
        Ok(convert::metric_spec(named.trigger.metric_name(), target))
    }

    async fn answer_metrics(&self, request: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let Some(reference) = &request.scaled_object_ref else {
            return Err(Status::invalid_argument(
                "scaledObjectRef is missing: it names the ScaledObject and its metadata",
            ));
        };
        let named = self.trigger(reference)?;
        let name = named.trigger.metric_name();
        // Old Kubernetes clients convert the name to lower case (kubernetes#72996).
        if !request.metric_name.eq_ignore_ascii_case(&name) {
            // An unknown storage is the better explanation.
            self.find(&self.storages(), &named)?;
            let asked = printable(&request.metric_name, 80);
            return Err(Status::not_found(format!("metricName is `{asked}`; this trigger's metric is `{name}`")));
        }
        Ok(convert::metric_value(name, self.answer(&named).await?.value))
    }
}

/// Records a call, and returns its response.
async fn recorded<T>(
    metrics: &CallMetrics,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let began = Instant::now();
    let answer = answer.await;
    let code = answer.as_ref().map_or_else(|status| convert::code_name(status.code()), |_| "Ok");
    metrics.record(code, began.elapsed());
    answer.map(Response::new)
}

/// Returns a trigger's target. Never fails because of the database: KEDA's fallback works only while GetMetricSpec does
/// (KEDA#8056). A fixed target needs no database. A computed one waits for it as long as any call does, and then uses the latest
/// snapshot.
async fn target(named: &NamedTrigger, storage: &StorageHandle) -> f64 {
    let trigger = &named.trigger;
    if !trigger.target.is_auto() {
        return trigger.target_at(None).0;
    }
    let snapshot = match storage.monitor.ask(&trigger.question, named.key.namespace()).await {
        Ok(snapshot) => Some(snapshot),
        Err(_) => storage.monitor.last_known(),
    };
    trigger.target_at(snapshot.as_deref()).0
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        recorded(&self.calls.is_active, self.answer_is_active(request.get_ref())).await
    }

    type StreamIsActiveStream = BoxStream<'static, Result<IsActiveResponse, Status>>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let answer = async {
            let named = self.trigger(request.get_ref())?;
            let storages = self.storages();
            let storage = self.find(&storages, &named)?;
            let watcher = storage.monitor.watch(named.trigger.question.clone(), named.key.namespace());
            let watcher = watcher.map_err(|error| convert::ask_error_status(&named.trigger.storage, &error))?;
            let decisions = Arc::clone(&self.decisions);
            let stop = storage.end.clone();
            Ok(push::activity(named, watcher, decisions, &self.metrics, stop))
        };
        recorded(&self.calls.stream_is_active, answer).await
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        recorded(&self.calls.get_metric_spec, self.answer_metric_spec(request.get_ref())).await
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        recorded(&self.calls.get_metrics, self.answer_metrics(request.get_ref())).await
    }

    type StreamMetricSpecStream = BoxStream<'static, Result<GetMetricSpecResponse, Status>>;

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let answer = async {
            let named = self.trigger(request.get_ref())?;
            let storages = self.storages();
            let storage = self.find(&storages, &named)?;
            // A fixed target never changes, and each message makes KEDA reconcile the ScaledObject. KEDA's contract: "If
            // unimplemented (returns Unimplemented), KEDA silently falls back to the existing pull-based behavior."
            if !named.trigger.target.is_auto() {
                return Err(Status::unimplemented(
                    "targetValue is a number: the target never changes, GetMetricSpec has it",
                ));
            }
            let open = self.metrics.stream(StreamKind::Spec);
            // The first message cannot wait for a change: "Servers implementing this RPC must […] Send the current metric specs
            // immediately when the stream is opened".
            let first = target(&named, storage).await;
            let watcher = storage.monitor.watch(named.trigger.question.clone(), named.key.namespace());
            let watcher = watcher.map_err(|error| convert::ask_error_status(&named.trigger.storage, &error))?;
            Ok(push::specs(Arc::clone(&named), first, watcher, open, storage.end.clone()))
        };
        recorded(&self.calls.stream_metric_spec, answer).await
    }
}
