//! KEDA's five calls, over the wire.

mod away;
mod metadata;
mod streams;

use futures::future::join_all;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, MetricSpec, MetricValue};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::database::{Database, Kind};
use crate::rows::{job, scheduled, server};
use crate::scaler::{RunningScaler, answered, eventually, reference, start, start_all};

async fn sqlite() -> Database {
    Database::new(Kind::Sqlite).await.at_present()
}

/// A scaler over a database without any job, which goes when the first of the two does.
async fn empty() -> (Database, RunningScaler) {
    let database = sqlite().await;
    let scaler = start(database.config()).await;
    (database, scaler)
}

#[tokio::test]
async fn metric_has_one_spec_and_one_value_in_both_forms() {
    let mut database = sqlite().await;
    database.insert_jobs(&[job("ENQUEUED", 5.0), job("ENQUEUED", 600.0), job("PROCESSING", 1.0)]).await;
    database.insert_jobs(&[scheduled(-1.0), scheduled(30.0), scheduled(100.0)]).await;
    database.insert_servers(&[server(4, 15, 1.0), server(4, 15, 1000.0)]).await;
    let scaler = start(database.config()).await;
    for (metadata, name, value, whole) in [
        ("metric=enqueued-count targetValue=5", "jobrunr-default-enqueued-count", 2.0, 2),
        ("metric=scheduled-count targetValue=8", "jobrunr-default-scheduled-count", 2.0, 2),
        ("metric=scheduled-count targetValue=8 scheduledIn=PT2M", "jobrunr-default-scheduled-count", 3.0, 3),
        ("metric=worker-usage targetValue=0.8", "jobrunr-default-worker-usage", 0.25, 1),
        ("metric=total-workers targetValue=4", "jobrunr-default-total-workers", 4.0, 4),
        ("metric=occupied-workers targetValue=4", "jobrunr-default-occupied-workers", 1.0, 1),
    ] {
        let expected = MetricValue { metric_name: name.to_owned(), metric_value: whole, metric_value_float: value };
        assert_eq!(scaler.metric(metadata).await.unwrap(), expected, "{metadata}");
    }
    let latency = scaler.metric("metric=enqueued-latency targetValue=300").await.unwrap();
    assert!((600.0..630.0).contains(&latency.metric_value_float), "{latency:?}");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let whole = latency.metric_value as f64;
    assert_eq!(whole, latency.metric_value_float.ceil());
}

#[tokio::test]
async fn target_has_both_forms() {
    let (_database, scaler) = empty().await;
    for (target, whole, float) in [("300", 300, 300.0), ("0.8", 1, 0.8), ("0.001", 1, 0.001), ("2.5", 3, 2.5)] {
        let spec = scaler.spec(&format!("metric=enqueued-latency targetValue={target}")).await.unwrap();
        let metric_name = "jobrunr-default-enqueued-latency".to_owned();
        assert_eq!(spec, MetricSpec { metric_name, target_size: whole, target_size_float: float });
    }
}

#[tokio::test]
async fn metric_name_is_valid_in_a_url() {
    let database = sqlite().await;
    let config = database.config();
    let names = ["default", "orders-2", "a"];
    let scaler = start_all(names.map(|name| (name, config.clone()))).await;
    for name in names {
        let spec = scaler.spec(&format!("storage={name} metric=worker-usage targetValue=1")).await.unwrap();
        assert!(
            spec.metric_name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')),
            "{}",
            spec.metric_name
        );
    }
}

#[tokio::test]
async fn trigger_is_active_exactly_above_its_activation_target() {
    let mut database = sqlite().await;
    database.insert_jobs(&[job("ENQUEUED", 100.0), job("ENQUEUED", 100.0), scheduled(10.0)]).await;
    database.insert_servers(&[server(4, 15, 1.0)]).await;
    let scaler = start(database.config()).await;
    for metric in ["enqueued-latency", "enqueued-count", "scheduled-count", "worker-usage", "total-workers"] {
        for activation in ["0", "0.5", "1", "1.999", "2", "3", "4", "1000"] {
            let metadata = format!("metric={metric} targetValue=1 activationTargetValue={activation}");
            let expected = activation.parse::<f64>().unwrap() < scaler.value(&metadata).await.unwrap();
            assert_eq!(scaler.is_active(&metadata).await.unwrap(), expected, "{metadata}");
        }
    }
}

#[tokio::test]
async fn trigger_stays_active_while_jobs_are_processed_unless_configured_otherwise() {
    let mut database = sqlite().await;
    let scaler = start(database.config()).await;
    let check = async |metadata: &str, expected: bool| {
        let metadata = format!("metric=enqueued-count targetValue=1 {metadata}");
        assert_eq!(scaler.is_active(&metadata).await.unwrap(), expected, "{metadata}");
    };
    check("", false).await;
    // An orphan: nobody lives who could finish it, and only a server would requeue it.
    database.insert_jobs(&[job("PROCESSING", 5000.0)]).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    check("", true).await;
    check("activationTargetValue=100", true).await;
    check("keepWhileProcessing=false", false).await;
}

#[tokio::test]
async fn metric_of_another_name_is_not_found() {
    let (_database, scaler) = empty().await;
    let metadata = "metric=enqueued-count targetValue=1";
    let error = scaler.metric_named(metadata, "jobrunr-default-enqueued-latency").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    for part in ["`jobrunr-default-enqueued-latency`", "`jobrunr-default-enqueued-count`"] {
        assert!(error.message().contains(part), "{}", error.message());
    }
    assert!(scaler.metric_named(metadata, "JobRunr-Default-Enqueued-Count").await.is_ok());
    let request = GetMetricsRequest { scaled_object_ref: None, metric_name: "x".to_owned() };
    let error = scaler.client.clone().get_metrics(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn storage_is_found_by_name_and_open_to_its_namespaces() {
    let database = sqlite().await;
    let config = database.config();
    let closed = StorageConfig { namespaces: Some(vec!["bank".to_owned()]), ..config.clone() };
    let open = StorageConfig { namespaces: Some(vec!["bank".to_owned(), "shop".to_owned()]), ..config.clone() };
    let scaler = start_all([("everybodys", config), ("closed", closed), ("open", open)]).await;
    let call =
        async |storage: &str| scaler.value(&format!("storage={storage} metric=enqueued-count targetValue=1")).await;
    assert!(call("everybodys").await.is_ok());
    assert!(call("open").await.is_ok());
    // What is closed to a namespace and what does not exist are the same to it, but for the name that it asked for itself.
    let texts = ["closed", "oders"].map(async |storage| {
        let error = call(storage).await.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied, "{storage}");
        error.message().replace(&format!("`{storage}`"), "`…`")
    });
    let [closed, unknown] = futures::future::join_all(texts).await.try_into().unwrap();
    assert_eq!(closed, unknown);
    assert!(closed.contains("`shop`") && closed.ends_with("everybodys, open"), "{closed}");
}

#[tokio::test]
async fn storage_that_is_unknown_is_not_found_without_namespaces() {
    let (_database, scaler) = empty().await;
    let error = scaler.value("storage=oders metric=enqueued-count targetValue=1").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("`oders`") && error.message().ends_with("default"), "{}", error.message());
}

#[tokio::test]
async fn filter_without_its_column_is_a_failed_precondition() {
    let (_database, scaler) = empty().await;
    let metadata = "metric=enqueued-count targetValue=1 priority=1";
    assert_eq!(scaler.value(metadata).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(scaler.is_active(metadata).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(scaler.spec(metadata).await.is_ok());
}

#[tokio::test]
async fn question_limit_of_a_namespace_does_not_affect_others() {
    let (_database, scaler) = empty().await;
    let ask = |seconds: u32| format!("metric=scheduled-count targetValue=1 scheduledIn=PT{seconds}S");
    let metadata: Vec<String> = (0..600).map(ask).collect();
    let mut answers = Vec::new();
    for some in metadata.chunks(50) {
        answers.extend(join_all(some.iter().map(|metadata| scaler.is_active(metadata))).await);
    }
    let is_refused = |status: &Status| status.code() == Code::ResourceExhausted;
    let (refused, others): (Vec<_>, Vec<_>) =
        metadata.iter().zip(&answers).partition(|(_, answer)| answer.as_ref().is_err_and(is_refused));
    assert_eq!((refused.len(), others.len()), (600 - 500, 500));
    // A busy machine may not have read them in time yet.
    for (metadata, _) in others {
        assert_eq!(answered(&scaler, metadata).await, 0.0, "{metadata}");
    }
    let mut other = reference(&ask(1_000));
    "billing".clone_into(&mut other.namespace);
    let known = eventually("an answer", async || scaler.client.clone().is_active(other.clone()).await.ok()).await;
    assert!(!known.into_inner().result);
    // What somebody asks already is answered to all.
    assert_eq!(answered(&scaler, &ask(1_000)).await, 0.0);
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let (_database, scaler) = empty().await;
    let mut health = HealthClient::new(scaler.channel.clone());
    for service in ["", "liveness", "readiness", "externalscaler.ExternalScaler"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), tonic_health::ServingStatus::Serving.into(), "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "other".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let mut reflection = ServerReflectionClient::new(scaler.channel.clone());
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let answers = reflection.server_reflection_info(futures::stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "externalscaler.ExternalScaler"), "{list:?}");
}

#[tokio::test]
async fn message_that_is_oversized_is_rejected_and_the_server_goes_on() {
    let (_database, scaler) = empty().await;
    let mut huge = reference("metric=enqueued-count targetValue=1");
    huge.scaler_metadata.insert("caCert".to_owned(), "x".repeat(300 * 1024));
    let error = scaler.client.clone().get_metric_spec(huge).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    // Certificates in PEM fit.
    let mut large = reference("metric=enqueued-count targetValue=1");
    large.scaler_metadata.insert("caCert".to_owned(), "x".repeat(100 * 1024));
    assert!(scaler.client.clone().get_metric_spec(large).await.is_ok());
}

/// Far more look-aheads than anybody configures, from one namespace: one pass over the jobs that are due answers them all.
#[tokio::test]
async fn look_aheads_of_one_namespace_are_answered_even_if_there_are_many() {
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await.at_present();
        database.insert_jobs(&[scheduled(-1.0), scheduled(30.0), scheduled(100.0)]).await;
        let scaler = start(database.config()).await;
        let ask = |minutes: u32| format!("metric=scheduled-count targetValue=1 scheduledIn=PT{minutes}M");
        let expected = |minutes: u32| if minutes == 1 { 2.0 } else { 3.0 };
        let first = (1..=195).map(async |minutes| (minutes, answered(&scaler, &ask(minutes)).await));
        for (minutes, value) in join_all(first).await {
            assert_eq!(value, expected(minutes), "{kind:?} PT{minutes}M");
        }
        let again = (1..=195).map(async |minutes| (minutes, scaler.value(&ask(minutes)).await));
        for (minutes, value) in join_all(again).await {
            assert_eq!(value.unwrap(), expected(minutes), "{kind:?} PT{minutes}M");
        }
    }
}
