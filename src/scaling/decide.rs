//! The one function that decides.

mod busy;
mod demand;
#[cfg(test)]
mod tests;
mod work;
mod workers;

use jiff::Timestamp;

use super::{DemandParts, JobCount, Metric, Reason, Trigger};
use crate::jobrunr::{Filter, QuestionError, Queue, Snapshot};
use work::Work;
use workers::Workers;

/// What a trigger comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The metric's value, in its own unit. Finite and never negative.
    pub value: f64,
    /// The HPA's target, in the same unit.
    pub target: f64,
    /// Whether KEDA keeps the workload running because of this trigger.
    pub active: bool,
    /// Whether the value comes from a truncated count: there may be more jobs.
    pub truncated: bool,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Returns the number of pods that it asks for if its trigger is an AverageValue, which KEDA does not say.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is never negative")]
    pub fn pods(&self) -> u64 {
        (self.value / self.target).ceil() as u64
    }
}

/// From this age in seconds on, a decision says how old its snapshot is.
const STALE_SECONDS: i64 = 5;

/// The smallest latency of a job that waits, in seconds: KEDA's finest unit.
const MIN_LATENCY: f64 = 0.001;

/// Decides for a trigger, from a snapshot of its storage. Puts nothing into words.
///
/// All values hold for the instant of the read, so that an old snapshot keeps its numbers: servers must not seem to die, nor a
/// latency grow, because the database does not answer. `now` only serves to say how old the snapshot is.
///
/// # Errors
/// [`QuestionError`] if the storage cannot answer the trigger's question at all.
///
/// Callers make sure that the snapshot [answers](Snapshot::answers) the trigger's question.
pub fn decide(trigger: &Trigger, snapshot: &Snapshot, now: Timestamp) -> Result<Decision, QuestionError> {
    let empty = Queue::default();
    let queue = match snapshot.queues.get(&trigger.question.filter) {
        Some(Ok(queue)) => queue,
        Some(Err(error)) => return Err(error.clone()),
        None => &empty,
    };
    let mut reasons = Vec::new();
    let value = value(trigger, snapshot, queue, &mut reasons);
    let truncated = is_truncated(trigger, queue);
    if truncated {
        reasons.push(Reason::Truncated);
    }
    let (target, target_reason) = trigger.target_at(Some(snapshot));
    reasons.extend(target_reason);
    let n_jobs = trigger.promise.max_latency.map(|_| demand::parts(trigger, snapshot, queue).total());
    let least_for_jobs = n_jobs.map_or(value, |jobs| value.max(float(jobs)));
    let value = busy::keep_busy_pods(trigger, snapshot, queue, (value, target), &mut reasons);
    let measure = match n_jobs {
        // Unless busy pods ask for more.
        Some(jobs) if value <= least_for_jobs => Measure::Jobs(jobs),
        _ => Measure::Value(value),
    };
    let active = is_active(trigger, queue, measure, &mut reasons);
    if trigger.metric == Metric::Demand {
        reasons.extend(demand::next(trigger, snapshot));
    }
    reasons.extend(stale_seconds(snapshot, now).map(|seconds| Reason::Stale { seconds }));
    Ok(Decision { value, target, active, truncated, reasons })
}

/// The age of a snapshot that is so old that a decision says so, in seconds. Otherwise decisions about a snapshot do not depend on
/// the time.
#[must_use]
pub fn stale_seconds(snapshot: &Snapshot, now: Timestamp) -> Option<i64> {
    let seconds = now.duration_since(snapshot.read_at).as_secs();
    (STALE_SECONDS <= seconds).then_some(seconds)
}

fn value(trigger: &Trigger, snapshot: &Snapshot, queue: &Queue, reasons: &mut Vec<Reason>) -> f64 {
    let (filter, look_ahead) = (&trigger.question.filter, trigger.question.look_ahead);
    let enqueued = queue.enqueued(trigger.include_blocked);
    match trigger.metric {
        Metric::EnqueuedLatency => {
            let oldest = queue.oldest_enqueued_at(trigger.include_blocked);
            let latency = latency(snapshot, enqueued.n_jobs, oldest);
            let (jobs, seconds) = (JobCount::new(enqueued, filter), oldest.map(|_| latency));
            reasons.push(Reason::OldestEnqueued { jobs, seconds });
            reasons.extend(blocked(trigger, queue));
            latency
        }
        Metric::EnqueuedCount => {
            reasons.push(Reason::Enqueued(JobCount::new(enqueued, filter)));
            reasons.extend(blocked(trigger, queue));
            float(enqueued.n_jobs)
        }
        Metric::ScheduledCount => {
            let scheduled = queue.scheduled_within(look_ahead);
            reasons.push(Reason::Scheduled { jobs: JobCount::new(scheduled, filter), look_ahead });
            float(scheduled.n_jobs)
        }
        Metric::WorkerUsage | Metric::TotalWorkers | Metric::OccupiedWorkers => {
            let workers = Workers::of(trigger, snapshot, queue);
            reasons.push(workers.reason());
            match trigger.metric {
                Metric::TotalWorkers => float(workers.total),
                Metric::OccupiedWorkers => float(workers.occupied),
                _ => {
                    reasons.extend(workers.is_capped().then_some(Reason::UsageCapped));
                    workers.usage()
                }
            }
        }
        Metric::Demand => float(demand::demand(trigger, snapshot, queue, reasons)),
        Metric::ExpectedLatency | Metric::DrainTime => {
            let (enqueued, processing) = (enqueued.n_jobs, queue.processing_alive.n_jobs);
            let parts = DemandParts { enqueued, processing, orphans: queue.n_orphans(), ..DemandParts::default() };
            Work::new(trigger, snapshot, queue, &parts).time(reasons)
        }
    }
}

/// What mutexes do to the jobs in the queue.
fn blocked(trigger: &Trigger, queue: &Queue) -> impl Iterator<Item = Reason> {
    let mutexes = queue.mutexes.filter(|_| !trigger.include_blocked);
    let jobs = mutexes.map_or(0, |mutexes| mutexes.n_blocked);
    let is_all = mutexes.is_some_and(|mutexes| mutexes.oldest_free_at.is_none()) && 0 < queue.enqueued.n_jobs;
    let reasons = [(0 < jobs).then_some(Reason::Blocked { jobs }), is_all.then_some(Reason::AllBlocked)];
    reasons.into_iter().flatten()
}

/// Whether a count that the value comes from was truncated.
fn is_truncated(trigger: &Trigger, queue: &Queue) -> bool {
    let scheduled = || queue.scheduled_within(trigger.question.look_ahead).limited;
    let awaiting = || queue.awaiting_within(trigger.question.look_ahead).limited;
    match trigger.metric {
        // The oldest job is found whatever is counted.
        Metric::EnqueuedLatency | Metric::TotalWorkers => false,
        Metric::EnqueuedCount => queue.enqueued.limited,
        Metric::ExpectedLatency | Metric::DrainTime => queue.enqueued.limited || queue.processing.limited,
        Metric::ScheduledCount => scheduled(),
        Metric::WorkerUsage | Metric::OccupiedWorkers => queue.processing_alive.limited,
        Metric::Demand => queue.enqueued.limited || queue.processing.limited || scheduled() || awaiting(),
    }
}

/// Returns how many seconds the oldest job in the queue that can start has waited; 0 only if the queue is empty. If the
/// application's clock is ahead of ours, its jobs seem to come from the future. They must start the workload all the same.
fn latency(snapshot: &Snapshot, n_enqueued: u64, oldest: Option<Timestamp>) -> f64 {
    if n_enqueued == 0 {
        return 0.0;
    }
    let waited = oldest.map_or(0.0, |oldest| snapshot.read_at.duration_since(oldest).as_secs_f64());
    waited.max(MIN_LATENCY)
}

/// What is compared with the activation target.
#[derive(Clone, Copy, Debug)]
enum Measure {
    Value(f64),
    /// The jobs that a promise is for: its value is a number of workers, which is 1 however many short jobs wait.
    Jobs(u64),
}

fn is_active(trigger: &Trigger, queue: &Queue, measure: Measure, reasons: &mut Vec<Reason>) -> bool {
    let activation_target = trigger.activation_target;
    let is_above = match measure {
        Measure::Value(value) => activation_target < value,
        Measure::Jobs(jobs) => activation_target < float(jobs),
    };
    let is_kept = trigger.keep_while_processing && 0 < queue.processing.n_jobs;
    reasons.push(match measure {
        Measure::Value(value) if is_above => Reason::Active { value, activation_target },
        Measure::Jobs(jobs) if is_above => Reason::ActiveByJobs { jobs, activation_target },
        _ if is_kept => Reason::ActiveWhileProcessing(JobCount::new(queue.processing, &Filter::default())),
        Measure::Value(value) => Reason::Inactive { value, activation_target },
        Measure::Jobs(jobs) => Reason::InactiveByJobs { jobs, activation_target },
    });
    // Demand has them among its parts already.
    if is_kept && 0 < queue.n_orphans() && trigger.metric != Metric::Demand {
        reasons.push(Reason::Orphans { jobs: queue.n_orphans() });
    }
    is_above || is_kept
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn float(n: u64) -> f64 {
    n as f64
}
