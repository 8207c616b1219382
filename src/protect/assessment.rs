//! What would be lost with each pod: from the servers' jobs and the pods' names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::order::{self, Candidate, Change};
use super::pods::{NamePattern, NoPod, PodKey, PodNames, Pods};
use crate::jobrunr::{RunningJob, Server, Snapshot, loss_class};

/// What a storage answered.
#[derive(Clone, Copy, Debug)]
pub struct StorageView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its latest snapshot; `None` if it has not answered yet.
    pub snapshot: Option<&'a Snapshot>,
    /// Whether the snapshot is young enough to say what runs now. An old one only says which pods may run its jobs.
    pub is_current: bool,
}

/// A server, and its pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerPlace {
    /// The storage.
    pub storage: String,
    /// The server's id.
    pub id: Arc<str>,
    /// The server's name.
    pub name: Option<Arc<str>>,
    /// Whether it is alive.
    pub is_alive: bool,
    /// Its pod.
    pub pod: Result<PodKey, NoPod>,
    /// The jobs that it runs.
    pub n_jobs: u64,
    /// How long they have been running in all, in seconds.
    pub seconds: u64,
}

/// What is known of all pods at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assessment {
    /// The servers that are alive, and those that are not although they run jobs.
    pub servers: Vec<ServerPlace>,
    /// The pods that a ReplicaSet controls, by the ReplicaSet's uid.
    pub replica_sets: BTreeMap<Arc<str>, Vec<Candidate>>,
    /// Jobs that run on an unknown server.
    pub n_jobs_without_server: u64,
    /// Storages that do not answer, or cannot list their running jobs.
    pub unknown_storages: Vec<String>,
}

/// What a pod's servers run.
#[derive(Clone, Debug, Default)]
struct Load {
    /// How long each job has been running, in seconds.
    elapsed: Vec<u64>,
    /// Whether a server reports occupied workers (JobRunr Pro).
    is_occupied: bool,
    /// Whether a server may run jobs that are not known.
    in_doubt: bool,
}

impl Load {
    fn class(&self) -> u32 {
        loss_class(self.elapsed.iter().copied()).max(u32::from(self.is_occupied))
    }
}

impl Assessment {
    /// Assesses the pods.
    #[must_use]
    pub fn new(storages: &[StorageView<'_>], pods: &Pods, pattern: &NamePattern) -> Self {
        let names = PodNames::new(pattern, pods.values());
        let mut assessment = Self::default();
        let mut loads: BTreeMap<PodKey, Load> = BTreeMap::new();
        for storage in storages {
            assessment.add_storage(storage, &names, &mut loads);
        }
        assessment.add_pods(pods, &loads);
        assessment
    }

    fn add_storage(&mut self, storage: &StorageView<'_>, names: &PodNames<'_>, loads: &mut BTreeMap<PodKey, Load>) {
        let known = storage.snapshot.filter(|_| storage.is_current);
        let known = known.and_then(|snapshot| Some((snapshot, snapshot.running.as_ref()?)));
        let Some((snapshot, running)) = known else {
            self.unknown_storages.push(storage.name.to_owned());
            return doubt(storage.snapshot, names, loads);
        };
        let n_without_server = running.jobs.iter().filter(|job| job.server_id.is_none()).count() as u64;
        self.n_jobs_without_server = self.n_jobs_without_server.saturating_add(n_without_server);
        if !running.is_complete() {
            self.unknown_storages.push(storage.name.to_owned());
        }
        if !running.is_complete() || 0 < n_without_server {
            doubt(Some(snapshot), names, loads);
        }
        let by_server = running.by_server();
        for server in &snapshot.servers {
            let is_alive = server.is_alive(snapshot.read_at, snapshot.heartbeat_multiplicand);
            let jobs = by_server.get(&*server.id).map(Vec::as_slice).unwrap_or_default();
            // A server that pauses for many poll intervals seems dead, and its jobs still run.
            if is_alive || !jobs.is_empty() {
                self.add_server(storage.name, (server, is_alive), elapsed(jobs, snapshot.read_at), names, loads);
            }
        }
    }

    fn add_server(
        &mut self,
        storage: &str,
        (server, is_alive): (&Server, bool),
        elapsed: Vec<u64>,
        names: &PodNames<'_>,
        loads: &mut BTreeMap<PodKey, Load>,
    ) {
        let pod = names.find(server.name.as_deref()).map(super::pods::Pod::key);
        self.servers.push(ServerPlace {
            storage: storage.to_owned(),
            id: Arc::clone(&server.id),
            name: server.name.clone(),
            is_alive,
            pod: pod.clone(),
            n_jobs: elapsed.len() as u64,
            seconds: elapsed.iter().copied().fold(0, u64::saturating_add),
        });
        if let Ok(pod) = pod {
            let load = loads.entry(pod).or_default();
            load.elapsed.extend(elapsed);
            load.is_occupied |= is_alive && server.occupied_workers.is_some_and(|workers| 0 < workers);
        }
    }

    fn add_pods(&mut self, pods: &Pods, loads: &BTreeMap<PodKey, Load>) {
        let any_in_doubt = self.in_doubt();
        for (key, pod) in pods.iter().filter(|(_, pod)| !pod.is_terminating) {
            let Some(replica_set) = &pod.replica_set else { continue };
            let (class, in_doubt) = match loads.get(key) {
                Some(load) => (load.class(), load.in_doubt),
                // Its server has stopped, or has not begun: it runs nothing, and goes before those that do. Or it belongs to a
                // storage that has not answered yet.
                None => (0, any_in_doubt),
            };
            let candidate = Candidate { pod: key.clone(), cost: pod.cost, class, in_doubt };
            self.replica_sets.entry(Arc::clone(replica_set)).or_default().push(candidate);
        }
    }

    /// Whether jobs may run that are not known. Costs of pods that may run them do not fall then.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        0 < self.n_jobs_without_server || !self.unknown_storages.is_empty()
    }

    /// Returns the costs that have to be written, the most urgent first.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.replica_sets.values().flat_map(|pods| order::changes(pods)).collect();
        changes.sort_by(|a, b| b.urgency.cmp(&a.urgency).then_with(|| b.cost.cmp(&a.cost)));
        changes
    }

    /// Returns the pods that run jobs, of those that a ReplicaSet controls.
    #[must_use]
    pub fn n_busy_pods(&self) -> usize {
        self.replica_sets.values().flatten().filter(|pod| 0 < pod.class).count()
    }

    /// Returns the pods of which a server is known.
    #[must_use]
    pub fn n_pods(&self) -> usize {
        let pods: BTreeSet<&PodKey> = self.servers.iter().filter_map(|server| server.pod.as_ref().ok()).collect();
        pods.len()
    }
}

/// Marks the pods of a storage's servers: they may run jobs that are not known.
fn doubt(snapshot: Option<&Snapshot>, names: &PodNames<'_>, loads: &mut BTreeMap<PodKey, Load>) {
    let servers = snapshot.into_iter().flat_map(|snapshot| &snapshot.servers);
    for pod in servers.filter_map(|server| names.find(server.name.as_deref()).ok()) {
        loads.entry(pod.key()).or_default().in_doubt = true;
    }
}

/// How long each job has been running at the instant of the read, in seconds. A job whose start is unknown has just started.
fn elapsed(jobs: &[&RunningJob], read_at: Timestamp) -> Vec<u64> {
    let seconds = |job: &&RunningJob| {
        job.started_at.map_or(0, |at| u64::try_from(read_at.duration_since(at).as_secs()).unwrap_or(0))
    };
    jobs.iter().map(seconds).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::jobrunr::RunningJobs;
    use crate::protect::pods::{Cost, Pod};

    fn now() -> Timestamp {
        "2026-11-23T20:00:00Z".parse().unwrap()
    }

    fn server(name: &str, heartbeat_seconds_ago: i64) -> Server {
        Server {
            id: format!("id-of-{name}").into(),
            name: Some(name.into()),
            poll_interval: SignedDuration::from_secs(15),
            last_heartbeat: now() - SignedDuration::from_secs(heartbeat_seconds_ago),
            ..Server::default()
        }
    }

    fn job(server: Option<&str>, seconds: i64) -> RunningJob {
        RunningJob {
            id: "1".into(),
            kind: "a.B.c()".into(),
            server_id: server.map(|server| format!("id-of-{server}").into()),
            started_at: Some(now() - SignedDuration::from_secs(seconds)),
        }
    }

    fn snapshot(servers: Vec<Server>, jobs: Vec<RunningJob>) -> Snapshot {
        let running = Some(RunningJobs { jobs, ..RunningJobs::default() });
        Snapshot { servers, running, ..Snapshot::empty(now(), 4) }
    }

    fn pods(names: &[(&str, Cost)]) -> Pods {
        let pod = |(name, cost): &(&str, Cost)| Pod {
            namespace: "shop".into(),
            name: (*name).into(),
            uid: (*name).into(),
            replica_set: (!name.starts_with("db")).then(|| "rs".into()),
            cost: *cost,
            is_terminating: name.ends_with("stopping"),
        };
        names.iter().map(pod).map(|pod| (pod.key(), pod)).collect()
    }

    fn assess(snapshots: &[Option<&Snapshot>], pods: &Pods) -> Assessment {
        let storages: Vec<StorageView<'_>> = snapshots.iter().map(|snapshot| view(*snapshot, true)).collect();
        Assessment::new(&storages, pods, &NamePattern::default())
    }

    fn view(snapshot: Option<&Snapshot>, is_current: bool) -> StorageView<'_> {
        StorageView { name: "orders", snapshot, is_current }
    }

    fn written(assessment: &Assessment) -> Vec<(String, Option<i32>)> {
        assessment.changes().into_iter().map(|change| (change.pod.1.to_string(), change.cost)).collect()
    }

    #[test]
    fn busy_pod_costs_more_than_one_whose_server_has_not_begun() {
        let orders = snapshot(vec![server("a", 1), server("b", 1)], vec![job(Some("a"), 0), job(Some("b"), 0)]);
        let all = assess(&[Some(&orders)], &pods(&[("a", Cost::None), ("b", Cost::None), ("starting", Cost::None)]));
        assert_eq!(written(&all), [("a".to_owned(), Some(100)), ("b".to_owned(), Some(100))]);
        // Where all are busy alike, nobody has to be preferred.
        let busy = assess(&[Some(&orders)], &pods(&[("a", Cost::None), ("b", Cost::None)]));
        assert_eq!(written(&busy), []);
    }

    #[test]
    fn busy_pods_of_all_storages_cost_more_than_idle_ones() {
        let servers = || ["a", "b", "c", "db-0", "laptop"].map(|name| server(name, 1)).to_vec();
        let orders = snapshot(
            servers(),
            vec![job(Some("b"), 2), job(Some("b"), 2), job(Some("db-0"), 500), job(Some("laptop"), 9)],
        );
        let billing = snapshot(vec![server("a", 1)], vec![job(Some("a"), 0)]);
        let pods = pods(&[
            ("a", Cost::None),
            ("b", Cost::None),
            ("c", Cost::None),
            ("db-0", Cost::None),
            ("starting", Cost::None),
        ]);
        let assessment = assess(&[Some(&orders), Some(&billing)], &pods);
        assert_eq!(written(&assessment), [("b".to_owned(), Some(200)), ("a".to_owned(), Some(100))]);
        assert_eq!((assessment.n_busy_pods(), assessment.n_pods(), assessment.in_doubt()), (2, 4, false));
        let lost: Vec<_> = assessment.servers.iter().filter(|server| server.pod.is_err()).collect();
        assert_eq!(
            (lost.len(), lost[0].name.as_deref(), lost[0].pod.clone()),
            (1, Some("laptop"), Err(NoPod::NotFound))
        );
    }

    #[test]
    fn no_cost_falls_in_doubt() {
        let pods = pods(&[("a", Cost::Ours(300)), ("b", Cost::None), ("c", Cost::None)]);
        let servers = || ["a", "b", "c"].map(|name| server(name, 1)).to_vec();
        let idle_and_busy = |jobs| snapshot(servers(), jobs);
        let certain = idle_and_busy(vec![job(Some("b"), 0)]);
        let expected = [("a".to_owned(), None), ("b".to_owned(), Some(100))];
        assert_eq!(written(&assess(&[Some(&certain)], &pods)), expected);
        let raised = [("b".to_owned(), Some(100))];
        // A job may run anywhere; a storage does not answer; a list has an end.
        let doubtful = idle_and_busy(vec![job(Some("b"), 0), job(None, 5)]);
        assert_eq!(written(&assess(&[Some(&doubtful)], &pods)), raised);
        let mut truncated = certain.clone();
        truncated.running.as_mut().unwrap().is_truncated = true;
        assert_eq!(written(&assess(&[Some(&truncated)], &pods)), raised);
        // Nothing is known at all.
        assert_eq!(written(&assess(&[None], &pods)), []);
        assert_eq!(written(&assess(&[Some(&Snapshot::empty(now(), 4))], &pods)), []);
    }

    /// A storage that is away must not keep the costs of pods that have nothing to do with it: an idle one would stay above a busy
    /// one.
    #[test]
    fn doubt_is_about_the_pods_of_the_storage_that_does_not_answer() {
        let pods = pods(&[("a", Cost::Ours(600)), ("b", Cost::None), ("x", Cost::Ours(300)), ("y", Cost::Ours(400))]);
        let orders = snapshot(vec![server("a", 1), server("b", 1)], vec![job(Some("b"), 0)]);
        let billing = snapshot(vec![server("x", 1)], vec![job(Some("x"), 0)]);
        let all = |billing: Option<&Snapshot>| {
            let views = [view(Some(&orders), true), view(billing, false)];
            written(&Assessment::new(&views, &pods, &NamePattern::default()))
        };
        // `x` has run jobs of `billing`. Of `y` no server is known, so that it may have begun since.
        assert_eq!(all(Some(&billing)), [("a".to_owned(), None), ("b".to_owned(), Some(100))]);
        assert_eq!(all(None), [("a".to_owned(), None), ("b".to_owned(), Some(100))]);
    }

    #[test]
    fn pods_whose_server_has_stopped_or_pauses() {
        // The server of `a` seems dead and runs a job; that of `b` is gone.
        let pods =
            pods(&[("a", Cost::None), ("b", Cost::Ours(200)), ("c", Cost::None), ("x-stopping", Cost::Ours(900))]);
        let servers = vec![server("a", 300), server("c", 1), server("x-stopping", 20)];
        let snapshot = snapshot(servers, vec![job(Some("a"), 400), job(Some("x-stopping"), 5)]);
        let assessment = assess(&[Some(&snapshot)], &pods);
        assert_eq!(written(&assessment), [("a".to_owned(), Some(500))]);
        // What is left of `b` is in order.
        assert_eq!(assessment.replica_sets["rs"].len(), 3);
    }

    #[test]
    fn occupied_workers_of_jobrunr_pro_count_as_a_job() {
        let pods = pods(&[("a", Cost::None), ("b", Cost::None)]);
        let occupied = Server { occupied_workers: Some(2), ..server("a", 1) };
        let assessment = assess(&[Some(&snapshot(vec![occupied, server("b", 1)], Vec::new()))], &pods);
        assert_eq!(written(&assessment), [("a".to_owned(), Some(100))]);
    }
}
