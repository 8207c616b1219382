//! The two calls that stay open.

use std::time::{Duration, Instant};

use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::grpc::proto::IsActiveResponse;
use jobrunr_scaler::storage::notify_sql;
use tonic::{Code, Streaming};

use super::{empty, sqlite};
use crate::database::{Database, Kind};
use crate::rows::{job, scheduled, server};
use crate::scaler::{RunningScaler, eventually, next_push, reference, start, start_all};

const COUNT: &str = "metric=enqueued-count targetValue=1";
const SOON: Duration = Duration::from_secs(3);

async fn ends_well(stream: &mut Streaming<IsActiveResponse>) -> bool {
    let end = async { while stream.message().await.unwrap().is_some() {} };
    tokio::time::timeout(SOON, end).await.is_ok()
}

#[tokio::test]
async fn stream_pushes_an_active_trigger_at_once_and_again_after_a_second() {
    let mut database = sqlite().await;
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let scaler = start(database.config()).await;
    let mut stream = scaler.watch(COUNT).await;
    assert_eq!(next_push(&mut stream, SOON).await, Some(true));
    let first = Instant::now();
    assert_eq!(next_push(&mut stream, SOON).await, Some(true));
    let pause = first.elapsed();
    assert!((Duration::from_millis(900)..SOON).contains(&pause), "{pause:?}");
    // The next is due in a quarter of an hour at the earliest.
    assert_eq!(next_push(&mut stream, Duration::from_millis(1500)).await, None);
}

#[tokio::test]
async fn stream_pushes_rising_edges_soon_and_falling_ones_only_on_request() {
    let mut database = sqlite().await;
    let scaler = start(database.config()).await;
    let mut keda = scaler.watch(COUNT).await;
    let mut other = scaler.watch(&format!("{COUNT} pushInactive=true")).await;
    assert_eq!(next_push(&mut keda, Duration::from_millis(400)).await, None);
    assert_eq!(next_push(&mut other, Duration::from_millis(100)).await, None);
    for round in 0..3 {
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        assert_eq!(next_push(&mut keda, SOON).await, Some(true), "round {round}");
        assert_eq!(next_push(&mut other, SOON).await, Some(true), "round {round}");
        database.clear().await;
        assert_eq!(next_push(&mut other, SOON).await, Some(false), "round {round}");
        assert_eq!(next_push(&mut keda, Duration::from_millis(100)).await, None, "round {round}");
    }
}

#[tokio::test]
async fn stream_of_an_invalid_trigger_is_rejected() {
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
async fn spec_stream_starts_with_the_spec_and_stays_open() {
    const AUTO: &str = "metric=demand targetValue=auto";
    let (_database, scaler) = empty().await;
    let mut stream = scaler.client.clone().stream_metric_spec(reference(AUTO)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.metric_specs, [scaler.spec(AUTO).await.unwrap()]);
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.message()).await.is_err(), "nothing changed");
    scaler.begin_stop();
    assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
}

/// Each message would make KEDA reconcile the ScaledObject, and none could say anything new.
#[tokio::test]
async fn spec_stream_of_a_fixed_target_is_unimplemented() {
    let (_database, scaler) = empty().await;
    let error = scaler.client.clone().stream_metric_spec(reference(COUNT)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error:?}");
}

#[tokio::test]
async fn streams_end_with_ok_at_shutdown() {
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
async fn streams_share_a_connection() {
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

/// Reads so rarely that a test would wait long for the next.
const RARE: Duration = Duration::from_secs(20);

async fn start_rare(database: &Database) -> RunningScaler {
    start_all([("default", StorageConfig { refresh: RARE, max_staleness: 3 * RARE, ..database.config() })]).await
}

#[tokio::test]
async fn job_that_enters_the_look_ahead_is_pushed_without_a_read() {
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await.at_present();
        database.insert_jobs(&[scheduled(62.5)]).await;
        let due = Instant::now() + Duration::from_millis(2_500);
        let scaler = start_rare(&database).await;
        for metadata in ["metric=scheduled-count targetValue=1", "metric=demand targetValue=1"] {
            let mut stream = scaler.watch(metadata).await;
            assert_eq!(next_push(&mut stream, RARE / 2).await, Some(true), "{kind:?} {metadata}");
            assert!(due - Duration::from_millis(300) < Instant::now(), "{kind:?} {metadata}: too early");
        }
    }
}

#[tokio::test]
async fn server_that_dies_is_noticed_without_a_read() {
    let mut database = sqlite().await;
    database.insert_servers(&[server(4, 5, 18.0)]).await;
    let scaler = start_rare(&database).await;
    let metadata = "metric=total-workers targetValue=1 pushInactive=true";
    let mut stream = scaler.watch(metadata).await;
    assert_eq!(next_push(&mut stream, RARE / 2).await, Some(true));
    let falls =
        eventually("the falling edge", async || (next_push(&mut stream, RARE / 2).await == Some(false)).then_some(()));
    tokio::time::timeout(RARE / 2, falls).await.unwrap();
}

#[tokio::test]
async fn notifications_of_postgres_are_used_once_it_has_the_trigger() {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.execute(&notify_sql(&database.config()).unwrap()).await;
    // Twice is once.
    database.execute(&notify_sql(&database.config()).unwrap()).await;
    let scaler = start_rare(&database).await;
    let mut stream = scaler.watch("metric=demand targetValue=1 pushInactive=true").await;
    assert_eq!(next_push(&mut stream, Duration::from_secs(2)).await, None);
    database.insert_jobs(&[job("ENQUEUED", 0.0)]).await;
    assert_eq!(next_push(&mut stream, RARE / 4).await, Some(true));
    let connections = "SELECT count(*)::int8 FROM pg_stat_activity WHERE application_name = 'jobrunr-scaler' AND datname = current_database()";
    assert_eq!(database.number(connections).await, 2);

    // Without the connection that listens nothing is lost: what comes meanwhile is seen when it is back.
    database.clear().await;
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobrunr-scaler' \
             AND datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .await;
    let falls =
        eventually("the falling edge", async || (next_push(&mut stream, RARE / 2).await == Some(false)).then_some(()));
    falls.await;
    database.insert_jobs(&[job("ENQUEUED", 0.0)]).await;
    assert_eq!(next_push(&mut stream, RARE / 2).await, Some(true));
}

#[tokio::test]
async fn computed_target_follows_the_servers() {
    const AUTO: &str = "metric=demand targetValue=auto targetUsage=0.5 workersPerPod=6";
    let mut database = sqlite().await;
    let scaler = start(database.config()).await;
    assert_eq!(scaler.spec(AUTO).await.unwrap().target_size_float, 3.0);
    let mut stream = scaler.client.clone().stream_metric_spec(reference(AUTO)).await.unwrap().into_inner();
    let mut expected = 3.0;
    for workers in [16, 5] {
        let specs = stream.message().await.unwrap().unwrap().metric_specs;
        assert_eq!(specs.len(), 1);
        assert_eq!(specs[0].target_size_float, expected);
        // A call gets what the stream has said.
        assert_eq!(scaler.spec(AUTO).await.unwrap(), specs[0]);
        database.insert_servers(&[server(workers, 15, 0.0)]).await;
        expected = f64::from(workers) / 2.0;
    }
    assert_eq!(stream.message().await.unwrap().unwrap().metric_specs[0].target_size_float, 2.5);
    scaler.begin_stop();
    assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
}

#[tokio::test]
async fn computed_target_is_the_same_on_two_replicas_from_the_first_call_on() {
    let mut database = sqlite().await;
    database.insert_servers(&[server(16, 15, 1.0), server(4, 15, 2.0)]).await;
    for _ in 0..2 {
        let scaler = start(database.config()).await;
        let spec = scaler.spec("metric=demand targetValue=auto").await.unwrap();
        assert_eq!((spec.target_size, spec.target_size_float), (4, 4.0));
    }
}

/// A workload at zero has no server's row left: JobRunr deletes it when a server stops.
#[tokio::test]
async fn computed_target_stays_when_the_last_server_has_stopped() {
    const AUTO: &str = "metric=demand targetValue=auto workersPerPod=4";
    let mut database = sqlite().await;
    database.insert_servers(&[server(32, 15, 0.0)]).await;
    let scaler = start(database.config()).await;
    assert_eq!(scaler.spec(AUTO).await.unwrap().target_size_float, 32.0);
    let mut stream = scaler.client.clone().stream_metric_spec(reference(AUTO)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().metric_specs[0].target_size_float, 32.0);
    database.clear().await;
    let stopped = async || (scaler.value("metric=total-workers targetValue=1").await.unwrap() == 0.0).then_some(());
    eventually("the last server's end", stopped).await;
    assert_eq!(scaler.spec(AUTO).await.unwrap().target_size_float, 32.0);
    let nothing = tokio::time::timeout(Duration::from_millis(500), stream.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    // A scaler that has not seen it cannot know.
    let other = start(database.config()).await;
    assert_eq!(other.spec(AUTO).await.unwrap().target_size_float, 4.0);
}
