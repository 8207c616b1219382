//! The real server, asked as KEDA asks.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jobrunr_scaler::cli;
use jobrunr_scaler::clock::Clock;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, ScaledObjectRef};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fixture::{ALL, Database, Kind, Shape};

type Client = ExternalScalerClient<Channel>;

struct Running {
    client: Client,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

async fn serve(database: &Database, settings: &[(&str, &str)]) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let storages = BTreeMap::from([("default".to_owned(), database.config_with(settings))]);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = tokio::spawn(async move {
        cli::serve::serve(listener, &storages, Clock::System, stopped).await.unwrap();
    });
    let client = Client::connect(format!("http://{address}")).await.unwrap();
    Running { client, stop, server }
}

fn reference(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ScaledObjectRef { name: "workers".to_owned(), namespace: "orders".to_owned(), scaler_metadata: metadata }
}

fn trigger(metric: &str) -> ScaledObjectRef {
    reference(&[("scalerAddress", "here:9090"), ("metric", metric), ("targetValue", "2.5")])
}

async fn value(client: &mut Client, metric: &str) -> Result<(i64, f64), Status> {
    let metric_name = format!("jobrunr-default-{metric}");
    let request = GetMetricsRequest { scaled_object_ref: Some(trigger(metric)), metric_name };
    let values = client.get_metrics(request).await?.into_inner().metric_values;
    assert_eq!(values.len(), 1, "KEDA adds up what it gets");
    Ok((values[0].metric_value, values[0].metric_value_float))
}

#[tokio::test]
async fn every_metric_is_answered_from_every_database() {
    for kind in ALL {
        let mut database = Database::new(kind, Shape::default()).await;
        database.job("ENQUEUED", 30.0, None).await;
        database.job("SCHEDULED", 30.0, Some(-20.0)).await;
        database.job("PROCESSING", 1.0, None).await;
        database.server(4, 15, 1.0).await;
        database.server(4, 15, 61.0).await; // dead
        let mut running = serve(&database, &[]).await;
        let (whole, latency) = value(&mut running.client, "enqueued-latency").await.unwrap();
        assert!((30.0..45.0).contains(&latency), "{kind:?}: {latency}");
        #[expect(clippy::cast_possible_truncation, reason = "some seconds")]
        let rounded_up = latency.ceil() as i64;
        assert_eq!(whole, rounded_up);
        for (metric, expected) in [
            ("enqueued-count", (1, 1.0)),
            ("scheduled-count", (1, 1.0)),
            ("worker-usage", (1, 0.25)),
            ("total-workers", (4, 4.0)),
            ("occupied-workers", (1, 1.0)),
        ] {
            assert_eq!(value(&mut running.client, metric).await.unwrap(), expected, "{kind:?} {metric}");
            let spec = running.client.get_metric_spec(trigger(metric)).await.unwrap().into_inner().metric_specs;
            assert_eq!(spec.len(), 1);
            assert_eq!((spec[0].target_size, spec[0].target_size_float), (3, 2.5));
            assert_eq!(spec[0].metric_name, format!("jobrunr-default-{metric}"));
            assert!(running.client.is_active(trigger(metric)).await.unwrap().into_inner().result);
        }
    }
}

#[tokio::test]
async fn wrong_metadata_gets_the_key_the_value_and_what_is_allowed() {
    let database = Database::new(Kind::Sqlite, Shape::default()).await;
    let mut running = serve(&database, &[]).await;
    let good = [("metric", "enqueued-count"), ("targetValue", "5")];
    let wrong: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("metric", "enqueued-latncy")],
        vec![("targetValue", "0")],
        vec![("targetValue", "0.0009")],
        vec![("targetValue", "80%")],
        vec![("targetValue", "NaN")],
        vec![("targetValue", "inf")],
        vec![("activationTargetValue", "-1")],
        vec![("scheduledIn", "2 minutes")],
        vec![("scheduledIn", "-PT5M")],
        vec![("priority", "high")],
        vec![("keepWhileProcessing", "yes")],
        vec![("storage", "orders")],
        vec![("serverTag", "gpu")],
    ];
    let mut texts = String::new();
    for extra in wrong {
        let metadata: Vec<(&str, &str)> =
            if extra.is_empty() { vec![("targetvalue", "5")] } else { good.into_iter().chain(extra).collect() };
        let status = running.client.is_active(reference(&metadata)).await.unwrap_err();
        texts += &format!("{:?}: {}\n", status.code(), status.message());
    }
    insta::assert_snapshot!(texts);
}

#[tokio::test]
async fn another_metric_name_is_not_found() {
    let database = Database::new(Kind::Sqlite, Shape::default()).await;
    let mut running = serve(&database, &[]).await;
    let ask = |name: &str| GetMetricsRequest {
        scaled_object_ref: Some(trigger("enqueued-count")),
        metric_name: name.to_owned(),
    };
    let status = running.client.get_metrics(ask("queue")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "metricName is `queue`; this trigger's metric is `jobrunr-default-enqueued-count`");
    running.client.get_metrics(ask("JOBRUNR-default-enqueued-count")).await.unwrap();
}

#[tokio::test]
async fn a_storage_is_for_its_namespaces() {
    let database = Database::new(Kind::Sqlite, Shape::default()).await;
    let mut running = serve(&database, &[("NAMESPACES", "shop")]).await;
    let status = running.client.is_active(trigger("enqueued-count")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "the storage `default` is not open to the namespace `orders`");
}

#[tokio::test]
async fn a_processed_job_keeps_the_trigger_active_unless_told_otherwise() {
    let mut database = Database::new(Kind::Sqlite, Shape::default()).await;
    database.job("PROCESSING", 900.0, None).await; // an orphan counts: only a live server can rescue it
    let mut running = serve(&database, &[]).await;
    let mut check = async |keep: &str, expected: bool| {
        let metadata = [("metric", "enqueued-count"), ("targetValue", "5"), ("keepWhileProcessing", keep)];
        let active = running.client.is_active(reference(&metadata)).await.unwrap().into_inner().result;
        assert_eq!(active, expected, "{keep}");
    };
    check("true", true).await;
    check("false", false).await;
}

#[tokio::test]
async fn a_stream_pushes_true_at_once_when_work_comes_and_ends_well() {
    let mut database = Database::new(Kind::Sqlite, Shape::default()).await;
    let mut running = serve(&database, &[("REFRESH", "PT0.1S")]).await;
    let mut stream = running.client.stream_is_active(trigger("enqueued-count")).await.unwrap().into_inner();
    let quiet = timeout(Duration::from_millis(400), stream.message()).await;
    assert!(quiet.is_err(), "nothing is sent while there is nothing to do");
    database.job("ENQUEUED", 0.0, None).await;
    for _ in 0..2 {
        // On the edge, and once more after a second.
        let push = timeout(Duration::from_secs(5), stream.message()).await.unwrap().unwrap().unwrap();
        assert!(push.result);
    }
    running.stop.cancel();
    let end = timeout(Duration::from_secs(5), stream.message()).await.unwrap();
    assert!(end.unwrap().is_none(), "a stream ends with OK, or KEDA backs off for a minute");
    timeout(Duration::from_secs(10), running.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_falling_edge_is_sent_on_request_only() {
    let mut database = Database::new(Kind::Sqlite, Shape::default()).await;
    database.job("ENQUEUED", 0.0, None).await;
    let mut running = serve(&database, &[("REFRESH", "PT0.1S")]).await;
    let metadata = [("metric", "enqueued-count"), ("targetValue", "5"), ("pushInactive", "true")];
    let mut stream = running.client.stream_is_active(reference(&metadata)).await.unwrap().into_inner();
    assert!(timeout(Duration::from_secs(5), stream.message()).await.unwrap().unwrap().unwrap().result);
    database.run("DELETE FROM jobrunr_jobs".to_owned()).await;
    let falling = async { while stream.message().await.unwrap().unwrap().result {} };
    timeout(Duration::from_secs(5), falling).await.unwrap();
}

#[tokio::test]
async fn the_spec_stream_says_what_the_call_says_and_stays_open() {
    let database = Database::new(Kind::Sqlite, Shape::default()).await;
    let mut running = serve(&database, &[]).await;
    let spec = running.client.get_metric_spec(trigger("worker-usage")).await.unwrap().into_inner();
    let mut stream = running.client.stream_metric_spec(trigger("worker-usage")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap(), Some(spec));
    assert!(timeout(Duration::from_millis(300), stream.message()).await.is_err());
}

#[tokio::test]
async fn one_connection_carries_hundreds_of_streams() {
    let mut database = Database::new(Kind::Sqlite, Shape::default()).await;
    let mut running = serve(&database, &[("REFRESH", "PT0.1S")]).await;
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(running.client.stream_is_active(trigger("enqueued-count")).await.unwrap().into_inner());
    }
    database.job("ENQUEUED", 0.0, None).await;
    for stream in &mut streams {
        assert!(timeout(Duration::from_secs(10), stream.message()).await.unwrap().unwrap().unwrap().result);
    }
}

/// No call may take longer than a second, whatever the database does: KEDA sets no deadline and holds a lock.
async fn within_a_second<T>(call: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let result = call.await;
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
    result
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_never_zero() {
    for kind in ALL {
        let mut database = Database::new(kind, Shape::default()).await;
        database.url = match kind {
            Kind::Postgres => "postgres://a:b@127.0.0.1:1/jobs".to_owned(),
            Kind::MariaDb => "mysql://a:b@127.0.0.1:1/jobs".to_owned(),
            Kind::Sqlite => "sqlite:/nowhere/jobs.db".to_owned(),
        };
        let mut running = serve(&database, &[]).await;
        for _ in 0..2 {
            let status = within_a_second(value(&mut running.client, "enqueued-count")).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.message().starts_with("storage `default`: the database cannot be reached: "), "{status}");
        }
        let status = within_a_second(running.client.is_active(trigger("enqueued-count"))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        // KEDA's fallback works only while this call does.
        within_a_second(running.client.get_metric_spec(trigger("enqueued-count"))).await.unwrap();
        let mut stream = running.client.stream_is_active(trigger("enqueued-count")).await.unwrap().into_inner();
        assert!(timeout(Duration::from_millis(300), stream.message()).await.is_err(), "open, and silent");
    }
}

#[tokio::test]
async fn a_dropped_table_is_named_once_the_last_answer_is_too_old_and_comes_back() {
    for kind in ALL {
        let mut database = Database::new(kind, Shape::default()).await;
        database.job("ENQUEUED", 0.0, None).await;
        let mut running = serve(&database, &[("REFRESH", "PT0.1S"), ("MAX_STALENESS", "PT1S")]).await;
        assert_eq!(value(&mut running.client, "enqueued-count").await.unwrap(), (1, 1.0));
        database.run("ALTER TABLE jobrunr_jobs RENAME TO gone".to_owned()).await;
        let began = Instant::now();
        let status = loop {
            match within_a_second(value(&mut running.client, "enqueued-count")).await {
                Ok(answer) => assert_eq!(answer, (1, 1.0), "a failed read never becomes a number"),
                // The first failure is of the statement; the next look at the tables says what is wrong.
                Err(status) if status.code() == Code::FailedPrecondition => break status,
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
            assert!(began.elapsed() < Duration::from_secs(10), "still answered");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(status.message().contains("has no table jobrunr_jobs"), "{status}");
        database.run("ALTER TABLE gone RENAME TO jobrunr_jobs".to_owned()).await;
        let back = async {
            while value(&mut running.client, "enqueued-count").await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(20), back).await.unwrap();
    }
}

#[tokio::test]
async fn a_locked_table_holds_up_no_call() {
    let mut database = Database::new(Kind::Postgres, Shape::default()).await;
    database.job("ENQUEUED", 0.0, None).await;
    let mut running = serve(&database, &[("REFRESH", "PT0.1S"), ("MAX_STALENESS", "PT1.5S")]).await;
    assert_eq!(value(&mut running.client, "enqueued-count").await.unwrap(), (1, 1.0));
    database.run("BEGIN; LOCK TABLE jobrunr_jobs IN ACCESS EXCLUSIVE MODE".to_owned()).await;
    let began = Instant::now();
    loop {
        match within_a_second(value(&mut running.client, "enqueued-count")).await {
            Ok(answer) => assert_eq!(answer, (1, 1.0)),
            Err(status) => break assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "still answered");
    }
    database.run("ROLLBACK".to_owned()).await;
    let back = async { while value(&mut running.client, "enqueued-count").await.is_err() {} };
    timeout(Duration::from_secs(20), back).await.unwrap();
}

#[tokio::test]
async fn however_many_ask_the_database_sees_one_connection() {
    let mut database = Database::new(Kind::Postgres, Shape::default()).await;
    database.job("ENQUEUED", 0.0, None).await;
    let running = serve(&database, &[]).await;
    let asking = (0..50).map(|_| {
        let mut client = running.client.clone();
        tokio::spawn(async move { value(&mut client, "enqueued-count").await.unwrap() })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), (1, 1.0));
    }
    let name = database.url.rsplit('/').next().unwrap().to_owned();
    // Fails with a division by zero where there is more than one.
    database
        .run(format!(
            "SELECT 1 / (CASE WHEN count(*) = 1 THEN 1 ELSE 0 END) FROM pg_stat_activity \
             WHERE application_name = 'jobrunr-scaler' AND datname = '{name}'"
        ))
        .await;
}
