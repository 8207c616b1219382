//! Courses of the real KEDA 2.21.0 and the HPA of Kubernetes 1.36.3.
//!
//! 40 jobs of 30 s were inserted at 0 as SCHEDULED, due at +120 s, and were enqueued exactly then. Each pod's server, with 4 workers,
//! registered 15 s after its pod. When KEDA polled and the HPA synced is not known, so all phases are tried.

use super::*;
use crate::simulate::simulate;

/// `minReplicaCount` 0, `maxReplicaCount` 10, polling 30, cooldown 30; up 10 pods per 15 s at once, down 100 % per 15 s after 60 s.
const SPEC: &str = "  minReplicaCount: 0
  maxReplicaCount: 10
  pollingInterval: 30
  cooldownPeriod: 30
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 10, periodSeconds: 15}]}
        scaleDown: {stabilizationWindowSeconds: 60, policies: [{type: Percent, value: 100, periodSeconds: 15}]}";

/// The jobs' 30 s, and what it took to fetch them.
const JOB: u32 = 30_200;

/// 15 s from the pod to its server, and what it took from the HPA's decision to the pod: the sync that follows came first.
const POD_START: Millis = 15_100;

/// The triggers of JobRunr's guide.
fn guide(kind: &str) -> Policy {
    let triggers = [
        "Value metric=worker-usage targetValue=0.8",
        "AverageValue metric=scheduled-count targetValue=8 scheduledIn=PT2M",
        "Value metric=enqueued-latency targetValue=300",
    ];
    let triggers = triggers.map(|trigger| format!("{kind} {trigger}"));
    scaled(SPEC, &triggers.each_ref().map(String::as_str))
}

/// Seconds by which a change may differ from the real one.
const MARGIN: f64 = 2.0;

/// Checks that some phases lead to this course: the same numbers of replicas, each change within the margin, and the last job done
/// within a second.
#[track_caller]
fn check(policy: &Policy, course: &[(f64, u32)], last_job_ended: f64, settings: &Settings) {
    let jobs = (0..40).map(|_| Job { arrival: 0, due: 120_000, duration: JOB, kind: 0 });
    let workload = workload(jobs.collect());
    let mut closest: Option<(f64, Vec<(f64, u32)>)> = None;
    // Not whole seconds, to which KEDA rounds.
    for poll in (10..30_000).step_by(1000) {
        for sync in (10..15_000).step_by(1000) {
            let settings = Settings {
                workers_per_pod: 4,
                pod_start: POD_START,
                phases: Phases::Fixed { poll, sync },
                ..settings.clone()
            };
            let result = simulate(&workload, std::slice::from_ref(policy), &settings).results.remove(0);
            let replicas: Vec<(f64, u32)> = result.replicas.iter().copied().skip_while(|(_, n)| *n == 0).collect();
            let same = replicas.iter().map(|(_, n)| n).eq(course.iter().map(|(_, n)| n));
            let ends = 120.0 + result.latency_seconds.max + f64::from(JOB) / 1000.0;
            if same && (ends - last_job_ended).abs() <= 1.0 {
                let distances = replicas.iter().zip(course).map(|((found, _), (real, _))| (found - real).abs());
                let distance = distances.fold(0.0, f64::max);
                if closest.as_ref().is_none_or(|(least, _)| distance < *least) {
                    closest = Some((distance, replicas));
                }
            }
        }
    }
    let (distance, replicas) = closest.expect("no phases lead to the same numbers of replicas");
    assert!(distance <= MARGIN, "{distance} s: {replicas:?}, not {course:?}");
}

#[test]
fn course_of_the_guide_with_push() {
    // The played JobRunr did not wait for polls.
    let settings = plain_queue();
    check(&guide("external-push"), &[(0.0, 1), (15.0, 5), (135.5, 7), (150.6, 9), (210.0, 0)], 180.5, &settings);
    // That KEDA did not scale to zero at 209.8 takes a push just before the last job ended: streams repeated theirs every 15 s then.
    let again = [(0.0, 1), (14.5, 5), (134.9, 7), (149.9, 9), (225.5, 7), (239.8, 0)];
    check(&guide("external-push"), &again, 180.5, &Settings { push_repeat: 15_000, ..settings });
}

#[test]
fn course_of_the_guide_with_polling() {
    let course = [(20.6, 1), (35.8, 5), (126.2, 7), (141.3, 9), (200.6, 0)];
    check(&guide("external"), &course, 180.2, &plain_queue());
}

#[test]
fn course_of_demand() {
    let policy = scaled(SPEC, &["external-push AverageValue metric=demand targetValue=4 scheduledIn=PT2M"]);
    check(&policy, &[(0.0, 1), (14.2, 10), (179.5, 0)], 150.1, &plain_queue());
}
