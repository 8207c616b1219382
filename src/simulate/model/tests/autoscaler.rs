//! KEDA's and the HPA's rules as far as the model decides when they act, and the time span of results.

use super::*;
use crate::simulate::simulate;

const HOUR: Millis = 3_600_000;

/// No job starts on its own time: the same phases for all tests that measure times.
fn settings(sync: Millis) -> Settings {
    Settings { workers_per_pod: 1, phases: Phases::Fixed { poll: 10, sync }, ..plain_queue() }
}

fn due_at(dues: &[Millis], duration: u32) -> Workload {
    workload(dues.iter().map(|due| Job { arrival: 0, due: *due, duration, kind: 0 }).collect())
}

/// A policy that counts waiting jobs only: at zero pods, nobody enqueues a scheduled job.
fn blind() -> Policy {
    scaled("  minReplicaCount: 0", &["external AverageValue metric=enqueued-count targetValue=5"])
}

#[test]
fn policy_that_never_finishes_does_not_extend_the_time_span_of_others() {
    let workload = due_at(&[600_000, 1_200_000, 3_000_000], 1000);
    let settings = Settings::default();
    let play = |policies: &[Policy]| simulate(&workload, policies, &settings);
    let (alone, beside) = (play(&[Policy::fixed(1)]), play(&[Policy::fixed(1), blind()]));
    assert_eq!(beside.results[1].jobs_unfinished, 3);
    assert_eq!(alone.results[0], beside.results[0]);
    assert_eq!(alone.workload, beside.workload);
    // Alone, it is accounted for until the last job is due.
    assert_eq!(play(&[blind()]).workload.seconds, 3000.0);
}

/// KEDA goes to zero in the middle of the job, and one that is only counted while it waits is given up after ten retries, or never seen
/// again.
#[test]
fn jobs_that_are_given_up_are_not_done() {
    let workload = due_at(&[0], 300_000);
    let spec = "  minReplicaCount: 0\n  cooldownPeriod: 30";
    let waiting = "external AverageValue metric=enqueued-count targetValue=1 keepWhileProcessing=false";
    let retried =
        "external AverageValue metric=scheduled-count targetValue=1 scheduledIn=PT1M keepWhileProcessing=false";
    let settings = Settings::default();
    let play = |policies: &[Policy]| simulate(&workload, policies, &settings);
    let given_up = scaled(spec, &[waiting, retried]);
    let (alone, beside) = (play(&[Policy::fixed(1)]), play(&[Policy::fixed(1), given_up]));
    assert_eq!((beside.results[1].jobs_failed, beside.results[1].jobs_unfinished), (1, 0));
    assert_eq!(alone.results[0], beside.results[0]);
    // Where no policy does all jobs, the time span is that of their work.
    let unseen = play(&[scaled(spec, &[waiting])]);
    let last = unseen.results[0].replicas.last().unwrap().0;
    assert_eq!(unseen.results[0].jobs_unfinished, 1);
    assert!(0.0 < last && last <= unseen.workload.seconds, "{last} {}", unseen.workload.seconds);
}

#[test]
fn jobs_that_wait_for_a_later_one_are_done() {
    let policy = scaled(
        "  minReplicaCount: 0",
        &["external AverageValue metric=demand targetValue=8 activationTargetValue=1 scheduledIn=PT0S"],
    );
    let workload = due_at(&[HOUR, 10 * HOUR], 1000);
    assert_eq!(simulate(&workload, &[policy], &Settings::default()).results[0].jobs_unfinished, 0);
}

#[test]
fn intervals_of_years_end() {
    for spec in ["  pollingInterval: 2147483647", "  cooldownPeriod: 2147483647"] {
        let policy = scaled(spec, &["external AverageValue metric=demand targetValue=8"]);
        let late = Phases::Fixed { poll: 1_000_000 * HOUR, sync: 0 };
        let settings = Settings { phases: late, ..Settings::default() };
        let result = simulate(&workload(vec![job(0, 1000)]), &[policy], &settings).results.remove(0);
        assert_eq!(result.jobs_unfinished, 1, "{spec}");
    }
}

#[test]
fn long_intervals_are_waited_for() {
    let check = |spec: &str, settings: Settings| {
        let policy = scaled(spec, &["external AverageValue metric=enqueued-count targetValue=5"]);
        let result = simulate(&workload(vec![job(0, 1000)]), &[policy], &settings).results.remove(0);
        assert_eq!(result.jobs_unfinished, 0, "{spec}");
    };
    let late = Phases::Fixed { poll: 11 * HOUR, sync: 0 };
    check("  pollingInterval: 43200", Settings { phases: late, ..Settings::default() });
    check("  pollingInterval: 30", Settings { pod_start: 10 * HOUR, ..Settings::default() });
    check("  minReplicaCount: 1", Settings { poll_interval: 20 * HOUR, ..Settings::default() });
}

#[test]
fn first_activation_is_as_fast_as_later_ones() {
    let window = "  minReplicaCount: 0\n  maxReplicaCount: 10\n  cooldownPeriod: 60\n  advanced: {horizontalPodAutoscalerConfig: \
                  {behavior: {scaleUp: {stabilizationWindowSeconds: 300}}}}";
    let policy = scaled(window, &["external-push AverageValue metric=demand targetValue=1 scheduledIn=PT0S"]);
    let jobs = [HOUR, 3 * HOUR].into_iter().flat_map(|at| vec![job(at, 900_000); 5]);
    let result = simulate(&workload(jobs.collect()), &[policy], &settings(4000)).results.remove(0);
    let after = |activation: f64| {
        let grown = result.replicas.iter().find(|(at, replicas)| activation <= *at && 1 < *replicas).unwrap();
        grown.0 - activation
    };
    let changes = result.replicas.windows(2);
    let activations: Vec<f64> = changes.filter(|change| change[0].1 == 0).map(|change| change[1].0).collect();
    assert_eq!(activations.len(), 2, "{:?}", result.replicas);
    assert!(activations.iter().all(|at| after(*at) <= 16.0), "{:?}", result.replicas);
}

#[test]
fn phases_are_the_same_for_all_policies_of_a_seed() {
    let workload = due_at(&[HOUR], 1000);
    let firsts = |seed, min: u32| {
        let policy =
            scaled(&format!("  minReplicaCount: {min}"), &["external AverageValue metric=demand targetValue=8"]);
        let settings = Settings { seed, ..Settings::default() };
        let model = Model::of(&workload, &policy, &settings);
        [Event::KedaPolls, Event::HpaSyncs].map(|event| model.events.first(event).unwrap())
    };
    for seed in 0..5 {
        assert_eq!(firsts(seed, 0), firsts(seed, 3));
        assert_ne!(firsts(seed, 0), firsts(seed + 1, 0));
    }
}

#[test]
fn computed_target_of_a_polled_trigger_does_not_follow_the_servers() {
    let jobs = (0..200).map(|n| job(HOUR + n * 1000, 60_000)).collect();
    let workload = workload(jobs);
    let settings = Settings { workers_per_pod: 32, ..Settings::default() };
    let course = |kind: &str, target: &str, min: u32| {
        let spec = format!("  minReplicaCount: {min}\n  maxReplicaCount: 10");
        let policy = scaled(&spec, &[&format!("{kind} AverageValue metric=demand {target}")]);
        simulate(&workload, &[policy], &settings).results.remove(0).replicas
    };
    let auto = "targetValue=auto workersPerPod=8";
    assert_eq!(course("external", auto, 0), course("external", "targetValue=8", 0));
    // With a server when KEDA sees the ScaledObject first, its workers count.
    assert_eq!(course("external", auto, 1), course("external", "targetValue=32", 1));
    assert_ne!(course("external-push", auto, 0), course("external-push", "targetValue=8", 0));
}

#[test]
fn scale_down_without_behavior_comes_five_minutes_after_the_last_high_recommendation() {
    let policy = scaled(
        "  minReplicaCount: 1\n  maxReplicaCount: 2",
        &["external AverageValue metric=demand targetValue=1 scheduledIn=PT0S"],
    );
    for duration in (100_000..115_000).step_by(1000) {
        // Both jobs run on the first pod, and end at once.
        let settings = Settings { workers_per_pod: 2, ..settings(0) };
        let workload = workload(vec![job(0, duration); 2]);
        let mut model = Model::of(&workload, &policy, &settings);
        while 0 < model.jobs.n_open() && model.step() {}
        // The last high recommendation was not later than that.
        let done = model.now;
        model.run();
        let (down, replicas) = model.measure.replicas.last().copied().unwrap();
        assert_eq!(replicas, 1);
        assert!(down - done <= 301_000, "{} ms with {duration}", down - done);
    }
}
