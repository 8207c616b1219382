//! A running scaler and a client of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jobrunr_scaler::clock::Clock;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef};
use jobrunr_scaler::metrics::Metrics;
use jobrunr_scaler::serve::{RunError, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// The longest that a client waits for a unary call, whatever the database does. The product's own limit is shorter; it is tested
/// in `src/monitor/tests.rs`, where time is paused and the machine's load does not count.
pub(crate) const LONGEST_CALL: Duration = Duration::from_secs(3);

/// A scaler that serves on a free port until it is dropped.
pub(crate) struct RunningScaler {
    pub(crate) channel: Channel,
    pub(crate) client: ExternalScalerClient<Channel>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Drop for RunningScaler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a scaler with one storage, `default`, which is read ten times per second so that tests need not wait.
pub(crate) async fn start(config: StorageConfig) -> RunningScaler {
    start_all([("default", StorageConfig { refresh: Duration::from_millis(100), ..config })]).await
}

pub(crate) async fn start_all<'a>(storages: impl IntoIterator<Item = (&'a str, StorageConfig)>) -> RunningScaler {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let storages: BTreeMap<String, StorageConfig> =
        storages.into_iter().map(|(name, config)| (name.to_owned(), config)).collect();
    let stop = CancellationToken::new();
    let ends = stop.clone();
    let task = tokio::spawn(async move { serve(listener, &storages, Clock::System, Metrics::default(), ends).await });
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    RunningScaler { client: ExternalScalerClient::new(channel.clone()), channel, stop, task }
}

impl RunningScaler {
    pub(crate) async fn spec(&self, metadata: &str) -> Result<MetricSpec, Status> {
        let specs = at_once(self.client.clone().get_metric_spec(reference(metadata))).await?.into_inner().metric_specs;
        assert_eq!(specs.len(), 1, "{specs:?}");
        Ok(specs.into_iter().next().unwrap())
    }

    pub(crate) async fn metric(&self, metadata: &str) -> Result<MetricValue, Status> {
        let metric_name = self.spec(metadata).await?.metric_name;
        self.metric_named(metadata, &metric_name).await
    }

    pub(crate) async fn metric_named(&self, metadata: &str, metric_name: &str) -> Result<MetricValue, Status> {
        let request =
            GetMetricsRequest { scaled_object_ref: Some(reference(metadata)), metric_name: metric_name.to_owned() };
        let values = at_once(self.client.clone().get_metrics(request)).await?.into_inner().metric_values;
        assert_eq!(values.len(), 1, "KEDA adds up what it gets: {values:?}");
        Ok(values.into_iter().next().unwrap())
    }

    pub(crate) async fn value(&self, metadata: &str) -> Result<f64, Status> {
        Ok(self.metric(metadata).await?.metric_value_float)
    }

    pub(crate) async fn is_active(&self, metadata: &str) -> Result<bool, Status> {
        Ok(at_once(self.client.clone().is_active(reference(metadata))).await?.into_inner().result)
    }

    pub(crate) async fn watch(&self, metadata: &str) -> Streaming<IsActiveResponse> {
        self.client.clone().stream_is_active(reference(metadata)).await.unwrap().into_inner()
    }

    /// Stops the server and waits until it has ended.
    pub(crate) async fn stop(mut self) -> Result<(), RunError> {
        self.stop.cancel();
        (&mut self.task).await.unwrap()
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }
}

/// Awaits a call that must end within [`LONGEST_CALL`].
pub(crate) async fn at_once<T>(call: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let answer = call.await;
    let took = began.elapsed();
    assert!(took < LONGEST_CALL, "the call took {took:?}");
    answer
}

/// Returns a trigger of a ScaledObject, with metadata written as `key=value key=value`.
pub(crate) fn reference(metadata: &str) -> ScaledObjectRef {
    let pairs = metadata.split_whitespace().map(|pair| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    });
    ScaledObjectRef { name: "worker".to_owned(), namespace: "shop".to_owned(), scaler_metadata: pairs.collect() }
}

/// Returns the next message of a stream; `None` if none comes in time.
pub(crate) async fn next_push(stream: &mut Streaming<IsActiveResponse>, wait: Duration) -> Option<bool> {
    match tokio::time::timeout(wait, stream.message()).await {
        Ok(message) => Some(message.unwrap().expect("the stream stays open").result),
        Err(_) => None,
    }
}

/// Returns a trigger's value as soon as there is one: a busy machine may not have read it within the scaler's own limit.
pub(crate) async fn answered(scaler: &RunningScaler, metadata: &str) -> f64 {
    eventually(metadata, async || match scaler.value(metadata).await {
        Ok(value) => Some(value),
        Err(status) => {
            assert!(has_no_answer_yet(&status), "{status}");
            None
        }
    })
    .await
}

/// Returns why a trigger has no value, as soon as the scaler knows.
pub(crate) async fn cause(scaler: &RunningScaler, metadata: &str) -> Status {
    eventually(metadata, async || Some(scaler.value(metadata).await.unwrap_err()).filter(|s| !has_no_answer_yet(s)))
        .await
}

/// Whether all that the scaler knows is that it has not connected or read in time.
fn has_no_answer_yet(status: &Status) -> bool {
    let is_late = |text: &str| text.contains("has not answered yet") || text.contains("no connection within");
    status.code() == Code::Unavailable && is_late(status.message())
}

/// Repeats an attempt until it succeeds.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
