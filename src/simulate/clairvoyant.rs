//! What perfect knowledge would cost: a yardstick for policies, not a policy that anybody can run.
//!
//! Jobs start in the order in which they are due, at once if a worker is free, on at most N pods. Pods are created exactly their start
//! time before they are needed and are gone the instant they are not, unless keeping one until it is needed again costs less than its
//! next start. Jobs move between pods, so there are never more than the running jobs need. Of all N, the cheapest is taken with
//! which 95 % of the jobs wait no longer than they should. This is a construction: no policy has this knowledge, but that nothing
//! can be cheaper is not proven. The work divided by the workers of a pod is what nothing can be below.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::measure::{Measure, Waits};
use super::result::{hours, seconds};
use super::{Millis, Settings, SimulationResult, Workload};

/// Up to here each number of pods is tried, then steps of a quarter.
const TRY_ALL: u32 = 16;

/// Returns the cheapest schedule that keeps the promise. With enough pods, no job waits; so there is one.
pub(super) fn play(name: &str, workload: &Workload, settings: &Settings) -> SimulationResult {
    let mut jobs: Vec<Job> =
        workload.jobs.iter().map(|job| Job { due: job.due.max(job.arrival), millis: job.duration.into() }).collect();
    jobs.sort_by_key(|job| job.due);
    let without_waits = Schedule::new(&jobs, settings, u32::MAX);
    let mut best = (Cost::new(&without_waits, settings), without_waits);
    let mut n_pods = 1;
    while n_pods < best.0.max_pods {
        let schedule = Schedule::new(&jobs, settings, n_pods);
        let cost = Cost::new(&schedule, settings);
        if schedule.keeps_promise && cost.millis < best.0.millis {
            best = (cost, schedule);
        }
        n_pods += if n_pods < TRY_ALL { 1 } else { n_pods / 4 };
    }
    let (cost, schedule) = best;
    schedule.into_result(name, settings, &cost)
}

/// A job: when it is due, and how long it runs.
#[derive(Clone, Copy)]
struct Job {
    due: Millis,
    millis: Millis,
}

/// When jobs start.
struct Schedule {
    waits: Waits,
    keeps_promise: bool,
    /// Changes of the numbers of waiting and running jobs, in their order.
    changes: Vec<(Millis, i64, i64)>,
}

impl Schedule {
    fn new(jobs: &[Job], settings: &Settings, n_pods: u32) -> Self {
        let n_workers = u64::from(n_pods) * u64::from(settings.workers_per_pod);
        let mut waits = Waits::new(settings.slo);
        let mut ends: BinaryHeap<Reverse<Millis>> = BinaryHeap::new();
        let mut changes = Vec::with_capacity(jobs.len() * 3);
        for &Job { due, millis } in jobs {
            let free = if (ends.len() as u64) < n_workers { due } else { ends.pop().map_or(due, |Reverse(end)| end) };
            let start = due.max(free);
            ends.push(Reverse(start + millis));
            waits.record(start - due);
            changes.extend([(due, 1, 0), (start, -1, 1), (start + millis, 0, -1)]);
        }
        changes.sort_unstable();
        let keeps_promise = waits.latency().p95 <= seconds(settings.slo);
        Self { waits, keeps_promise, changes }
    }

    /// The instants at which something changes, with the waiting and running jobs from then on.
    fn instants(&self) -> impl Iterator<Item = (Millis, u64, u64)> {
        let (mut waiting, mut running) = (0_i64, 0_i64);
        self.changes.chunk_by(|(a, ..), (b, ..)| a == b).map(move |of_instant| {
            waiting += of_instant.iter().map(|(_, waiting, _)| waiting).sum::<i64>();
            running += of_instant.iter().map(|(.., running)| running).sum::<i64>();
            // Neither is negative at the end of an instant: jobs are due before they start, and start before they end.
            (of_instant[0].0, waiting.unsigned_abs(), running.unsigned_abs())
        })
    }

    fn into_result(mut self, name: &str, settings: &Settings, cost: &Cost) -> SimulationResult {
        let end = self.changes.last().map_or(0, |(at, ..)| *at);
        let last_due = self.changes.iter().filter(|(_, waiting, _)| 0 < *waiting).map(|(at, ..)| *at).max();
        let mut measure = Measure::new(settings, last_due.unwrap_or_default());
        measure.replicas(0, 0);
        for (at, waiting, running) in self.instants() {
            let pods = needed(running, settings);
            measure.replicas(at, pods);
            measure.observe(at, waiting, running, pods);
        }
        SimulationResult {
            name: name.to_owned(),
            latency_seconds: self.waits.latency(),
            share_above_slo: self.waits.share_above_slo(),
            pod_hours: hours(cost.millis),
            max_pods: measure.max_pods,
            activations: measure.activations,
            jobs_done: self.changes.len() as u64 / 3,
            jobs_interrupted: 0,
            jobs_run_twice: 0,
            jobs_failed: 0,
            jobs_unfinished: 0,
            replicas: measure.replicas.iter().map(|(at, n)| (seconds(*at), *n)).collect(),
            notes: Vec::new(),
            series: measure.series(),
            end,
        }
    }
}

/// The pods whose workers these jobs need.
fn needed(running: u64, settings: &Settings) -> u32 {
    // At most the number of jobs.
    running.div_ceil(settings.workers_per_pod.max(1).into()) as u32
}

/// What a schedule costs.
struct Cost {
    /// The pods' lives, their starts included.
    millis: Millis,
    max_pods: u32,
}

impl Cost {
    /// Fills pods one after the other: the n-th is needed while more than n − 1 pods' workers are busy. Between two such times it is
    /// kept or created again, the shorter of the two.
    fn new(schedule: &Schedule, settings: &Settings) -> Self {
        let (mut millis, mut now, mut there) = (0, 0, 0);
        let mut last_needed: Vec<Option<Millis>> = Vec::new();
        for (at, _, running) in schedule.instants() {
            millis += (at - now) * there as Millis;
            now = at;
            let needed = needed(running, settings) as usize;
            if last_needed.len() < needed {
                last_needed.resize(needed, None);
            }
            for last in last_needed.iter().take(needed).skip(there) {
                millis += last.map_or(settings.pod_start, |last| settings.pod_start.min(now - last));
            }
            for last in last_needed.iter_mut().take(there).skip(needed) {
                *last = Some(now);
            }
            there = needed;
        }
        Self { millis, max_pods: last_needed.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::simulate::{Job, Millis, Policy, Settings, SimulationResult, Workload, simulate};

    const SECOND: Millis = 1000;

    fn workload(jobs: &[(Millis, u32)]) -> Workload {
        let job = |&(at, seconds)| Job { arrival: 0, due: at * SECOND, duration: seconds * 1000, kind: 0 };
        Workload::new("w", jobs.iter().map(job).collect(), vec!["job".to_owned()])
    }

    fn clairvoyant(jobs: &[(Millis, u32)], settings: &Settings) -> SimulationResult {
        simulate(&workload(jobs), &[Policy::clairvoyant()], settings).results.remove(0)
    }

    #[test]
    fn clairvoyant_keeps_the_promise_at_the_lowest_cost() {
        // Pods of one worker that take 40 s to start, and waits of up to 60 s.
        let settings = Settings { workers_per_pod: 1, pod_start: 40 * SECOND, ..Settings::default() };
        let check = |jobs: &[(Millis, u32)], longest_wait: f64, pod_seconds: f64, max_pods: u32| {
            let found = clairvoyant(jobs, &settings);
            let found = (found.latency_seconds.max, (found.pod_hours * 3600.0).round(), found.max_pods);
            assert_eq!(found, (longest_wait, pod_seconds, max_pods), "{jobs:?}");
        };
        // One pod, created in time.
        check(&[(100, 20)], 0.0, 60.0, 1);
        // The second job waits rather than starting a pod: 40 + 50 + 20.
        check(&[(100, 50), (100, 20)], 50.0, 110.0, 1);
        // It cannot wait that long.
        check(&[(100, 70), (100, 20)], 0.0, 170.0, 2);
        // A pod is kept for 30 s, but created again rather than kept for 50 s.
        check(&[(100, 10), (140, 10)], 0.0, 90.0, 1);
        check(&[(100, 10), (160, 10)], 0.0, 100.0, 1);
        check(&[], 0.0, 0.0, 0);
    }

    #[test]
    fn clairvoyant_has_a_pod_for_every_running_job_and_no_more() {
        let hour = 3600;
        let settings = Settings { workers_per_pod: 2, pod_start: 0, ..Settings::default() };
        let result = clairvoyant(&[(0, 3600), (0, 3600), (0, 3600), (hour, 3600)], &settings);
        assert_eq!((result.pod_hours, result.max_pods, result.activations), (3.0, 2, 1));
        assert_eq!(result.replicas, [(0.0, 2), (3600.0, 1), (7200.0, 0)]);
        assert_eq!((result.latency_seconds.max, result.jobs_done), (0.0, 4));
    }

    proptest! {
        /// It keeps the promise, is never below the work, and never above as many pods as it has at most, always on, and their starts.
        #[test]
        fn clairvoyant_is_between_the_work_and_fixed_pods(
            jobs in prop::collection::vec((0_i64..600, 1_u32..100), 1..40),
            workers_per_pod in 1_u32..4
        ) {
            let settings = Settings { workers_per_pod, poll_interval: 0, ..Settings::default() };
            let found = clairvoyant(&jobs, &settings);
            prop_assert!(found.latency_seconds.p95 <= 60.0);
            let work: f64 = jobs.iter().map(|(_, seconds)| f64::from(*seconds) / 3600.0).sum();
            prop_assert!(work / f64::from(workers_per_pod) <= found.pod_hours + 1e-5, "{} {}", work, found.pod_hours);
            let fixed = simulate(&workload(&jobs), &[Policy::fixed(found.max_pods)], &settings).results.remove(0);
            let starts = f64::from(found.max_pods) * 45.0 / 3600.0;
            prop_assert!(found.pod_hours <= fixed.pod_hours + starts + 1e-5, "{} {}", found.pod_hours, fixed.pod_hours);
        }
    }
}
