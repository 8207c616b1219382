//! Pods, each with a JobRunr server, and which of them Kubernetes removes.

use std::collections::BTreeSet;

use crate::jobrunr::loss_class;
use crate::simulate::{Millis, Readiness};

/// A run of a job on a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Its number, never used again.
    pub(super) id: u64,
    pub(super) job: u32,
    pub(super) started: Millis,
    /// Whether the job counted as orphaned meanwhile, so that nobody takes notice of the result.
    pub(super) is_lost: bool,
}

/// The life of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its server has not announced itself.
    Starting,
    /// Its server fetches jobs.
    Running,
    /// It was told to stop. Its server fetches no jobs and sends no heartbeats.
    Draining,
    /// It is gone.
    Gone,
}

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) created: Millis,
    /// When its server announced itself; until then, when the pod was created.
    started: Millis,
    /// Random, as Kubernetes makes it.
    uid: u64,
    pub(super) phase: Phase,
    /// The last heartbeat of the server and of its jobs.
    pub(super) heartbeat: Millis,
    pub(super) n_polls: u32,
    /// When it has taken the jobs that it is fetching.
    pub(super) fetches_until: Millis,
    pub(super) runs: Vec<Run>,
}

impl Pod {
    /// Returns when a job last had a heartbeat.
    pub(super) fn heartbeat_of(&self, run: &Run) -> Millis {
        self.heartbeat.max(run.started)
    }

    /// What is lost with the pod, as `protect` writes it to its deletion cost.
    fn loss(&self, now: Millis) -> u32 {
        loss_class(self.runs.iter().map(|run| (now - run.started).unsigned_abs() / 1000))
    }

    fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running)
    }

    fn is_ready(&self, readiness: Readiness) -> bool {
        self.phase == Phase::Running || readiness == Readiness::AtOnce
    }

    /// How long it has been ready, or has existed, as a power of two of nanoseconds: ages of the same order of magnitude are equal.
    fn age_rank(&self, now: Millis, readiness: Readiness) -> Option<u32> {
        let since = if readiness == Readiness::AtOnce { self.created } else { self.started };
        (now - since).saturating_mul(1_000_000).checked_ilog2()
    }
}

/// All pods. A pod's number is its place in the order of creation.
#[derive(Default)]
pub(super) struct Pods {
    pods: Vec<Pod>,
    existing: Vec<u32>,
    n_terminating: u32,
    /// The servers' table: rows in the order of the first heartbeat. The row of a killed server stays until others remove it.
    servers: Vec<u32>,
    /// Running pods with a free worker, if jobs do not wait for polls.
    free: BTreeSet<u32>,
}

impl Pods {
    pub(super) fn get(&self, pod: u32) -> &Pod {
        &self.pods[pod as usize]
    }

    pub(super) fn get_mut(&mut self, pod: u32) -> &mut Pod {
        &mut self.pods[pod as usize]
    }

    pub(super) fn existing(&self) -> impl Iterator<Item = u32> {
        self.existing.iter().copied()
    }

    /// The pods that exist, terminating ones included.
    pub(super) fn n_existing(&self) -> u32 {
        self.existing.len() as u32
    }

    pub(super) fn n_terminating(&self) -> u32 {
        self.n_terminating
    }

    /// The pods that are not told to stop: `status.replicas`.
    pub(super) fn n_active(&self) -> u32 {
        self.n_existing() - self.n_terminating
    }

    /// The pods that the HPA counts as ready, terminating ones included: it looks at phase and condition only (`getReadyPodsCount` in
    /// Kubernetes' `replica_calculator.go`). With a readiness probe, a server that stops is not ready.
    pub(super) fn n_ready(&self, readiness: Readiness) -> u32 {
        let ready = self.existing().filter(|pod| self.get(*pod).is_ready(readiness));
        ready.count() as u32
    }

    pub(super) fn create(&mut self, now: Millis, uid: u64) -> u32 {
        let number = self.pods.len() as u32;
        let runs = Vec::new();
        self.pods.push(Pod {
            created: now,
            started: now,
            uid,
            phase: Phase::Starting,
            heartbeat: now,
            n_polls: 0,
            fetches_until: now,
            runs,
        });
        self.existing.push(number);
        number
    }

    /// The pod's server announces itself.
    pub(super) fn announce(&mut self, pod: u32, now: Millis) {
        let server = self.get_mut(pod);
        server.phase = Phase::Running;
        server.started = now;
        server.heartbeat = now;
        self.servers.push(pod);
    }

    /// Returns the pod that a ReplicaSet removes next (`ActivePodsWithRanks` in Kubernetes' `controller_utils.go`): one that is not
    /// ready, else the one with the lowest deletion cost, else one whose age is of the lowest order of magnitude, else the one with
    /// the smallest UID, which is random.
    pub(super) fn to_remove(&self, now: Millis, readiness: Readiness, spares_busy: bool) -> Option<u32> {
        let active = self.existing().filter(|pod| self.get(*pod).is_active());
        active.min_by_key(|number| {
            let pod = self.get(*number);
            let cost = if spares_busy { pod.loss(now) } else { 0 };
            (pod.is_ready(readiness), cost, pod.age_rank(now, readiness), pod.uid)
        })
    }

    /// The pod is told to stop while its jobs run.
    pub(super) fn drain(&mut self, pod: u32) {
        self.get_mut(pod).phase = Phase::Draining;
        self.n_terminating += 1;
        self.free.remove(&pod);
    }

    /// The pod ends. Returns how long it existed.
    pub(super) fn remove(&mut self, pod: u32, now: Millis) -> Millis {
        if self.get(pod).phase == Phase::Draining {
            self.n_terminating -= 1;
        }
        let removed = self.get_mut(pod);
        removed.phase = Phase::Gone;
        removed.runs = Vec::new();
        let lifetime = now - removed.created;
        self.existing.retain(|existing| *existing != pod);
        self.free.remove(&pod);
        lifetime
    }

    /// A server that stops in an orderly way deletes its row.
    pub(super) fn delete_server(&mut self, pod: u32) {
        self.servers.retain(|server| *server != pod);
    }

    /// Other servers delete the rows of those without a heartbeat since `before`.
    pub(super) fn delete_dead_servers(&mut self, before: Millis) {
        let Self { servers, pods, .. } = self;
        servers.retain(|server| before <= pods[*server as usize].heartbeat);
    }

    /// The rows of the servers' table, with the pods' numbers.
    pub(super) fn servers(&self) -> impl Iterator<Item = (u32, &Pod)> {
        self.servers.iter().map(|server| (*server, self.get(*server)))
    }

    /// Whether the server is the one with the oldest row, which does the master's work.
    pub(super) fn is_master(&self, pod: u32) -> bool {
        self.servers.first() == Some(&pod)
    }

    pub(super) fn any_running(&self) -> bool {
        self.servers().any(|(_, pod)| pod.phase == Phase::Running)
    }

    /// The runs on draining pods without a heartbeat since `before`, which count as orphaned.
    pub(super) fn stale_runs(&self, before: Millis) -> Vec<(u32, Run)> {
        if self.n_terminating == 0 {
            return Vec::new();
        }
        let draining = self.existing().map(|number| (number, self.get(number)));
        let draining = draining.filter(|(_, pod)| pod.phase == Phase::Draining);
        let is_stale = |pod: &Pod, run: &Run| !run.is_lost && pod.heartbeat_of(run) <= before;
        draining
            .flat_map(|(number, pod)| {
                pod.runs.iter().filter(move |run| is_stale(pod, run)).map(move |run| (number, *run))
            })
            .collect()
    }

    /// Whether a run is still going.
    pub(super) fn is_running(&self, pod: u32, run: u64) -> bool {
        self.get(pod).runs.iter().any(|running| running.id == run)
    }

    /// The oldest pod with a free worker.
    pub(super) fn first_free(&self) -> Option<u32> {
        self.free.first().copied()
    }

    pub(super) fn set_free(&mut self, pod: u32, is_free: bool) {
        if is_free {
            self.free.insert(pod);
        } else {
            self.free.remove(&pod);
        }
    }
}
