//! Asks a running scaler, with the calls that KEDA makes.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

use super::{Reading, Reply, namespace_error, warnings};
use crate::grpc::proto::external_scaler_client::ExternalScalerClient;
use crate::grpc::proto::{GetMetricsRequest, MetricSpec, MetricValue, ScaledObjectRef};
use crate::kubernetes::manifest::{ScaledObject, TriggerSpec};
use crate::scaling::Trigger;

/// Longer than a working scaler ever takes. KEDA itself sets no deadline.
const DEADLINE: Duration = Duration::from_secs(5);

/// A running scaler.
pub(in crate::explain) struct Remote {
    client: ExternalScalerClient<Channel>,
    address: String,
    hint: &'static str,
}

/// Parses `HOST:PORT`.
///
/// # Errors
/// What is allowed.
pub(in crate::explain) fn parse_address(text: &str) -> Result<Uri, String> {
    let uri = format!("http://{text}").parse::<Uri>().ok();
    uri.filter(|uri| uri.port().is_some() && uri.authority().is_some_and(|authority| authority == text))
        .ok_or_else(|| "give a host and a port, such as localhost:9090 or [::1]:9090".to_owned())
}

impl Remote {
    /// `hint` is what to try if the scaler closes the connection.
    pub(in crate::explain) fn new(endpoint: Endpoint, uri: &Uri, hint: &'static str) -> Self {
        let endpoint = endpoint.connect_timeout(DEADLINE);
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        Self { client: ExternalScalerClient::new(endpoint.connect_lazy()), address, hint }
    }

    /// Makes the calls of a poll of KEDA, in their order.
    pub(super) async fn reply(&self, object: &ScaledObject, spec: &TriggerSpec, trigger: Option<Trigger>) -> Reply {
        let reference = ScaledObjectRef {
            name: object.name.clone(),
            namespace: object.namespace_or_default().to_owned(),
            scaler_metadata: spec.metadata.clone().into_iter().collect(),
        };
        let mut client = self.client.clone();
        let warnings = trigger.map(|trigger| warnings(trigger, None)).unwrap_or_default();
        let specs = match self.call("GetMetricSpec", client.get_metric_spec(reference.clone())).await {
            Ok(response) => response.metric_specs,
            Err(error) if error.contains(&code_name(Code::PermissionDenied)) => {
                return Reply::error(namespace_error(object, error), warnings);
            }
            Err(error) => return Reply::error(error, warnings),
        };
        let Some(spec) = specs.into_iter().next() else {
            return Reply::error(self.error("GetMetricSpec", "answered without a metric"), warnings);
        };
        Reply {
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
        // KEDA adds the values up, and treats what is not a number as 0.
        let sum: f64 = metrics.iter().map(value).sum();
        let value = if sum.is_finite() { sum.max(0.0) } else { 0.0 };
        Ok(Reading { value, active, truncated: None, reasons, details: Vec::new() })
    }

    /// Waits for an answer until our own [`DEADLINE`]. The call itself carries none, like KEDA's.
    async fn call<T>(
        &self,
        name: &str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        let late = || Status::deadline_exceeded(format!("no answer within {} s", DEADLINE.as_secs()));
        let answer = timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(late()));
        answer.map(Response::into_inner).map_err(|status| {
            let hint = if is_closed_by_peer(&status) { self.hint } else { "" };
            self.error(name, &format!("{}{hint}", text(&status)))
        })
    }

    fn error(&self, call: &str, cause: &str) -> String {
        format!("{call} of {}: {cause}", self.address)
    }
}

/// KEDA uses the fraction if it is above 0, otherwise the whole number.
fn target(spec: &MetricSpec) -> f64 {
    if 0.0 < spec.target_size_float { spec.target_size_float } else { float(spec.target_size) }
}

/// As with the target.
fn value(value: &MetricValue) -> f64 {
    if 0.0 < value.metric_value_float { value.metric_value_float } else { float(value.metric_value) }
}

#[expect(clippy::cast_precision_loss, reason = "KEDA does the same")]
fn float(number: i64) -> f64 {
    number as f64
}

/// Whether the other side closed an open connection without an answer. Which layer notices first is chance, so the code varies. A
/// connection that could not be opened has the code Unavailable and its cause.
fn is_closed_by_peer(status: &Status) -> bool {
    let chain = || std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    let is_cut = |cause: &(dyn std::error::Error + 'static)| {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        kind.is_some_and(|kind| matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof))
            || cause.to_string().contains("received fatal alert")
    };
    chain().next().is_some() && status.code() != Code::Unavailable || chain().any(is_cut)
}

/// Returns a status in words, with gRPC's name of its code and the innermost cause, which says most: that a connection was refused.
fn text(status: &Status) -> String {
    let text = format!("{}: {}", code_name(status.code()), status.message());
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    match causes.last().map(ToString::to_string) {
        Some(cause) if !text.ends_with(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

/// Returns `INVALID_ARGUMENT` for `InvalidArgument`.
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
