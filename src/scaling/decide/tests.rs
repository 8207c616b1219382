//! What each metric comes to, and why.

mod work;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::jobrunr::{
    Count, Filter, FinishedRun, JobGroup, LastSeenServers, Mutexes, Recurring, RecurringJob, RunScheduling, RunningJob,
    RunningJobs, Server, ServiceTimes,
};
use crate::scaling::RecurringReason;
use crate::text::joined;

fn now() -> Timestamp {
    "2026-11-23T20:00:00Z".parse().unwrap()
}

fn trigger(metadata: &str) -> Trigger {
    Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap()
}

fn exactly(n_jobs: u64) -> Count {
    Count { n_jobs, limited: false }
}

fn server(workers: u64, heartbeat_seconds_ago: i64) -> Server {
    Server {
        worker_pool_size: workers,
        poll_interval: SignedDuration::from_secs(15),
        last_heartbeat: now() - SignedDuration::from_secs(heartbeat_seconds_ago),
        ..Server::default()
    }
}

fn snapshot(queue: Queue, servers: Vec<Server>) -> Snapshot {
    let queues = [(Filter::default(), Ok(queue))].into();
    Snapshot {
        read_at: now(),
        heartbeat_multiplicand: 4,
        servers,
        last_seen_servers: LastSeenServers::default(),
        queues,
        recurring: None,
        service_times: None,
        running: None,
        notes: Vec::new(),
    }
}

/// A queue of which two jobs are being processed, one of them by a dead server.
fn queue() -> Queue {
    Queue {
        enqueued: exactly(3),
        oldest_enqueued_at: Some(now() - SignedDuration::from_millis(34_250)),
        processing: exactly(2),
        processing_alive: exactly(1),
        scheduled: [(SignedDuration::from_mins(1), exactly(5))].into(),
        ..Queue::default()
    }
}

#[test]
fn metric_has_its_value_and_its_reasons() {
    let check = |metadata: &str, value: f64, active: bool, first_reason: &str| {
        let servers = vec![server(4, 10), server(4, 61)];
        let decision = decide(&trigger(metadata), &snapshot(queue(), servers), now()).unwrap();
        assert_eq!((decision.value, decision.active), (value, active), "{metadata}");
        assert_eq!(decision.reasons[0].to_string(), first_reason, "{metadata}");
    };
    check("metric=enqueued-latency targetValue=300", 34.25, true, "3 jobs are enqueued, the oldest for 34.2 s");
    check("metric=enqueued-count targetValue=5", 3.0, true, "3 jobs enqueued");
    check("metric=scheduled-count targetValue=5", 5.0, true, "5 jobs due within PT1M");
    check("metric=worker-usage targetValue=0.8", 0.25, true, "1 of 4 workers of 1 live server occupied");
    check("metric=total-workers targetValue=4", 4.0, true, "1 of 4 workers of 1 live server occupied");
    check("metric=occupied-workers targetValue=4", 1.0, true, "1 of 4 workers of 1 live server occupied");
    check("metric=demand targetValue=4", 10.0, true, "10 jobs: 3 enqueued, 5 due within PT1M, 1 processing, 1 orphan");
}

#[test]
fn trigger_is_active_above_its_activation_target_or_while_jobs_are_processed() {
    let check = |activation: &str, keep: &str, n_processing: u64, expected: bool| {
        let metadata = format!(
            "metric=enqueued-count targetValue=1 activationTargetValue={activation} keepWhileProcessing={keep}"
        );
        let queue = Queue { processing: exactly(n_processing), ..queue() };
        let decision = decide(&trigger(&metadata), &snapshot(queue, Vec::new()), now()).unwrap();
        assert_eq!(decision.active, expected, "{metadata} {n_processing}");
    };
    check("2", "true", 0, true);
    check("3", "true", 0, false);
    check("3", "true", 1, true);
    check("3", "false", 1, false);
}

#[test]
fn latency_of_a_job_from_a_clock_ahead_of_ours_is_above_zero() {
    let check = |enqueued: u64, oldest: Option<i64>, value: f64, active: bool| {
        let oldest_enqueued_at = oldest.map(|seconds_ahead| now() + SignedDuration::from_secs(seconds_ahead));
        let queue = Queue { enqueued: exactly(enqueued), oldest_enqueued_at, ..Queue::default() };
        let trigger = trigger("metric=enqueued-latency targetValue=300");
        let decision = decide(&trigger, &snapshot(queue, Vec::new()), now()).unwrap();
        assert_eq!((decision.value, decision.active), (value, active), "{enqueued} {oldest:?}");
    };
    check(1, Some(30), 0.001, true);
    check(1, Some(0), 0.001, true);
    check(1, None, 0.001, true);
    check(0, None, 0.0, false);
}

#[test]
fn worker_usage_is_zero_without_servers_and_never_above_one() {
    let check = |n_alive: u64, servers: Vec<Server>, expected: f64| {
        let queue = Queue { processing_alive: exactly(n_alive), ..queue() };
        let decision = decide(&trigger("metric=worker-usage targetValue=1"), &snapshot(queue, servers), now()).unwrap();
        assert_eq!(decision.value, expected);
    };
    check(3, Vec::new(), 0.0);
    check(3, vec![server(4, 0)], 0.75);
    check(7, vec![server(4, 0)], 1.0);
}

fn recurring(scheduling: RunScheduling, jobs: &[(&str, bool, Result<&str, &str>)]) -> Recurring {
    let job = |(id, has_run, next_at): &(&str, bool, Result<&str, &str>)| RecurringJob {
        id: (*id).into(),
        has_run: *has_run,
        next_at: next_at.map(|at| at.parse().unwrap()).map_err(Arc::from),
        excused_until: None,
    };
    Recurring { scheduling, jobs: jobs.iter().map(job).collect(), note: None }
}

#[test]
fn demand_names_each_reason_why_a_server_must_be_alive() {
    let idle = || snapshot(Queue::default(), Vec::new());
    let check = |metadata: &str, snapshot: &Snapshot, expected: &str| {
        let decision = decide(&trigger(&format!("metric=demand {metadata}")), snapshot, now()).unwrap();
        let head = format!("{} / {}, {}", decision.value, decision.target, decision.active);
        assert_eq!(format!("{head}: {}", joined(&decision.reasons, "; ")), expected);
    };
    check("targetValue=8", &idle(), "0 / 8, false: nothing to do, now or within PT1M; inactive: 0 is not above 0");

    let minute = SignedDuration::from_mins(1);
    let awaiting = Queue { awaiting: [(minute, exactly(2))].into(), ..Queue::default() };
    let text = "2 / 8, true: 2 jobs: 2 awaiting a deadline within PT1M; active: 2 is above 0";
    check("targetValue=8", &snapshot(awaiting, Vec::new()), text);

    let orphaned = Queue { processing: exactly(2), processing_alive: exactly(1), ..Queue::default() };
    let text = "2 / 8, true: 2 jobs: 1 processing, 1 orphan; \
                orphans: 1 job without heartbeat; JobRunr requeues it as soon as a server is alive; active: 2 is above 0";
    check("targetValue=8", &snapshot(orphaned, Vec::new()), text);

    let later = Queue { next_scheduled_at: [(minute, now() + minute * 90)].into(), ..Queue::default() };
    let later = snapshot(later, vec![server(6, 1)]);
    let text = "0 / 6, false: nothing to do, now or within PT1M; target: 6 workers per pod, as the live server has; \
                inactive: 0 is not above 0; \
                next: a job is scheduled at 2026-11-23T21:30:00Z and counts from 2026-11-23T21:29:00Z on";
    check("targetValue=auto", &later, text);

    let jobs = [("a", false, Ok("2026-11-23T23:00:00Z")), ("b", true, Ok("2026-11-23T20:00:30Z"))];
    let version_8 = Snapshot { recurring: Some(recurring(RunScheduling::Ahead, &jobs)), ..idle() };
    let text = "1 / 8, true: 1 job: 1 recurring run to be created; \
                recurring job `a` has no next run: JobRunr creates it as soon as a server is alive; active: 1 is above 0";
    check("targetValue=8", &version_8, text);

    let version_7 = Snapshot { recurring: Some(recurring(RunScheduling::JustInTime, &jobs)), ..later };
    let text = "0 / 8, false: nothing to do, now or within PT1M; inactive: 0 is not above 0; \
                next: a job is scheduled at 2026-11-23T21:30:00Z and counts from 2026-11-23T21:29:00Z on";
    check("targetValue=8", &version_7, text);
    let version_7 = Snapshot { queues: idle().queues, ..version_7 };
    let text = "0 / 8, false: nothing to do, now or within PT1M; inactive: 0 is not above 0; \
                next: recurring job `a` runs at 2026-11-23T23:00:00Z and counts from 2026-11-23T22:59:00Z on";
    check("targetValue=8", &version_7, text);

    let jobs = [("a", false, Ok("2026-11-23T20:00:30Z")), ("x", false, Err("nobody knows"))];
    let odd = Recurring { note: Some("take note".into()), ..recurring(RunScheduling::JustInTime, &jobs) };
    let text = "1 / 8, true: 1 job: 1 recurring run to be created; \
                recurring job `a` runs at 2026-11-23T20:00:30Z: a server must be alive by then; take note; \
                recurring job `x` counts only while JobRunr has a pending run of it: nobody knows; \
                active: 1 is above 0";
    check("targetValue=8", &Snapshot { recurring: Some(odd), ..idle() }, text);
}

#[test]
fn decision_on_an_old_snapshot_keeps_its_numbers_and_says_its_age() {
    let later = now() + SignedDuration::from_secs(50);
    let snapshot = snapshot(queue(), vec![server(4, 30)]);
    for metric in Metric::ALL {
        let trigger = trigger(&format!("metric={metric} targetValue=1"));
        let (fresh, old) = (decide(&trigger, &snapshot, now()).unwrap(), decide(&trigger, &snapshot, later).unwrap());
        assert_eq!((fresh.value, fresh.active), (old.value, old.active), "{metric}");
        assert_eq!(old.reasons.last().unwrap().to_string(), "as of 50 s ago: the database has not answered since");
    }
}

#[test]
fn decision_says_that_its_count_is_truncated() {
    let limited = Count { n_jobs: 10_000, limited: true };
    let snapshot = snapshot(Queue { enqueued: limited, ..queue() }, Vec::new());
    let reasons = |metric: &str| {
        joined(decide(&trigger(&format!("metric={metric} targetValue=1")), &snapshot, now()).unwrap().reasons, "; ")
    };
    assert!(reasons("enqueued-count").contains("the count is truncated: there may be more jobs"));
    assert!(!reasons("scheduled-count").contains("limit"));
}

#[test]
fn reasons_share_names_with_the_snapshot() {
    let jobs = [("a", false, Ok("2026-11-23T20:00:30Z")), ("x", false, Err("unreadable"))];
    let recurring = Recurring { note: Some("limited".into()), ..recurring(RunScheduling::JustInTime, &jobs) };
    let snapshot = Snapshot { recurring: Some(recurring), ..snapshot(Queue::default(), Vec::new()) };
    let decision = decide(&trigger("metric=demand targetValue=8"), &snapshot, now()).unwrap();
    let known = snapshot.recurring.as_ref().unwrap();
    let is_known = |name: &Arc<str>| {
        let causes = known.unknown().map(|(_, cause)| cause);
        let mut names = known.jobs.iter().map(|job| &job.id).chain(&known.note).chain(causes);
        names.any(|known| Arc::ptr_eq(known, name))
    };
    let mut n_names = 0;
    for reason in &decision.reasons {
        let Reason::Recurring(reason) = reason else { continue };
        let names = match reason {
            RecurringReason::RunDue { job, .. } => vec![job],
            RecurringReason::Unknown { job, cause } => vec![job, cause],
            RecurringReason::Note { text } => vec![text],
            other => panic!("{other:?}"),
        };
        assert!(names.iter().all(|name| is_known(name)), "{reason:?}");
        n_names += names.len();
    }
    assert_eq!(n_names, 4, "{decision:?}");
}

proptest! {
    #[test]
    fn value_is_finite_and_never_negative(
        enqueued in any::<u32>(), processing in any::<u32>(), alive in any::<u32>(), due in any::<u32>(),
        oldest_micros in any::<i32>(), pools in proptest::collection::vec((any::<u32>(), -1000_i64..1000), 0..5),
    ) {
        let queue = Queue {
            enqueued: exactly(enqueued.into()),
            oldest_enqueued_at: Some(now() - SignedDuration::from_micros(oldest_micros.into())),
            processing: exactly(processing.into()),
            processing_alive: exactly(alive.into()),
            scheduled: [(SignedDuration::from_mins(1), exactly(due.into()))].into(),
            ..Queue::default()
        };
        let servers = pools.into_iter().map(|(workers, ago)| server(workers.into(), ago)).collect();
        let snapshot = snapshot(queue, servers);
        for metric in Metric::ALL {
            let decision = decide(&trigger(&format!("metric={metric} targetValue=1")), &snapshot, now()).unwrap();
            prop_assert!(decision.value.is_finite() && 0.0 <= decision.value);
            prop_assert_eq!(decision.active, 0.0 < decision.value || 0 < processing);
        }
    }

    /// Demand is the sum of its parts, never 0 while there is a part, and never smaller with more work.
    #[test]
    fn demand_is_the_sum_of_its_reasons(
        enqueued in 0_u64..50, due in 0_u64..50, awaiting in 0_u64..50, processing in 0_u64..50, alive in 0_u64..50,
        has_run in proptest::collection::vec(any::<bool>(), 0..6), ahead_of_time in any::<bool>(), more in 0_usize..6,
    ) {
        let minute = SignedDuration::from_mins(1);
        let scheduling = if ahead_of_time { RunScheduling::Ahead } else { RunScheduling::JustInTime };
        let jobs: Vec<_> = has_run.iter().map(|has_run| ("a", *has_run, Ok("2026-11-23T20:00:30Z"))).collect();
        let demand = |counts: [u64; 5], jobs: &[(&str, bool, Result<&str, &str>)]| {
            let [enqueued, due, awaiting, processing, alive] = counts;
            let queue = Queue {
                enqueued: exactly(enqueued),
                processing: exactly(processing),
                processing_alive: exactly(alive.min(processing)),
                scheduled: [(minute, exactly(due))].into(),
                awaiting: [(minute, exactly(awaiting))].into(),
                ..Queue::default()
            };
            let recurring = Some(recurring(scheduling, jobs));
            let snapshot = Snapshot { recurring, ..snapshot(queue, Vec::new()) };
            decide(&trigger("metric=demand targetValue=auto"), &snapshot, now()).unwrap()
        };
        let counts = [enqueued, due, awaiting, processing, alive];
        let decision = demand(counts, &jobs);
        let n_recurring = has_run.iter().filter(|has_run| !**has_run).count() as u64;
        let all = enqueued + due + awaiting + processing + n_recurring;
        prop_assert_eq!(decision.value, all as f64);
        prop_assert_eq!(decision.active, 0 < all);
        // The first reason lists the parts: their sum is the value.
        let first = decision.reasons[0].to_string();
        let listed = first.split_once(": ").map_or("", |(_, parts)| parts);
        let sum: u64 = listed.split(", ").filter_map(|part| part.split(' ').next()?.parse::<u64>().ok()).sum();
        prop_assert_eq!(sum, all, "{}", first);
        let more_work = match more {
            5 => demand(counts, &[jobs.clone(), vec![("b", false, Ok("2026-11-23T20:00:30Z"))]].concat()),
            kind => {
                let mut counts = counts;
                counts[kind] += 1;
                demand(counts, &jobs)
            }
        };
        prop_assert!(decision.value <= more_work.value);
    }

    #[test]
    fn metadata_of_any_kind_is_parsed_or_rejected(
        metadata in proptest::collection::vec(("[a-zA-Z]{0,12}|metric|targetValue|scheduledIn|priority", ".{0,20}"), 0..8),
    ) {
        // An error is an answer too. What matters is that there is one.
        let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        if let Err(errors) = Trigger::parse(pairs) {
            prop_assert!(!errors.0.is_empty());
        }
    }
}

#[test]
fn jobs_that_share_a_mutex_count_once_unless_asked_for() {
    let check = |metadata: &str, free: Option<i64>, value: f64, reasons: &[&str]| {
        let oldest_free_at = free.map(|seconds| now() - SignedDuration::from_secs(seconds));
        let queue = Queue { mutexes: Some(Mutexes { n_blocked: 2, oldest_free_at }), ..queue() };
        let decision = decide(&trigger(metadata), &snapshot(queue, Vec::new()), now()).unwrap();
        assert_eq!((decision.value, decision.active), (value, true), "{metadata}");
        let words = joined(&decision.reasons, "\n");
        reasons.iter().for_each(|reason| assert!(words.contains(reason), "{metadata}: {words}"));
        assert_eq!(reasons.len() <= 1, !words.contains("mutex"), "{metadata}: {words}");
    };
    let blocked = "2 more jobs wait for a mutex: they run one at a time";
    check("metric=enqueued-count targetValue=8", Some(5), 1.0, &["1 job enqueued", blocked]);
    check("metric=enqueued-count targetValue=8 includeBlocked=true", Some(5), 3.0, &["3 jobs enqueued"]);
    check("metric=enqueued-latency targetValue=8", Some(5), 5.0, &["1 job is enqueued, the oldest for 5.0 s", blocked]);
    check("metric=enqueued-latency targetValue=8 includeBlocked=true", Some(5), 34.25, &["3 jobs are enqueued"]);
    // The workload must not go away, but a pod more would not help.
    check("metric=enqueued-latency targetValue=8", None, 0.001, &["1 job enqueued", blocked, "none can start yet"]);
    check("metric=demand targetValue=8 scheduledIn=PT1M", Some(5), 8.0, &["1 enqueued", blocked]);
    check("metric=demand targetValue=8 scheduledIn=PT1M includeBlocked=true", Some(5), 10.0, &["3 enqueued"]);
}
