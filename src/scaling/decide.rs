//! The one function that decides.

mod demand;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Metric, Trigger};
use crate::duration;
use crate::jobrunr::{Count, QuestionError, Queue, Snapshot};
use demand::Demand;
use workers::Workers;

/// What a trigger comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The metric's value, in its own unit; finite and never negative.
    pub value: f64,
    /// The value that the HPA steers for.
    pub target: f64,
    /// Whether KEDA may keep pods at all.
    pub active: bool,
    /// Whether the value comes from a count that ended at its bound: there may be more.
    pub truncated: bool,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// Decides for a trigger, from what its storage said.
///
/// All values hold for the instant of the read, so that an old snapshot keeps its numbers: servers must not seem to
/// die, nor a latency grow, because the database does not answer. `now` only serves to say how old the snapshot is.
///
/// # Errors
/// [`QuestionError`] where the storage has no answer to the trigger's question, whatever it holds.
///
/// Callers make sure that the snapshot [answers](Snapshot::answers) the trigger's question.
pub fn decide(trigger: &Trigger, snapshot: &Snapshot, now: Timestamp) -> Result<Decision, QuestionError> {
    let nothing = Queue::default();
    let queue = match snapshot.queues.get(&trigger.question.filter) {
        Some(Ok(queue)) => queue,
        Some(Err(error)) => return Err(error.clone()),
        None => &nothing,
    };
    let mut reasons = Vec::new();
    let value = value(trigger, snapshot, queue, &mut reasons);
    let truncated = is_truncated(trigger, queue);
    if truncated {
        reasons.push("the count is truncated: there may be more jobs (see countLimit)".to_owned());
    }
    let (target, target_reason) = trigger.target_at(Some(snapshot));
    reasons.extend(target_reason);
    let active = activity(trigger, queue, value, &mut reasons);
    if trigger.metric == Metric::Demand {
        reasons.extend(demand::next(trigger, snapshot));
    }
    let age = now.duration_since(snapshot.read_at);
    if STALE_SECONDS <= age.as_secs() {
        reasons.push(format!("as of {} s ago: the database has not answered since", age.as_secs()));
    }
    Ok(Decision { value, target, active, truncated, reasons })
}

/// From this age on, in seconds, a decision says how old its snapshot is.
const STALE_SECONDS: i64 = 5;

fn value(trigger: &Trigger, snapshot: &Snapshot, queue: &Queue, reasons: &mut Vec<String>) -> f64 {
    let filter = &trigger.question.filter;
    match trigger.metric {
        Metric::EnqueuedLatency => {
            let latency = latency(snapshot, queue);
            reasons.push(if queue.oldest_enqueued_at.is_none() {
                format!("no job{filter} is enqueued")
            } else {
                let verb = if queue.enqueued.n_jobs == 1 { "is" } else { "are" };
                format!("{}{filter} {verb} enqueued, the oldest for {latency:.1} s", jobs(queue.enqueued))
            });
            latency
        }
        Metric::EnqueuedCount => {
            reasons.push(format!("{}{filter} enqueued", jobs(queue.enqueued)));
            float(queue.enqueued.n_jobs)
        }
        Metric::ScheduledCount => {
            let look_ahead = trigger.question.look_ahead;
            let due = queue.scheduled.get(&look_ahead).copied().unwrap_or_default();
            reasons.push(format!("{}{filter} due within {}", jobs(due), duration::format(look_ahead)));
            float(due.n_jobs)
        }
        Metric::WorkerUsage => {
            let workers = Workers::of(trigger, snapshot, queue);
            reasons.push(workers.to_string());
            if workers.total < workers.occupied && 0 < workers.total {
                reasons.push("counted as 1: jobs of servers that are going away must not ask for more pods".to_owned());
            }
            workers.usage()
        }
        Metric::TotalWorkers | Metric::OccupiedWorkers => {
            let workers = Workers::of(trigger, snapshot, queue);
            reasons.push(workers.to_string());
            float(if trigger.metric == Metric::TotalWorkers { workers.total } else { workers.occupied })
        }
        Metric::Demand => {
            let demand = Demand::of(trigger, snapshot, queue);
            reasons.extend(demand.reasons());
            float(demand.n_jobs())
        }
    }
}

/// Whether a count that the value comes from ended at its bound.
fn is_truncated(trigger: &Trigger, queue: &Queue) -> bool {
    let look_ahead = &trigger.question.look_ahead;
    let due = |counts: &BTreeMap<SignedDuration, Count>| counts.get(look_ahead).copied().unwrap_or_default();
    let counts = match trigger.metric {
        // The oldest is found whatever is counted.
        Metric::EnqueuedLatency | Metric::TotalWorkers => Vec::new(),
        Metric::EnqueuedCount => vec![queue.enqueued],
        Metric::ScheduledCount => vec![due(&queue.scheduled)],
        Metric::WorkerUsage | Metric::OccupiedWorkers => vec![queue.processing_alive],
        Metric::Demand => vec![queue.enqueued, queue.processing, due(&queue.scheduled), due(&queue.awaiting)],
    };
    counts.iter().any(|count| count.limited)
}

/// Seconds that the head of the queue has waited; 0 only where no job waits. The application's clock may be ahead of
/// ours: its jobs then seem to come from the future, and must wake the workers all the same.
fn latency(snapshot: &Snapshot, queue: &Queue) -> f64 {
    if queue.enqueued.n_jobs == 0 {
        return 0.0;
    }
    let waited = queue.oldest_enqueued_at.map_or(0.0, |oldest| snapshot.read_at.duration_since(oldest).as_secs_f64());
    waited.max(LEAST_LATENCY)
}

/// KEDA's finest unit, seconds.
const LEAST_LATENCY: f64 = 0.001;

fn activity(trigger: &Trigger, queue: &Queue, value: f64, reasons: &mut Vec<String>) -> bool {
    let above = trigger.activation_target < value;
    let kept = trigger.keep_while_processing && 0 < queue.processing.n_jobs;
    reasons.push(if above {
        format!("active: {} is above {}", shown(value), shown(trigger.activation_target))
    } else if kept {
        let verb = if queue.processing.n_jobs == 1 { "is" } else { "are" };
        format!("active: {} {verb} being processed", jobs(queue.processing))
    } else {
        format!("inactive: {} is not above {}", shown(value), shown(trigger.activation_target))
    });
    // Demand has named them among its parts.
    if kept && 0 < queue.n_orphans() && trigger.metric != Metric::Demand {
        reasons.push(orphans(queue));
    }
    above || kept
}

/// What is special about jobs whose server is gone.
fn orphans(queue: &Queue) -> String {
    let n_jobs = jobs(Count { n_jobs: queue.n_orphans(), limited: false });
    format!("orphans: {n_jobs} without heartbeat, which JobRunr requeues as soon as a server lives")
}

fn jobs(count: Count) -> String {
    let more = if count.limited { " or more" } else { "" };
    let plural = if count.n_jobs == 1 && !count.limited { "" } else { "s" };
    format!("{}{more} job{plural}", count.n_jobs)
}

/// A number as people write it: no trailing zeros, at most three decimals.
fn shown(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn float(n: u64) -> f64 {
    n as f64
}
