//! JobRunr's and Kubernetes' rules, one by one.

use super::*;
use crate::simulate::Readiness;

/// One worker per pod, unless a test needs more.
fn settings() -> Settings {
    Settings { workers_per_pod: 1, pod_start_spread: 0.0, ..Settings::default() }
}

/// Plays a fixed number of pods until all jobs are done, and returns the model.
fn played<'a>(workload: &'a Workload, n_pods: u32, settings: &'a Settings) -> Model<'a> {
    let mut model = Model::of(workload, &Policy::fixed(n_pods), settings);
    model.run();
    model
}

/// Plays two pods, removes one at 20 s, and returns what became of the jobs and when the removed pod was gone.
fn scaled_in(jobs: Vec<Job>, settings: &Settings) -> (jobs::Tally, Millis) {
    let workload = workload(jobs);
    let mut model = Model::of(&workload, &Policy::fixed(2), settings);
    model.run_until(20_000);
    model.resting_replicas = 1;
    model.set_replicas(1);
    while 1 < model.pods.n_existing() && model.step() {}
    let gone_after = model.now - 20_000;
    model.run();
    (model.jobs.tally(), gone_after)
}

#[test]
fn idle_server_fetches_when_it_polls_and_a_busy_one_when_a_job_ends() {
    let workload = workload(vec![job(0, 20_000), job(0, 1000), job(100_000, 1000)]);
    let settings = settings();
    let model = played(&workload, 1, &settings);
    let waits: Vec<Millis> = model.measure.waits.all().iter().copied().map(Millis::from).collect();
    let first_poll = waits[0];
    assert!((0..15_000).contains(&first_poll));
    assert_eq!(waits[1], first_poll + 20_000);
    let next_poll = (0..).map(|n| first_poll + n * 15_000).find(|poll| 100_000 <= *poll).unwrap();
    assert_eq!(waits[2], next_poll - 100_000);
}

#[test]
fn jobs_that_end_at_once_are_followed_by_one_until_the_next_end_or_poll() {
    // As seen with JobRunr 8.7: four jobs of a server ended within 5 ms, one began, and the next three when that ended or with the poll.
    let workload = workload(vec![job(0, 4000); 13]);
    let settings = Settings { workers_per_pod: 4, ..settings() };
    let model = played(&workload, 1, &settings);
    let [first_poll, waits @ ..] = model.measure.waits.all() else { panic!() };
    let waits: Vec<_> = waits.iter().map(|wait| (wait - first_poll) / 1000).collect();
    assert_eq!(waits, [0, 0, 0, 4, 8, 8, 8, 8, 12, 15, 15, 15]);
}

#[test]
fn short_jobs_follow_one_another_without_waiting_for_a_poll() {
    for duration in [0, 1, 9, 10, 11] {
        let workload = workload(vec![job(0, duration); 1_000]);
        let settings = Settings { workers_per_pod: 8, ..settings() };
        let model = played(&workload, 1, &settings);
        let [first, .., last] = model.measure.waits.all() else { panic!() };
        assert!(last - first < 15_000, "{duration} ms: {first} to {last}");
    }
}

#[test]
fn master_enqueues_a_poll_interval_early_and_the_job_waits_for_the_next_poll() {
    for due in (60_000..75_000).step_by(1000) {
        let workload = workload(vec![job(0, 1), Job { arrival: 1000, due, duration: 1, kind: 0 }]);
        let settings = settings();
        let model = played(&workload, 1, &settings);
        let [first_poll, wait] = model.measure.waits.all() else { panic!() };
        let next_poll = (0..).map(|n| Millis::from(*first_poll) + n * 15_000).find(|poll| due <= *poll).unwrap();
        // One server fetches before it enqueues; so the job starts with the first poll after it is due.
        assert_eq!(Millis::from(*wait), next_poll - due);
    }
}

#[test]
fn server_starts_fetching_a_second_after_it_has_started() {
    let policy = scaled(
        "  minReplicaCount: 0\n  maxReplicaCount: 1",
        &["external-push AverageValue metric=demand targetValue=1 scheduledIn=PT1M"],
    );
    let workload = workload(vec![job(5000, 1000)]);
    let settings = settings();
    let mut model = Model::of(&workload, &policy, &settings);
    model.run();
    assert_eq!(model.measure.waits.all(), [45_000 + 1000]);
    assert_eq!(model.measure.activations, 1);
    let replicas: Vec<u32> = model.measure.replicas.iter().map(|(_, n)| *n).collect();
    assert_eq!(replicas, [0, 1, 0]);
}

#[test]
fn idle_pod_ends_at_once() {
    let (tally, gone_after) = scaled_in(vec![job(100_000, 1000)], &settings());
    assert_eq!((tally.done, tally.interrupted, gone_after), (1, 0, 0));
}

#[test]
fn busy_pod_ends_with_its_job() {
    // Both are running at 15 s at the latest.
    let jobs = vec![job(0, 21_000), job(0, 21_000)];
    let (tally, gone_after) = scaled_in(jobs, &Settings { await_on_stop: 25_000, ..settings() });
    assert_eq!((tally.done, tally.interrupted), (2, 0));
    assert!((1..21_000).contains(&gone_after), "{gone_after}");
}

#[test]
fn job_is_interrupted_when_the_await_duration_ends_and_retried() {
    let (tally, gone_after) = scaled_in(vec![job(0, 60_000), job(0, 60_000)], &settings());
    let expected = jobs::Tally { done: 2, interrupted: 1, ..Default::default() };
    // Seen with the real JobRunr: 9.3 s.
    assert_eq!((tally, gone_after), (expected, 9300));
}

#[test]
fn killed_pod_leaves_an_orphan_that_others_retry() {
    let settings = Settings { grace_period: 5000, await_on_stop: 60_000, poll_interval: 5000, ..settings() };
    let (tally, gone_after) = scaled_in(vec![job(0, 60_000), job(0, 60_000)], &settings);
    let expected = jobs::Tally { done: 2, interrupted: 1, ..Default::default() };
    assert_eq!((tally, gone_after), (expected, 5000));
}

#[test]
fn retry_starts_when_it_is_due_with_a_poll_interval_of_zero() {
    let check = |settings: Settings| {
        let settings =
            Settings { poll_interval: 0, pod_start: 0, spares_busy_pods: true, workers_per_pod: 1, ..settings };
        let workload = workload(vec![job(0, 200_000), job(0, 200_000)]);
        let mut model = Model::of(&workload, &Policy::fixed(3), &settings);
        let polls: Vec<_> = (0..3).filter_map(|pod| model.events.first(Event::ServerPolls { pod })).collect();
        model.run_until(20_000);
        // The idle pod and a busy one go. Later there is a free worker again.
        model.set_replicas(1);
        model.run_until(40_000);
        model.set_replicas(2);
        while 0 < model.jobs.n_open() && model.step() {}
        assert_eq!(model.jobs.tally().interrupted, 1);
        (model.now - 200_000, polls)
    };
    // It is interrupted 29.3 s later, and retried after 3 s.
    let (start, _) = check(Settings { await_on_stop: 30_000, grace_period: 60_000, ..settings() });
    assert_eq!(start, 20_000 + 29_300 + 3000);
    // The master finds an orphan with a poll.
    let (start, polls) = check(Settings { await_on_stop: 90_000, grace_period: 5000, ..settings() });
    assert!(polls.iter().any(|poll| (start - 3000 - poll) % 15_000 == 0), "{start} {polls:?}");
}

#[test]
fn job_of_a_draining_server_is_started_again_by_others() {
    let drains = |await_on_stop| Settings {
        workers_per_pod: 2,
        grace_period: 90_000,
        await_on_stop,
        poll_interval: 5000,
        ..settings()
    };
    // Four jobs, so that both pods have some.
    let jobs = || (0..4).map(|_| job(0, 80_000)).collect();
    let (tally, _) = scaled_in(jobs(), &drains(85_000));
    assert_eq!((tally.done, tally.failed, tally.unfinished), (4, 0, 0));
    // Two free workers come only when the other pod's jobs are done, so nothing runs twice; with free workers, both do.
    assert_eq!((tally.interrupted, tally.run_twice), (2, 0));
    let settings = Settings { workers_per_pod: 4, ..drains(85_000) };
    let jobs = (0..5).map(|_| job(0, 80_000)).collect();
    let (tally, _) = scaled_in(jobs, &settings);
    assert_eq!(tally.done, 5);
    assert!(0 < tally.run_twice && tally.run_twice <= tally.interrupted, "{tally:?}");
    // Less than four poll intervals without a heartbeat harm nobody.
    let (tally, _) = scaled_in((0..4).map(|_| job(0, 30_000)).collect(), &drains(14_000));
    assert_eq!(tally.run_twice, 0);
}

const MINUTE: Millis = 60_000;

#[test]
fn replica_set_removes_pods_in_the_order_of_kubernetes() {
    let now = 70 * MINUTE;
    let mut pods = pods::Pods::default();
    // Two of about the same age, and one that is much younger.
    for (created, uid) in [(0, 7), (10 * MINUTE, 3), (69 * MINUTE, 9)] {
        let pod = pods.create(created, uid);
        pods.announce(pod, created);
    }
    let busy = pods::Run { id: 0, job: 0, started: now, is_lost: false };
    pods.get_mut(2).runs.push(busy);
    let starting = pods.create(now, 8);
    assert_eq!(pods.to_remove(now, Readiness::AtOnce, false), Some(starting));
    assert_eq!(pods.to_remove(now, Readiness::WithServer, true), Some(starting));
    pods.remove(starting, now);
    assert_eq!(pods.to_remove(now, Readiness::AtOnce, false), Some(2));
    assert_eq!(pods.to_remove(now, Readiness::AtOnce, true), Some(1));
    pods.get_mut(0).runs.push(busy);
    pods.get_mut(1).runs.push(busy);
    assert_eq!(pods.to_remove(now, Readiness::WithServer, true), Some(2));
    pods.drain(2);
    assert_eq!(pods.to_remove(now, Readiness::WithServer, true), Some(1));
    assert_eq!((pods.n_existing(), pods.n_active(), pods.n_terminating()), (3, 2, 1));
}

#[test]
fn replica_set_tells_ages_apart_by_powers_of_two() {
    /// Of 1000 seeds, how often the second of two pods goes, which were created and became ready so many minutes ago.
    fn second_goes(ages: [(Millis, Millis); 2], readiness: Readiness) -> usize {
        let goes = |seed: &u64| {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(*seed);
            let mut pods = pods::Pods::default();
            for (created, ready) in ages {
                let pod = pods.create(-created * MINUTE, random.random());
                pods.announce(pod, -ready * MINUTE);
            }
            pods.to_remove(0, readiness, false) == Some(1)
        };
        (0..1000).filter(goes).count()
    }
    assert_eq!(second_goes([(70, 70), (1, 1)], Readiness::AtOnce), 1000);
    assert_eq!(second_goes([(1, 1), (70, 70)], Readiness::AtOnce), 0);
    let about_equal = second_goes([(70, 70), (40, 40)], Readiness::AtOnce);
    assert!((420..580).contains(&about_equal), "{about_equal}");
    // With a readiness probe, what counts is since when a pod is ready.
    assert_eq!(second_goes([(70, 70), (70, 1)], Readiness::WithServer), 1000);
    let about_equal = second_goes([(70, 70), (70, 1)], Readiness::AtOnce);
    assert!((420..580).contains(&about_equal), "{about_equal}");
}

#[test]
fn terminating_pods_count_as_ready_until_they_end() {
    let mut pods = pods::Pods::default();
    for _ in 0..3 {
        let pod = pods.create(0, 0);
        pods.announce(pod, 0);
    }
    pods.drain(2);
    // A readiness probe fails as soon as the server stops.
    assert_eq!((pods.n_ready(Readiness::AtOnce), pods.n_ready(Readiness::WithServer)), (3, 2));
    pods.remove(2, 0);
    assert_eq!(pods.n_ready(Readiness::AtOnce), 2);
}

#[test]
fn job_that_fails_too_often_is_given_up() {
    let workload = workload(vec![job(0, 1)]);
    let mut jobs = Jobs::new(&workload.jobs, Vec::new());
    jobs.arrive(0);
    let mut now = 0;
    for n in 0..=10_u32 {
        assert_eq!(jobs.start(now).map(|start| start.wait.is_some()), Some(n == 0));
        jobs.fail(0, now);
        if n < 10 {
            assert_eq!(jobs.next_due(), Some(now + 3_i64.pow(n + 1) * 1000), "retry {}", n + 1);
            now = jobs.next_due().unwrap();
            jobs.enqueue_due(now, now);
        }
    }
    let tally = jobs.tally();
    assert_eq!((tally.failed, tally.interrupted, tally.unfinished, jobs.n_processing()), (1, 1, 0, 0));
}
