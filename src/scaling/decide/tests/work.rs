//! What triggers of work come to: promises, and estimates of time.

use super::*;

/// A trigger with a promise, and a queue of jobs of one kind that have waited for so long.
fn promised(metadata: &str, n_jobs: u64, waited: i64, service: Option<f64>, servers: Vec<Server>) -> Decision {
    let first = now() - SignedDuration::from_secs(waited);
    let waiting = JobGroup { kind: "a.B.c()".into(), jobs: float(n_jobs), first, last: first };
    let queue = Queue {
        enqueued: exactly(n_jobs),
        oldest_enqueued_at: Some(first),
        waiting: vec![waiting],
        scheduled: [(SignedDuration::from_mins(1), exactly(0))].into(),
        ..Queue::default()
    };
    let run = |seconds| FinishedRun { id: "1".into(), kind: "a.B.c()".into(), ended_at: now(), seconds };
    let times = ServiceTimes::from_runs(&service.map(run).into_iter().collect::<Vec<_>>());
    let snapshot = Snapshot { service_times: Some(Arc::new(times)), ..snapshot(queue, servers) };
    decide(&trigger(metadata), &snapshot, now()).unwrap()
}

#[test]
fn promise_asks_for_the_fewest_workers_and_says_why() {
    let check = |metadata: &str, n_jobs: u64, waited: i64, service: Option<f64>, value: f64, reasons: &[&str]| {
        let metadata = format!("metric=demand targetValue=auto workersPerPod=8 {metadata}");
        let decision = promised(&metadata, n_jobs, waited, service, Vec::new());
        assert_eq!((decision.value, decision.active), (value, true), "{metadata} {:?}", decision.reasons);
        let words = joined(&decision.reasons, "\n");
        reasons.iter().for_each(|reason| assert!(words.contains(reason), "{metadata}: {words}"));
    };
    let learnt = "a job runs 0.05 s on average, 95 % up to 0.05 s: 1 finished job of 1 kind, the newest 0 s old";
    check("", 10_000, 0, Some(0.05), 10_000.0, &[]);
    check(
        "maxLatency=PT5M",
        10_000,
        0,
        Some(0.05),
        3.0,
        &["maxLatency PT5M: 3 workers needed, 0 in use; 500 s of work", learnt],
    );
    // A minute is less than a pod takes to start, so what is there is cleared within 15 s of its start.
    check("maxLatency=PT1M", 10_000, 0, Some(0.05), 34.0, &[learnt]);
    check(
        "maxLatency=PT5M",
        10_000,
        400,
        Some(0.05),
        18.0,
        &["maxLatency is exceeded: the oldest job has waited 400 s"],
    );
    check("maxLatency=PT5M", 12, 0, Some(3600.0), 12.0, &["43200 s of work"]);
    check("maxLatency=PT5M", 12, 0, None, 12.0, &["no finished job shows how long jobs run: one worker per job"]);
    check("maxLatency=PT5M serviceTime=PT0.05S", 10_000, 0, None, 3.0, &["a job runs 0.05 s, as serviceTime says"]);
    check("maxLatency=PT5M", 1, 0, Some(0.05), 1.0, &[]);
}

#[test]
fn activation_target_of_a_promise_is_a_number_of_jobs() {
    let check = |activation: u32, active: bool, reason: &str| {
        let metadata = format!("metric=demand targetValue=8 maxLatency=PT5M activationTargetValue={activation}");
        let decision = promised(&metadata, 100, 0, Some(0.05), Vec::new());
        assert_eq!((decision.value, decision.active), (1.0, active), "{metadata} {:?}", decision.reasons);
        let words = joined(&decision.reasons, "\n");
        assert!(words.contains(reason), "{words}");
    };
    check(0, true, "active: 100 jobs, above 0");
    check(1, true, "active: 100 jobs, above 1");
    check(99, true, "active: 100 jobs, above 99");
    check(100, false, "inactive: 100 jobs, not above 100");
}

#[test]
fn workers_that_run_jobs_of_others_are_not_free() {
    let decide = |metadata: &str, occupied_workers: Option<u64>, n_processing: u64| {
        let trigger = trigger(&format!("{metadata} serverTag=gpu serviceTime=PT1H"));
        let queue = Queue {
            enqueued: exactly(4),
            oldest_enqueued_at: Some(now()),
            processing: exactly(n_processing),
            processing_alive: exactly(n_processing),
            ..Queue::default()
        };
        let servers = vec![Server { occupied_workers, ..server(8, 1) }];
        let queues = [(trigger.question.filter.clone(), Ok(queue))].into();
        decide(&trigger, &Snapshot { queues, ..snapshot(Queue::default(), servers) }, now()).unwrap()
    };
    let check = |metadata: &str, occupied: Option<u64>, n_processing: u64, expected: f64, others: Option<&str>| {
        let decision = decide(metadata, occupied, n_processing);
        assert!((decision.value - expected).abs() < expected / 100.0, "{occupied:?}: {decision:?}");
        let words = joined(&decision.reasons, "\n");
        assert_eq!(words.contains("other jobs"), others.is_some(), "{words}");
        assert!(words.contains(others.unwrap_or_default()), "{words}");
    };
    let demand = "metric=demand targetValue=8 maxLatency=PT5M";
    check(demand, None, 0, 4.0, None);
    check(demand, Some(0), 0, 4.0, None);
    check(demand, Some(8), 0, 12.0, Some("8 workers run other jobs"));
    check(demand, Some(8), 5, 12.0, Some("3 workers run other jobs"));
    check(demand, Some(3), 5, 9.0, None);
    check("metric=expected-latency targetValue=60", Some(8), 0, 5400.0, Some("8 workers run other jobs"));
    // The last heartbeat is older than the list of the running jobs.
    let listed = |n_jobs: usize| {
        let trigger = trigger(&format!("{demand} serverTag=gpu serviceTime=PT1H"));
        let queue = Queue { enqueued: exactly(4), oldest_enqueued_at: Some(now()), ..Queue::default() };
        let servers = vec![Server { occupied_workers: Some(8), id: "a".into(), ..server(8, 1) }];
        let job =
            RunningJob { id: "1".into(), kind: "a.B.c()".into(), server_id: Some("a".into()), started_at: Some(now()) };
        let running = Some(RunningJobs { jobs: vec![job; n_jobs], ..RunningJobs::default() });
        let queues = [(trigger.question.filter.clone(), Ok(queue))].into();
        let snapshot = Snapshot { queues, running, ..snapshot(Queue::default(), servers) };
        super::decide(&trigger, &snapshot, now()).unwrap().value
    };
    assert_eq!([0, 3, 8].map(listed), [4.0, 7.0, 12.0]);
    // Only its own jobs are to be done.
    check("metric=drain-time targetValue=60", Some(8), 0, 3600.0, None);
}

#[test]
fn orphans_do_not_lengthen_the_time_that_a_job_runs() {
    let value = |server_id: Option<&str>| {
        let started_at = Some(now() - SignedDuration::from_hours(8));
        let job =
            RunningJob { id: "1".into(), kind: "a.B.c()".into(), server_id: server_id.map(Into::into), started_at };
        let runs: Vec<FinishedRun> = (0..999)
            .map(|n| FinishedRun { id: n.to_string().into(), kind: "a.B.c()".into(), ended_at: now(), seconds: 0.05 })
            .collect();
        let group = JobGroup { kind: "a.B.c()".into(), jobs: 10_000.0, first: now(), last: now() };
        let is_alive = server_id == Some("alive");
        let queue = Queue {
            enqueued: exactly(10_000),
            oldest_enqueued_at: Some(now()),
            waiting: vec![group],
            processing: exactly(1),
            processing_alive: exactly(is_alive.into()),
            ..Queue::default()
        };
        let servers =
            vec![Server { id: "alive".into(), ..server(8, 1) }, Server { id: "dead".into(), ..server(8, 99) }];
        let snapshot = Snapshot {
            service_times: Some(Arc::new(ServiceTimes::from_runs(&runs))),
            running: Some(RunningJobs { jobs: vec![job], ..RunningJobs::default() }),
            ..snapshot(queue, servers)
        };
        decide(&trigger("metric=demand targetValue=8 maxLatency=PT5M"), &snapshot, now()).unwrap().value
    };
    assert_eq!((value(Some("dead")), value(None)), (2.0, 2.0));
    // A job that still runs shows that such jobs can take that long.
    assert!(1_000.0 < value(Some("alive")));
}

#[test]
fn jobs_of_higher_priority_are_work_ahead() {
    let decide = |metadata: &str, n_own: u64, n_ahead: u64| {
        let waiting = |n_jobs: u64| {
            let group = JobGroup { kind: "a()".into(), jobs: float(n_jobs), first: now(), last: now() };
            let oldest_enqueued_at = (0 < n_jobs).then(now);
            let scheduled = [(SignedDuration::from_mins(1), exactly(0))].into();
            Queue { enqueued: exactly(n_jobs), oldest_enqueued_at, waiting: vec![group], scheduled, ..Queue::default() }
        };
        let trigger = trigger(&format!("{metadata} priority=1 serviceTime=PT1S"));
        let own = trigger.question.filter.clone();
        let ahead = own.ahead().unwrap();
        assert_eq!(ahead.to_string(), " with a higher priority than 1");
        let snapshot = Snapshot {
            queues: [(own, Ok(waiting(n_own))), (ahead, Ok(waiting(n_ahead)))].into(),
            ..snapshot(Queue::default(), vec![server(4, 1)])
        };
        decide(&trigger, &snapshot, now()).unwrap()
    };
    let check = |metadata: &str, n_own: u64, n_ahead: u64, expected: f64| {
        let decision = decide(metadata, n_own, n_ahead);
        assert!((decision.value - expected).abs() < 0.1, "{metadata} {n_own} {n_ahead}: {}", decision.value);
        let words = joined(&decision.reasons, "\n");
        let is_said = words.contains(&format!("{n_ahead} jobs of higher priority go before"));
        assert_eq!(is_said, 0 < n_ahead && 0 < n_own, "{words}");
    };
    let demand = "metric=demand targetValue=4 maxLatency=PT100S";
    check(demand, 340, 0, 4.0);
    check(demand, 170, 170, 4.0);
    // Another trigger counts these.
    check(demand, 0, 170, 0.0);
    check("metric=expected-latency targetValue=60", 40, 360, 100.0);
}

#[test]
fn estimates_are_seconds_with_the_workers_there_are() {
    let check = |metric: &str, n_jobs: u64, service: Option<f64>, servers: Vec<Server>, value: f64, reason: &str| {
        let decision = promised(&format!("metric={metric} targetValue=60"), n_jobs, 30, service, servers);
        assert!((decision.value - value).abs() < 0.02 + value / 100.0, "{metric} {n_jobs}: {}", decision.value);
        let words = joined(&decision.reasons, "\n");
        assert!(words.contains(reason), "{words}");
    };
    let servers = || vec![server(4, 1), server(4, 1)];
    check("expected-latency", 800, Some(2.0), servers(), 200.0, "a job enqueued now starts within about 200");
    check("drain-time", 800, Some(2.0), servers(), 200.0, "all jobs are done in about 200 s with 8 workers");
    check(
        "expected-latency",
        3,
        Some(2.0),
        servers(),
        0.0,
        "a job enqueued now starts within about 0 s with 8 workers",
    );
    // At zero pods one pod of 8 workers is to come.
    check("expected-latency", 800, Some(2.0), Vec::new(), 245.0, "no server is alive: a pod starts within PT45S");
    check("expected-latency", 0, Some(2.0), Vec::new(), 0.0, "starts within about 0 s");
    // Nothing is known of the jobs but how long the oldest has waited.
    check("expected-latency", 800, None, servers(), 30.0, "no finished job shows how long jobs run");
    // A pod has to start, however many wait.
    for n_jobs in [7, 8, 800] {
        check("expected-latency", n_jobs, None, Vec::new(), 45.0, "a pod starts within PT45S");
    }
}

#[test]
fn estimates_are_not_zero_while_the_clock_of_the_jobs_is_ahead() {
    for metric in ["expected-latency", "drain-time"] {
        let decision = promised(&format!("metric={metric} targetValue=60"), 8, -30, None, vec![server(4, 1)]);
        assert!(decision.active && 0.0 < decision.value, "{metric}: {decision:?}");
    }
}

#[test]
fn estimates_at_zero_pods_grow_until_they_are_active() {
    let check = |metadata: &str, waited: i64, value: f64, active: bool| {
        let decision = promised(metadata, 3, waited, Some(1.0), Vec::new());
        assert!((decision.value - value).abs() < 1e-9, "{metadata} {waited}: {decision:?}");
        assert_eq!(decision.active, active, "{metadata} {waited}: {decision:?}");
    };
    check("metric=expected-latency targetValue=60 podStart=PT0S", 0, 0.001, true);
    check("metric=expected-latency targetValue=60 podStart=PT0S", 7, 7.0, true);
    check("metric=expected-latency targetValue=60 activationTargetValue=60", 30, 45.0, false);
    check("metric=expected-latency targetValue=60 activationTargetValue=60", 61, 61.0, true);
    check("metric=drain-time targetValue=60 podStart=PT0S", 0, 1.0, true);
    check("metric=drain-time targetValue=60 activationTargetValue=60", 30, 46.0, false);
    check("metric=drain-time targetValue=60 activationTargetValue=60", 61, 61.0, true);
}

#[test]
fn estimate_with_servers_is_not_raised_to_what_was_waited_but_never_zero_while_jobs_wait() {
    let servers = || vec![server(8, 1)];
    assert_eq!(promised("metric=expected-latency targetValue=60", 3, 30, Some(1.0), servers()).value, 0.001);
    assert_eq!(promised("metric=drain-time targetValue=60", 3, 30, Some(1.0), servers()).value, 1.0);
}

proptest! {
    /// One job more, a second longer, a second more of waiting, a tighter promise: never fewer workers.
    #[test]
    fn promise_never_asks_for_fewer_because_of_more(
        n_jobs in 1..3_000_u64, waited in 0..900_i64, service in 0.01..600.0_f64, promise in 2..1_200_u32, pods in 0..5_usize,
        more in 0..4,
    ) {
        let value = |n_jobs, waited, service, promise: u32| {
            let metadata = format!("metric=demand targetValue=auto workersPerPod=8 maxLatency=PT{promise}S");
            promised(&metadata, n_jobs, waited, Some(service), vec![server(8, 1); pods]).value
        };
        let before = value(n_jobs, waited, service, promise);
        let after = match more {
            0 => value(n_jobs + 1, waited, service, promise),
            1 => value(n_jobs, waited, service + 1.0, promise),
            2 => value(n_jobs, waited + 1, service, promise),
            _ => value(n_jobs, waited, service, promise - 1),
        };
        prop_assert!(before <= after, "{before} then {after}");
        prop_assert!(1.0 <= before && before <= float(n_jobs));
    }
}
