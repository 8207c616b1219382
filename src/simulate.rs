//! What ScaledObjects would do with a workload: JobRunr, pods, KEDA and the HPA by their rules, in virtual time.
//!
//! KEDA and the HPA are those of [`kubernetes`](crate::kubernetes), and what a trigger answers comes from the same
//! [`decide`](crate::scaling::decide) that answers KEDA, on [snapshots](crate::jobrunr::Snapshot) that the model makes. JobRunr's and
//! Kubernetes' other rules are in [`model`]. Everything is pure and deterministic: the same seed gives the same result.
//! `docs/simulation.md` describes the rules and what is left out.

mod clairvoyant;
pub mod history;
mod measure;
mod model;
mod policy;
pub mod recommend;
mod report;
mod result;
mod settings;
mod table;
pub mod workload;

pub use policy::{Policy, PolicyError};
pub use report::{recommendation_report, report};
pub use result::{Latency, Series, Simulation, SimulationResult, WorkloadSummary};
pub use settings::{Phases, Readiness, Settings};
pub use table::{markdown, table};
pub use workload::{Job, Workload};

/// Milliseconds of virtual time, since the workload's start.
pub type Millis = i64;

/// Plays a workload with each policy. All pod-hours are those of the same time span: until all jobs are due, and the last policy that
/// does them all is at rest. One that leaves jobs undone may stand still for long, which must not cost the others anything; it counts
/// only if there is no other.
#[must_use]
pub fn simulate(workload: &Workload, policies: &[Policy], settings: &Settings) -> Simulation {
    let mut results: Vec<SimulationResult> = policies.iter().map(|policy| policy.play(workload, settings)).collect();
    let of_complete = results.iter().filter(|result| result.jobs_undone() == 0).map(|result| result.end).max();
    let of_all = || results.iter().map(|result| result.end).max();
    let end = of_complete.or_else(of_all).unwrap_or_default().max(workload.last_due());
    for result in &mut results {
        result.rest_until(end);
    }
    Simulation { workload: WorkloadSummary::new(workload, settings, end), results }
}
