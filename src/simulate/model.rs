//! The model: JobRunr's servers and jobs, pods, KEDA and the HPA, driven by events in virtual time.
//!
//! - `jobs`: JobRunr's jobs by state, with counters that snapshots are made of.
//! - `pods`: pods with their servers; which one Kubernetes removes.
//! - `servers`: what a server does: fetch, drain, the master's work.
//! - `work`: what the scaler learns of kinds and durations.
//! - `scaler`: KEDA, the HPA, and the answers of the scaler.

mod events;
mod jobs;
mod pods;
mod running;
mod scaler;
mod servers;
mod work;

use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::measure::Measure;
use super::policy::ScaledPolicy;
use super::result::{hours, seconds};
use super::{Millis, Policy, Settings, SimulationResult, Workload};
use events::{Event, Events};
use jobs::Jobs;
use pods::Pods;
use scaler::Scaler;
use work::Learnt;

/// If nothing has happened for this time after all jobs are due, what is not done will never be. Longer with long intervals, up to a
/// week: more is a way to say never.
const PATIENCE: Millis = 6 * 3_600_000;
const MAX_PATIENCE: Millis = 7 * 24 * 3_600_000;

/// Plays a workload with a ScaledObject, or with as many pods as there are at rest. `policy` is what the result tells of it.
pub(super) fn play(
    workload: &Workload,
    policy: &Policy,
    scaled: Option<&ScaledPolicy>,
    resting_replicas: u32,
    settings: &Settings,
) -> SimulationResult {
    let mut model = Model::new(workload, scaled, resting_replicas, settings);
    model.run();
    model.into_result(policy)
}

struct Model<'a> {
    settings: &'a Settings,
    now: Millis,
    events: Events,
    jobs: Jobs<'a>,
    /// The names of the kinds of jobs.
    kinds: Vec<Arc<str>>,
    pods: Pods,
    /// `None` if no trigger asks how much work jobs are.
    learnt: Option<Learnt>,
    /// `None` for a fixed number of pods.
    scaler: Option<Scaler>,
    /// The wanted replicas: the workload's `spec.replicas`.
    replicas: u32,
    /// The replicas when there is nothing to do.
    resting_replicas: u32,
    measure: Measure,
    random: Xoshiro256PlusPlus,
    /// The number of the next run of a job.
    next_run: u64,
    /// When a job, a pod or the replicas changed last.
    last_progress: Millis,
    patience: Millis,
    last_due: Millis,
    #[cfg(test)]
    integrals: tests::Integrals,
}

impl<'a> Model<'a> {
    fn new(
        workload: &'a Workload,
        scaled: Option<&ScaledPolicy>,
        resting_replicas: u32,
        settings: &'a Settings,
    ) -> Self {
        let last_due = workload.last_due();
        let scaler = scaled.map(|scaled| Scaler::new(scaled, settings));
        let patience = patience(scaler.as_ref(), settings);
        let look_aheads = scaler.as_ref().map(Scaler::look_aheads).unwrap_or_default();
        let mut model = Self {
            settings,
            now: 0,
            events: Events::default(),
            jobs: Jobs::new(&workload.jobs, look_aheads),
            kinds: workload.kinds.iter().map(|kind| kind.as_str().into()).collect(),
            pods: Pods::default(),
            learnt: scaler.as_ref().filter(|scaler| scaler.wants_work()).map(|_| Learnt::new(workload)),
            scaler,
            replicas: 0,
            resting_replicas,
            measure: Measure::new(settings, last_due),
            random: Xoshiro256PlusPlus::seed_from_u64(settings.seed),
            next_run: 0,
            last_progress: 0,
            patience,
            last_due,
            #[cfg(test)]
            integrals: tests::Integrals::default(),
        };
        model.start();
        model
    }

    /// The pods that are there from the start have run for a while, so their servers poll at any instant.
    fn start(&mut self) {
        for _ in 0..self.resting_replicas {
            let first_poll = self.random_below(self.settings.heartbeat_interval());
            self.add_running_pod(first_poll);
        }
        self.replicas = self.resting_replicas;
        self.measure.replicas(0, self.replicas);
        self.start_scaler();
    }

    fn run(&mut self) {
        while !self.is_over() && self.step() {}
    }

    /// The next thing happens. Returns false if there is none.
    fn step(&mut self) -> bool {
        let arrival = self.jobs.next_arrival();
        let event = self.events.next_at().filter(|at| arrival.is_none_or(|arrival| *at < arrival));
        let Some(next) = event.or(arrival) else { return false };
        #[cfg(test)]
        self.integrate(next);
        self.now = next;
        match event.and_then(|_| self.events.pop()) {
            Some(event) => self.handle(event),
            None => self.job_arrives(),
        }
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::JobEnds { pod, run } => self.job_ends(pod, run),
            Event::ServerPolls { pod } => self.server_polls(pod),
            Event::ServerStarts { pod } => self.server_starts(pod),
            Event::JobsAreInterrupted { pod } => self.interrupt(pod),
            Event::PodIsKilled { pod } => self.kill(pod),
            Event::JobsAreDue => self.enqueue_due(),
            Event::KedaPolls => self.keda_polls(),
            Event::HpaSyncs => self.hpa_syncs(),
            Event::ScalerReads => self.scaler_reads(),
        }
    }

    /// Whether nothing changes any longer: all jobs are done and the pods are at rest, or what is left will never be done.
    fn is_over(&self) -> bool {
        if self.jobs.n_open() == 0 {
            let is_at_rest = self.replicas == self.resting_replicas && self.pods.n_terminating() == 0;
            return is_at_rest || self.last_progress + self.patience < self.now;
        }
        let waits_for = self.jobs.next_due().unwrap_or_default().max(self.last_due).max(self.last_progress);
        self.jobs.next_arrival().is_none() && self.jobs.n_runs() == 0 && waits_for + self.patience < self.now
    }

    /// Records what charts show. Called after each change of jobs or pods.
    fn observe(&mut self) {
        self.last_progress = self.now;
        let (waiting, running) = (self.jobs.n_enqueued(), self.jobs.n_runs());
        self.measure.observe(self.now, waiting, running, self.pods.n_existing());
    }

    fn random_below(&mut self, bound: Millis) -> Millis {
        if bound <= 0 { 0 } else { self.random.random_range(0..bound) }
    }

    /// The result ends with the last change: waiting for one that never comes costs nothing.
    fn into_result(mut self, policy: &Policy) -> SimulationResult {
        let end = self.last_progress;
        let existing: Millis = self.pods.existing().map(|pod| end - self.pods.get(pod).created).sum();
        let tally = self.jobs.tally();
        SimulationResult {
            name: policy.name.clone(),
            latency_seconds: self.measure.waits.latency(),
            share_above_slo: self.measure.waits.share_above_slo(),
            pod_hours: hours(self.measure.pod_millis + existing),
            max_pods: self.measure.max_pods,
            activations: self.measure.activations,
            jobs_done: tally.done,
            jobs_interrupted: tally.interrupted,
            jobs_run_twice: tally.run_twice,
            jobs_failed: tally.failed,
            jobs_unfinished: tally.unfinished,
            replicas: self.measure.replicas.iter().map(|(at, n)| (seconds(*at), *n)).collect(),
            notes: policy.notes.clone(),
            series: self.measure.series(),
            end,
        }
    }
}

/// Twice the longest interval in which nothing may happen although something will.
fn patience(scaler: Option<&Scaler>, settings: &Settings) -> Millis {
    let of_scaler = scaler.map_or(0, |scaler| scaler.cooldown().max(scaler.polling_interval()));
    let longest = of_scaler.max(settings.heartbeat_interval()).max(settings.pod_start);
    longest.saturating_mul(2).clamp(PATIENCE, MAX_PATIENCE)
}

#[cfg(test)]
mod tests;
