//! The fewest workers, against a schedule that is played job by job, and the laws that must hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const PROMISE: Promise = Promise { max_latency: 300.0, start: 60.0, foreseen: 60.0 };

fn batch(due: f64, jobs: f64, service: f64) -> Batch {
    Batch { due, jobs, service }
}

fn backlog(batches: &[Batch]) -> Backlog {
    Backlog { running: Vec::new(), batches: batches.to_vec() }
}

#[test]
fn workers_are_the_fewest_that_keep_the_promise() {
    let check = |batches: &[Batch], existing: f64, expected: f64| {
        let found = backlog(batches).workers(existing, &PROMISE).ceil();
        assert_eq!(found, expected, "{batches:?} with {existing}");
    };
    check(&[], 8.0, 0.0);
    // 500 s of work; workers that have yet to start have 240 s for it, those there are 300 s.
    check(&[batch(0.0, 10_000.0, 0.05)], 0.0, 3.0);
    check(&[batch(0.0, 10_000.0, 0.05)], 8.0, 2.0);
    // Long jobs need a worker each, and no more.
    check(&[batch(0.0, 10.0, 3_600.0)], 0.0, 10.0);
    check(&[batch(0.0, 10.0, f64::INFINITY)], 4.0, 10.0);
    // What was asked for a minute ago is on its way, and is not asked for again.
    check(&[batch(-59.0, 10_000.0, 0.05)], 0.0, 3.0);
    // Jobs are due over ten minutes: two keep up with them, for they do not all wait.
    let spread: Vec<Batch> = (1..=10).map(|minute| batch(60.0 * f64::from(minute), 100.0, 1.0)).collect();
    check(&spread, 0.0, 2.0);
    // A broken promise is healed within 30 s of the start, not at any price.
    check(&[batch(-1_000.0, 10_000.0, 0.05)], 0.0, 17.0);
}

#[test]
fn wait_ends_when_a_worker_is_free() {
    let check = |running: &[f64], batches: &[Batch], workers: f64, wait: f64, drain: f64| {
        let running = running.iter().map(|left| Running { jobs: 1.0, left: *left }).collect();
        let backlog = Backlog { running, batches: batches.to_vec() };
        let found = (backlog.wait(workers), backlog.drain(workers));
        let is_close =
            |found: f64, expected: f64| found == expected || (found - expected).abs() < 0.01 + expected / 100.0;
        assert!(is_close(found.0, wait) && is_close(found.1, drain), "{backlog:?} with {workers}: {found:?}");
    };
    check(&[], &[], 4.0, 0.0, 0.0);
    check(&[5.0], &[], 4.0, 0.0, 5.0);
    check(&[5.0, 20.0], &[], 2.0, 5.0, 20.0);
    check(&[], &[batch(-3.0, 100.0, 2.0)], 4.0, 50.0, 50.0);
    check(&[f64::INFINITY], &[], 1.0, f64::INFINITY, f64::INFINITY);
}

/// Plays jobs on workers in their order. Returns how late the last starter was.
fn longest_wait(jobs: &[(f64, f64)], workers: usize) -> f64 {
    let mut free: BinaryHeap<Reverse<u64>> = (0..workers).map(|_| Reverse(0)).collect();
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    let mut longest: f64 = 0.0;
    for (due, service) in jobs {
        let Some(Reverse(at)) = free.pop() else { return f64::INFINITY };
        let start = at.max(micros(due.max(0.0)));
        longest = longest.max(start as f64 / 1e6 - due);
        free.push(Reverse(start + micros(*service)));
    }
    longest
}

/// Jobs that are due within a range and take up to so many seconds, few enough that all their instants are examined.
fn jobs(due: std::ops::Range<f64>, longest: f64) -> impl Strategy<Value = Vec<(f64, f64)>> {
    let job = (due, prop_oneof![4 => 0.01..5.0_f64, 1 => 5.0..longest]);
    proptest::collection::vec(job, 1..MAX_INSTANTS).prop_map(|mut jobs| {
        jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
        jobs
    })
}

fn batches(jobs: &[(f64, f64)]) -> Vec<Batch> {
    jobs.iter().map(|(due, service)| batch(*due, 1.0, *service)).collect()
}

proptest! {
    /// Without new workers to wait for, the bound is safe: played job by job, none starts late.
    #[test]
    fn promise_to_waiting_jobs_is_kept_in_a_schedule(jobs in jobs(-100.0..0.0, 900.0)) {
        let promise = Promise { max_latency: 200.0, start: 0.0, foreseen: 60.0 };
        let workers = backlog(&batches(&jobs)).workers(1e9, &promise).ceil().max(1.0);
        prop_assert!(longest_wait(&jobs, workers as usize) <= 200.0 + 0.001, "{workers} workers");
    }

    /// Of jobs that become due later, none starts later than by one job.
    #[test]
    fn promise_to_foreseen_jobs_is_kept_but_for_one_job(jobs in jobs(0.0..60.0, 30.0)) {
        let promise = Promise { max_latency: 10.0, start: 0.0, foreseen: 60.0 };
        let workers = backlog(&batches(&jobs)).workers(1e9, &promise).ceil().max(1.0);
        prop_assert!(longest_wait(&jobs, workers as usize) <= 10.0 + 30.0, "{workers} workers");
    }

    #[test]
    fn more_work_or_a_tighter_promise_never_needs_fewer(
        jobs in jobs(-100.0..60.0, 900.0), which in any::<prop::sample::Index>(), existing in 0.0..40.0_f64,
        more in prop_oneof![Just("job"), Just("service"), Just("wait"), Just("promise"), Just("running")],
    ) {
        let before = backlog(&batches(&jobs));
        let (mut after, mut promise) = (before.clone(), PROMISE);
        let which = which.index(jobs.len());
        match more {
            "job" => after.batches[which].jobs += 1.0,
            "service" => after.batches[which].service += 1.0,
            "wait" => after.batches.iter_mut().for_each(|batch| batch.due -= 1.0),
            "promise" => promise.max_latency -= 10.0,
            _ => after.running.push(Running { jobs: 1.0, left: 20.0 }),
        }
        // Jobs that were not due are, and count as all waiting ones do.
        let was_foreseen = more == "wait" && jobs.iter().any(|(due, _)| 0.0 < *due);
        prop_assume!(!was_foreseen);
        let (before, after) = (before.workers(existing, &PROMISE), after.workers(existing, &promise));
        prop_assert!(before <= after + 1e-9, "{more}: {before} then {after}");
    }

    /// Asked for, they come: the number does not rise because of that, and what it falls to is enough.
    #[test]
    fn number_does_not_oscillate(jobs in jobs(-100.0..60.0, 900.0), pod in 1..16_u32) {
        let backlog = backlog(&batches(&jobs));
        let pods = |workers: f64| (workers / f64::from(pod)).ceil() * f64::from(pod);
        let mut existing = 0.0;
        let mut asked = Vec::new();
        for _ in 0..6 {
            existing = pods(backlog.workers(existing, &PROMISE));
            asked.push(existing);
        }
        prop_assert!(asked.windows(2).all(|pair| pair[1] <= pair[0]), "{asked:?}");
        prop_assert_eq!(asked[1], asked[5], "{:?}", asked);
    }
}
