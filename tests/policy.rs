//! The admission policy rejects exactly the triggers that the scaler rejects.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jobrunr_scaler::duration;
use jobrunr_scaler::kubernetes::manifest;
use jobrunr_scaler::scaling::{Metric, Trigger};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value as Json, json};

#[path = "policy/admission.rs"]
mod admission;

use admission::Policy;

const TRIGGERS: &str = include_str!("../k8s/policy/policy.yaml");
const HINTS: &str = include_str!("../k8s/policy/hints.yaml");

/// A ScaledObject with one trigger for this scaler.
fn object(metadata: &BTreeMap<&str, &str>) -> Json {
    let mut metadata = metadata.clone();
    metadata.insert("scalerAddress", "jobrunr-scaler.keda:9090");
    json!({ "metadata": { "name": "x" }, "spec": { "triggers": [{ "type": "external-push", "metadata": metadata }] } })
}

fn metadata<'a>(more: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, &'a str> {
    let mut metadata = BTreeMap::from([("metric", "demand"), ("targetValue", "8")]);
    metadata.extend(more.iter().copied());
    metadata
}

#[test]
fn policy_rejects_a_trigger_with_the_reason() {
    let policy = Policy::read(TRIGGERS);
    let check = |more: &[(&str, &str)], expected: &str| {
        let complaints = policy.complaints(&object(&metadata(more)), None);
        assert!(complaints.len() == 1 && complaints[0].contains(expected), "{more:?}: {complaints:#?}");
        let parsed = Trigger::parse(metadata(more));
        assert!(parsed.is_err(), "{more:?}");
    };
    check(&[("metric", "")], "`metric` is missing; allowed is one of enqueued-latency, ");
    check(&[("metric", "enqued-latency")], "`metric` is `enqued-latency`; allowed is one of enqueued-latency, ");
    check(&[("targetValue", " ")], "`targetValue` is missing");
    check(&[("targetValue", "0")], "`targetValue` is `0`; allowed is a number from 0.001");
    check(&[("targetValue", "1e300")], "`targetValue` is `1e300`");
    check(&[("targetValue", "1e999")], "`targetValue` is `1e999`");
    check(&[("targetValue", "80%")], "`targetValue` is `80%`");
    check(&[("targetValue", "NaN")], "`targetValue` is `NaN`");
    check(
        &[("targetValue", "80"), ("metric", "worker-usage")],
        "`targetValue` of worker-usage is `80`; allowed is a ratio",
    );
    check(&[("targetValue", "1.01"), ("metric", "worker-usage")], "a usage is at most 1");
    check(&[("targetValue", "auto"), ("metric", "worker-usage")], "`targetValue` is `auto` for worker-usage");
    check(&[("activationTargetValue", "-1")], "`activationTargetValue` is `-1`");
    check(&[("targetUsage", "80")], "`targetUsage` is `80`; allowed is a ratio");
    check(&[("workersPerPod", "0")], "`workersPerPod` is `0`");
    check(&[("workersPerPod", "2.5")], "`workersPerPod` is `2.5`");
    check(&[("priority", "-1")], "`priority` is `-1`");
    check(&[("priority", "2147483648")], "`priority` is `2147483648`");
    check(&[("scheduledIn", "2m")], "`scheduledIn` is `2m`");
    check(&[("scheduledIn", "P1M")], "`scheduledIn` is `P1M`");
    check(&[("scheduledIn", "PT1.5H30M")], "`scheduledIn` is `PT1.5H30M`");
    check(&[("scheduledIn", "P1DT")], "`scheduledIn` is `P1DT`");
    check(&[("scheduledIn", "-PT1S")], "`scheduledIn` is `-PT1S`");
    check(&[("maxLatency", "5m"), ("metric", "demand")], "`maxLatency` must be an ISO-8601 duration");
    check(&[("maxLatency", "PT5M"), ("metric", "enqueued-count")], "`maxLatency` belongs to the metric demand");
    check(&[("podStart", "-PT1S")], "`podStart` must be an ISO-8601 duration");
    check(&[("serviceTime", "2")], "`serviceTime` must be an ISO-8601 duration");
    check(&[("keepWhileProcessing", "yes")], "`keepWhileProcessing` must be \"true\" or \"false\"");
    check(&[("pushInactive", "1")], "`pushInactive` must be");
    check(&[("includeBlocked", "0")], "`includeBlocked` must be \"true\" or \"false\"");
    check(&[("keepBusyPods", "on")], "`keepBusyPods` must be \"true\" or \"false\"");
    check(&[("keepBusyPods", "true"), ("metric", "total-workers")], "`keepBusyPods` is `true` for total-workers");
    check(&[("serverTag", "a\tb")], "`serverTag` and `dynamicQueue`");
    let long = "q".repeat(129);
    check(&[("dynamicQueue", &long)], "`serverTag` and `dynamicQueue`");
}

#[test]
fn policy_reports_all_errors_of_all_triggers() {
    let mut object = object(&metadata(&[("metric", "x"), ("priority", "y")]));
    let second = object["spec"]["triggers"][0].clone();
    object["spec"]["triggers"].as_array_mut().unwrap().push(second);
    object["spec"]["triggers"][1]["metricType"] = json!("Utilization");
    let complaints = Policy::read(TRIGGERS).complaints(&object, None);
    assert_eq!(complaints.len(), 3, "{complaints:#?}");
    assert!(complaints[0].starts_with("`metric` is `x`, `x`; allowed"), "{complaints:#?}");
    assert!(complaints[2].contains("`metricType`"), "{complaints:#?}");
}

#[test]
fn policy_ignores_what_is_not_for_this_scaler() {
    let policy = Policy::read(TRIGGERS);
    let with = |edit: &dyn Fn(&mut Json)| {
        let mut object = object(&metadata(&[("metric", "x")]));
        edit(&mut object["spec"]["triggers"][0]);
        policy.complaints(&object, None)
    };
    assert_eq!(with(&|_| ()).len(), 1);
    let hints = Policy::read(HINTS);
    for (address, is_ours) in [
        ("jobrunr-scaler.keda:9090", true),
        ("jobrunr-scaler.keda.svc.cluster.local:9090", true),
        ("dns:///jobrunr-scaler.keda:9090", true),
        ("passthrough:///jobrunr-scaler:9090", true),
        ("http://jobrunr-scaler.keda:9090", true),
        ("dns://10.96.0.10/jobrunr-scaler.keda:9090", true),
        ("DNS:///jobrunr-scaler.keda:9090", true),
        ("//jobrunr-scaler.keda:9090", true),
        ("http//jobrunr-scaler.keda:9090", true),
        ("h2c://jobrunr-scaler.keda:9090", true),
        ("jobrunr-scaler keda:9090", true),
        ("JobRunr-Scaler.keda:9090", true),
        (" jobrunr-scaler", true),
        ("other.keda:9090", false),
        ("other.jobrunr-scaler:9090", false),
        ("jobrunr-scaler-of-others.keda:9090", false),
        ("not-the-jobrunr-scaler.keda:9090", false),
        ("dns:///other.keda:9090/jobrunr-scaler", false),
        ("dns://10.96.0.10/other.keda:9090/jobrunr-scaler", false),
        ("http://other.keda:9090/jobrunr-scaler", false),
    ] {
        let complaints = with(&|trigger| trigger["metadata"]["scalerAddress"] = json!(address));
        assert_eq!(complaints.iter().any(|text| text.contains("`metric`")), is_ours, "{address}: {complaints:?}");
        let mut object = object(&metadata(&[("unknown", "x")]));
        object["spec"]["triggers"][0]["metadata"]["scalerAddress"] = json!(address);
        let complaints = hints.complaints(&object, None);
        assert_eq!(complaints.iter().any(|text| text.starts_with("unknown")), is_ours, "{address}: {complaints:?}");
    }
    assert_eq!(with(&|trigger| trigger["type"] = json!("external_push")).len(), 1);
    assert!(with(&|trigger| *trigger = json!({ "type": "cron", "metadata": { "desiredReplicas": "1" } })).is_empty());
    assert!(with(&|trigger| trigger["metadata"] = json!({})).is_empty());
    assert!(with(&|trigger| drop(trigger.as_object_mut().unwrap().remove("metadata"))).is_empty());
}

#[test]
fn policy_reports_a_malformed_address() {
    let policy = Policy::read(TRIGGERS);
    for address in [
        "jobrunr-scaler.keda",
        "http://jobrunr-scaler.keda:9090",
        "http//jobrunr-scaler.keda:9090",
        "h2c://jobrunr-scaler.keda:9090",
        "//jobrunr-scaler.keda:9090",
        "DNS:///jobrunr-scaler.keda:9090",
        "dns://10.96.0.10/jobrunr-scaler.keda:9090",
        "jobrunr-scaler keda:9090",
    ] {
        let mut object = object(&metadata(&[]));
        object["spec"]["triggers"][0]["metadata"]["scalerAddress"] = json!(address);
        let complaints = policy.complaints(&object, None);
        assert!(complaints.len() == 1 && complaints[0].contains("`scalerAddress`"), "{address}: {complaints:#?}");
    }
}

#[test]
fn policy_lets_existing_objects_be_labeled_and_deleted() {
    let policy = Policy::read(TRIGGERS);
    let old = object(&metadata(&[("metric", "x")]));
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!([]);
    assert!(policy.complaints(&new, Some(&old)).is_empty());
    new["spec"]["maxReplicaCount"] = json!(5);
    assert_eq!(policy.complaints(&new, Some(&old)).len(), 1);
}

/// An address for KEDA's gRPC client: often valid, often nearly.
fn address() -> impl Strategy<Value = String> {
    let resolver = proptest::sample::select(vec![
        "",
        "",
        "",
        "dns:///",
        "passthrough:///",
        "http://",
        "https://",
        "dns:/",
        "DNS:///",
        "dns://10.96.0.10/",
        "h2c://",
        "http//",
        "//",
        " ",
    ]);
    let host = prop_oneof![3 => Just("jobrunr-scaler.keda".to_owned()), 1 => Just("jobrunr-scaler keda".to_owned()), 1 => "[a-z_.A-Z:\\[\\]/@ -]{0,6}"];
    let port = prop_oneof![
        proptest::sample::select(vec![
            "", ":", ":9090", ":9090/", ":0", ":65535", ":65536", ":grpc", ":+9", ":09", ":1:2"
        ])
        .prop_map(str::to_owned),
        "(:[0-9]{1,6})?",
    ];
    (resolver, host, port).prop_map(|(resolver, host, port)| format!("{resolver}{host}{port}"))
}

/// A value for a key: often valid, often nearly, sometimes anything.
fn value() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "",
        " ",
        "0",
        "-0",
        "1",
        "+1",
        "8",
        "007",
        "0.8",
        ".5",
        "5.",
        "1e2",
        "1E-2",
        "0.0009",
        "9e15",
        "9.1e15",
        "-1",
        "inf",
        "nan",
        "0x10",
        "1_000",
        "2147483647",
        "2147483648",
        "100000",
        "100001",
        "10",
        "10.01",
        "auto",
        "Auto",
        "true",
        "FALSE",
        "yes",
        "PT0S",
        "-PT0S",
        "+PT5S",
        "pt2m",
        "PT1H30M",
        "P1D",
        "P2W",
        "P1DT1H",
        "PT0.5S",
        "PT1,5S",
        "PT0.5H",
        "P",
        "PT",
        "P1Y",
        "P1M",
        "PT1H1H",
        "PT1M1H",
        "2m",
        " PT30S ",
        "P1.5D",
        "PT1.5H30M",
        "demand",
        " demand ",
        "worker-usage",
        "enqueued-count",
        "Demand",
        "a\u{7f}b",
        "a\u{85}b",
        "é",
        "\u{a0}1\u{a0}",
    ];
    prop_oneof![
        4 => proptest::sample::select(KNOWN).prop_map(str::to_owned),
        1 => "[0-9+.eE-]{1,8}",
        1 => "[Pp][Tt]?[0-9.,HMSDWhmsdw]{1,8}",
        1 => "\\PC{0,140}",
    ]
}

/// Known gaps: a limit that Kubernetes cannot compute, and numbers that nobody writes.
fn is_beyond_the_policy(metadata: &BTreeMap<&str, &str>) -> bool {
    let days = |days: i64| SignedDuration::from_hours(days * 24);
    let ranges = [
        ("scheduledIn", SignedDuration::ZERO..=days(366)),
        ("maxLatency", SignedDuration::from_secs(1)..=days(7)),
        ("podStart", SignedDuration::ZERO..=SignedDuration::from_hours(1)),
        ("serviceTime", SignedDuration::from_millis(1)..=days(31)),
    ];
    let is_long = ranges.iter().any(|(key, range)| {
        metadata.get(key).is_some_and(|text| match duration::parse(text) {
            Ok(duration) => !duration.is_negative() && !range.contains(&duration),
            // Longer than any duration.
            Err(_) => 5 < text.chars().filter(char::is_ascii_digit).count(),
        })
    });
    let is_odd = |text: &&str| match text.trim().split_once(['e', 'E']) {
        Some((_, exponent)) => {
            let digits = exponent.trim_start_matches(['+', '-']);
            2 < digits.len() && digits.bytes().all(|b| b.is_ascii_digit())
        }
        None => false,
    };
    is_long || metadata.values().any(is_odd)
}

/// So many cases, and before them those that have failed once.
fn config(cases: u32) -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("proptest-regressions/tests/policy.txt");
    ProptestConfig { cases, failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn policy_rejects_what_the_scaler_rejects(
        key in proptest::sample::select(vec![
            "metric", "targetValue", "activationTargetValue", "priority", "serverTag", "dynamicQueue", "scheduledIn",
            "keepWhileProcessing", "keepBusyPods", "pushInactive", "targetUsage", "workersPerPod", "maxLatency", "podStart",
            "serviceTime", "includeBlocked",
            "somethingElse",
        ]),
        text in value(),
        metric in proptest::sample::select(Metric::ALL.map(Metric::name).to_vec()),
    ) {
        thread_local!(static POLICY: Policy = Policy::read(TRIGGERS));
        let mut metadata = metadata(&[("metric", metric)]);
        metadata.insert(key, &text);
        prop_assume!(!is_beyond_the_policy(&metadata));
        let complaints = POLICY.with(|policy| policy.complaints(&object(&metadata), None));
        let parsed = Trigger::parse(metadata.clone());
        prop_assert_eq!(complaints.is_empty(), parsed.is_ok(), "{:?}\n{:?}\n{:?}", metadata, complaints, parsed);
    }
}

proptest! {
    #![proptest_config(config(500))]

    /// What only KEDA reads in a trigger never reaches the scaler, so `explain` decides here.
    #[test]
    fn policy_rejects_what_explain_rejects(
        address in address(),
        kind in proptest::sample::select(vec!["external-push", "external-push", "external", "external_push", "kafka", "externl"]),
        switch in proptest::sample::select(vec!["enableTLS", "unsafeSsl"]),
        value in proptest::sample::select(vec!["true", "false", "True", "1", "f", "", " true ", "yes", "tRUE", "2"]),
    ) {
        thread_local!(static POLICY: Policy = Policy::read(TRIGGERS));
        // The policy checks no other trigger.
        prop_assume!(address.contains("jobrunr-scaler"));
        let mut object = object(&metadata(&[(switch, value)]));
        object["apiVersion"] = json!("keda.sh/v1alpha1");
        object["kind"] = json!("ScaledObject");
        object["spec"]["scaleTargetRef"] = json!({ "name": "x" });
        object["spec"]["triggers"][0]["type"] = json!(kind);
        object["spec"]["triggers"][0]["metadata"]["scalerAddress"] = json!(address);
        let complaints = POLICY.with(|policy| policy.complaints(&object, None));
        let read = manifest::read("object", &object.to_string());
        prop_assert_eq!(complaints.is_empty(), read.is_ok(), "{}\n{:?}\n{:?}", object, complaints, read);
    }
}

#[test]
fn hints_warn_about_what_is_rarely_intended() {
    let hints = Policy::read(HINTS);
    let said = |more: &[(&str, &str)], address: &str| {
        let mut object = object(&metadata(more));
        object["spec"]["advanced"] = json!({ "horizontalPodAutoscalerConfig": { "behavior": {} } });
        object["spec"]["triggers"][0]["metadata"]["scalerAddress"] = json!(address);
        hints.complaints(&object, None)
    };
    let check = |more: &[(&str, &str)], expected: Option<&str>| {
        let said = said(more, "jobrunr-scaler.keda:9090");
        assert_eq!(said.len(), expected.iter().len(), "{more:?}: {said:#?}");
        assert!(said.concat().contains(expected.unwrap_or_default()), "{more:?}: {said:#?}");
        let trigger = Trigger::parse(metadata(more)).unwrap();
        let warnings = trigger.warnings.len() + usize::from(trigger.latency_warning(None).is_some());
        assert_eq!(warnings, expected.iter().len(), "{more:?}: {:?}", trigger.warnings);
    };
    let latency = ("metric", "enqueued-latency");
    check(&[], None);
    check(&[("activationTargetValue", "5")], Some("jobs waiting forever at zero pods"));
    check(&[("activationTargetValue", "0.5")], None);
    check(&[("activationTargetValue", "5"), ("metric", "occupied-workers")], None);
    check(&[("targetValue", "0.8")], Some("more than one pod per job"));
    check(&[("targetValue", "0.8"), ("metric", "total-workers")], Some("more than one pod per job"));
    check(&[("targetValue", "0.8"), ("metric", "worker-usage")], None);
    check(&[latency, ("targetValue", "30000")], Some("looks like milliseconds"));
    check(&[latency, ("targetValue", "300"), ("activationTargetValue", "30000")], Some("looks like milliseconds"));
    check(&[latency, ("targetValue", "10")], Some("below 15, JobRunr's default poll interval"));
    check(&[latency, ("targetValue", "15")], None);
    check(&[("targetValue", "30000")], None);
    check(&[("pushInactive", " TRUE ")], Some("for clients other than KEDA"));
    check(&[("pushInactive", "false")], None);
    assert_eq!(said(&[], "jobrunr-scaler.keda:18080"), Vec::<String>::new());
    let http = said(&[], "jobrunr-scaler.keda:8080");
    assert!(http.len() == 1 && http[0].contains("port 8080 of `scalerAddress` is the HTTP port"), "{http:#?}");
}

#[test]
fn hints_know_every_key() {
    let hints = Policy::read(HINTS);
    let keys = [&Trigger::KEYS[..], &Trigger::KEDA_KEYS].concat();
    let mut object = object(&keys.iter().map(|key| (*key, "jobrunr-scaler")).collect());
    object["spec"]["advanced"] = json!({ "horizontalPodAutoscalerConfig": { "behavior": {} } });
    assert_eq!(hints.complaints(&object, None), Vec::<String>::new());
    object["spec"]["triggers"][0]["metadata"]["metricType"] = json!("Value");
    object["spec"]["fallback"] = json!({ "replicas": 0 });
    object["spec"].as_object_mut().unwrap().remove("advanced");
    let complaints = hints.complaints(&object, None);
    assert_eq!(complaints.len(), 3, "{complaints:#?}");
    assert!(complaints[0].contains("ignored: metricType. Known are storage, "), "{complaints:#?}");
}
