//! What a simulation found. As JSON this is an interface: fields are added, never renamed or removed.

use serde::Serialize;

use super::{Millis, Settings, Workload};

/// A workload with the results of all policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulation {
    /// The workload.
    pub workload: WorkloadSummary,
    /// The results, in the order of the policies.
    pub results: Vec<SimulationResult>,
}

/// What was simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadSummary {
    /// Where it comes from.
    pub name: String,
    /// Its jobs.
    pub jobs: usize,
    /// The time span of all results, in seconds: until everything was done and no policy changed its pods any longer. Policies that
    /// leave jobs undone do not extend it.
    pub seconds: f64,
    /// The sum of the jobs' durations, in hours.
    pub job_hours: f64,
    /// The longest wait that a job should have, in seconds.
    pub slo_seconds: f64,
    /// The seed of everything random.
    pub seed: u64,
    /// What is to be known about it, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What one policy did with the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SimulationResult {
    /// The ScaledObject's name, or `fixed-N`.
    pub name: String,
    /// How long jobs waited, from due to start.
    pub latency_seconds: Latency,
    /// The share of the started jobs that waited longer than the SLO, from 0 to 1.
    pub share_above_slo: f64,
    /// The sum of the pods' lifetimes, in hours.
    pub pod_hours: f64,
    /// The most replicas.
    pub max_pods: u32,
    /// How often the workload was started from zero.
    pub activations: u64,
    /// The jobs that are done.
    pub jobs_done: u64,
    /// The jobs that were stopped before their end because their pod was removed. They were retried.
    pub jobs_interrupted: u64,
    /// The jobs that were started again while their first run was still going.
    pub jobs_run_twice: u64,
    /// The jobs that were interrupted so often that JobRunr gave up.
    pub jobs_failed: u64,
    /// The jobs that were not done when nothing happened any longer.
    pub jobs_unfinished: u64,
    /// The replicas wanted over time: each change as seconds since the start and the number from then on.
    pub replicas: Vec<(f64, u32)>,
    /// What of the policy is not simulated, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What happened over time, for a chart.
    #[serde(skip)]
    pub series: Series,
    /// When anything changed last.
    #[serde(skip)]
    pub end: Millis,
}

/// How long jobs waited, in seconds. All are 0 without jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 95 % of the jobs waited at most that long.
    pub p95: f64,
    /// 99 % of the jobs waited at most that long.
    pub p99: f64,
    /// The longest wait.
    pub max: f64,
}

/// What happened over time, in intervals of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// The length of an interval, in seconds.
    pub interval_seconds: f64,
    /// The most jobs that waited in the queue, per interval.
    pub waiting: Vec<u64>,
    /// The most jobs that ran, per interval.
    pub running: Vec<u64>,
    /// The most pods that existed, terminating ones included, per interval.
    pub pods: Vec<u32>,
    /// The waits as a distribution: upper bound in seconds, and the jobs that waited at most that long but longer than the bound
    /// before it.
    pub waits: Vec<(f64, u64)>,
}

impl WorkloadSummary {
    pub(super) fn new(workload: &Workload, settings: &Settings, end: Millis) -> Self {
        let work: i64 = workload.jobs.iter().map(|job| Millis::from(job.duration)).sum();
        Self {
            name: workload.name.clone(),
            jobs: workload.jobs.len(),
            seconds: seconds(end),
            job_hours: hours(work),
            slo_seconds: seconds(settings.slo),
            seed: settings.seed,
            notes: workload.notes.clone(),
        }
    }
}

impl SimulationResult {
    /// The jobs that were never done: given up, or still open at the end.
    #[must_use]
    pub fn jobs_undone(&self) -> u64 {
        self.jobs_failed + self.jobs_unfinished
    }

    /// Extends the time span: the pods stay as they are.
    pub(super) fn rest_until(&mut self, end: Millis) {
        let n_pods = self.replicas.last().map_or(0, |(_, replicas)| *replicas);
        let rest = (end - self.end).max(0);
        self.pod_hours = rounded(self.pod_hours + hours(rest * Millis::from(n_pods)));
        self.end += rest;
    }
}

/// Milliseconds in seconds.
#[expect(clippy::cast_precision_loss, reason = "virtual time is far below 2^53 ms")]
pub(super) fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

/// Milliseconds in hours, as exact as anybody needs.
pub(super) fn hours(millis: Millis) -> f64 {
    rounded(seconds(millis) / 3600.0)
}

/// Rounds to six decimals, so that sums print like what they are.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
