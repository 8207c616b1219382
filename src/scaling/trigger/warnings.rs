//! Values in a trigger's metadata that are allowed but rarely intended.

use jiff::SignedDuration;

use super::Trigger;
use super::metadata::{ACTIVATION_TARGET, MAX_LATENCY, POD_START, PUSH_INACTIVE, SCHEDULED_IN, TARGET};
use crate::duration;
use crate::jobrunr::{DEFAULT_POLL_INTERVAL_SECONDS, Snapshot};
use crate::kubernetes::hpa::SYNC_PERIOD;
use crate::scaling::{Metric, Promise, Target};

/// From this latency on, 8 h 20 min, a value is more likely 30 s in milliseconds.
const LIKELY_MILLISECONDS: f64 = 30_000.0;

/// With a longer look-ahead, pods wait longer than they work.
const LONG_LOOK_AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// Warns about values that are rarely intended.
pub(super) fn rarely_intended(trigger: &Trigger) -> Vec<String> {
    let warnings = [
        waits_forever(trigger),
        waits_for_estimate(trigger),
        more_than_a_pod_per_job(trigger),
        milliseconds(trigger),
        falling_edge(trigger),
        long_look_ahead(trigger),
        tight_promise(trigger),
    ];
    warnings.into_iter().flatten().collect()
}

fn waits_forever(trigger: &Trigger) -> Option<String> {
    let n_jobs = trigger.activation_target.floor();
    (trigger.metric.counts_jobs() && 1.0 <= n_jobs).then(|| {
        let jobs = if n_jobs > 1.0 { format!("up to {n_jobs} jobs wait") } else { "1 job waits".to_owned() };
        format!("`{ACTIVATION_TARGET}` is {}: at zero pods, {jobs} forever; leave it out", trigger.activation_target)
    })
}

fn waits_for_estimate(trigger: &Trigger) -> Option<String> {
    let activation_target = trigger.activation_target;
    (trigger.metric.is_estimate() && 0.0 < activation_target).then(|| {
        format!(
            "`{ACTIVATION_TARGET}` is {activation_target}: at zero pods, a few short jobs wait that many seconds until a pod starts; \
             leave it out"
        )
    })
}

fn more_than_a_pod_per_job(trigger: &Trigger) -> Option<String> {
    let counts = !trigger.metric.is_time() && trigger.metric != Metric::WorkerUsage;
    match trigger.target {
        Target::Fixed(target) if counts && target < 1.0 => Some(format!(
            "`{TARGET}` is {target}, but {} is a count, not a ratio: this asks for more than one pod for each of them; use what \
             one pod can take",
            trigger.metric
        )),
        _ => None,
    }
}

fn milliseconds(trigger: &Trigger) -> Option<String> {
    let Target::Fixed(target) = trigger.target else { return None };
    let values = [(TARGET, target), (ACTIVATION_TARGET, trigger.activation_target)];
    let (key, seconds) = values.into_iter().find(|(_, seconds)| LIKELY_MILLISECONDS <= *seconds)?;
    (trigger.metric == Metric::EnqueuedLatency).then(|| {
        format!(
            "`{key}` is {seconds} s, {}: the unit is seconds; did you mean {}?",
            duration::format(SignedDuration::try_from_secs_f64(seconds.round()).unwrap_or(SignedDuration::MAX)),
            seconds / 1000.0
        )
    })
}

fn falling_edge(trigger: &Trigger) -> Option<String> {
    trigger.push_inactive.then(|| {
        format!(
            "`{PUSH_INACTIVE}` is for clients other than KEDA: KEDA before 2.18 then scales to zero at once, regardless of other \
             triggers, and later versions ignore it; leave it out"
        )
    })
}

fn long_look_ahead(trigger: &Trigger) -> Option<String> {
    let look_ahead = trigger.question.look_ahead;
    (trigger.metric.looks_ahead() && LONG_LOOK_AHEAD < look_ahead).then(|| {
        format!(
            "`{SCHEDULED_IN}` is {}: pods start that long before a job is due; use the time that a pod needs to start",
            duration::format(look_ahead)
        )
    })
}

fn tight_promise(trigger: &Trigger) -> Option<String> {
    let Promise { max_latency, pod_start, .. } = trigger.promise;
    let max_latency = max_latency.filter(|max_latency| *max_latency < pod_start + SYNC_PERIOD)?;
    Some(format!(
        "`{MAX_LATENCY}` is {}, less than a new pod takes, {} to start (`{POD_START}`) and up to {} until the HPA asks for it: jobs \
         wait longer where no pod is there; keep some with `minReplicaCount`, or promise less",
        duration::format(max_latency),
        duration::format(pod_start),
        duration::format(SYNC_PERIOD)
    ))
}

/// Warns about a latency target that an idle, healthy server exceeds. Without a snapshot or a live server, JobRunr's default poll
/// interval counts.
pub(super) fn below_poll_interval(trigger: &Trigger, snapshot: Option<&Snapshot>) -> Option<String> {
    let Target::Fixed(target) = trigger.target else { return None };
    let slowest = snapshot.and_then(|snapshot| snapshot.live_servers().map(|server| server.poll_interval).max());
    let poll_interval = slowest.unwrap_or(SignedDuration::from_secs(DEFAULT_POLL_INTERVAL_SECONDS.into()));
    (trigger.metric == Metric::EnqueuedLatency && target < poll_interval.as_secs_f64()).then(|| {
        let whose = if slowest.is_some() { "of the live servers" } else { "that JobRunr has by default" };
        format!(
            "`{TARGET}` is {target} s, less than the poll interval {whose}, {} s: an idle server looks for jobs only that often, \
             so this asks for more pods although nothing is wrong",
            poll_interval.as_secs_f64()
        )
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::jobrunr::Server;

    #[track_caller]
    fn trigger(metadata: &str) -> Trigger {
        Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap()
    }

    #[test]
    fn rarely_intended_values_get_a_warning() {
        #[track_caller]
        fn check(metadata: &str, expected: &[&str]) {
            assert_eq!(trigger(metadata).warnings, expected, "{metadata}");
        }
        check(
            "metric=demand targetValue=8 activationTargetValue=5",
            &["`activationTargetValue` is 5: at zero pods, up to 5 jobs wait forever; leave it out"],
        );
        check(
            "metric=enqueued-count targetValue=8 activationTargetValue=1.5",
            &["`activationTargetValue` is 1.5: at zero pods, 1 job waits forever; leave it out"],
        );
        check("metric=demand targetValue=8 activationTargetValue=0.5", &[]);
        check("metric=enqueued-latency targetValue=300 activationTargetValue=60", &[]);
        check(
            "metric=expected-latency targetValue=300 activationTargetValue=60",
            &[
                "`activationTargetValue` is 60: at zero pods, a few short jobs wait that many seconds until a pod starts; leave it \
               out",
            ],
        );
        check(
            "metric=demand targetValue=0.8",
            &[
                "`targetValue` is 0.8, but demand is a count, not a ratio: this asks for more than one pod for each of them; use what \
               one pod can take",
            ],
        );
        check("metric=worker-usage targetValue=1", &[]);
        for metric in ["enqueued-latency", "expected-latency", "drain-time"] {
            check(&format!("metric={metric} targetValue=0.5"), &[]);
        }
        check(
            "metric=enqueued-latency targetValue=30000",
            &["`targetValue` is 30000 s, PT8H20M: the unit is seconds; did you mean 30?"],
        );
        check(
            "metric=enqueued-latency targetValue=300 activationTargetValue=60000",
            &["`activationTargetValue` is 60000 s, PT16H40M: the unit is seconds; did you mean 60?"],
        );
        check("metric=enqueued-latency targetValue=29999", &[]);
        check("metric=enqueued-count targetValue=30000", &[]);
        check(
            "metric=demand targetValue=8 pushInactive=true",
            &[
                "`pushInactive` is for clients other than KEDA: KEDA before 2.18 then scales to zero at once, regardless of other \
               triggers, and later versions ignore it; leave it out",
            ],
        );
        check("metric=demand targetValue=8 pushInactive=false", &[]);
        check(
            "metric=demand targetValue=8 scheduledIn=P1D",
            &[
                "`scheduledIn` is PT24H: pods start that long before a job is due; use the time that a pod needs to start",
            ],
        );
        check("metric=scheduled-count targetValue=8 scheduledIn=PT1H", &[]);
    }

    #[test]
    fn latency_target_below_the_poll_interval_gets_a_warning() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let server = |poll_interval: i64, seen_before: i64| Server {
            worker_pool_size: 8,
            poll_interval: SignedDuration::from_secs(poll_interval),
            last_heartbeat: now - SignedDuration::from_secs(seen_before),
            ..Server::default()
        };
        let check = |metadata: &str, servers: Option<Vec<Server>>, expected: Option<&str>| {
            let snapshot = servers.map(|servers| Snapshot { servers, ..Snapshot::empty(now, 4) });
            let warning = trigger(metadata).latency_warning(snapshot.as_ref());
            assert_eq!(warning.is_some(), expected.is_some(), "{metadata}: {warning:?}");
            assert!(warning.unwrap_or_default().contains(expected.unwrap_or_default()), "{metadata}");
        };
        let latency = |target: &str| format!("metric=enqueued-latency targetValue={target}");
        let default = "less than the poll interval that JobRunr has by default, 15 s";
        check(&latency("10"), None, Some(default));
        check(&latency("15"), None, None);
        check(&latency("10"), Some(vec![]), Some(default));
        check(&latency("10"), Some(vec![server(5, 1)]), None);
        check(&latency("10"), Some(vec![server(5, 1), server(60, 999)]), None);
        check(&latency("10"), Some(vec![server(5, 1), server(20, 1)]), Some("of the live servers, 20 s"));
        check("metric=demand targetValue=10", None, None);
    }
}
