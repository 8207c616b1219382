//! Workloads: jobs over time.

mod builtin;
mod csv;

use std::collections::HashMap;

pub use builtin::Builtin;
pub(in crate::simulate) use csv::MAX_DURATION;
pub use csv::{CsvError, read_csv, write_csv};

use super::Millis;

/// The most jobs of a workload.
pub const MAX_JOBS: usize = 50_000_000;

/// A job of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// When it is created, in milliseconds since the start.
    pub arrival: Millis,
    /// When it is due. A job that is due later than it is created is SCHEDULED until then; otherwise it is ENQUEUED at once.
    pub due: Millis,
    /// How long it runs, in milliseconds.
    pub duration: u32,
    /// Its kind: an index into [`Workload::kinds`].
    pub kind: u32,
}

impl Job {
    /// Returns whether it waits for its due time before it is enqueued.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.arrival < self.due
    }
}

/// Jobs over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// Where it comes from.
    pub name: String,
    /// The jobs, in the order of their arrival.
    pub jobs: Vec<Job>,
    /// The names of the kinds of jobs. Never empty if there are jobs.
    pub kinds: Vec<String>,
    /// What is to be known about it, one sentence each.
    pub notes: Vec<String>,
    /// Jobs that were done before it began, the newest last. A scaler has learnt from them how long jobs run.
    pub done_before: Vec<Job>,
}

impl Workload {
    /// Puts jobs into the order of their arrival. Jobs that arrive together keep their order.
    #[must_use]
    pub fn new(name: impl Into<String>, mut jobs: Vec<Job>, kinds: Vec<String>) -> Self {
        jobs.sort_by_key(|job| job.arrival);
        Self { name: name.into(), jobs, kinds, ..Self::default() }
    }

    /// The last instant at which a job is created or due.
    #[must_use]
    pub fn last_due(&self) -> Millis {
        self.jobs.iter().map(|job| job.due.max(job.arrival)).max().unwrap_or_default()
    }
}

/// Numbers the kinds of jobs in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<String>,
}

impl Kinds {
    /// Returns the number of a kind; `None` if there are too many.
    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number < MAX_KINDS)?;
        self.names.push(name.to_owned());
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// The most kinds of jobs.
const MAX_KINDS: u32 = 100_000;
