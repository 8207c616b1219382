//! The search for the cheapest settings: its speed.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::time::Instant;

use common::{heading, sized, table, verdict};
use jobrunr_scaler::simulate::recommend::{RecommendOptions, recommend};
use jobrunr_scaler::simulate::workload::Builtin;
use jobrunr_scaler::simulate::{Settings, Workload};

fn main() {
    heading(
        "Search",
        "Settings that keep `p95 latency <= PT1M` at the lowest cost, on all processors. Wanted: 200 candidates on 10^5 jobs in under 30 s \
         on two of them.",
    );
    let workloads = [Builtin::Sinusoid, Builtin::ShortJobs].map(|builtin| sized_to(builtin, sized(3_000, 100_000)));
    let mut rows = Vec::new();
    for workload in workloads {
        let options = RecommendOptions {
            slo: "p95 latency <= PT1M".parse().unwrap(),
            max_pods: 20,
            target: "workers".to_owned(),
            namespace: None,
            scaler_address: "scaler.keda:9090".to_owned(),
            storage: None,
        };
        let began = Instant::now();
        let found = recommend(&workload, &[], &options, &Settings::default()).unwrap();
        let took = began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let per_200 = took / found.candidates as f64 * 200.0;
        rows.push(vec![
            workload.name.clone(),
            workload.jobs.len().to_string(),
            found.candidates.to_string(),
            format!("{took:.1}"),
            format!("{per_200:.1}"),
            format!("{:.1}", found.chosen.latency_seconds.p95),
            format!("{:.1}", found.chosen.pod_hours),
            verdict(per_200 < 30.0),
        ]);
    }
    table(&["workload", "jobs", "candidates", "s", "s for 200", "p95 wait, s", "pod-hours", "wanted"], &rows);
}

/// A built-in workload, repeated or cut to so many jobs.
fn sized_to(builtin: Builtin, n_jobs: usize) -> Workload {
    let workload = builtin.workload(1);
    let length = workload.last_due() + 1000;
    let mut jobs = workload.jobs.clone();
    for round in (1..).take_while(|round| workload.jobs.len() * round < n_jobs) {
        let shift = length * i64::try_from(round).unwrap();
        jobs.extend(workload.jobs.iter().map(|job| {
            let mut job = *job;
            job.arrival += shift;
            job.due += shift;
            job
        }));
    }
    jobs.truncate(n_jobs);
    Workload::new(workload.name, jobs, workload.kinds)
}
