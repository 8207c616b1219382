//! KEDA's and the HPA's rules as far as the model decides when they act, and the time span of results.

use super::*;
use crate::simulate::simulate;

const HOUR: Millis = 3_600_000;

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
