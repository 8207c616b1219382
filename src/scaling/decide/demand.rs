//! Everything that wants a worker, or needs a server to live.

use jiff::Timestamp;

use super::{jobs, orphans};
use crate::duration;
use crate::jobrunr::{Count, Filter, Queue, Recurring, RecurringJob, RunScheduling, Snapshot};
use crate::scaling::Trigger;

/// Recurring jobs named in the reasons; of more there is the number.
const MAX_NAMED: usize = 3;

/// The jobs that want a worker now or within the look-ahead, by the reason why they do. Every job has one reason only,
/// so that the reasons add up.
pub(super) struct Demand<'a> {
    trigger: &'a Trigger,
    snapshot: &'a Snapshot,
    queue: &'a Queue,
    scheduled: Count,
    awaiting: Count,
    recurring: Vec<&'a RecurringJob>,
}

impl<'a> Demand<'a> {
    pub(super) fn of(trigger: &'a Trigger, snapshot: &'a Snapshot, queue: &'a Queue) -> Self {
        let look_ahead = trigger.question.look_ahead;
        let recurring = snapshot.recurring.as_ref();
        Self {
            trigger,
            snapshot,
            queue,
            scheduled: queue.scheduled.get(&look_ahead).copied().unwrap_or_default(),
            awaiting: queue.awaiting.get(&look_ahead).copied().unwrap_or_default(),
            recurring: recurring.map_or_else(Vec::new, |all| all.due(snapshot.read_at, look_ahead).collect()),
        }
    }

    /// Enqueued, due, awaiting a deadline, being processed, orphans, recurring.
    fn parts(&self) -> [u64; 6] {
        let processing = self.queue.processing.n_jobs.saturating_sub(self.queue.n_orphans());
        [
            self.queue.enqueued.n_jobs,
            self.scheduled.n_jobs,
            self.awaiting.n_jobs,
            processing,
            self.queue.n_orphans(),
            self.recurring.len() as u64,
        ]
    }

    pub(super) fn n_jobs(&self) -> u64 {
        self.parts().into_iter().fold(0, u64::saturating_add)
    }

    /// The sum, and what is to be known about its parts.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = vec![self.sum()];
        if 0 < self.queue.n_orphans() {
            reasons.push(orphans(self.queue));
        }
        if let Some(recurring) = &self.snapshot.recurring {
            reasons.extend(self.recurring.iter().take(MAX_NAMED).map(|job| why(job, recurring, self.snapshot.read_at)));
            if MAX_NAMED < self.recurring.len() {
                reasons.push(format!("and {} recurring jobs more", self.recurring.len() - MAX_NAMED));
            }
            reasons.extend(oddities(recurring));
        }
        if !self.recurring.is_empty() && self.trigger.question.filter != Filter::default() {
            reasons.push("recurring jobs are counted whatever the filter: their definitions do not say it".to_owned());
        }
        reasons
    }

    fn sum(&self) -> String {
        let look_ahead = duration::format(self.trigger.question.look_ahead);
        let filter = &self.trigger.question.filter;
        let [enqueued, due, awaiting, processing, orphans, recurring] = self.parts();
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let parts = [
            (enqueued, "enqueued".to_owned()),
            (due, format!("due within {look_ahead}")),
            (awaiting, format!("awaiting a deadline within {look_ahead}")),
            (processing, "processing".to_owned()),
            (orphans, format!("orphan{}", plural(orphans))),
            (recurring, format!("recurring run{} to be written", plural(recurring))),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter(|(n, _)| 0 < *n).map(|(n, what)| format!("{n} {what}")).collect();
        if parts.is_empty() {
            return format!("nothing to do{filter}, now or within {look_ahead}");
        }
        let counts = [self.queue.enqueued, self.queue.processing, self.scheduled, self.awaiting];
        let all = jobs(Count { n_jobs: self.n_jobs(), limited: counts.iter().any(|count| count.limited) });
        format!("{all}{filter}: {}", parts.join(", "))
    }
}

fn why(job: &RecurringJob, recurring: &Recurring, now: Timestamp) -> String {
    let id = &job.id;
    match (&job.next_at, recurring.scheduling) {
        (Ok(at), RunScheduling::JustInTime) if *at <= now => {
            format!("recurring job `{id}` was to run at {at}: the server is kept for a poll interval more, to look")
        }
        (Ok(at), RunScheduling::JustInTime) => {
            format!("recurring job `{id}` is to run at {at}: a server has to live by then")
        }
        _ => format!("recurring job `{id}` has no next run: JobRunr writes it as soon as a server lives"),
    }
}

/// What a person should know of the recurring jobs, whether they are due or not.
fn oddities(recurring: &Recurring) -> Vec<String> {
    let mut oddities: Vec<String> = recurring.note.iter().cloned().collect();
    let unknown: Vec<(&str, &str)> = recurring.unknown().collect();
    oddities.extend(unknown.iter().take(MAX_NAMED).map(|(id, reason)| {
        format!("recurring job `{id}` counts only while a run of it is in the jobs table, since {reason}")
    }));
    if MAX_NAMED < unknown.len() {
        oddities.push(format!("and {} more recurring jobs like it", unknown.len() - MAX_NAMED));
    }
    oddities
}

/// What will want a worker next, and when this trigger counts it.
pub(super) fn next(trigger: &Trigger, snapshot: &Snapshot) -> Option<String> {
    let next = snapshot.next_due(&trigger.question)?;
    let what = match next.recurring_job {
        Some(id) => format!("recurring job `{id}` runs"),
        None => "a job is scheduled".to_owned(),
    };
    Some(format!("next: {what} at {}, which counts from {} on", next.at, next.counts_from))
}
