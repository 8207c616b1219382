//! Asks for a trigger: the database itself, or a running scaler as KEDA would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status};

use super::report::StorageReport;
use crate::clock::Clock;
use crate::config::StorageConfig;
use crate::grpc::proto::external_scaler_client::ExternalScalerClient;
use crate::grpc::proto::external_scaler_server::ExternalScaler;
use crate::grpc::proto::{GetMetricsRequest, MetricSpec, MetricValue, ScaledObjectRef};
use crate::grpc::{Scaler, StorageEntry};
use crate::jobrunr::Snapshot;
use crate::kubernetes::manifest::{self, ScaledObject};
use crate::metrics::Metrics;
use crate::scaling::{Decision, Trigger};
use crate::serve;
use crate::storage::{Notifications, Storage};
use crate::tasks::Tasks;

/// Longer than a scaler that works ever takes. KEDA itself would wait for ever.
const DEADLINE: Duration = Duration::from_secs(5);

/// What was found out about a trigger.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The metric's name towards KEDA, without the index of the trigger. `None` where GetMetricSpec fails: KEDA has no fallback
    /// then.
    pub(super) metric_name: Option<String>,
    /// The target. Known even while the database is away.
    pub(super) target: Option<f64>,
    /// What in the metadata is likely not intended.
    pub(super) warnings: Vec<String>,
    /// The rest, or why there is none.
    pub(super) reading: Result<Reading, String>,
}

/// What a trigger that works came to.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) value: f64,
    pub(super) active: bool,
    pub(super) truncated: Option<bool>,
    pub(super) reasons: Vec<String>,
}

/// Whoever answers.
pub(super) enum Asker {
    Database(Box<Database>),
    Remote(Remote),
}

impl Asker {
    /// What there is to say of the storages; a running scaler does not tell.
    pub(super) async fn storages(&self) -> Vec<StorageReport> {
        match self {
            Self::Database(database) => database.storages().await,
            Self::Remote(_) => Vec::new(),
        }
    }

    pub(super) async fn ask(&self, object: &ScaledObject, trigger: &manifest::Trigger) -> Answer {
        let reference = ScaledObjectRef {
            name: object.name.clone(),
            namespace: super::report::namespace(object).to_owned(),
            scaler_metadata: trigger.metadata.clone().into_iter().collect(),
        };
        match self {
            Self::Database(database) => database.ask(&reference).await,
            Self::Remote(remote) => remote.ask(reference).await,
        }
    }
}

/// What in the metadata is likely not intended. A misplaced `metricType` is among the manifest's warnings, with more to it.
fn warnings(reference: &ScaledObjectRef, snapshot: Option<&Snapshot>) -> Vec<String> {
    let metadata = reference.scaler_metadata.iter().filter(|(key, _)| *key != "metricType");
    let Ok(mut trigger) = Trigger::parse(metadata.map(|(key, value)| (key.as_str(), value.as_str()))) else {
        return Vec::new();
    };
    trigger.warnings.extend(trigger.latency_warning(snapshot));
    trigger.warnings
}

/// The database, by way of the very scaler that `serve` runs.
pub(super) struct Database {
    scaler: Scaler,
    storages: BTreeMap<String, (StorageEntry, Duration)>,
    configs: BTreeMap<String, StorageConfig>,
    /// Whether each storage notifies of new jobs, once that is known.
    notifications: tokio::sync::Mutex<BTreeMap<String, Notifications>>,
    _readers_end_with_us: DropGuard,
}

impl Database {
    pub(super) fn new(configs: &BTreeMap<String, StorageConfig>) -> Self {
        let (clock, metrics, stop) = (Clock::System, Metrics::default(), CancellationToken::new());
        let entries = configs.iter().map(|(name, storage)| {
            let entry = serve::entry(name, storage, clock, &metrics, &Tasks::default(), &stop);
            // It connects, looks at the tables, and reads.
            let first_read = storage.connect_timeout + 2 * storage.statement_timeout;
            (name.clone(), (entry, first_read))
        });
        let storages: BTreeMap<_, _> = entries.collect();
        let entries = storages.iter().map(|(name, (entry, _))| (name.clone(), entry.clone())).collect();
        // They do not change, so that nobody has to send.
        let (_, entries) = watch::channel(Arc::new(entries));
        Self {
            scaler: Scaler::new(entries, clock, metrics),
            storages,
            configs: configs.clone(),
            notifications: tokio::sync::Mutex::default(),
            _readers_end_with_us: stop.drop_guard(),
        }
    }

    /// What there is to say of the storages that were read.
    pub(super) async fn storages(&self) -> Vec<StorageReport> {
        let mut reports = Vec::new();
        for (name, (entry, _)) in &self.storages {
            let (Some(snapshot), Some(config)) = (entry.monitor.last_known(), self.configs.get(name)) else { continue };
            let notifications = self.notifications(name, config).await;
            let tells_of_new_jobs = notifications == Notifications::Installed;
            let activation = notifications.delay(config.refresh);
            let warnings = snapshot.notes.clone();
            reports.push(StorageReport { name: name.clone(), tells_of_new_jobs, activation, warnings });
        }
        reports
    }

    async fn notifications(&self, name: &str, config: &StorageConfig) -> Notifications {
        let mut cached = self.notifications.lock().await;
        if let Some(known) = cached.get(name) {
            return *known;
        }
        let answer = timeout(config.connect_timeout, config.notifications()).await;
        let notifications = if let Ok(Ok(known)) = answer { known } else { Notifications::NotInstalled };
        cached.insert(name.to_owned(), notifications);
        notifications
    }

    async fn ask(&self, reference: &ScaledObjectRef) -> Answer {
        let metadata = reference.scaler_metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let trigger = Trigger::parse(metadata).ok();
        let decision = match (&trigger, self.scaler.explain(reference).await) {
            (Some(trigger), Err(status)) if status.code() == Code::Unavailable => {
                self.next_read(trigger, &reference.namespace).await;
                self.scaler.explain(reference).await
            }
            (_, decision) => decision,
        };
        // As KEDA does: only what GetMetricSpec names has a metric.
        let spec = self.scaler.get_metric_spec(Request::new(reference.clone())).await;
        let spec = spec.ok().and_then(|response| response.into_inner().metric_specs.into_iter().next());
        let snapshot = trigger.and_then(|trigger| self.storages.get(&trigger.storage)?.0.monitor.last_known());
        Answer {
            target: decision.as_ref().ok().map(|decision| decision.target).or(spec.as_ref().map(target)),
            metric_name: spec.map(|spec| spec.metric_name),
            warnings: warnings(reference, snapshot.as_deref()),
            reading: decision.map(Reading::from).map_err(|status| status.message().to_owned()),
        }
    }

    /// KEDA's calls must not wait for a slow first connection, and answer that the database has not answered yet. We can.
    async fn next_read(&self, trigger: &Trigger, namespace: &str) {
        let Some((entry, patience)) = self.storages.get(&trigger.storage) else { return };
        if let Ok(mut watcher) = entry.monitor.watch(trigger.question.clone(), namespace) {
            // Whether it ended well or at all: the next answer says it.
            let _ = timeout(*patience, watcher.changed()).await;
        }
    }
}

impl From<Decision> for Reading {
    fn from(decision: Decision) -> Self {
        let Decision { value, active, truncated, reasons, target: _ } = decision;
        Self { value, active, truncated: Some(truncated), reasons }
    }
}

/// A running scaler.
pub(super) struct Remote {
    client: ExternalScalerClient<Channel>,
    address: String,
    hint: &'static str,
}

/// Reads `HOST:PORT`.
///
/// # Errors
/// What is allowed.
pub(super) fn address(text: &str) -> Result<Uri, String> {
    let uri = format!("http://{text}").parse::<Uri>().ok();
    uri.filter(|uri| uri.port().is_some() && uri.authority().is_some_and(|authority| authority == text))
        .ok_or_else(|| "give a host and a port, such as localhost:9090 or [::1]:9090".to_owned())
}

impl Remote {
    /// `hint` is what to try where a connection breaks off.
    pub(super) fn new(endpoint: Endpoint, uri: &Uri, hint: &'static str) -> Self {
        let endpoint = endpoint.connect_timeout(DEADLINE);
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        Self { client: ExternalScalerClient::new(endpoint.connect_lazy()), address, hint }
    }

    /// The calls of KEDA's poll, in their order.
    async fn ask(&self, reference: ScaledObjectRef) -> Answer {
        let mut client = self.client.clone();
        let warnings = warnings(&reference, None);
        let spec = match self.call("GetMetricSpec", client.get_metric_spec(reference.clone())).await {
            Ok(response) => response.metric_specs.into_iter().next(),
            Err(error) => return Answer { metric_name: None, target: None, warnings, reading: Err(error) },
        };
        let Some(spec) = spec else {
            let error = self.error("GetMetricSpec", "answered without a metric");
            return Answer { metric_name: None, target: None, warnings, reading: Err(error) };
        };
        Answer {
            metric_name: Some(spec.metric_name.clone()),
            target: Some(target(&spec)),
            warnings,
            reading: self.reading(client, reference, spec.metric_name).await,
        }
    }

    async fn reading(
        &self,
        mut client: ExternalScalerClient<Channel>,
        reference: ScaledObjectRef,
        metric_name: String,
    ) -> Result<Reading, String> {
        let metrics = GetMetricsRequest { scaled_object_ref: Some(reference.clone()), metric_name };
        let metrics = self.call("GetMetrics", client.get_metrics(metrics)).await?.metric_values;
        if metrics.is_empty() {
            return Err(self.error("GetMetrics", "answered without a value"));
        }
        let active = self.call("IsActive", client.is_active(reference)).await?.result;
        let reasons = vec![format!("as answered by {}", self.address)];
        // KEDA adds the values up, and takes what is no number for 0.
        let sum: f64 = metrics.iter().map(value).sum();
        let value = if sum.is_finite() { sum.max(0.0) } else { 0.0 };
        Ok(Reading { value, active, truncated: None, reasons })
    }

    /// Waits for an answer, but not for ever. The deadline is ours alone: KEDA's calls carry none either.
    async fn call<T>(
        &self,
        name: &str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        let late = || Status::deadline_exceeded(format!("no answer within {} s", DEADLINE.as_secs()));
        let answer = timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(late()));
        answer.map(Response::into_inner).map_err(|status| {
            let hint = if is_broken_off(&status) { self.hint } else { "" };
            self.error(name, &format!("{}{hint}", text(&status)))
        })
    }

    fn error(&self, call: &str, cause: &str) -> String {
        format!("{call} of {}: {cause}", self.address)
    }
}

/// KEDA takes the fraction where it is above 0, and the whole number otherwise.
fn target(spec: &MetricSpec) -> f64 {
    if 0.0 < spec.target_size_float { spec.target_size_float } else { float(spec.target_size) }
}

/// As for the target.
fn value(value: &MetricValue) -> f64 {
    if 0.0 < value.metric_value_float { value.metric_value_float } else { float(value.metric_value) }
}

#[expect(clippy::cast_precision_loss, reason = "KEDA does the same")]
fn float(number: i64) -> f64 {
    number as f64
}

/// Whether a connection that stood was cut by the other side, and not answered. Which layer notices first is chance, so there is
/// a code for each; one that could not be opened is Unavailable, and has its cause.
fn is_broken_off(status: &Status) -> bool {
    let chain = || std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    let is_cut = |cause: &(dyn std::error::Error + 'static)| {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        kind.is_some_and(|kind| matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof))
            || cause.to_string().contains("received fatal alert")
    };
    chain().next().is_some() && status.code() != Code::Unavailable || chain().any(is_cut)
}

/// A status with gRPC's own name of its code. Beneath it the innermost cause says most: that a connection was refused.
fn text(status: &Status) -> String {
    let text = format!("{}: {}", code_name(status.code()), status.message());
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    match causes.last().map(ToString::to_string) {
        Some(cause) if !text.ends_with(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
