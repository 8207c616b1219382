//! `explain` as a person runs it: the built program, manifests in files, JobRunr's tables in SQLite.

#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test, with its place")]

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use insta::assert_snapshot;

#[path = "explain/workspace.rs"]
mod workspace;

use workspace::{Serving, Workspace, transcript};

const COUNT: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: orders}
spec:
  scaleTargetRef: {name: worker}
  maxReplicaCount: 10
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 300}}}}
  triggers:
    - type: external-push
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '10'}
";

#[tokio::test]
async fn table_shows_what_each_trigger_asks_for_and_why() {
    let workspace = Workspace::new().await;
    workspace.jobs(35, "ENQUEUED", 90).await;
    workspace.jobs(3, "PROCESSING", 0).await;
    workspace.server(8).await;
    workspace.file(
        "worker.yaml",
        &(COUNT.to_owned()
            + "    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:9090', metric: worker-usage, targetValue: '0.8'}
    - type: cron
      metadata: {timezone: Europe/Brussels, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: '2'}
"),
    );
    assert_snapshot!("table", workspace.explain(&["-f", "worker.yaml"]));
    assert_snapshot!("json", workspace.explain(&["-f", "worker.yaml", "--output", "json"]));
    assert_snapshot!("at_zero", workspace.explain(&["-f", "worker.yaml", "--replicas", "0"]));
    assert_snapshot!("scaling_down", workspace.explain(&["-f", "worker.yaml", "--replicas", "9"]));
}

#[tokio::test]
async fn workload_without_work_scales_to_zero_after_the_cooldown() {
    let workspace = Workspace::new().await;
    workspace.file("worker.yaml", COUNT);
    assert_snapshot!("idle", workspace.explain(&["-f", "worker.yaml", "--replicas", "4"]));
    let kept = COUNT.replace("maxReplicaCount: 10", "minReplicaCount: 2");
    workspace.file("kept.yaml", &kept);
    assert_snapshot!("idle_at_minimum", workspace.explain(&["-f", "kept.yaml", "--replicas", "4"]));
    assert_snapshot!("idle_at_zero", workspace.explain(&["-f", "worker.yaml", "--replicas", "0"]));
}

#[tokio::test]
async fn documents_are_read_from_several_files_and_from_standard_input() {
    let workspace = Workspace::new().await;
    workspace.jobs(500, "ENQUEUED", 1).await;
    let other = COUNT.replace("worker", "mailer");
    workspace
        .file("all.yaml", &format!("{COUNT}---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n---\n{other}"));
    let mut command = workspace.command(&["explain", "-f", "all.yaml", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let third = COUNT.replace("worker", "third").replace("maxReplicaCount: 10", "minReplicaCount: 2");
    child.stdin.take().unwrap().write_all(third.as_bytes()).unwrap();
    assert_snapshot!("several", transcript(&child.wait_with_output().unwrap()));
}

#[tokio::test]
async fn manifest_that_is_likely_wrong_gets_warnings() {
    let workspace = Workspace::new().await;
    workspace.file(
        "odd.yaml",
        "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: odd}
spec:
  scaleTargetRef: {name: odd}
  maxReplicas: 4
  triggers:
    - type: external
      metadata: {scalerAddress: 'a:1', metric: worker-usage, targetValue: '0.8', metricType: Value, activationTargetVale: '1'}
    - type: external
      metricType: Value
      metadata: {scalerAddress: 'a:1', metric: total-workers, targetValue: '10', passwordFromEnv: DB}
",
    );
    assert_snapshot!("warnings", workspace.explain(&["-f", "odd.yaml"]));
}

#[tokio::test]
async fn missing_database_is_an_error_with_its_cause_and_never_a_number() {
    let workspace = Workspace::new().await;
    let fallback = "  fallback: {failureThreshold: 3, replicas: 5}\n";
    workspace.file("worker.yaml", &(COUNT.to_owned() + fallback));
    std::fs::remove_file(workspace.directory.path().join("jobs.db")).unwrap();
    assert_snapshot!("missing_database", workspace.explain(&["-f", "worker.yaml", "--replicas", "3"]));
    assert_snapshot!("missing_database_json", workspace.explain(&["-f", "worker.yaml", "--output", "json"]));
}

#[tokio::test]
async fn fallback_is_announced_only_where_keda_has_one() {
    let workspace = Workspace::new().await;
    let manifest = COUNT.to_owned()
        + "    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:9090', metric: worker-usage, targetValue: '0.8'}
    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: demand, targetValue: '8', storage: invoices}
  fallback: {failureThreshold: 3, replicas: 5, behavior: currentReplicasIfHigher}
";
    workspace.file("worker.yaml", &manifest);
    std::fs::remove_file(workspace.directory.path().join("jobs.db")).unwrap();
    assert_snapshot!("fallback", workspace.explain(&["-f", "worker.yaml", "--replicas", "7"]));
    assert_snapshot!("fallback_at_zero", workspace.explain(&["-f", "worker.yaml", "--replicas", "0"]));
    workspace.file("static.yaml", &manifest.replace(", behavior: currentReplicasIfHigher", ""));
    let said = workspace.explain(&["-f", "static.yaml"]);
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("falls back to 5 replicas, fallback.replicas"), "{said}");
}

#[tokio::test]
async fn paused_scaled_object_is_reported_as_paused() {
    let workspace = Workspace::new().await;
    workspace.jobs(35, "ENQUEUED", 90).await;
    let paused = |annotation: &str| {
        COUNT.replace(
            "namespace: orders",
            &format!("namespace: orders, annotations: {{autoscaling.keda.sh/{annotation}}}"),
        )
    };
    workspace.file("paused.yaml", &paused("paused: \"true\""));
    assert_snapshot!("paused", workspace.explain(&["-f", "paused.yaml"]));
    workspace.file("at_four.yaml", &paused("paused-replicas: \"4\""));
    let said = workspace.explain(&["-f", "at_four.yaml", "--output", "json"]);
    assert!(
        said.contains("\"wanted\": 4") && said.contains("\"paused\": \"autoscaling.keda.sh/paused-replicas\""),
        "{said}"
    );
    workspace.file("in.yaml", &paused("paused-scale-in: \"true\""));
    let said = workspace.explain(&["-f", "in.yaml"]);
    assert!(said.contains("4 wanted") && said.contains("KEDA and the HPA remove no pods"), "{said}");
}

#[tokio::test]
async fn wanted_number_follows_behavior_annotations_and_bounds() {
    let workspace = Workspace::new().await;
    workspace.jobs(35, "ENQUEUED", 90).await;
    let behavior = |rules: &str| COUNT.replace("scaleDown: {stabilizationWindowSeconds: 300}", rules);
    let annotated = |annotation: &str| {
        let annotations = format!("namespace: orders, annotations: {{autoscaling.keda.sh/{annotation}: 'true'}}");
        COUNT.replace("namespace: orders", &annotations)
    };
    let check = |manifest: &str, replicas: u32, wanted: u32| {
        workspace.file("worker.yaml", manifest);
        let said = workspace.explain(&["-f", "worker.yaml", "--replicas", &replicas.to_string(), "--output", "json"]);
        assert!(said.contains(&format!("\"wanted\": {wanted},")), "{manifest} {replicas}: {said}");
        workspace.explain(&["-f", "worker.yaml", "--replicas", &replicas.to_string()])
    };
    check(COUNT, 7, 4);
    let said = check(&behavior("scaleDown: {selectPolicy: Disabled}"), 7, 7);
    assert!(said.contains("(the triggers ask for 4, which"), "{said}");
    check(&behavior("scaleUp: {selectPolicy: Disabled}"), 2, 2);
    check(&behavior("scaleUp: {selectPolicy: Disabled}"), 0, 1);
    check(&annotated("paused-scale-in"), 7, 7);
    check(&annotated("paused-scale-out"), 2, 2);
    check(&annotated("paused-scale-out"), 0, 0);
    // 35 jobs on 3 pods are 6 % above the target.
    let eleven = |manifest: &str| manifest.replace("'10'", "'11'");
    check(&eleven(COUNT), 3, 3);
    check(&eleven(&behavior("scaleUp: {tolerance: 0}")), 3, 4);
    // The HPA goes to its minimum first, where 35 jobs are within its tolerance.
    let two = |manifest: &str| {
        manifest.replace("'10'", "'17'").replace("maxReplicaCount:", "minReplicaCount: 2\n  maxReplicaCount:")
    };
    check(&two(COUNT), 1, 2);
    // What is forced to be active is not scaled to zero.
    workspace.file("idle.yaml", &annotated("force-activation").replace("enqueued-count", "scheduled-count"));
    let said = workspace.explain(&["-f", "idle.yaml", "--replicas", "3", "--output", "json"]);
    assert!(said.contains("\"wanted\": 1,") && said.contains("autoscaling.keda.sh/force-activation"), "{said}");
}

#[tokio::test]
async fn rarely_intended_values_get_warnings() {
    let workspace = Workspace::new().await;
    workspace.server(8).await;
    workspace.file(
        "tired.yaml",
        &(COUNT.replace("'10'}", "'0.8', activationTargetValue: '5', pushInactive: 'true'}")
            + "    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:8080', metric: enqueued-latency, targetValue: '10'}
    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-latency, targetValue: '30000'}
"),
    );
    assert_snapshot!("rarely_intended", workspace.explain(&["-f", "tired.yaml", "--replicas", "1"]));
    workspace
        .file("usage.yaml", &COUNT.replace("enqueued-count, targetValue: '10'", "worker-usage, targetValue: '80%'"));
    let said = workspace.explain(&["-f", "usage.yaml"]);
    assert!(said.contains("[exit 1]"), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("`targetValue` is `80%`; allowed is a ratio from 0.001 to 1"), "{said}");
    assert!(said.contains("did you mean `0.8`?"), "{said}");
}

#[tokio::test]
async fn promises_that_cannot_be_kept_are_warned_of() {
    let workspace = Workspace::new().await;
    workspace.server(1).await;
    workspace.jobs(40, "ENQUEUED", 1).await;
    let check = |max_latency: &str, scale_up: &str, max: &str, expected: &str| {
        let trigger = format!("demand, targetValue: '1', maxLatency: {max_latency}, serviceTime: PT1M");
        let manifest = COUNT.replace("enqueued-count, targetValue: '10'", &trigger);
        let manifest = manifest.replace("maxReplicaCount: 10", &format!("maxReplicaCount: {max}"));
        workspace.file("promise.yaml", &manifest.replace("scaleDown: {", &format!("{scale_up}scaleDown: {{")));
        let said = workspace.explain(&["-f", "promise.yaml", "--replicas", "1"]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(said.contains("jobs will wait longer"), !expected.is_empty(), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    let slow = "scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}, ";
    let fast = "scaleUp: {policies: [{type: Pods, value: 50, periodSeconds: 15}]}, ";
    check("PT10M", fast, "50", "");
    check("PT4M", fast, "50", "");
    check("PT4M", slow, "50", "the HPA's scaleUp policies need");
    check("PT4M", slow, "50", "add a scaleUp policy of type Pods with value");
    check("PT4M", slow, "5", "pods, and maxReplicaCount is 5");
}

#[tokio::test]
async fn estimates_from_truncated_counts_are_warned_of() {
    let workspace = Workspace::new().await;
    workspace.server(8).await;
    workspace.jobs(40, "ENQUEUED", 1).await;
    let check = |metadata: &str, limit: &str, expected: bool| {
        let metadata = format!("{metadata}, serviceTime: PT1S");
        workspace.file("promise.yaml", &COUNT.replace("enqueued-count, targetValue: '10'", &metadata));
        let mut command = workspace.command(&["explain", "-f", "promise.yaml"]);
        let said = transcript(&command.env("JOBRUNR_SCALER_COUNT_LIMIT", limit).output().unwrap());
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let warning =
            "is computed from a truncated count, although more jobs may wait: raise countLimit of storage default";
        assert_eq!(said.contains(warning), expected, "{metadata} {limit}: {said}");
    };
    check("demand, targetValue: '8', maxLatency: PT5M", "40", true);
    check("demand, targetValue: '8', maxLatency: PT5M", "0", false);
    check("demand, targetValue: '8'", "40", false);
    check("drain-time, targetValue: '60'", "40", true);
}

#[tokio::test]
async fn namespace_of_manifests_without_one_can_be_given() {
    let workspace = Workspace::new().await;
    workspace.file("worker.yaml", &COUNT.replace(", namespace: orders", ""));
    workspace.file("other.yaml", &COUNT.replace("namespace: orders", "namespace: other"));
    let explain = |arguments: &[&str]| {
        let mut command = workspace.command(&[&["explain"], arguments].concat());
        let said = transcript(&command.env("JOBRUNR_SCALER_NAMESPACES", "orders").output().unwrap());
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let assumed = "the manifest has no metadata.namespace, so that `default` is assumed; give --namespace";
    let said = explain(&["-f", "worker.yaml"]);
    assert!(said.contains(assumed) && said.ends_with("[exit 1]"), "{said}");
    let said = explain(&["-f", "worker.yaml", "--namespace", "orders"]);
    assert!(said.contains("orders/worker") && said.ends_with("[exit 0]"), "{said}");
    // Nothing is assumed of these.
    for arguments in [&["-f", "worker.yaml", "-n", "other"][..], &["-f", "other.yaml", "-n", "orders"]] {
        let said = explain(arguments);
        assert!(said.contains("not open to the namespace `other`") && !said.contains(assumed), "{said}");
    }
}

#[tokio::test]
async fn unusable_addresses_and_types_end_with_1() {
    let workspace = Workspace::new().await;
    workspace.file("url.yaml", &COUNT.replace("scaler:9090", "http://scaler:9090"));
    workspace.file("host.yaml", &COUNT.replace("scaler:9090", "scaler"));
    workspace.file("type.yaml", &COUNT.replace("external-push", "external_push"));
    workspace.file("kind.yaml", &COUNT.replace("kind: ScaledObject", "kind: Scaledobject"));
    let files = ["-f", "url.yaml", "-f", "host.yaml", "-f", "type.yaml", "-f", "kind.yaml"];
    assert_snapshot!("unusable", workspace.explain(&files));
}

/// People copy these manifests.
#[tokio::test]
async fn shipped_manifests_have_no_warnings() {
    let workspace = Workspace::new().await;
    let k8s = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s");
    let mut n_manifests = 0;
    let folders = ["", "overlays/example", "overlays/tls"].map(|folder| k8s.join(folder));
    for path in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path())
    {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.contains("scaledobject") {
            continue;
        }
        // Their storages are not configured here.
        let text = std::fs::read_to_string(&path).unwrap().replace("storage: orders", "storage: default");
        workspace.file(name, &text);
        let said = workspace.explain(&["-f", name]);
        assert!(said.ends_with("[exit 0]") && !said.contains("warning:"), "{}\n{said}", path.display());
        n_manifests += 1;
    }
    assert!(4 <= n_manifests, "{n_manifests}");
}

#[tokio::test]
async fn wrong_metadata_leaves_other_triggers_alone() {
    let workspace = Workspace::new().await;
    workspace.jobs(35, "ENQUEUED", 90).await;
    workspace.file(
        "half.yaml",
        &(COUNT.to_owned()
            + "    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: enqueud-count, targetValue: many}
    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '5', storage: invoices}
"),
    );
    assert_snapshot!("wrong_metadata", workspace.explain(&["-f", "half.yaml"]));
}

#[tokio::test]
async fn metadata_of_scaled_jobs_are_checked() {
    let workspace = Workspace::new().await;
    let job = |metadata: &str| {
        format!(
            "{COUNT}---\napiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {{name: batch}}\nspec:\n  triggers:\n    \
             - {{type: external, metadata: {{scalerAddress: 'a:1', {metadata}}}}}\n    - {{type: cron, metadata: {{metric: x}}}}\n"
        )
    };
    let check = |metadata: &str, exit: &str, expected: &str| {
        workspace.file("job.yaml", &job(metadata));
        let said = workspace.explain(&["-f", "job.yaml"]);
        assert!(said.contains("orders/worker") && said.ends_with(exit) && said.contains(expected), "{said}");
    };
    check(
        "metric: demnad, targetValue: '1'",
        "[exit 1]",
        "error: ScaledJob batch: trigger 0 (demnad): trigger metadata: `metric` is `demnad`",
    );
    check(
        "metric: enqueued-count, targetValue: '1', scheduledin: PT1M",
        "[exit 0]",
        "`scheduledin` is unknown and ignored",
    );
    check("metric: enqueued-count, targetValue: '1'", "[exit 0]", "ScaledJob batch is skipped");
}

#[tokio::test]
async fn invalid_manifests_are_reported_with_their_position() {
    let workspace = Workspace::new().await;
    workspace.file("broken.yaml", "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: [}\n");
    workspace.file("wrong.yaml", &COUNT.replace("'10'", "10").replace("maxReplicaCount: 10", "maxReplicaCount: '10'"));
    assert_snapshot!(
        "no_manifest",
        workspace.explain(&["-f", "broken.yaml", "-f", "wrong.yaml", "-f", "missing.yaml"])
    );
    let job = "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: batch}\nspec:\n  triggers:\n    \
               - {type: external-push, metadata: {scalerAddress: 'a:1', metric: enqueued-count, targetValue: '1'}}\n";
    workspace.file("others.yaml", &format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n---\n{job}"));
    assert_snapshot!("no_scaled_object", workspace.explain(&["-f", "others.yaml"]));
}

#[tokio::test]
async fn invalid_configuration_ends_with_64_and_all_its_errors() {
    let workspace = Workspace::new().await;
    workspace.file("worker.yaml", COUNT);
    let mut command = workspace.command(&["explain", "-f", "worker.yaml"]);
    command.env("JOBRUNR_SCALER_REFRESH", "soon").env("JOBRUNR_SCALER_COUNT_LIMIT", "few");
    assert_snapshot!("bad_configuration", transcript(&command.output().unwrap()));
}

#[tokio::test]
async fn latency_is_reported_in_seconds() {
    let workspace = Workspace::new().await;
    workspace.jobs(2, "ENQUEUED", 90).await;
    workspace.file("worker.yaml", &COUNT.replace("enqueued-count", "enqueued-latency"));
    let output = workspace.command(&["explain", "-f", "worker.yaml", "--output", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trigger = &report["scaledObjects"][0]["triggers"][0];
    let latency = trigger["value"].as_f64().unwrap();
    assert!((90.0..120.0).contains(&latency), "{latency}");
    assert!(trigger["podsWanted"].as_u64().unwrap() >= 9, "{trigger}");
}

#[tokio::test]
async fn running_scaler_is_asked_as_keda_asks_it() {
    let workspace = Workspace::new().await;
    workspace.jobs(35, "ENQUEUED", 90).await;
    workspace.file(
        "worker.yaml",
        &(COUNT.to_owned()
            + "    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '5', storage: invoices}
"),
    );
    let serving = Serving::start(&workspace);
    // As JSON, because the table wraps lines depending on the length of the address.
    let answered = workspace.explain(&["-f", "worker.yaml", "--scaler", &serving.address, "--output", "json"]);
    assert_snapshot!("scaler", answered.replace(&serving.address, "ADDRESS"));
    let address = serving.address.clone();
    drop(serving);
    let refused = workspace.explain(&["-f", "worker.yaml", "--scaler", &address, "--output", "json"]);
    assert_snapshot!("scaler_gone", refused.replace(&address, "ADDRESS"));
}

#[tokio::test]
async fn scaler_that_does_not_answer_times_out() {
    let workspace = Workspace::new().await;
    workspace.file("worker.yaml", COUNT);
    // The operating system accepts the connection, and nobody ever reads from it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = workspace.explain(&["-f", "worker.yaml", "--scaler", &address, "--output", "json"]);
    let error = format!("\"error\": \"GetMetricSpec of {address}: DEADLINE_EXCEEDED: no answer within 5 s\"");
    assert!(output.contains(&error), "{output}");
}

#[tokio::test]
async fn scaler_address_needs_a_port() {
    let workspace = Workspace::new().await;
    let output = workspace.command(&["explain", "-f", "x.yaml", "--scaler", "localhost"]).output().unwrap();
    assert_snapshot!("scaler_without_port", transcript(&output));
}

#[tokio::test]
async fn colors_and_clearing_are_for_terminals_only() {
    let workspace = Workspace::new().await;
    workspace.file("worker.yaml", COUNT);
    let mut command = workspace.command(&["explain", "-f", "worker.yaml", "--watch", "1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let text = lines.take(20).collect::<Vec<_>>().join("\n");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(2 <= text.matches("orders/worker: 1 replica now").count(), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}
