//! The lower bound: pods for exactly the jobs that run, at every instant.

use super::measure::Measure;
use super::result::{hours, seconds};
use super::{Millis, Settings, SimulationResult, Workload};

/// What somebody would do who knows all jobs beforehand, and whose pods start and stop in no time: every job starts when it is due, and
/// there are just the pods that the running jobs need. No policy can have fewer pod-hours without letting jobs wait.
pub(super) fn play(name: &str, workload: &Workload, settings: &Settings) -> SimulationResult {
    let due = |at: usize| workload.jobs[at].due.max(workload.jobs[at].arrival);
    let mut changes: Vec<(Millis, i64)> = Vec::with_capacity(2 * workload.jobs.len());
    let mut measure = Measure::new(settings, workload.last_due());
    for (at, job) in workload.jobs.iter().enumerate() {
        changes.extend([(due(at), 1), (due(at) + Millis::from(job.duration), -1)]);
        measure.waits.record(0);
    }
    changes.sort_unstable();
    measure.replicas(0, 0);
    let (mut before, mut running, mut pods, mut pod_millis) = (0, 0_i64, 0_u32, 0);
    let workers = i64::from(settings.workers_per_pod);
    for of_instant in changes.chunk_by(|(a, _), (b, _)| a == b) {
        let at = of_instant[0].0;
        pod_millis += (at - before) * Millis::from(pods);
        before = at;
        running += of_instant.iter().map(|(_, change)| change).sum::<i64>();
        // Not negative, and at most the number of jobs.
        pods = ((running + workers - 1) / workers) as u32;
        measure.replicas(at, pods);
        measure.observe(at, 0, running.unsigned_abs(), pods);
    }
    SimulationResult {
        name: name.to_owned(),
        latency_seconds: measure.waits.latency(),
        share_above_slo: 0.0,
        pod_hours: hours(pod_millis),
        max_pods: measure.max_pods,
        activations: measure.activations,
        jobs_done: workload.jobs.len() as u64,
        jobs_interrupted: 0,
        jobs_run_twice: 0,
        jobs_failed: 0,
        jobs_unfinished: 0,
        replicas: measure.replicas.iter().map(|(at, n)| (seconds(*at), *n)).collect(),
        notes: Vec::new(),
        series: measure.series(),
        end: before,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::simulate::{Job, Policy, Settings, Workload, simulate};

    #[test]
    fn clairvoyant_has_a_pod_for_every_running_job_and_no_more() {
        let job = |arrival, due, duration| Job { arrival, due, duration, kind: 0 };
        let hour = 3_600_000;
        let jobs = vec![job(0, 0, hour), job(0, 0, hour), job(0, 0, hour), job(0, i64::from(hour), hour)];
        let settings = Settings { workers_per_pod: 2, ..Settings::default() };
        let simulation = simulate(&Workload::new("w", jobs, Vec::new()), &[Policy::clairvoyant()], &settings);
        let result = &simulation.results[0];
        assert_eq!((result.pod_hours, result.max_pods, result.activations), (3.0, 2, 1));
        assert_eq!(result.replicas, [(0.0, 2), (3600.0, 1), (7200.0, 0)]);
        assert_eq!(result.latency_seconds.max, 0.0);
    }

    proptest! {
        /// Fixed pods that let no job wait cost at least as much.
        #[test]
        fn clairvoyant_is_a_lower_bound(
            jobs in prop::collection::vec((0_i64..100_000, 1_u32..50_000), 1..40),
            workers_per_pod in 1_u32..4
        ) {
            let job = |(arrival, duration)| Job { arrival, due: arrival, duration, kind: 0 };
            let workload = Workload::new("w", jobs.into_iter().map(job).collect(), Vec::new());
            let settings = Settings { workers_per_pod, poll_interval: 0, ..Settings::default() };
            let results = simulate(&workload, &[Policy::clairvoyant(), Policy::fixed(40)], &settings).results;
            prop_assert!(results[0].pod_hours <= results[1].pod_hours);
            prop_assert_eq!(results[1].latency_seconds.max, 0.0);
            let work: f64 = workload.jobs.iter().map(|job| f64::from(job.duration) / 3_600_000.0).sum();
            prop_assert!(work / f64::from(workers_per_pod) <= results[0].pod_hours + 1e-6);
        }
    }
}
