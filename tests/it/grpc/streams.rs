//! The two calls that stay open.

use std::time::{Duration, Instant};

use jobrunr_scaler::grpc::proto::IsActiveResponse;
use tonic::{Code, Streaming};

use super::{empty, sqlite};
use crate::rows::job;
use crate::scaler::{next_push, reference, start};

const COUNT: &str = "metric=enqueued-count targetValue=1";
const SOON: Duration = Duration::from_secs(3);

async fn ends_well(stream: &mut Streaming<IsActiveResponse>) -> bool {
    let end = async { while stream.message().await.unwrap().is_some() {} };
    tokio::time::timeout(SOON, end).await.is_ok()
}

#[tokio::test]
async fn an_active_trigger_is_pushed_at_once_and_again_after_a_second() {
    let mut database = sqlite().await;
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let scaler = start(database.config()).await;
    let mut stream = scaler.watch(COUNT).await;
    assert_eq!(next_push(&mut stream, SOON).await, Some(true));
    let first = Instant::now();
    assert_eq!(next_push(&mut stream, SOON).await, Some(true));
    let pause = first.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_millis(2000)).contains(&pause), "{pause:?}");
    // The next is due in fifteen seconds.
    assert_eq!(next_push(&mut stream, Duration::from_millis(1500)).await, None);
}

#[tokio::test]
async fn each_rising_edge_is_pushed_soon_and_the_falling_one_only_on_request() {
    let mut database = sqlite().await;
    let scaler = start(database.config()).await;
    let mut keda = scaler.watch(COUNT).await;
    let mut other = scaler.watch(&format!("{COUNT} pushInactive=true")).await;
    assert_eq!(next_push(&mut keda, Duration::from_millis(400)).await, None);
    assert_eq!(next_push(&mut other, Duration::from_millis(100)).await, None);
    for round in 0..3 {
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        let inserted = Instant::now();
        assert_eq!(next_push(&mut keda, SOON).await, Some(true), "round {round}");
        assert!(inserted.elapsed() < Duration::from_secs(1), "after {:?}", inserted.elapsed());
        assert_eq!(next_push(&mut other, SOON).await, Some(true), "round {round}");
        database.clear().await;
        assert_eq!(next_push(&mut other, SOON).await, Some(false), "round {round}");
        assert_eq!(next_push(&mut keda, Duration::from_millis(100)).await, None, "round {round}");
    }
}

#[tokio::test]
async fn a_wrong_trigger_gets_no_stream() {
    let (_database, scaler) = empty().await;
    for (metadata, code) in [
        ("metric=enqueued-count", Code::InvalidArgument),
        ("storage=other metric=enqueued-count targetValue=1", Code::NotFound),
    ] {
        let error = scaler.client.clone().stream_is_active(reference(metadata)).await.unwrap_err();
        assert_eq!(error.code(), code, "{metadata}");
        let error = scaler.client.clone().stream_metric_spec(reference(metadata)).await.unwrap_err();
        assert_eq!(error.code(), code, "{metadata}");
    }
}

#[tokio::test]
async fn the_stream_of_specs_starts_with_the_spec_and_stays_open() {
    let (_database, scaler) = empty().await;
    let mut stream = scaler.client.clone().stream_metric_spec(reference(COUNT)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.metric_specs, [scaler.spec(COUNT).await.unwrap()]);
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.message()).await.is_err(), "nothing changed");
    scaler.begin_stop();
    assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
}

#[tokio::test]
async fn streams_end_well_at_shutdown() {
    let mut database = sqlite().await;
    let scaler = start(database.config()).await;
    let mut silent = scaler.watch(COUNT).await;
    database.insert_jobs(&[job("PROCESSING", 1.0)]).await;
    let mut active = scaler.watch(COUNT).await;
    assert_eq!(next_push(&mut active, SOON).await, Some(true));
    scaler.begin_stop();
    assert!(ends_well(&mut silent).await);
    assert!(ends_well(&mut active).await);
    // The clients' connection is still open: the server must not wait for it.
    tokio::time::timeout(Duration::from_secs(7), scaler.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn five_hundred_streams_share_a_connection() {
    let mut database = sqlite().await;
    let scaler = start(database.config()).await;
    let opening = (0..500).map(|n| {
        let mut client = scaler.client.clone();
        let look_ahead = format!("metric=scheduled-count targetValue=1 scheduledIn=PT{}S", n % 20);
        async move { client.stream_is_active(reference(&look_ahead)).await.unwrap().into_inner() }
    });
    let mut streams = futures::future::join_all(opening).await;
    // Other calls still find room on the connection.
    assert!(!scaler.is_active(COUNT).await.unwrap());
    database.insert_jobs(&[crate::rows::scheduled(-1.0)]).await;
    let pushes = futures::future::join_all(streams.iter_mut().map(|stream| next_push(stream, SOON))).await;
    assert_eq!(pushes, [Some(true); 500]);
}
