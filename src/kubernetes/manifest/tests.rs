//! Manifests as people write them, valid and invalid. What people read is kept as snapshots.

mod mistyped;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::kubernetes::hpa::{PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy};
use crate::kubernetes::keda::{Fallback, FallbackBehavior, ReplicaBounds};

/// A ScaledObject with `spec` (indented by two) and one trigger with `trigger` (indented by four).
fn scaled_object(spec: &str, trigger: &str) -> String {
    format!(
        "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: orders
spec:
  scaleTargetRef: {{name: orders-worker}}
{spec}
  triggers:
  - type: external-push
    metadata:
      scalerAddress: jobrunr-scaler.keda:9090
      metric: demand
{trigger}
"
    )
}

#[track_caller]
fn read_one(text: &str) -> ScaledObject {
    let mut manifests = read("orders.yaml", text).unwrap();
    assert_eq!(manifests.scaled_objects.len(), 1);
    manifests.scaled_objects.remove(0)
}

#[track_caller]
fn problems(text: &str) -> String {
    read("orders.yaml", text).unwrap_err().to_string()
}

fn warnings_of(text: &str) -> String {
    warnings(&read_one(text)).join("\n")
}

/// The part of a spec without which there is a warning that most tests are not about.
const QUIET: &str = "  advanced: {horizontalPodAutoscalerConfig: {behavior: {}}}";

const FULL: &str = include_str!("tests/full.yaml");

#[test]
fn full_manifest_is_read() {
    let object = read_one(FULL);
    assert_eq!(object.namespace.as_deref(), Some("shop"));
    assert_eq!((object.name.as_str(), object.target.as_str()), ("orders", "orders-worker"));
    let rules = ScaledObjectRules {
        bounds: ReplicaBounds { min: 2, max: 20, idle: Some(0) },
        polling_interval: SignedDuration::from_secs(15),
        cooldown: SignedDuration::from_secs(600),
        initial_cooldown: SignedDuration::from_secs(60),
        fallback: Some(Fallback {
            failure_threshold: 3,
            replicas: 4,
            behavior: FallbackBehavior::CurrentReplicasIfHigher,
        }),
    };
    assert_eq!(object.rules, rules);
    assert!(object.scaling_modifiers);
    assert_eq!(object.unknown_fields, Vec::<String>::new());

    let behavior = object.behavior.unwrap();
    assert_eq!(behavior.scale_up, ScalingRules { tolerance: Some(0.05), ..ScalingRules::scale_up_default() });
    assert_eq!(
        behavior.scale_down,
        ScalingRules {
            stabilization_window: SignedDuration::from_secs(120),
            select_policy: SelectPolicy::Min,
            policies: vec![ScalingPolicy {
                kind: PolicyKind::Percent,
                value: 50,
                period: SignedDuration::from_secs(60)
            }],
            tolerance: None,
        }
    );

    let kinds: Vec<String> = object.triggers.iter().map(|trigger| trigger.kind.to_string()).collect();
    assert_eq!(kinds, ["external-push", "external", "cpu"]);
    let types: Vec<Option<MetricType>> = object.triggers.iter().map(|trigger| trigger.metric_type).collect();
    assert_eq!(types, [Some(MetricType::AverageValue), Some(MetricType::Value), None]);
    assert_eq!(object.triggers[0].metadata["targetValue"], "8");
    assert_eq!(object.triggers[0].metric(), Some("demand"));
    assert_eq!((object.triggers[0].line, object.triggers[0].use_cached_metrics), (36, false));
    assert!(object.triggers[1].use_cached_metrics);
    assert_eq!(object.triggers[2].metric(), None);
}

#[test]
fn omitted_fields_have_kedas_defaults() {
    let object = read_one(&scaled_object("  # nothing", ""));
    assert_eq!(object.namespace, None);
    assert_eq!(object.rules, ScaledObjectRules::default());
    assert_eq!(object.behavior, None);
    assert!(!object.scaling_modifiers);
    assert_eq!(read_one(&scaled_object(QUIET, "")).behavior, Some(Behavior::default()));
    assert_eq!(
        read_one(&scaled_object("  advanced: {scalingModifiers: {}, horizontalPodAutoscalerConfig: null}", "")),
        object
    );
}

#[test]
fn documents_and_lists_are_read() {
    let object = scaled_object("", "");
    let job = "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: reports}\n\
               spec: {jobTargetRef: {}, triggers: [{type: cron, metadata: {}}]}\n";
    let indented = object.replace('\n', "\n  ");
    let text = format!(
        "---\n# nothing here\n---\n{object}---\nkind: Deployment\nspec: {{replicas: 3}}\n---\n\
         kind: List\nitems:\n- {indented}\n- kind: Service\n---\n{job}"
    );
    let manifests = read("all.yaml", &text).unwrap();
    assert_eq!(manifests.scaled_objects.len(), 2);
    assert_eq!(manifests.scaled_jobs.len(), 1);
    assert_eq!(manifests.scaled_jobs[0].name, "reports");
    assert_eq!(manifests.skipped, ["Deployment", "Service"]);
    assert_eq!(read("empty.yaml", "# only a comment\n").unwrap(), Manifests::default());
}

#[test]
fn metadata_accepts_text_only() {
    let text = scaled_object(
        "",
        "      targetValue: 300\n      priority: \"1\"\n      keepWhileProcessing: true\n      serverTag:\n      \
         activationTargetValue: 0.5\n      filter: [a]",
    );
    insta::assert_snapshot!(problems(&text), @r#"
    orders.yaml:13:20: spec.triggers[0].metadata.targetValue is the number 300, but must be text: write targetValue: "300"
    orders.yaml:15:28: spec.triggers[0].metadata.keepWhileProcessing is the boolean true, but must be text: write keepWhileProcessing: "true"
    orders.yaml:16:16: spec.triggers[0].metadata.serverTag is empty, but must be text: write serverTag: ""
    orders.yaml:17:30: spec.triggers[0].metadata.activationTargetValue is the number 0.5, but must be text: write activationTargetValue: "0.5"
    orders.yaml:18:15: spec.triggers[0].metadata.filter is a list, but must be text
    "#);
}

#[test]
fn errors_are_found_all_at_once() {
    insta::assert_snapshot!(problems(include_str!("tests/wrong.yaml")), @r#"
    orders.yaml:1:13: apiVersion is "v1", but must be keda.sh/v1alpha1
    orders.yaml:4:3: metadata.name is missing
    orders.yaml:6:3: spec.scaleTargetRef is missing
    orders.yaml:6:20: spec.minReplicaCount is "two", but must be a whole number, at least 0, without quotes
    orders.yaml:7:20: spec.maxReplicaCount is the number 2.5, but must be a whole number, at least 1, without quotes
    orders.yaml:8:19: spec.cooldownPeriod is the number -1, but must be a whole number, at least 0, without quotes
    orders.yaml:9:13: spec.advanced is "none", but must be a mapping
    orders.yaml:11:5: spec.fallback.failureThreshold is missing
    orders.yaml:12:15: spec.fallback.behavior is "average", but must be one of static, currentReplicas, currentReplicasIfHigher, currentReplicasIfLower, scalingModifiers
    orders.yaml:15:17: spec.triggers[0].metricType is "Utilization", but must be one of AverageValue, Value
    orders.yaml:16:15: spec.triggers[0].metadata.scalerAddress is missing, HOST:PORT of the scaler
    orders.yaml:17:5: spec.triggers[1].type is missing
    orders.yaml:19:17: spec.triggers[1].metadata.priority is the number 1, but must be text: write priority: "1"
    orders.yaml:20:5: spec.triggers[2] is "kafka", but must be a mapping
    orders.yaml:24:38: metadata.namespace is the number 7, but must be text
    orders.yaml:25:7: spec.triggers is empty, but must have a trigger
    "#);
}

#[test]
fn errors_name_the_field_and_what_is_allowed() {
    #[track_caller]
    fn check(spec: &str, expected: &str) {
        assert_eq!(problems(&scaled_object(spec, "")), format!("orders.yaml:{expected}"));
    }
    check("  minReplicaCount: 101", "7:20: spec.minReplicaCount is 101, but must be at most maxReplicaCount, 100");
    check("  idleReplicaCount: 0", "7:21: spec.idleReplicaCount is 0, but must be less than minReplicaCount, 0");
    check(
        "  pollingInterval: 0",
        "7:20: spec.pollingInterval is the number 0, but must be a whole number, at least 1, without quotes",
    );
    check(
        "  cooldownPeriod: \"300\"",
        "7:19: spec.cooldownPeriod is \"300\", but must be a whole number, at least 0, without quotes",
    );
    check(
        "  maxReplicaCount: 4294967296",
        "7:20: spec.maxReplicaCount is the number 4294967296, but must be a whole number, at least 1, without quotes",
    );
    check(
        "  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {policies: []}}}}",
        "7:77: spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies is empty, but must have a policy",
    );
    check(
        "  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {tolerance: much}}}}",
        "7:78: spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.tolerance is \"much\", but must be a fraction of at \
         least 0, for example 0.05 or 50m",
    );
    check(
        "  advanced: {scalingModifiers: {formula: a + b}}",
        "9:5: spec.triggers[0].name is missing, which scalingModifiers need",
    );
}

#[test]
fn invalid_yaml_is_an_error() {
    insta::assert_snapshot!(problems("kind: [ScaledObject\nmetadata: {}\n"), @"orders.yaml:2:9: invalid YAML: illegal placement of ':' indicator");
    insta::assert_snapshot!(problems("kind: ScaledObject\nkind: List\n"), @"orders.yaml:2:1: invalid YAML: duplicate mapping key `kind` is not allowed here");
    insta::assert_snapshot!(problems("- a\n- b\n"), @"orders.yaml:1:1: the document is a list, but must be a mapping");
    insta::assert_snapshot!(problems("replicas: 3\n"), @"orders.yaml:1:1: kind is missing");
    insta::assert_snapshot!(problems("apiVersion: keda.k8s.io/v1alpha1\nkind: ScaledObject\n"), @r#"
    orders.yaml:1:1: metadata is missing
    orders.yaml:1:1: spec is missing
    orders.yaml:1:13: apiVersion is "keda.k8s.io/v1alpha1", but must be keda.sh/v1alpha1
    "#);
}

#[test]
fn minimal_manifest_has_no_warnings() {
    assert_eq!(warnings_of(&scaled_object(QUIET, "")), "");
}

#[test]
fn warnings_about_the_scaled_object() {
    insta::assert_snapshot!(warnings_of(&scaled_object("", "")), @"without advanced.horizontalPodAutoscalerConfig.behavior, a workload that returns from zero grows to the size that it had up to five minutes ago, even for one job; set scaleDown.stabilizationWindowSeconds: 300 there, which changes nothing else for scaling down");
    insta::assert_snapshot!(warnings_of(&scaled_object(&format!("{QUIET}\n  cooldownPeriod: 5"), "")), @"cooldownPeriod is 5 s: KEDA removes all pods that soon after the last activity, and starts new ones for the next job; use 300, the default, or more than the longest usual pause");
    insta::assert_snapshot!(warnings_of(&scaled_object(
        &format!("{QUIET}\n  minReplicaCount: 2\n  idleReplicaCount: 1"), "")), @"idleReplicaCount: 1 is below the HPA's minimum, so the HPA raises the replicas each time KEDA lowers them; only 0 works");
    insta::assert_snapshot!(warnings_of(&scaled_object(
        &format!("{QUIET}\n  fallback: {{failureThreshold: 3, replicas: 0}}"), "")), @"with fallback.replicas: 0, KEDA scales to zero while the triggers cannot be read; use 1 or more");
    insta::assert_snapshot!(warnings_of(&scaled_object(
        &format!("{QUIET}\n  coolDownPeriod: 300\n  color: red"), "    metrictype: Value")), @r"
    line 8: KEDA has no field spec.coolDownPeriod; did you mean `cooldownPeriod`?
    line 9: KEDA has no field spec.color
    line 15: KEDA has no field spec.triggers[0].metrictype; did you mean `metricType`?
    ");
    insta::assert_snapshot!(warnings_of(&scaled_object(
        "  advanced: {horizontalPodAutoscalerConfig: {behavior: {}}, scalingModifiers: {formula: a}}", "    name: a")), @"a push starts the workload even if the formula of scalingModifiers is not above its activationTarget; use type: external if the formula must decide");
}

#[test]
fn warnings_about_a_trigger() {
    insta::assert_snapshot!(warnings_of(&scaled_object(QUIET, "      metricType: Value")), @"trigger 0 (demand): KEDA does not read metricType inside metadata, so Value has no effect; write it beside type and metadata");
    insta::assert_snapshot!(warnings_of(&scaled_object(QUIET, "    metricType: Value")), @"trigger 0 (demand): with metricType: Value, the HPA multiplies the ready pods by demand ÷ target every 15 s, up to the maximum; use AverageValue, with what one pod can take as the target");
    let usage = scaled_object(QUIET, "    name: busy").replace("demand", "worker-usage");
    insta::assert_snapshot!(warnings_of(&usage), @r"
    trigger 0 (busy): a usage is at most 1, so with metricType: AverageValue it asks for at most 1 ÷ target pods, however busy they are; use Value
    at zero pods there are no workers, so these triggers are 0 however many jobs wait, and never start the workload; add a trigger for demand or enqueued-count, or set minReplicaCount: 1
    ");
}

#[test]
fn computed_target_follows_the_servers_with_push_only() {
    let auto = scaled_object(QUIET, "      targetValue: auto");
    assert_eq!(warnings_of(&auto), "");
    let versions =
        |text: &str| keda_requirements(&read_one(text)).iter().map(|needs| needs.version).collect::<Vec<_>>();
    assert_eq!(versions(&auto), ["2.21"]);
    let polled = auto.replace("external-push", "external");
    insta::assert_snapshot!(warnings_of(&polled), @"trigger 0 (demand): with type: external, every version of KEDA reads the target of targetValue: auto only when it reconciles the ScaledObject: it does not follow the servers; use external-push, or a number");
    assert_eq!(versions(&polled), Vec::<&str>::new());
}

#[test]
fn worker_metrics_alone_never_activate() {
    #[track_caller]
    fn check(spec: &str, metric: &str, more: &str, expected: bool) {
        let text = scaled_object(&format!("{QUIET}\n{spec}"), more).replace("demand", metric);
        assert_eq!(warnings_of(&text).contains("never start the workload"), expected);
    }
    check("", "worker-usage", "", true);
    check("", "occupied-workers", "", true);
    check("", "worker-usage", "  - {type: cpu, metadata: {}}", true);
    check("  minReplicaCount: 2\n  idleReplicaCount: 0", "worker-usage", "", true);
    check("", "demand", "", false);
    check("", "worker-usage", "  - {type: cron, metadata: {}}", false);
    check("  minReplicaCount: 1", "worker-usage", "", false);
    check("", "unheard-of", "", false);
}

#[test]
fn warnings_about_a_scaled_job() {
    let text = "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: reports}\nspec:\n  triggers:\n  \
                - {type: external-push, metricType: Value, metadata: {scalerAddress: 'a:1', metric: demand}}\n";
    let job = read("job.yaml", text).unwrap().scaled_jobs.remove(0);
    insta::assert_snapshot!(job_warnings(&job).join("\n"), @r"
    trigger 0 (demand): KEDA opens the stream of an external-push trigger for a ScaledJob but ignores its messages; use type: external and a short pollingInterval
    trigger 0 (demand): in a ScaledJob, KEDA reads the target of metricType: Value as 0 and starts no jobs; use AverageValue
    ");
}

proptest! {
    /// Somebody may be typing in the file, so any content must lead to a result.
    #[test]
    fn damaged_manifest_never_panics(cut in 0..FULL.len(), length in 0..80usize, put in "[ \\n:{}\\[\\]&*!|>'\"%@#,a1-]{0,6}") {
        let end = (cut + length).min(FULL.len());
        let text = format!("{}{put}{}", &FULL[..cut], &FULL[end..]);
        if let Err(error) = read("full.yaml", &text) {
            prop_assert!(!error.problems.is_empty());
        }
    }
}
