//! Every field, mistyped. Each mistake is an error or a warning that names it, and nothing else is.

use super::*;

/// A valid ScaledObject without warnings. Its fields are on separate lines, so that a test can change one.
const VALID: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: orders
  annotations: {}
spec:
  scaleTargetRef: {name: orders-worker}
  pollingInterval: 30
  cooldownPeriod: 300
  minReplicaCount: 0
  maxReplicaCount: 10
  fallback: {failureThreshold: 3, replicas: 2}
  advanced: {horizontalPodAutoscalerConfig: {behavior: {}}}
  triggers:
  - type: external-push
    metadata:
      scalerAddress: jobrunr-scaler.keda:9090
      metric: demand
      targetValue: \"8\"
";

/// Returns the errors of [`VALID`] with one part of it changed, or else its warnings.
#[track_caller]
fn said(part: &str, by: &str) -> String {
    assert_eq!(VALID.matches(part).count(), 1, "{part}");
    match read("orders.yaml", &VALID.replace(part, by)) {
        Ok(manifests) => manifests.scaled_objects.iter().flat_map(warnings).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(part: &str, by: &str, expected: &str) {
    let said = said(part, by);
    assert!(said.lines().count() == 1 && said.contains(expected), "{by}\n{said}");
}

#[test]
fn valid_manifest_has_no_warnings() {
    assert_eq!(said("name: orders\n", "name: orders\n"), "");
    for (part, by) in [
        ("jobrunr-scaler.keda:9090", "dns:///jobrunr-scaler.keda:9090"),
        ("jobrunr-scaler.keda:9090", "\"[fd00::7]:9090\""),
        ("metric: demand", "metric: \" demand \""),
        ("metric: demand", "metric: demand\n      enableTLS: \"true\""),
        ("metric: demand", "metric: demand\n      unsafeSsl: \"False\""),
        ("annotations: {}", "annotations: {autoscaling.keda.sh/paused: \"false\", other.example/key: 1}"),
        ("minReplicaCount: 0", "minReplicaCount: 2\n  idleReplicaCount: 0"),
        ("minReplicaCount: 0\n", "\n"),
        ("replicas: 2}", "replicas: 2, behavior: currentReplicasIfHigher}"),
    ] {
        assert_eq!(said(part, by), "", "{by}");
    }
}

#[test]
fn scaler_address_that_cannot_be_dialed_is_an_error() {
    let check = |address: &str, expected: &str| check("jobrunr-scaler.keda:9090", address, expected);
    check(
        "http://jobrunr-scaler.keda:9090",
        "orders.yaml:17:22: spec.triggers[0].metadata.scalerAddress is \"http://jobrunr-scaler.keda:9090\", but must be \
         HOST:PORT without `http://`",
    );
    check("jobrunr-scaler.keda", "but must be HOST:PORT; the port is missing, which is 9090");
    check("jobrunr-scaler.keda:grpc", "but must be HOST:PORT, such as");
    check("\"\"", "scalerAddress is \"\", but must be HOST:PORT");
    check("jobrunr-scaler.keda:8080", "port 8080 of scalerAddress is by default the scaler's HTTP port");
}

#[test]
fn type_or_kind_that_is_misspelled_is_an_error() {
    let of_type = |kind: &str, expected: &str| check("type: external-push", &format!("type: {kind}"), expected);
    of_type(
        "external_push",
        "spec.triggers[0].type is \"external_push\", but scalerAddress belongs to external-push or external; \
                              did you mean `external-push`?",
    );
    of_type("External", "did you mean `external`?");
    of_type("externalpush", "did you mean `external-push`?");
    of_type("push", "type is \"push\", but scalerAddress belongs to external-push or external");
    of_type("kafka", "type is \"kafka\", but scalerAddress belongs to external-push or external");
    check(
        "kind: ScaledObject",
        "kind: Scaledobject",
        "kind is \"Scaledobject\", which KEDA does not have; did you mean `ScaledObject`?",
    );
    check("kind: ScaledObject", "kind: ScaleObject", "did you mean `ScaledObject`?");
    check("keda.sh/v1alpha1", "keda.sh/v1", "apiVersion is \"keda.sh/v1\", but must be keda.sh/v1alpha1");
    let other = |kind: &str| format!("triggers:\n  - {{type: {kind}, metadata: {{}}}}");
    check(
        "triggers:",
        &other("crom"),
        "trigger 0 (crom): KEDA up to 2.21 has no type crom; with an unknown type, the workload does not scale at all; did you mean `cron`?",
    );
    assert_eq!(said("triggers:", &other("cron")), "");
}

#[test]
fn metadata_that_is_mistyped_is_reported() {
    let with = |more: &str, expected: &str| check("metric: demand", &format!("metric: demand\n      {more}"), expected);
    with("enableTLS: \"yes\"", "metadata.enableTLS is \"yes\", but must be \"true\" or \"false\"");
    with("unsafeSsl: true", "metadata.unsafeSsl is the boolean true, but must be text: write unsafeSsl: \"true\"");
    with("caCert: pem", "KEDA does not read caCert in the metadata, but sends it to the scaler");
    with("metricType: Value", "KEDA does not read metricType inside metadata");
    check(
        "    metadata:",
        "    metric: demand\n    metadata:",
        "KEDA has no field spec.triggers[0].metric; it belongs to the \
                                                               trigger's metadata",
    );
    check("    metadata:", "    metricType: Utilization\n    metadata:", "must be one of AverageValue, Value");
    check("    metadata:", "    metricType: average\n    metadata:", "must be one of AverageValue, Value");
    check(
        "    metadata:",
        "    useCachedMetrics: true\n    metadata:",
        "useCachedMetrics gives the HPA the value of the last poll, which is up to pollingInterval (30 s) old",
    );
    check("    metadata:", "    useCachedMetrics: \"true\"\n    metadata:", "must be true or false, without quotes");
    let usage = "    metricType: AverageValue\n    metadata:\n      metric: ' worker-usage '";
    let text = VALID
        .replace("    metadata:", usage)
        .replace("      metric: demand\n", "")
        .replace("minReplicaCount: 0", "minReplicaCount: 1");
    assert!(warnings_of(&text).contains("trigger 0 (worker-usage): a usage is at most 1"), "{}", warnings_of(&text));
    let twin = "triggers:\n  - {type: external-push, metadata: {scalerAddress: 'jobrunr-scaler.keda:9090', metric: demand, \
                targetValue: '8'}}";
    check("triggers:", twin, "trigger 1 is the same as trigger 0 and has no effect");
}

#[test]
fn fields_that_are_mistyped_are_reported() {
    check("maxReplicaCount: 10", "maxReplicaCount: 0", "must be a whole number, at least 1");
    check("maxReplicaCount: 10", "maxReplicaCount: -1", "must be a whole number, at least 1");
    check("minReplicaCount: 0", "minReplicaCount: 11", "must be at most maxReplicaCount, 10");
    check("pollingInterval: 30", "pollingInterval: 30s", "spec.pollingInterval is \"30s\", but must be a whole number");
    check("pollingInterval: 30", "pollingInterval: PT30S", "must be a whole number");
    check("pollingInterval: 30", "pollingInterval: 30000", "pollingInterval is 30000 s, PT8H20M");
    check("cooldownPeriod: 300", "cooldownPeriod: 0", "cooldownPeriod is 0 s: KEDA removes all pods that soon");
    check(
        "cooldownPeriod: 300",
        "cooldownPeriod: 300000",
        "cooldownPeriod is 300000 s, PT83H20M: pods without work stay that long",
    );
    check("minReplicaCount: 0", "minReplicaCount: 1", "with minReplicaCount: 1, a push has no pod to start");
    check(
        "minReplicaCount: 0",
        "minReplicas: 0",
        "KEDA has no field spec.minReplicas; did you mean `minReplicaCount`?",
    );
    check("failureThreshold: 3", "failureThreshold: 300", "counts failures, not seconds");
    check("replicas: 2}", "replicas: 20}", "fallback.replicas: 20 is above maxReplicaCount");
    check("replicas: 2}", "replicas: 2, behavior: scalingModifiers}", "needs spec.advanced.scalingModifiers");
    check(", replicas: 2}", "}", "spec.fallback.replicas is missing");
    check(
        "advanced: {horizontalPodAutoscalerConfig: {behavior: {}}}",
        "advanced: {}",
        "without advanced.horizontalPod",
    );
    check(
        "advanced: {horizontalPodAutoscalerConfig: {behavior: {}}}",
        "advanced: {behavior: {}, horizontalPodAutoscalerConfig: {behavior: {}}}",
        "KEDA has no field spec.advanced.behavior; it belongs to spec.advanced.horizontalPodAutoscalerConfig",
    );
    check(
        "scaleTargetRef: {name: orders-worker}",
        "scaleTargetRef: {deploymentName: orders}",
        "scaleTargetRef.name is missing",
    );
    check("  triggers:", "  trigger:", "spec.triggers is missing; did you mean `triggers` where `trigger` is written?");
    check("\nspec:", "\nSpec:", "spec is missing; did you mean `spec` where `Spec` is written?");
    check("  name: orders\n", "  namespace: orders\n", "metadata.name is missing");
    check("  pollingInterval: 30", "\tpollingInterval: 30", "invalid YAML");
}

#[test]
fn annotations_pause_a_scaled_object() {
    let object = |annotation: &str| {
        let text = VALID.replace("annotations: {}", &format!("annotations: {{autoscaling.keda.sh/{annotation}}}"));
        read_one(&text)
    };
    let paused = |annotation: &str| object(annotation).paused.map(|paused| (paused.annotation, paused.replicas));
    assert_eq!(paused("paused: \"true\""), Some(("autoscaling.keda.sh/paused", None)));
    assert_eq!(paused("paused: \"false\""), None);
    assert_eq!(paused("paused-replicas: \"0\""), Some(("autoscaling.keda.sh/paused-replicas", Some(0))));
    let both = "paused-replicas: \"4\", autoscaling.keda.sh/paused: \"true\"";
    assert_eq!(paused(both), Some(("autoscaling.keda.sh/paused-replicas", Some(4))));
    assert_eq!(object("paused-scale-in: \"true\"").overrides, [Override::NoScaleIn]);
    assert_eq!(object("force-activation: \"true\"").overrides, [Override::Active]);
    assert_eq!(object("paused-scale-out: \"false\"").overrides, []);
    let annotation = |annotation: &str, expected: &str| {
        check("annotations: {}", &format!("annotations: {{autoscaling.keda.sh/{annotation}}}"), expected);
    };
    annotation("paused: true", "metadata.annotations.autoscaling.keda.sh/paused is the boolean true, but must be text");
    annotation("paused: \"no\"", "autoscaling.keda.sh/paused is \"no\", which KEDA reads as true");
    annotation(
        "pause: \"true\"",
        "KEDA has no annotation autoscaling.keda.sh/pause; did you mean `autoscaling.keda.sh/paused`?",
    );
    annotation("paused-replicas: two", "paused-replicas is \"two\", but must be a whole number of replicas");
}

#[test]
fn warning_about_other_triggers_whose_errors_close_the_streams() {
    let other = |kind: &str| said("triggers:", &format!("triggers:\n  - {{type: {kind}, metadata: {{}}}}"));
    insta::assert_snapshot!(other("kafka"), @"with KEDA 2.21, an error of trigger 0 (kafka) also closes the push streams of this ScaledObject, and up to a minute passes after the error until they are open again, unless another ScaledObject has the same scalerAddress; a new job then waits for the next poll, pollingInterval is 30 s");
    assert_eq!(other("cpu"), "");
    let polled =
        VALID.replace("external-push", "external").replace("triggers:", "triggers:\n  - {type: kafka, metadata: {}}");
    assert_eq!(warnings_of(&polled), "");
}

#[test]
fn keda_requirements_of_a_manifest() {
    let needs = |edit: &[(&str, &str)]| {
        let text = edit.iter().fold(VALID.to_owned(), |text, (part, by)| text.replace(part, by));
        keda_requirements(&read_one(&text)).iter().map(|needs| needs.version).collect::<Vec<_>>()
    };
    assert_eq!(needs(&[]), Vec::<&str>::new());
    assert_eq!(needs(&[("    metadata:", "    metricType: Value\n    metadata:")]), ["2.18"]);
    assert_eq!(
        needs(&[
            ("    metadata:", "    metricType: Value\n    metadata:"),
            ("  fallback: {failureThreshold: 3, replicas: 2}\n", "")
        ]),
        Vec::<&str>::new()
    );
    assert_eq!(needs(&[("replicas: 2}", "replicas: 2, behavior: currentReplicas}")]), ["2.17"]);
    assert_eq!(needs(&[("replicas: 2}", "replicas: 2, behavior: static}")]), Vec::<&str>::new());
    assert_eq!(needs(&[("\"8\"", "auto")]), ["2.21"]);
    assert_eq!(needs(&[("\"8\"", "\"0.8\""), ("metric:", "enableTLS: \"true\"\n      metric:")]), ["2.17", "2.17"]);
}
