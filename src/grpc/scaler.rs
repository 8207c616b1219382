//! KEDA's five calls.

use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use tracing::info;

use super::proto::external_scaler_server::ExternalScaler;
use super::proto::{GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef};
use super::warnings::Warnings;
use super::{convert, push};
use crate::clock::Clock;
use crate::metrics::{Metrics, StreamKind};
use crate::monitor::{StorageHandle, StorageHandles};
use crate::scaling::{Decision, ScaledObjectKey, Trigger};
use crate::text::{joined, printable};

/// Answers KEDA. Nothing of a decision is kept here: two of these agree.
pub struct Scaler {
    storages: watch::Receiver<StorageHandles>,
    clock: Clock,
    metrics: Metrics,
    warnings: Warnings,
}

/// What a call asks for: checked, bounded and printable.
struct Asked {
    key: ScaledObjectKey,
    trigger: Trigger,
    storage: StorageHandle,
}

impl Scaler {
    /// A scaler for these storages, which may change.
    #[must_use]
    pub fn new(storages: watch::Receiver<StorageHandles>, clock: Clock, metrics: Metrics) -> Self {
        Self { storages, clock, metrics, warnings: Warnings::default() }
    }

    fn asked(&self, reference: &ScaledObjectRef) -> Result<Asked, Status> {
        let key = ScaledObjectKey::parse(&reference.namespace, &reference.name).map_err(|error| {
            let status = convert::key_status(&error);
            self.warnings.warn(None, status.message());
            status
        })?;
        let metadata = reference.scaler_metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let trigger = Trigger::parse(metadata).map_err(|errors| convert::metadata_status(&errors));
        let found = trigger.and_then(|trigger| {
            let storage = self.storages.borrow().find(&trigger.storage, key.namespace()).cloned();
            Ok((storage.map_err(|error| convert::answer_status(&error))?, trigger))
        });
        match found {
            Ok((storage, mut trigger)) => {
                // Taken out, because a stream keeps the trigger for its whole life.
                for warning in std::mem::take(&mut trigger.warnings) {
                    self.warnings.warn(Some(&key), &warning);
                }
                Ok(Asked { key, trigger, storage })
            }
            Err(status) => {
                self.warnings.warn(Some(&key), status.message());
                Err(status)
            }
        }
    }

    async fn decision(&self, Asked { key, trigger, storage }: &Asked) -> Result<Decision, Status> {
        let decision = storage.answer(trigger, key.namespace(), self.clock).await;
        let decision = decision.map_err(|error| convert::answer_status(&error))?;
        tell(&self.metrics, key, trigger, &decision);
        Ok(decision)
    }

    async fn answer_is_active(&self, reference: &ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let decision = self.decision(&self.asked(reference)?).await?;
        Ok(IsActiveResponse { result: decision.active })
    }

    async fn answer_metric_spec(&self, reference: &ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
        let Asked { key, trigger, storage } = self.asked(reference)?;
        let target = target(&trigger, &storage, key.namespace()).await;
        Ok(convert::metric_spec(&trigger, target))
    }

    async fn answer_metrics(&self, request: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let Some(reference) = &request.scaled_object_ref else {
            return Err(Status::invalid_argument(
                "scaledObjectRef is missing: it names the ScaledObject and its metadata",
            ));
        };
        let asked = self.asked(reference)?;
        let name = asked.trigger.metric_name();
        // Old clients of Kubernetes lower-case the name on its way (kubernetes#72996).
        if !request.metric_name.eq_ignore_ascii_case(&name) {
            let given = printable(&request.metric_name, 80);
            return Err(Status::not_found(format!("metricName is `{given}`; this trigger's metric is `{name}`")));
        }
        let decision = self.decision(&asked).await?;
        Ok(convert::metric_value(&asked.trigger, &decision))
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
pub(super) fn tell(metrics: &Metrics, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) {
    let Some(change) = metrics.decided(key, trigger, decision) else { return };
    info!(
        scaled_object = %key,
        storage = trigger.storage,
        metric = %trigger.metric,
        trigger = trigger.settings().to_string(),
        value = decision.value,
        target = decision.target,
        active = decision.active,
        pods = change.pods,
        "{}",
        joined(&decision.reasons, "; ")
    );
}

/// A trigger's target. This never fails, whatever the database does: KEDA's fallback works only while GetMetricSpec does
/// (KEDA#8056). A number never touches the database; a computed target waits for it as long as any call does, and then
/// takes what was last known.
async fn target(trigger: &Trigger, storage: &StorageHandle, namespace: &str) -> f64 {
    if !trigger.target.is_auto() {
        return trigger.target_at(None).0;
    }
    let snapshot = match storage.monitor.ask(&trigger.question, namespace).await {
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
            let Asked { key, trigger, storage } = self.asked(request.get_ref())?;
            let watcher = storage.monitor.watch(trigger.question.clone(), key.namespace());
            let watcher = watcher.map_err(|error| convert::ask_error_status(&trigger.storage, &error))?;
            let metrics = self.metrics.clone();
            // There may be thousands of them: the metadata are not kept.
            Ok(push::activity(key, trigger, watcher, self.clock, metrics, storage.end))
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
            let Asked { key, trigger, storage } = self.asked(request.get_ref())?;
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
            let first = target(&trigger, &storage, key.namespace()).await;
            let watcher = storage.monitor.watch(trigger.question.clone(), key.namespace());
            let watcher = watcher.map_err(|error| convert::ask_error_status(&trigger.storage, &error))?;
            Ok(push::specs(trigger, first, watcher, open, storage.end))
        };
        self.counted("StreamMetricSpec", answer).await
    }
}
