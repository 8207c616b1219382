//! What keeps a promise from being kept, or makes one advisable.

use super::report::TriggerReport;
use crate::jobrunr::{Filter, Snapshot};
use crate::kubernetes::manifest::ScaledObject;
use crate::scaling::{Metric, Reason, Trigger};
use crate::text::number;

/// Warns of promises that need more pods than there may be.
pub(super) fn warnings(object: &ScaledObject, triggers: &[TriggerReport]) -> Vec<String> {
    let max = object.rules.bounds.max;
    let of_trigger = |trigger: &TriggerReport| {
        let promise = trigger.details.iter().find_map(|reason| match reason {
            Reason::Promise { max_latency, .. } => Some(max_latency),
            _ => None,
        })?;
        let pods = trigger.pods_wanted.filter(|pods| max < *pods)?;
        Some(format!(
            "{}: to start every job within {promise} takes {pods} pods, and maxReplicaCount is {max}: jobs will wait longer; allow \
             {pods} pods, or promise less",
            trigger.label
        ))
    };
    triggers.iter().filter_map(of_trigger).collect()
}

/// Warns if one worker per job starts pods that have nothing left to do when they work.
pub(super) fn short_jobs(trigger: &Trigger, snapshot: &Snapshot) -> Option<String> {
    let is_plain = trigger.metric == Metric::Demand && trigger.promise.max_latency.is_none();
    let time = snapshot
        .service_times
        .as_ref()?
        .overall()
        .filter(|_| is_plain && trigger.question.filter == Filter::default())?;
    let queue = snapshot.queues.get(&trigger.question.filter)?.as_ref().ok()?;
    let n_workers = snapshot.n_workers(&trigger.question.filter);
    let start = trigger.promise.pod_start;
    (time.mean < start.as_secs_f64() && n_workers < queue.enqueued.n_jobs).then(|| {
        format!(
            "a job runs {} s on average, and a pod takes about {start} to start: with one worker per job, pods start for jobs that are \
             done before; add `maxLatency`, the longest wait that is acceptable, such as PT5M",
            number(time.mean, 3)
        )
    })
}
