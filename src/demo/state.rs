//! What the demo has measured so far. The application, KEDA's part and the live values write it; the view and the results
//! read it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::story::Story;
use super::tables::Counts;
use crate::kubernetes::hpa::Replicas;

/// The measurements, shared.
pub(super) struct DemoState {
    measured: Mutex<Measurements>,
    /// Locked while the tables are written, and while they must stay unchanged.
    writes: tokio::sync::Mutex<()>,
}

/// The measurements at one moment.
#[derive(Clone, Debug)]
pub(super) struct Measurements {
    /// What should happen.
    pub(super) story: Story,
    /// The workload and its jobs.
    pub(super) workload: Workload,
    /// What is shown: workload and answers of one instant.
    pub(super) shown: Shown,
    /// What happened, oldest first.
    pub(super) events: Vec<Event>,
    /// The replicas that were wanted, at each change.
    pub(super) scalings: Vec<(Timestamp, u32)>,
    /// Jobs that the application has created.
    pub(super) n_made: u64,
    /// Jobs that were interrupted because their pod was removed.
    pub(super) n_interrupted: u64,
    /// When the first jobs were scheduled, and for when.
    pub(super) first_work: Option<(Timestamp, Timestamp)>,
    /// When the first pod was ready.
    pub(super) first_ready: Option<Timestamp>,
    /// When the first job was processed.
    pub(super) first_start: Option<Timestamp>,
    /// When the last job was done.
    pub(super) all_done: Option<Timestamp>,
    /// For when the first run of the recurring job is planned.
    pub(super) run_at: Option<Timestamp>,
    /// When it was done.
    pub(super) run_done: Option<Timestamp>,
}

/// The workload at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    /// Jobs by state, from the database.
    pub(super) counts: Counts,
    /// What KEDA and the HPA want, what exists, what is ready.
    pub(super) replicas: Replicas,
    /// Workers of the ready pods.
    pub(super) n_workers: u64,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// The instant of all the rest.
    pub(super) at: Timestamp,
    pub(super) workload: Workload,
    /// What the scaler answers, per trigger.
    pub(super) answers: Vec<LiveAnswer>,
}

/// What the scaler answers for one trigger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LiveAnswer {
    pub(super) value: Option<f64>,
    pub(super) target: Option<f64>,
    pub(super) active: Option<bool>,
    /// The pods that the HPA would have for this trigger alone.
    pub(super) pods: Option<u32>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) actor: Actor,
    pub(super) text: String,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    Application,
    Keda,
    Hpa,
    Pods,
}

impl Actor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::Keda => "KEDA",
            Self::Hpa => "HPA",
            Self::Pods => "pods",
        }
    }
}

impl DemoState {
    pub(super) fn new(story: Story, n_triggers: usize) -> Self {
        let workload = Workload { counts: Counts::default(), replicas: Replicas::settled(0, 0), n_workers: 0 };
        let measured = Measurements {
            story,
            workload,
            shown: Shown { at: story.start, workload, answers: vec![LiveAnswer::default(); n_triggers] },
            events: Vec::new(),
            scalings: Vec::new(),
            n_made: 0,
            n_interrupted: 0,
            first_work: None,
            first_ready: None,
            first_start: None,
            all_done: None,
            run_at: None,
            run_done: None,
        };
        Self { measured: Mutex::new(measured), writes: tokio::sync::Mutex::new(()) }
    }

    /// Returns a copy.
    pub(super) fn measurements(&self) -> Measurements {
        self.lock().clone()
    }

    pub(super) fn replicas(&self) -> Replicas {
        self.lock().workload.replicas
    }

    /// Waits until nobody else writes to the tables, nor needs them unchanged.
    pub(super) async fn lock_tables(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writes.lock().await
    }

    pub(super) fn record(&self, at: Timestamp, actor: Actor, text: String) {
        self.lock().events.push(Event { at, actor, text });
    }

    /// The scale subresource: what KEDA and the HPA write.
    pub(super) fn scale(&self, at: Timestamp, replicas: u32) {
        let mut state = self.lock();
        state.workload.replicas.spec = replicas;
        state.scalings.push((at, replicas));
    }

    /// Shows the workload beside the answers that were given for it.
    pub(super) fn show(&self, at: Timestamp, answers: Vec<LiveAnswer>) {
        let mut state = self.lock();
        state.shown = Shown { at, workload: state.workload, answers };
    }

    pub(super) fn jobs_made(&self, at: Timestamp, n_jobs: u64, due: Timestamp) {
        let mut state = self.lock();
        state.n_made += n_jobs;
        state.first_work.get_or_insert((at, due));
    }

    /// Records that a run of the recurring job is planned. Returns whether it is the first.
    pub(super) fn run_planned(&self, at: Timestamp) -> bool {
        let mut state = self.lock();
        let is_first = state.run_at.is_none();
        state.run_at.get_or_insert(at);
        is_first
    }

    pub(super) fn jobs_interrupted(&self, n_jobs: u64) {
        self.lock().n_interrupted += n_jobs;
    }

    /// Records what the application sees of its pods and its tables.
    pub(super) fn observe(&self, at: Timestamp, status: u32, ready: u32, n_workers: u64, counts: Counts) {
        let mut state = self.lock();
        let spec = state.workload.replicas.spec;
        state.workload = Workload { counts, replicas: Replicas { spec, status, ready }, n_workers };
        if 0 < ready {
            state.first_ready.get_or_insert(at);
        }
        if 0 < counts.processing {
            state.first_start.get_or_insert(at);
        }
        if 0 < counts.recurring_runs {
            state.run_done.get_or_insert(at);
        }
        if 0 < state.n_made && counts.open() == 0 {
            state.all_done.get_or_insert(at);
        } else {
            state.all_done = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Measurements> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measurements {
    /// The jobs by state.
    pub(super) fn counts(&self) -> Counts {
        self.workload.counts
    }

    /// The time since the demo began.
    pub(super) fn elapsed(&self, at: Timestamp) -> SignedDuration {
        at.duration_since(self.story.start)
    }

    /// The replicas that were wanted at an instant.
    pub(super) fn wanted_at(&self, at: Timestamp) -> u32 {
        self.scalings.iter().rev().find(|(since, _)| *since <= at).map_or(0, |(_, replicas)| *replicas)
    }

    /// The most replicas that were ever wanted.
    pub(super) fn peak(&self) -> u32 {
        self.scalings.iter().map(|(_, replicas)| *replicas).max().unwrap_or_default()
    }

    /// When the pods were gone after the last job.
    pub(super) fn zero_after_work(&self) -> Option<Timestamp> {
        let done = self.all_done?;
        self.scalings.iter().find(|(at, replicas)| done <= *at && *replicas == 0).map(|(at, _)| *at)
    }

    /// When pods came back after that.
    pub(super) fn woken_again(&self) -> Option<Timestamp> {
        let zero = self.zero_after_work()?;
        self.scalings.iter().find(|(at, replicas)| zero < *at && 0 < *replicas).map(|(at, _)| *at)
    }

    /// Whether the work is done, the pods were gone, and the recurring job has run nevertheless.
    pub(super) fn is_over(&self) -> bool {
        self.zero_after_work().is_some() && self.run_done.is_some()
    }
}
