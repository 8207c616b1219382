//! Recommendations for workloads whose best settings are known, and manifests that `explain` does not warn about.

use super::*;
use crate::scaling::Trigger;
use crate::simulate::workload::Builtin;

fn options(slo: &str) -> RecommendOptions {
    RecommendOptions {
        slo: slo.parse().unwrap(),
        max_pods: 12,
        target: "workers".to_owned(),
        namespace: Some("orders".to_owned()),
        scaler_address: "scaler.keda:9090".to_owned(),
        storage: Some("orders".to_owned()),
    }
}

fn job_at(at: Millis) -> Job {
    Job { arrival: at, due: at, duration: 1000, kind: 0 }
}

#[test]
fn every_candidate_is_a_scaled_object_without_warnings() {
    let (options, settings) = (options("p95 latency <= PT1M"), Settings::default());
    let mut n_candidates = 0;
    for start in Candidate::starts(12, &settings) {
        for setting in 0..Candidate::SETTINGS {
            for candidate in start.variants(setting, 12, &settings) {
                let text = candidate.manifest(&options, &settings);
                let object = manifest::read("x", &text).unwrap().scaled_objects.remove(0);
                assert_eq!(manifest::warnings(&object), Vec::<String>::new(), "{text}");
                let metadata = object.triggers[0].metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                assert_eq!(Trigger::parse(metadata).unwrap().warnings, Vec::<String>::new(), "{text}");
                n_candidates += 1;
            }
        }
    }
    assert!(60 < n_candidates, "{n_candidates}");
}

#[test]
fn workload_is_split_in_time() {
    let job = |arrival, due| Job { arrival, due, duration: 5, kind: 0 };
    let workload = Workload::new("w", vec![job(0, 0), job(0, 70), job(50, 50), job(80, 80), job(90, 90)], Vec::new());
    let (first, second) = split(&workload);
    assert_eq!(first.jobs, [job(0, 0), job(50, 50)]);
    assert_eq!(second.jobs, [job(0, 10), job(20, 20), job(30, 30)]);
    assert_eq!((first.done_before, second.done_before), (Vec::new(), first.jobs));
}

#[test]
fn recommendation_keeps_its_promise_at_less_than_the_maximum() {
    // An eighth of the jobs, so that a debug build takes seconds.
    let mut workload = Builtin::Steady.workload(1);
    workload.jobs.retain(|job| job.arrival < 1_800_000);
    let options = options("p95 latency <= PT30S");
    let found = recommend(&workload, &[Policy::fixed(12)], &options, &Settings::default()).unwrap();
    assert!(found.kept_when_tuned, "{:?}", found.reasons);
    // What it was not tuned on may break the promise; the recommendation says so.
    assert_eq!(found.kept_when_checked, options.slo.is_kept(&found.check.results[0]));
    assert_eq!(found.kept_when_checked, found.reasons[1].contains(" it keeps it: "), "{:?}", found.reasons);
    let names: Vec<&str> = found.check.results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["recommended", "fixed-12", "guide's three"]);
    assert!(found.check.results[2].max_pods <= options.max_pods);
    // Ten workers are busy on average: two pods do, with some of a third.
    let [recommended, fixed, _] = &found.check.results[..] else { panic!() };
    assert!(recommended.pod_hours < fixed.pod_hours / 2.0, "{} {}", recommended.pod_hours, fixed.pod_hours);
    assert!(found.front.is_sorted_by(|a, b| a.pod_hours <= b.pod_hours));
    let waits: Vec<f64> = found.front.iter().map(|rated| options.slo.wait(&rated.latency_seconds)).collect();
    assert!(waits.is_sorted_by(|a, b| a > b), "{waits:?}");
    // Nothing cheaper keeps the promise; what is better in both interrupts too many jobs.
    let rated = found.front_and_chosen();
    let cheapest = rated.iter().find(|rated| rated.keeps && rated.interrupts_few).unwrap();
    assert_eq!(cheapest.pod_hours, found.chosen.pod_hours);
    // The threads' order does not matter.
    assert!(found == recommend(&workload, &[Policy::fixed(12)], &options, &Settings::default()).unwrap());
}

#[test]
fn recommendation_says_that_a_promise_cannot_be_kept_or_that_there_is_too_little() {
    let jobs = (0..60).map(|n| job_at(n * 10_000)).collect();
    let workload = Workload::new("w", jobs, vec!["job".to_owned()]);
    let found = recommend(&workload, &[], &options("max latency <= PT0.001S"), &Settings::default()).unwrap();
    assert!(!found.kept_when_tuned && !found.chosen.keeps);
    let reasons = found.reasons.join("\n");
    assert!(reasons.contains("None of") && reasons.contains("too little to rely on"), "{reasons}");
    let error = recommend(&Workload::default(), &[], &options("max latency <= PT1S"), &Settings::default());
    assert!(error.unwrap_err().to_string().contains("0 jobs in the part to tune on"));
}

#[test]
fn policy_that_leaves_jobs_undone_is_said_to() {
    // Nobody enqueues scheduled jobs at zero pods, and this trigger does not see them.
    let (options, settings) = (options("max latency <= PT1M"), Settings::default());
    let text = Candidate::starts(12, &settings)[0].manifest(&options, &settings);
    let blind = policy(&text.replace("metric: demand", "metric: enqueued-count"), "blind").unwrap();
    let jobs = (1..=20).map(|n| Job { arrival: 0, due: n * 60_000, duration: 1000, kind: 0 }).collect();
    let workload = Workload::new("w", jobs, vec!["job".to_owned()]);
    let simulation = simulate(&workload, &[Policy::fixed(1), blind], &settings);
    let said = beside(&simulation.results[0], &simulation.results[1], options.slo);
    assert_eq!(said, "blind does not keep it there, with 0 s and 20 jobs never done, at 0 % of its pod-hours.");
}

#[test]
fn workload_is_too_short_by_its_jobs_and_their_time() {
    let said = |n_jobs: i64, hours: i64| {
        let jobs = (0..=n_jobs).map(|n| job_at(hours * 3_600_000 * n / n_jobs)).collect();
        let workload = Workload::new("w", jobs, Vec::new());
        too_short(&split(&workload).1, &workload)
    };
    let check = |said: Option<String>, expected: Option<&str>| match expected {
        Some(words) => assert!(said.as_deref().is_some_and(|said| said.contains(words)), "{said:?}"),
        None => assert_eq!(said, None),
    };
    check(said(30, 24), Some("only 11 jobs in PT8H: too little"));
    check(said(6000, 2), Some("in PT40M: too little"));
    check(said(6000, 6), Some("shorter than a day"));
    check(said(6000, 24), None);
}
