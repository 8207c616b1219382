//! What the demo has measured so far. The application and KEDA's part write it, the view and the summary read it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::database::Counts;
use super::scaled_object::TRIGGERS;
use crate::kubernetes::hpa::Replicas;

/// The measurements, shared.
pub(super) struct Board {
    state: Mutex<State>,
}

/// The measurements at one moment.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// When the demo began, by its own clock.
    pub(super) start: Timestamp,
    /// Jobs by state, from the database.
    pub(super) counts: Counts,
    /// The workload: what KEDA and the HPA want, what exists, what is ready.
    pub(super) replicas: Replicas,
    /// Workers of the ready pods.
    pub(super) n_workers: u64,
    /// What the scaler answered last, by trigger.
    pub(super) answers: Vec<Answer>,
    /// Everything worth telling, oldest first.
    pub(super) events: Vec<Event>,
    /// The replicas that were wanted, at each change.
    pub(super) scalings: Vec<(Timestamp, u32)>,
    /// Jobs that the application has made.
    pub(super) n_made: u64,
    /// Jobs that were interrupted because their pod was taken away.
    pub(super) n_cut: u64,
    /// When the first jobs were scheduled, and for when.
    pub(super) first_work: Option<(Timestamp, Timestamp)>,
    /// When the first pod was ready.
    pub(super) first_ready: Option<Timestamp>,
    /// When the first job was being processed.
    pub(super) first_start: Option<Timestamp>,
    /// When the last job was done.
    pub(super) all_done: Option<Timestamp>,
    /// For when the first run of the recurring job is planned.
    pub(super) run_at: Option<Timestamp>,
    /// When it was done.
    pub(super) run_done: Option<Timestamp>,
}

/// What the scaler said of one trigger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    pub(super) value: Option<f64>,
    pub(super) target: Option<f64>,
    pub(super) active: Option<bool>,
    /// The pods that the HPA would have for this trigger alone.
    pub(super) pods: Option<u32>,
}

/// Something worth telling.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) who: Who,
    pub(super) text: String,
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Application,
    Keda,
    Hpa,
    Pods,
}

impl Who {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::Keda => "KEDA",
            Self::Hpa => "HPA",
            Self::Pods => "pods",
        }
    }
}

impl Board {
    pub(super) fn new(start: Timestamp) -> Self {
        let state = State {
            start,
            counts: Counts::default(),
            replicas: Replicas::settled(0, 0),
            n_workers: 0,
            answers: vec![Answer::default(); TRIGGERS.len()],
            events: Vec::new(),
            scalings: Vec::new(),
            n_made: 0,
            n_cut: 0,
            first_work: None,
            first_ready: None,
            first_start: None,
            all_done: None,
            run_at: None,
            run_done: None,
        };
        Self { state: Mutex::new(state) }
    }

    /// A copy to look at.
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    pub(super) fn replicas(&self) -> Replicas {
        self.lock().replicas
    }

    pub(super) fn tell(&self, at: Timestamp, who: Who, text: String) {
        self.lock().events.push(Event { at, who, text });
    }

    /// The scale subresource: what KEDA and the HPA write.
    pub(super) fn scale(&self, at: Timestamp, replicas: u32) {
        let mut state = self.lock();
        state.replicas.spec = replicas;
        state.scalings.push((at, replicas));
    }

    pub(super) fn answer(&self, trigger: usize, change: impl FnOnce(&mut Answer)) {
        if let Some(answer) = self.lock().answers.get_mut(trigger) {
            change(answer);
        }
    }

    pub(super) fn made(&self, at: Timestamp, n_jobs: u64, due: Timestamp) {
        let mut state = self.lock();
        state.n_made += n_jobs;
        state.first_work.get_or_insert((at, due));
    }

    /// Notes the first run of the recurring job; whether it was the first.
    pub(super) fn planned_run(&self, at: Timestamp) -> bool {
        let mut state = self.lock();
        let is_first = state.run_at.is_none();
        state.run_at.get_or_insert(at);
        is_first
    }

    pub(super) fn cut(&self, n_jobs: u64) {
        self.lock().n_cut += n_jobs;
    }

    /// What the application sees of its pods and its tables.
    pub(super) fn observe(&self, at: Timestamp, status: u32, ready: u32, n_workers: u64, counts: Counts) {
        let mut state = self.lock();
        state.replicas.status = status;
        state.replicas.ready = ready;
        state.n_workers = n_workers;
        state.counts = counts;
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The time since the demo began.
    pub(super) fn elapsed(&self, at: Timestamp) -> SignedDuration {
        at.duration_since(self.start)
    }

    /// The value that the scaler gave last for a metric.
    pub(super) fn value(&self, metric: &str) -> Option<f64> {
        let mut triggers = TRIGGERS.iter().zip(&self.answers);
        triggers.find(|(trigger, _)| trigger.metric == metric).and_then(|(_, answer)| answer.value)
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

    /// When pods came again after that.
    pub(super) fn woken_again(&self) -> Option<Timestamp> {
        let zero = self.zero_after_work()?;
        self.scalings.iter().find(|(at, replicas)| zero < *at && 0 < *replicas).map(|(at, _)| *at)
    }

    /// Whether the work is done, the pods were gone, and the recurring job has run all the same.
    pub(super) fn is_over(&self) -> bool {
        self.zero_after_work().is_some() && self.run_done.is_some()
    }
}
