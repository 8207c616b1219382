//! What is known of the jobs that wait, kind by kind: for `explain` only, because the names of kinds belong in no log.

use std::collections::BTreeMap;
use std::fmt;

use super::Trigger;
use crate::jobrunr::{ServiceTime, Snapshot};
use crate::text::{counted, number, printable};

/// The longest name of a kind that is shown, in characters.
const MAX_NAME: usize = 120;

/// The waiting jobs of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct KindEstimate {
    /// What they run (`jobSignature`), printable.
    pub kind: String,
    /// How many wait.
    pub jobs: f64,
    /// How long finished ones ran; `None` if none has finished lately.
    pub service_time: Option<ServiceTime>,
}

impl KindEstimate {
    /// Those that wait, the kind with the most work first; empty if the trigger does not ask how much work jobs are.
    #[must_use]
    pub fn of(trigger: &Trigger, snapshot: &Snapshot) -> Vec<Self> {
        let queue = snapshot.queues.get(&trigger.question.filter).and_then(|queue| queue.as_ref().ok());
        let Some((queue, times)) = queue.zip(snapshot.service_times.as_deref()) else { return Vec::new() };
        let mut jobs = BTreeMap::<&str, f64>::new();
        for group in &queue.waiting {
            *jobs.entry(&group.kind).or_default() += group.jobs;
        }
        let estimate = |(kind, jobs)| Self { kind: printable(kind, MAX_NAME), jobs, service_time: times.of_kind(kind) };
        let mut kinds: Vec<Self> = jobs.into_iter().map(estimate).collect();
        kinds.sort_by(|a, b| b.work().total_cmp(&a.work()));
        kinds
    }

    /// Seconds of work; unknown ones come first.
    fn work(&self) -> f64 {
        self.service_time.map_or(f64::INFINITY, |time| time.mean * self.jobs)
    }
}

impl fmt::Display for KindEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, jobs, service_time } = self;
        let kind = if kind.is_empty() { "unknown kind" } else { kind };
        write!(f, "{} of {kind}: ", counted(jobs.round() as u64, "job"))?;
        match service_time {
            None => f.write_str("none has finished lately"),
            Some(ServiceTime { samples, mean, p95 }) => {
                let (mean, p95) = (number(*mean, 3), number(*p95, 3));
                write!(f, "{mean} s on average, 95 % up to {p95} s, {}", counted(*samples as u64, "finished job"))
            }
        }
    }
}
