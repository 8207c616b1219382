//! The simulation: its speed and its memory, and its mean waits beside queueing theory.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::{Duration, Instant};

use common::{heading, is_full, sized, table, verdict};
use jobrunr_scaler::kubernetes::manifest;
use jobrunr_scaler::simulate::{Job, Policy, Settings, Workload, simulate};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Exp};

/// The mean time that a job takes, in milliseconds.
const SERVICE: f64 = 10_000.0;

fn main() {
    speed();
    theory();
}

fn speed() {
    heading(
        "Speed",
        "A day of Poisson arrivals of jobs of 10 s on average, with the recommended ScaledObject and up to 100 pods of 8 workers. \
         Wanted: 10^6 jobs in under 2 s and 500 MiB, and linear growth.",
    );
    let object = manifest::read("k8s/scaledobject.yaml", include_str!("../k8s/scaledobject.yaml")).unwrap();
    let mut object = object.scaled_objects.into_iter().next().unwrap();
    object.rules.bounds.max = 100;
    let policy = [Policy::scaled(&object).unwrap()];
    let mut sizes = vec![sized(1_000, 100_000), sized(10_000, 1_000_000)];
    sizes.extend(is_full().then_some(10_000_000));
    let mut rows = Vec::new();
    let mut first = None;
    for n_jobs in sizes {
        // The number of jobs at once stays the same; what grows is the time that is simulated.
        let workload = poisson(n_jobs, 1_000_000.0 / 86_400_000.0, 1);
        let began = Instant::now();
        let simulation = simulate(&workload, &policy, &Settings::default());
        let took = began.elapsed();
        let result = &simulation.results[0];
        assert_eq!(result.jobs_done, u64::from(n_jobs));
        let per_job = took.as_secs_f64() / f64::from(n_jobs);
        let growth = per_job / *first.get_or_insert(per_job);
        let is_met = n_jobs != 1_000_000 || (took < Duration::from_secs(2) && peak_memory() < 500.0);
        rows.push(vec![
            n_jobs.to_string(),
            format!("{:.2}", took.as_secs_f64()),
            format!("{:.2}", per_job * 1e6),
            format!("{growth:.2}"),
            format!("{:.0}", peak_memory()),
            format!("{:.1}", result.latency_seconds.p95),
            verdict(is_met && growth < 2.0),
        ]);
    }
    table(&["jobs", "s", "µs per job", "growth", "peak MiB", "p95 wait, s", "wanted"], &rows);
}

/// The most memory that this process has had, in MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn theory() {
    heading(
        "Theory",
        "Fixed workers that fetch at once, Poisson arrivals, exponential times: the mean wait beside Erlang's C. Wanted: within 3 %. \
         In heavy traffic 10^6 jobs have a standard error of more than that, so the mean is of as many runs of 10^6 as it takes \
         for 0.75 %.",
    );
    let n_jobs = sized(10_000, 1_000_000);
    let loads: &[f64] = sized(&[0.8], &[0.5, 0.7, 0.8, 0.9, 0.95]);
    let mut rows = Vec::new();
    for n_workers in [1, 2, 8, 64] {
        for &load in loads {
            let (waits, expected) = erlang_c(n_workers, load);
            // The relative standard error of the mean of n waits is about 2 ÷ ((1 − load) √(n × the part that waits)).
            let needed = (2.0 / (1.0 - load) / 0.0075).powi(2) / waits;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 40")]
            let n_runs = (needed / f64::from(n_jobs)).ceil().clamp(1.0, sized(1.0, 40.0)) as u64;
            let settings = Settings { workers_per_pod: n_workers, poll_interval: 0, ..Settings::default() };
            let mean = |seed| {
                let workload = poisson(n_jobs, f64::from(n_workers) * load / SERVICE, seed);
                simulate(&workload, &[Policy::fixed(1)], &settings).results[0].latency_seconds.mean
            };
            #[expect(clippy::cast_precision_loss, reason = "at most 40")]
            let found = (0..n_runs).map(|run| mean(100 + run)).sum::<f64>() / n_runs as f64;
            let off = found / expected - 1.0;
            // Where hardly any job waits, the wait is compared with the time that a job takes.
            let is_met = off.abs() < 0.03 || (found - expected).abs() < 0.0001 * SERVICE / 1000.0;
            rows.push(vec![
                n_workers.to_string(),
                load.to_string(),
                n_runs.to_string(),
                format!("{found:.4}"),
                format!("{expected:.4}"),
                format!("{:+.2} %", off * 100.0),
                verdict(is_met),
            ]);
        }
    }
    table(&["workers", "load", "runs", "mean wait, s", "Erlang C, s", "off", "wanted"], &rows);
}

/// So many jobs, with a rate per millisecond.
fn poisson(n_jobs: u32, rate: f64, seed: u64) -> Workload {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (gaps, times) = (Exp::new(rate).unwrap(), Exp::new(1.0 / SERVICE).unwrap());
    let mut at = 0.0_f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times far below the limits")]
    let jobs = (0..n_jobs).map(|_| {
        at += gaps.sample(&mut random);
        let (arrival, duration) = (at.round() as i64, times.sample(&mut random).round() as u32);
        Job { arrival, due: arrival, duration, kind: 0 }
    });
    Workload::new("poisson", jobs.collect(), vec!["job".to_owned()])
}

/// The part of the jobs that waits, and the mean wait in seconds.
fn erlang_c(n_workers: u32, load: f64) -> (f64, f64) {
    let offered = f64::from(n_workers) * load;
    let blocked = (1..=n_workers).fold(1.0, |b, n| offered * b / (f64::from(n) + offered * b));
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    (waits, waits * SERVICE / 1000.0 / (f64::from(n_workers) * (1.0 - load)))
}
