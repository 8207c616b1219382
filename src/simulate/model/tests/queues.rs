//! Queueing theory. With a poll interval of zero and fixed pods, the model is a queue of which the mean waits are known.
//!
//! These tests have as many jobs as fit into a debug build, and margins of four standard errors; `benches/simulate.rs` has 10^6 jobs
//! and more, and a margin of 3 %.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;
use rand_distr::{Distribution, Exp};

use super::*;
use crate::simulate::simulate;

/// Mean service time, in milliseconds.
const SERVICE: f64 = 10_000.0;

#[derive(Clone, Copy, Debug)]
enum Service {
    Exponential,
    Fixed,
    /// A tenth of the jobs is ten times as long as the others.
    Mixed,
}

impl Service {
    fn sample(self, random: &mut Xoshiro256PlusPlus) -> f64 {
        match self {
            Self::Exponential => Exp::new(1.0 / SERVICE).unwrap().sample(random),
            Self::Fixed => SERVICE,
            Self::Mixed => SERVICE / 1.9 * if random.random_bool(0.1) { 10.0 } else { 1.0 },
        }
    }

    /// Variance ÷ mean².
    fn squared_variation(self) -> f64 {
        match self {
            Self::Exponential => 1.0,
            Self::Fixed => 0.0,
            Self::Mixed => (0.9 + 0.1 * 100.0) / (1.9 * 1.9) - 1.0,
        }
    }
}

fn poisson(n_jobs: u32, n_workers: u32, load: f64, service: Service, seed: u64) -> Workload {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let gaps = Exp::new(f64::from(n_workers) * load / SERVICE).unwrap();
    let mut at = 0.0;
    let jobs = (0..n_jobs).map(|_| {
        at += gaps.sample(&mut random);
        job(at.round() as Millis, service.sample(&mut random).round() as u32)
    });
    workload(jobs.collect())
}

/// The mean wait of a queue with Poisson arrivals and exponential times, in seconds.
fn erlang_c(n_workers: u32, load: f64) -> f64 {
    let offered = f64::from(n_workers) * load;
    // Erlang B by its recursion, then C from B.
    let blocked = (1..=n_workers).fold(1.0, |b, n| offered * b / (f64::from(n) + offered * b));
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    waits * SERVICE / 1000.0 / (f64::from(n_workers) * (1.0 - load))
}

/// The mean wait of a queue with one worker, in seconds (Pollaczek-Khinchine).
fn pollaczek_khinchine(load: f64, service: Service) -> f64 {
    load / (1.0 - load) * (1.0 + service.squared_variation()) / 2.0 * SERVICE / 1000.0
}

/// The mean wait by the recursion of Kiefer and Wolfowitz: each job starts on the worker that is free first.
fn recursion(workload: &Workload, n_workers: u32) -> Vec<Millis> {
    let mut free: BinaryHeap<Reverse<Millis>> = (0..n_workers).map(|_| Reverse(0)).collect();
    let waits = workload.jobs.iter().map(|job| {
        let Reverse(free_at) = free.pop().unwrap();
        let start = free_at.max(job.arrival);
        free.push(Reverse(start + Millis::from(job.duration)));
        start - job.arrival
    });
    waits.collect()
}

fn latency(workload: &Workload, n_pods: u32, workers_per_pod: u32) -> crate::simulate::Latency {
    let settings = Settings { workers_per_pod, ..plain_queue() };
    simulate(workload, &[Policy::fixed(n_pods)], &settings).results[0].latency_seconds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// On any workload, exactly.
    #[test]
    fn plain_queue_is_the_one_of_the_recursion(
        jobs in prop::collection::vec((0_i64..100_000, 0_u32..20_000), 1..200),
        n_pods in 1_u32..5,
        workers_per_pod in 1_u32..5
    ) {
        let workload = workload(jobs.into_iter().map(|(arrival, duration)| job(arrival, duration)).collect());
        let waits = recursion(&workload, n_pods * workers_per_pod);
        let found = latency(&workload, n_pods, workers_per_pod);
        let mean = waits.iter().sum::<Millis>() as f64 / waits.len() as f64 / 1000.0;
        prop_assert!((found.mean - mean).abs() < 1e-5, "{} {}", found.mean, mean);
        prop_assert_eq!(found.max, *waits.iter().max().unwrap() as f64 / 1000.0);
    }
}

#[test]
fn mean_wait_is_that_of_theory() {
    let check = |n_pods: u32, workers_per_pod: u32, load: f64, service: Service, expected: f64| {
        const N_JOBS: u32 = 30_000;
        let n_workers = n_pods * workers_per_pod;
        let workload = poisson(N_JOBS, n_workers, load, service, 42);
        let found = latency(&workload, n_pods, workers_per_pod).mean;
        // In heavy traffic the mean of n waits has a relative standard error of about 2 ÷ ((1 − load) √n), more with a larger
        // variation, and more where only a part of the jobs waits. Waits that are rare are compared with the service time.
        let part = (expected * (1.0 - load) * f64::from(n_workers) / SERVICE * 1000.0).min(1.0);
        let error = 2.0 / (1.0 - load) / (f64::from(N_JOBS) * part).sqrt() * (1.0 + service.squared_variation()).sqrt();
        let margin = (4.0 * error * expected).max(0.001 * SERVICE / 1000.0);
        assert!((found - expected).abs() < margin, "{n_workers} {load} {service:?}: {found} s, not {expected} s");
    };
    for load in [0.5, 0.8, 0.95] {
        for (n_pods, workers_per_pod) in [(1, 1), (2, 2), (1, 8), (8, 8)] {
            let expected = erlang_c(n_pods * workers_per_pod, load);
            check(n_pods, workers_per_pod, load, Service::Exponential, expected);
        }
        for service in [Service::Fixed, Service::Mixed] {
            check(1, 1, load, service, pollaczek_khinchine(load, service));
        }
    }
    // The formulas agree where both hold.
    assert!((erlang_c(1, 0.8) - pollaczek_khinchine(0.8, Service::Exponential)).abs() < 1e-9);
    assert!((erlang_c(1, 0.8) - 40.0).abs() < 1e-9);
}
