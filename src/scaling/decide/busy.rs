//! The floor of a value: as many pods as there are servers with running jobs.

use std::collections::BTreeSet;

use crate::jobrunr::{Filter, Queue, Server, Snapshot};
use crate::scaling::{Reason, Trigger};

/// The live servers that run a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BusyServers {
    /// Those that certainly do.
    certain: u64,
    /// Further ones that may, because it is not known where some jobs run.
    possible: u64,
}

impl BusyServers {
    /// Counts the servers for the filter's jobs. A server is busy whatever jobs it runs.
    fn count(filter: &Filter, snapshot: &Snapshot, queue: &Queue) -> Self {
        let servers: Vec<&Server> = snapshot.live_servers().filter(|server| server.is_for(filter)).collect();
        let Some(running) = &snapshot.running else { return Self::default() };
        let with_jobs: BTreeSet<&str> = running.jobs.iter().filter_map(|job| job.server_id.as_deref()).collect();
        let is_busy = |server: &&&Server| {
            with_jobs.contains(&*server.id) || server.occupied_workers.is_some_and(|workers| 0 < workers)
        };
        let certain = servers.iter().filter(is_busy).count() as u64;
        let n_without_server = running.jobs.iter().filter(|job| job.server_id.is_none()).count() as u64;
        let n_unlisted = match () {
            () if running.is_complete() => 0,
            () if queue.processing.limited => u64::MAX,
            // The jobs of a filter are counted, and those of all filters listed.
            () if *filter != Filter::default() => u64::MAX,
            () => queue.processing.n_jobs.saturating_sub(running.jobs.len() as u64),
        };
        let n_idle = (servers.len() as u64).saturating_sub(certain);
        Self { certain, possible: n_without_server.saturating_add(n_unlisted).min(n_idle) }
    }
}

/// Raises a value to what keeps a pod for each server that runs a job, if the trigger asks for it. A job whose server is unknown
/// may be on any: pods are kept in doubt.
pub(super) fn keep_busy_pods(
    trigger: &Trigger,
    snapshot: &Snapshot,
    queue: &Queue,
    (value, target): (f64, f64),
    reasons: &mut Vec<Reason>,
) -> f64 {
    if !trigger.keep_busy_pods {
        return value;
    }
    let BusyServers { certain, possible } = BusyServers::count(&trigger.question.filter, snapshot, queue);
    // The HPA may still divide by the target of a time without servers: without a stream, KEDA reads it only when it reconciles. Only
    // what somebody has said of the pods counts: a default above their real workers would ask for more pods than are busy, and these
    // again for more.
    let target = match trigger.target.workers_per_pod() {
        Some(_) => target.max(trigger.target_at(None).0),
        None => target,
    };
    let least = super::float(certain.saturating_add(possible)) * in_thousandths(target);
    if least <= value {
        return value;
    }
    reasons.push(Reason::BusyServers { servers: certain, possible, value: least });
    least
}

/// The target as KEDA passes it on, rounded up, so that no rounding makes the pods one less.
fn in_thousandths(target: f64) -> f64 {
    // A target such as 6.4 is a little more or less as a double.
    ((target * 1000.0) - 1e-6).ceil().max(1.0) / 1000.0
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::jobrunr::{Count, RunningJob, RunningJobs};
    use crate::scaling::{Decision, decide};

    fn now() -> Timestamp {
        "2026-11-23T20:00:00Z".parse().unwrap()
    }

    fn server(id: &str, heartbeat_seconds_ago: i64) -> Server {
        Server {
            id: id.into(),
            worker_pool_size: 8,
            poll_interval: SignedDuration::from_secs(15),
            last_heartbeat: now() - SignedDuration::from_secs(heartbeat_seconds_ago),
            ..Server::default()
        }
    }

    fn job(server: Option<&str>) -> RunningJob {
        RunningJob { id: "1".into(), kind: "a.B.c()".into(), server_id: server.map(Into::into), started_at: None }
    }

    /// Four live servers and a dead one.
    fn snapshot(running: RunningJobs, n_processing: u64) -> Snapshot {
        let processing = Count { n_jobs: n_processing, limited: false };
        let queue = Queue { processing, processing_alive: processing, ..Queue::default() };
        Snapshot {
            servers: [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("dead", 100)].map(|(id, ago)| server(id, ago)).into(),
            queues: [(Filter::default(), Ok(queue))].into(),
            running: Some(running),
            ..Snapshot::empty(now(), 4)
        }
    }

    fn decision(metadata: &str, snapshot: &Snapshot) -> Decision {
        let trigger = Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap();
        decide(&trigger, snapshot, now()).unwrap()
    }

    const DEMAND: &str = "metric=demand targetValue=8 keepBusyPods=true";

    #[test]
    fn value_keeps_a_pod_for_each_server_that_runs_a_job() {
        let check = |servers: &[Option<&str>], metadata: &str, expected: f64| {
            let jobs: Vec<RunningJob> = servers.iter().map(|server| job(*server)).collect();
            let n_jobs = jobs.len() as u64;
            let snapshot = snapshot(RunningJobs { jobs, ..RunningJobs::default() }, n_jobs);
            let decision = decision(metadata, &snapshot);
            assert!((decision.value - expected).abs() < 1e-9, "{servers:?} {metadata}: {decision:?}");
            let is_raised = decision.reasons.iter().any(|reason| matches!(reason, Reason::BusyServers { .. }));
            let plain = self::decision(&metadata.replace("keepBusyPods=true", "keepBusyPods=false"), &snapshot).value;
            assert_eq!(is_raised, plain < expected, "{servers:?} {metadata}: {decision:?}");
        };
        check(&[], DEMAND, 0.0);
        check(&[Some("a")], DEMAND, 8.0);
        check(&[Some("a"), Some("b")], DEMAND, 16.0);
        check(&[Some("a"), Some("b")], "metric=demand targetValue=8", 2.0);
        // Two jobs of one server need one pod.
        check(&[Some("a"), Some("a")], DEMAND, 8.0);
        // What a dead server ran is nobody's work, although demand counts it.
        check(&[Some("dead")], DEMAND, 1.0);
        // It is not known where this job runs; there is an idle server where it may be.
        check(&[Some("a"), None], DEMAND, 16.0);
        check(&[None; 9], DEMAND, 32.0);
        // More jobs wait than the busy pods can take.
        check(&[Some("a"); 20], DEMAND, 20.0);
        check(&[Some("a"), Some("b")], "metric=demand targetValue=auto targetUsage=0.8 keepBusyPods=true", 12.8);
        check(&[Some("a"), Some("b"), Some("c")], "metric=enqueued-count targetValue=0.3333 keepBusyPods=true", 1.002);
    }

    #[test]
    fn jobs_that_cannot_be_listed_may_be_on_any_server() {
        let check = |running: RunningJobs, n_processing: u64, expected: f64| {
            let decision = decision(DEMAND, &snapshot(running.clone(), n_processing));
            assert!((decision.value - expected).abs() < 1e-9, "{running:?}: {decision:?}");
        };
        let unread = || RunningJobs { unread: Some("denied".to_owned()), ..RunningJobs::default() };
        check(unread(), 0, 0.0);
        check(unread(), 3, 24.0);
        check(unread(), 30, 32.0);
        let truncated = RunningJobs { jobs: vec![job(Some("a"))], is_truncated: true, unread: None };
        check(truncated.clone(), 1, 8.0);
        check(truncated, 2, 16.0);
    }

    #[test]
    fn jobs_of_a_filter_may_be_on_any_server_while_not_all_are_listed() {
        let listed = || vec![job(Some("other")), job(Some("other")), job(Some("other"))];
        for (is_truncated, expected) in [(true, 32.0), (false, 2.0)] {
            let mut snapshot = snapshot(RunningJobs { jobs: listed(), is_truncated, ..RunningJobs::default() }, 2);
            let queue = snapshot.queues.remove(&Filter::default()).unwrap();
            snapshot.queues.insert(Filter { priority: Some(1), ..Filter::default() }, queue);
            let decision = decision(&format!("{DEMAND} priority=1"), &snapshot);
            assert!((decision.value - expected).abs() < 1e-9, "{is_truncated}: {decision:?}");
        }
    }

    #[test]
    fn occupied_workers_of_jobrunr_pro_make_a_server_busy() {
        let mut snapshot = snapshot(RunningJobs::default(), 0);
        snapshot.servers[2].occupied_workers = Some(1);
        assert!((decision(DEMAND, &snapshot).value - 8.0).abs() < 1e-9);
    }

    #[test]
    fn value_keeps_the_pods_whichever_target_keda_has_read() {
        for target in ["workersPerPod=8", "workersPerPod=8 targetUsage=0.8", "workersPerPod=2"] {
            let metadata = format!("metric=demand targetValue=auto {target} keepBusyPods=true");
            let jobs = ["a", "b", "c", "d"].map(|server| job(Some(server))).into();
            let mut snapshot = snapshot(RunningJobs { jobs, ..RunningJobs::default() }, 4);
            snapshot.servers.iter_mut().for_each(|server| server.worker_pool_size = 4);
            let decision = decision(&metadata, &snapshot);
            let trigger = Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap();
            let at_zero_pods = trigger.target_at(None).0;
            for read in [decision.target, at_zero_pods] {
                assert!(4.0 <= (decision.value / read).ceil(), "{metadata}: {} / {read}", decision.value);
            }
        }
    }

    #[test]
    fn value_is_that_of_the_busy_pods_if_nothing_is_said_of_their_workers() {
        let jobs = ["a", "b", "c"].map(|server| job(Some(server))).into();
        let mut snapshot = snapshot(RunningJobs { jobs, ..RunningJobs::default() }, 3);
        snapshot.servers.iter_mut().for_each(|server| server.worker_pool_size = 2);
        let decision = decision("metric=demand targetValue=auto keepBusyPods=true", &snapshot);
        assert_eq!((decision.value, decision.target), (6.0, 2.0));
    }

    #[test]
    fn no_rounding_makes_the_pods_less_than_the_busy_servers() {
        for target in [0.001, 0.3333, 0.9999, 1.0, 6.4, 7.999_999_9, 8.0, 12.345_678] {
            for busy in [1_u32, 2, 3, 7, 1000] {
                let value = f64::from(busy) * in_thousandths(target);
                // KEDA passes on thousandths, cut or rounded.
                for target in [(target * 1000.0).floor(), (target * 1000.0).round()] {
                    let pods = ((value * 1000.0).round() / target.max(1.0)).ceil();
                    assert!(f64::from(busy) <= pods, "{busy} × {target}: {pods}");
                }
            }
        }
    }
}
