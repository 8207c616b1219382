//! What keeps a promise from being kept, or makes one advisable.

use jiff::{SignedDuration, Timestamp};

use super::report::TriggerReport;
use crate::config::StorageName;
use crate::jobrunr::{Filter, Snapshot};
use crate::kubernetes::hpa::{Hpa, MetricReading, MetricType, Replicas, SYNC_PERIOD};
use crate::kubernetes::manifest::ScaledObject;
use crate::scaling::{Metric, Reason, Trigger};
use crate::text::number;

/// Warns of promises that need more pods than there may be, or sooner than the HPA adds them, and of estimates from too few jobs.
/// `replicas` is what the HPA begins with.
pub(super) fn warnings(object: &ScaledObject, triggers: &[TriggerReport], replicas: u32) -> Vec<String> {
    let of_trigger = |trigger| [warning(object, trigger, replicas), truncated(object, trigger)];
    triggers.iter().flat_map(of_trigger).flatten().collect()
}

/// Warns of a number that is too low because not all jobs were counted. One worker per job says so in its reasons, and is then far more
/// than `maxReplicaCount`; the workers of a promise may be few.
fn truncated(object: &ScaledObject, trigger: &TriggerReport) -> Option<String> {
    let is_estimate = |reason: &Reason| {
        matches!(reason, Reason::Promise { .. } | Reason::ExpectedLatency { .. } | Reason::DrainTime { .. })
    };
    let metadata = &object.triggers.get(trigger.index)?.metadata;
    let storage = metadata.get("storage").map_or(StorageName::DEFAULT, |name| name.trim());
    (trigger.truncated == Some(true) && trigger.details.iter().any(is_estimate)).then(|| {
        format!(
            "{}: the value is computed from a truncated count, although more jobs may wait: raise countLimit of storage {storage}; \
             0 counts all",
            trigger.label
        )
    })
}

fn warning(object: &ScaledObject, trigger: &TriggerReport, replicas: u32) -> Option<String> {
    let (max_latency, pod_start) = trigger.details.iter().find_map(|reason| match reason {
        Reason::Promise { max_latency, pod_start, .. } => Some((*max_latency, *pod_start)),
        _ => None,
    })?;
    let (label, max, pods) = (&trigger.label, object.rules.bounds.max, trigger.pods_wanted?);
    if max < pods {
        return Some(format!(
            "{label}: to start every job within {max_latency} takes {pods} pods, and maxReplicaCount is {max}: jobs will wait longer; \
             allow {pods} pods, or promise less"
        ));
    }
    let rise = rise(object, replicas, pods);
    let missing = pods.saturating_sub(replicas);
    (SYNC_PERIOD < rise && max_latency < rise + pod_start).then(|| {
        format!(
            "{label}: to start every job within {max_latency} takes {pods} pods, and the HPA's scaleUp policies need {rise} to ask for \
             them, beside {pod_start} for a pod to start: jobs will wait longer; add a scaleUp policy of type Pods with value {missing} \
             and periodSeconds 15, or promise less"
        )
    })
}

/// How long the HPA takes until it asks for so many pods, from its next evaluation on. An hour if it takes longer.
fn rise(object: &ScaledObject, replicas: u32, pods: u32) -> SignedDuration {
    const LONGEST: i32 = 240;
    let bounds = object.rules.bounds;
    let mut hpa = Hpa::new(bounds.hpa_min(), bounds.max, object.behavior.clone());
    let wanted = MetricReading { metric_type: MetricType::AverageValue, target: 1.0, value: Some(pods.into()) };
    let mut there = replicas;
    let mut n_syncs = 0;
    while there < pods && n_syncs < LONGEST {
        let now = Timestamp::UNIX_EPOCH + SYNC_PERIOD * n_syncs;
        there = hpa.sync(now, Replicas::settled(there, there), &[wanted]).replicas;
        n_syncs += 1;
    }
    SYNC_PERIOD * n_syncs
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
