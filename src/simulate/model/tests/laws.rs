//! Laws that hold for every workload and every policy.

use proptest::prelude::*;

use super::*;
use crate::simulate::{Readiness, simulate};

fn any_job() -> impl Strategy<Value = Job> {
    let duration = prop_oneof![1_u32..2_000, 1_000_u32..300_000];
    (0_i64..1_800_000, prop_oneof![Just(0_i64), 0_i64..900_000], duration).prop_map(|(arrival, due_in, duration)| Job {
        arrival,
        due: arrival + due_in,
        duration,
        kind: 0,
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let bounds = (0_u32..3, 1_u32..8, 5_u32..60, prop_oneof![Just(0_u32), 0_u32..400]);
    let behavior = prop_oneof![
        Just(""),
        Just("  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}}\n"),
        Just(
            "  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {policies: [{type: Pods, value: 1, \
             periodSeconds: 30}]}}}}\n"
        ),
    ];
    let triggers = prop_oneof![
        Just(vec!["external-push AverageValue metric=demand targetValue=auto scheduledIn=PT1M"]),
        Just(vec!["external AverageValue metric=demand targetValue=4 keepWhileProcessing=false"]),
        Just(vec!["external-push AverageValue metric=demand targetValue=4 maxLatency=PT1M"]),
        Just(vec!["external-push AverageValue metric=enqueued-count targetValue=5"]),
        Just(vec![
            "external-push Value metric=worker-usage targetValue=0.8",
            "external-push AverageValue metric=scheduled-count targetValue=8 scheduledIn=PT5S",
            "external-push Value metric=enqueued-latency targetValue=30",
        ]),
    ];
    let of_object = (bounds, behavior, triggers).prop_map(|((min, more, polling, cooldown), behavior, triggers)| {
        let max = min + more;
        let spec = format!(
            "  minReplicaCount: {min}\n  maxReplicaCount: {max}\n  pollingInterval: {polling}\n  cooldownPeriod: {cooldown}\n{behavior}"
        );
        scaled(spec.trim_end(), &triggers)
    });
    prop_oneof![1 => (1_u32..4).prop_map(Policy::fixed), 4 => of_object]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let times = (0_i64..60_000, prop_oneof![Just(0_i64), 5_000_i64..20_000], 1_i64..90_000, 0_i64..90_000);
    (times, 1_u32..6, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |((pod_start, poll_interval, grace_period, await_on_stop), workers_per_pod, probe, spares, seed)| Settings {
            workers_per_pod,
            pod_start,
            poll_interval,
            grace_period,
            await_on_stop,
            readiness: if probe { Readiness::WithServer } else { Readiness::AtOnce },
            spares_busy_pods: spares,
            seed,
            ..Settings::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_job_is_done_once_or_named(
        jobs in prop::collection::vec(any_job(), 0..60),
        policy in any_policy(),
        settings in any_settings()
    ) {
        let workload = workload(jobs);
        let mut model = Model::of(&workload, &policy, &settings);
        model.run();
        let mut finished = model.jobs.finished.clone();
        finished.sort_unstable();
        finished.dedup();
        prop_assert_eq!(finished.len(), model.jobs.finished.len(), "a job was done twice");
        // Little's law: the jobs in the queue over time are the times of the jobs in the queue. What is still there has no end.
        let tally = model.jobs.tally();
        if tally.unfinished == 0 {
            prop_assert_eq!(model.integrals.queue, model.jobs.queue_millis);
        }
        // The result ends with the last change; the model may have waited for another one.
        let waited = model.now - model.last_progress;
        let pods_over_time = model.integrals.pods - waited * Millis::from(model.pods.n_existing());
        let result = model.into_result(&policy);
        prop_assert_eq!(tally.done, finished.len() as u64);
        prop_assert_eq!(tally.done + tally.failed + tally.unfinished, workload.jobs.len() as u64);
        let bounds = match &policy.kind {
            PolicyKind::Clairvoyant => 0..=0,
            PolicyKind::Fixed(n) => *n..=*n,
            PolicyKind::Scaled(scaled) => 0..=scaled.rules.bounds.max,
        };
        prop_assert!(result.replicas.iter().all(|(_, replicas)| bounds.contains(replicas)), "{:?}", result.replicas);
        prop_assert_eq!(result.pod_hours, hours(pods_over_time));
        // The triggers that count what waits leave nothing behind.
        let leaves_nothing = !policy_name(&policy).contains("enqueued-count") && !policy_name(&policy).contains("worker-usage");
        prop_assert!(!leaves_nothing || tally.unfinished == 0, "{tally:?}");
    }

    /// Nobody knows what comes later.
    #[test]
    fn jobs_that_have_not_arrived_change_nothing(
        jobs in prop::collection::vec(any_job(), 0..60),
        cut in 0_i64..1_800_000,
        policy in any_policy(),
        settings in any_settings()
    ) {
        let all = workload(jobs);
        let first = workload(all.jobs.iter().filter(|job| job.arrival < cut).copied().collect());
        let course = |workload: &Workload| {
            let result = policy.play(workload, &settings);
            result.replicas.into_iter().take_while(|(at, _)| *at < seconds(cut)).collect::<Vec<_>>()
        };
        prop_assert_eq!(course(&first), course(&all));
    }

    #[test]
    fn same_seed_gives_the_same_result(
        jobs in prop::collection::vec(any_job(), 0..40),
        policy in any_policy(),
        settings in any_settings()
    ) {
        let workload = workload(jobs);
        let policies = [policy, Policy::fixed(2)];
        let text = || serde_json::to_string(&simulate(&workload, &policies, &settings)).unwrap();
        prop_assert_eq!(text(), text());
    }
}

/// The metrics of a policy, as text.
fn policy_name(policy: &Policy) -> String {
    match &policy.kind {
        PolicyKind::Clairvoyant | PolicyKind::Fixed(_) => policy.name.clone(),
        PolicyKind::Scaled(scaled) => {
            scaled.triggers.iter().map(|trigger| trigger.trigger.metric.to_string()).collect::<Vec<_>>().join(" ")
        }
    }
}
