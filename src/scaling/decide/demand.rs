//! The metric `demand`: all jobs that need a worker, or a server to be alive.

use jiff::Timestamp;

use super::blocked;
use super::work::Work;
use crate::jobrunr::{Count, Filter, Queue, Recurring, RecurringJob, RunScheduling, Snapshot};
use crate::scaling::{DemandParts, JobCount, Reason, RecurringReason, Trigger};

/// Recurring jobs that the reasons name; of further ones they give the number.
const MAX_NAMED: usize = 3;

/// Counts the jobs.
pub(super) fn parts(trigger: &Trigger, snapshot: &Snapshot, queue: &Queue) -> DemandParts {
    let look_ahead = trigger.question.look_ahead;
    DemandParts {
        enqueued: queue.enqueued(trigger.include_blocked).n_jobs,
        due: queue.scheduled_within(look_ahead).n_jobs,
        awaiting: queue.awaiting_within(look_ahead).n_jobs,
        processing: queue.processing.n_jobs.saturating_sub(queue.n_orphans()),
        orphans: queue.n_orphans(),
        recurring: due(trigger, snapshot).count() as u64,
    }
}

/// The recurring jobs of which JobRunr has yet to create a run that is due.
fn due<'a>(trigger: &Trigger, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a RecurringJob> + use<'a> {
    let look_ahead = trigger.question.look_ahead;
    snapshot.recurring.iter().flat_map(move |all| all.due(snapshot.read_at, look_ahead))
}

/// Computes the demand and appends its reasons.
pub(super) fn demand(trigger: &Trigger, snapshot: &Snapshot, queue: &Queue, reasons: &mut Vec<Reason>) -> u64 {
    let (filter, look_ahead) = (&trigger.question.filter, trigger.question.look_ahead);
    let due = || due(trigger, snapshot);
    let (scheduled, awaiting) = (queue.scheduled_within(look_ahead), queue.awaiting_within(look_ahead));
    let parts = parts(trigger, snapshot, queue);
    let limited = [queue.enqueued, queue.processing, scheduled, awaiting].iter().any(|count| count.limited);
    let jobs = JobCount::new(Count { n_jobs: parts.total(), limited }, filter);
    reasons.push(Reason::Demand { jobs, look_ahead, parts });
    reasons.extend(blocked(trigger, queue));
    if 0 < parts.orphans {
        reasons.push(Reason::Orphans { jobs: parts.orphans });
    }
    if let Some(recurring) = &snapshot.recurring {
        reasons.extend(due().take(MAX_NAMED).map(|job| run(job, recurring, snapshot.read_at)));
        if let Some(jobs) = due().count().checked_sub(MAX_NAMED).filter(|jobs| 0 < *jobs) {
            reasons.push(Reason::Recurring(RecurringReason::MoreRuns { jobs }));
        }
        limitations(recurring, reasons);
    }
    if 0 < parts.recurring && *filter != Filter::default() {
        reasons.push(Reason::Recurring(RecurringReason::Unfiltered));
    }
    match trigger.promise.max_latency {
        None => parts.total(),
        Some(max_latency) => Work::new(trigger, snapshot, queue, &parts).demand(max_latency, parts.total(), reasons),
    }
}

/// Why a recurring job needs a server.
fn run(job: &RecurringJob, recurring: &Recurring, now: Timestamp) -> Reason {
    let id = || job.id.clone();
    Reason::Recurring(match (&job.next_at, recurring.scheduling) {
        (Ok(at), RunScheduling::JustInTime) if *at <= now => RecurringReason::RunOverdue { job: id(), at: *at },
        (Ok(at), RunScheduling::JustInTime) => RecurringReason::RunDue { job: id(), at: *at },
        _ => RecurringReason::RunMissing { job: id() },
    })
}

/// What is not known about recurring jobs, whether they are due or not.
fn limitations(recurring: &Recurring, reasons: &mut Vec<Reason>) {
    let note = recurring.note.iter().map(|text| RecurringReason::Note { text: text.clone() });
    let unknown = recurring.unknown().take(MAX_NAMED);
    let unknown = unknown.map(|(job, cause)| RecurringReason::Unknown { job: job.clone(), cause: cause.clone() });
    let jobs = recurring.unknown().count().saturating_sub(MAX_NAMED);
    let more = (0 < jobs).then_some(RecurringReason::MoreUnknown { jobs });
    reasons.extend(note.chain(unknown).chain(more).map(Reason::Recurring));
}

/// What will need a worker next, and when the trigger starts to count it.
pub(super) fn next(trigger: &Trigger, snapshot: &Snapshot) -> Option<Reason> {
    let next = snapshot.next_due(&trigger.question)?;
    let (at, counts_from) = (next.at, next.counts_from);
    Some(match next.recurring_job {
        Some(id) => Reason::Recurring(RecurringReason::Next { job: id.clone(), at, counts_from }),
        None => Reason::NextScheduled { at, counts_from },
    })
}
