//! A thousand pods with ten thousand jobs a minute: how many costs have to be written.

use jiff::{SignedDuration, Timestamp};

use super::assessment::{Assessment, StorageView};
use super::order::Candidate;
use super::pods::{Cost, NamePattern, Pod, Pods};
use crate::jobrunr::{RunningJob, RunningJobs, Server, Snapshot};

const N_PODS: usize = 1_000;
const WORKERS: usize = 8;
const JOBS_PER_MINUTE: usize = 10_000;
/// `--writes-per-second` by default.
const WRITES_PER_SECOND: usize = 10;

/// The pods, and the jobs that their servers run: the second in which each begins and the one in which it ends.
struct Load {
    pods: Pods,
    running: Vec<Vec<(i64, i64)>>,
    random: fastrand::Rng,
}

fn name(number: usize) -> String {
    format!("workers-5f7c9d-{number:04}")
}

impl Load {
    fn new() -> Self {
        let pod = |number| Pod {
            namespace: "shop".into(),
            name: name(number).as_str().into(),
            uid: name(number).as_str().into(),
            replica_set: Some("rs".into()),
            cost: Cost::None,
            is_terminating: false,
        };
        let pods = (0..N_PODS).map(pod).map(|pod| (pod.key(), pod)).collect();
        Self { pods, running: vec![Vec::new(); N_PODS], random: fastrand::Rng::with_seed(7) }
    }

    /// Jobs end and begin on servers with a free worker.
    fn step(&mut self, second: i64, seconds_per_job: f64) {
        self.running.iter_mut().for_each(|jobs| jobs.retain(|(_, end)| second < *end));
        for _ in 0..JOBS_PER_MINUTE / 60 {
            let duration = -(1.0 - self.random.f64()).ln() * seconds_per_job;
            let server = self.random.usize(0..N_PODS);
            if self.running[server].len() < WORKERS {
                self.running[server].push((second, second + duration.ceil() as i64));
            }
        }
    }

    fn snapshot(&self, second: i64) -> Snapshot {
        let at = |second: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let server = |number: usize| Server {
            id: name(number).into(),
            name: Some(name(number).into()),
            poll_interval: SignedDuration::from_secs(15),
            last_heartbeat: at(second),
            ..Server::default()
        };
        let jobs = self.running.iter().enumerate().flat_map(|(number, jobs)| {
            jobs.iter().map(move |(begin, _)| RunningJob {
                id: "1".into(),
                kind: "a.B.c()".into(),
                server_id: Some(name(number).into()),
                started_at: Some(at(*begin)),
            })
        });
        let running = Some(RunningJobs { jobs: jobs.collect(), ..RunningJobs::default() });
        Snapshot { servers: (0..N_PODS).map(server).collect(), running, ..Snapshot::empty(at(second), 4) }
    }

    /// Writes what the budget allows. Returns how many costs were written, and how many busy pods then cost no more than an idle one.
    fn protect(&mut self, second: i64) -> (usize, usize) {
        let snapshot = self.snapshot(second);
        let storages = [StorageView { name: "orders", snapshot: Some(&snapshot), is_current: true }];
        let assessment = Assessment::new(&storages, &self.pods, &NamePattern::default());
        let changes = assessment.changes();
        let n_writes = changes.len().min(WRITES_PER_SECOND);
        for change in changes.into_iter().take(WRITES_PER_SECOND) {
            self.pods.get_mut(&change.pod).unwrap().cost = change.cost.map_or(Cost::None, Cost::Ours);
        }
        let cost = |pod: &Candidate| if let Cost::Ours(cost) = self.pods[&pod.pod].cost { cost } else { 0 };
        let candidates: Vec<&Candidate> = assessment.replica_sets.values().flatten().collect();
        let idle = candidates.iter().filter(|pod| pod.class == 0).map(|pod| cost(pod)).min();
        let is_at_risk = |pod: &&&Candidate| 1 < pod.class && idle.is_some_and(|idle| cost(pod) <= idle);
        (n_writes, candidates.iter().filter(is_at_risk).count())
    }
}

/// The budget bounds the writes whatever happens. It goes to the pods with the most to lose.
#[test]
fn thousand_pods_need_no_more_writes_than_the_budget() {
    for (seconds_per_job, most_at_risk) in [(10.0, 0.5), (40.0, 0.1)] {
        let mut load = Load::new();
        let (mut n_writes, mut n_at_risk, mut n_busy) = (0, 0, 0);
        for second in 0..180 {
            load.step(second, seconds_per_job);
            let (written, at_risk) = load.protect(second);
            assert!(written <= WRITES_PER_SECOND);
            if 120 <= second {
                n_writes += written;
                n_at_risk += at_risk;
                n_busy += load.running.iter().filter(|jobs| !jobs.is_empty()).count();
            }
        }
        let share = n_at_risk as f64 / n_busy as f64;
        println!("jobs of {seconds_per_job} s: {n_writes} writes a minute, {share:.3} of the busy pods at risk");
        assert!(share <= most_at_risk, "{share}");
    }
}
