//! Every mistake in a trigger's metadata, and what is said of it.

use tonic::Code;

use super::empty;

#[tokio::test]
async fn metadata_problems_read_like_this() {
    let (_database, scaler) = empty().await;
    let long = format!("metric=enqueued-count targetValue=1 serverTag={}", "x".repeat(200));
    let mut table = String::new();
    for metadata in [
        "scalerAddress=scaler:9090",
        "metric=enqueued-count",
        "targetValue=5",
        "metric= targetValue=",
        "metric=latency targetValue=5",
        "metric=enqueued_latency targetValue=5",
        "Metric=enqueued-count targetvalue=5",
        "metric=enqueued-count targetValue=0",
        "metric=enqueued-count targetValue=-1",
        "metric=enqueued-count targetValue=0.0001",
        "metric=enqueued-count targetValue=NaN",
        "metric=enqueued-count targetValue=inf",
        "metric=enqueued-count targetValue=1e300",
        "metric=enqueued-count targetValue=five",
        "metric=demand targetValue=Auto",
        "metric=total-workers targetValue=Auto",
        "metric=worker-usage targetValue=80",
        "metric=worker-usage targetValue=80%",
        "metric=enqueued-latency targetValue=30s",
        "metric=enqueued-count targetValue=5 activationTargetValue=-1",
        "metric=enqueued-count targetValue=5 activationTargetValue=NaN",
        "metric=enqueued-count targetValue=5 activationTargetValue=often",
        "metric=enqueued-count targetValue=5 priority=-1",
        "metric=enqueued-count targetValue=5 priority=high",
        "metric=enqueued-count targetValue=5 priority=1.5",
        "metric=enqueued-count targetValue=5 priority=99999999999",
        "metric=enqueued-count targetValue=5 dynamicQueue=a\u{7}b",
        &long,
        "metric=scheduled-count targetValue=5 scheduledIn=2m",
        "metric=scheduled-count targetValue=5 scheduledIn=-PT5S",
        "metric=scheduled-count targetValue=5 scheduledIn=P1M",
        "metric=scheduled-count targetValue=5 scheduledIn=PT9000H",
        "metric=enqueued-count targetValue=5 keepWhileProcessing=yes",
        "metric=enqueued-count targetValue=5 pushInactive=1",
        "metric=latency targetValue=0 activationTargetValue=x priority=y scheduledIn=z keepWhileProcessing=w",
    ] {
        let error = scaler.spec(metadata).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{metadata}");
        // All calls say the same.
        let others =
            [scaler.is_active(metadata).await.unwrap_err(), scaler.metric_named(metadata, "x").await.unwrap_err()];
        for other in others {
            assert_eq!((other.code(), other.message()), (error.code(), error.message()));
        }
        let shown = metadata.replace('\u{7}', "␇");
        table += &format!("{shown}\n    {}\n", error.message().replace('\u{7}', "␇").replace("; `", ";\n    `"));
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn metadata_keys_of_keda_and_users_are_accepted() {
    let (_database, scaler) = empty().await;
    for more in [
        "scalerAddress=scaler:9090 enableTLS=true unsafeSsl=false caCert=x tlsClientCert=x tlsClientKey=x",
        "metricType=Value",
        "comment=mine",
        "targetValueFromEnv=TARGET",
        "keepWhileProcessing=TRUE pushInactive=False",
        "scheduledIn=pt2m",
        "activationTargetValue=",
        "priority=",
    ] {
        let metadata = format!("metric=enqueued-count targetValue=5 {more}");
        assert_eq!(scaler.spec(&metadata).await.unwrap().target_size, 5, "{more}");
        assert_eq!(scaler.value(&metadata).await.unwrap(), 0.0, "{more}");
    }
}
