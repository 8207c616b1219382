//! Keeps the costs in step with the jobs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{FutureExt, select_all};
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::assessment::{Assessment, StorageView};
use super::budget::Budget;
use super::cluster::{Cluster, ClusterError};
use super::order::Change;
use super::pods::{Cost, NamePattern, NoPod, Pod};
use super::refusals::Refusals;
use super::store::{Outage, PodStore};
use crate::jobrunr::{Question, Snapshot};
use crate::metrics::{ProtectFigures, ProtectMetrics};
use crate::monitor::{AskError, Monitor, Watcher};

/// Writes at a time.
const CONCURRENT_WRITES: usize = 10;
/// Changes of pods and jobs within this time are one.
const GATHER: Duration = Duration::from_millis(100);
/// What removing costs may take when protection ends, well below Kubernetes' default grace period.
const REMOVAL_TIME: Duration = Duration::from_secs(20);
/// The pause before what could not be removed is tried again.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(1);
/// In the place of a namespace, for the monitor's limits.
const ASKED_BY: &str = "protect";

/// How pods are protected.
#[derive(Clone, Debug)]
pub struct ProtectSettings {
    /// How a server's name comes from that of its pod.
    pub pattern: NamePattern,
    /// Writes to the API server per second.
    pub writes_per_second: u32,
    /// Namespaces that are watched.
    pub n_scopes: usize,
    /// Whether costs are removed when protection ends.
    pub removes_costs: bool,
}

/// The question that shows which jobs run where.
#[must_use]
pub fn question() -> Question {
    Question { running: true, ..Question::default() }
}

/// Keeps the costs of pods in step with the jobs of storages.
pub struct Protector {
    cluster: Cluster,
    store: PodStore,
    storages: Vec<(String, Watcher)>,
    settings: ProtectSettings,
    /// What each storage last answered.
    snapshots: HashMap<String, Arc<Snapshot>>,
    budget: Budget,
    outage: Outage,
    /// When writing goes on after the API server did not answer.
    paused_until: Option<Instant>,
    refusals: Refusals,
    metrics: ProtectMetrics,
    /// Servers whose pod was not found, by storage and id, which were logged.
    lost: HashSet<(String, Arc<str>)>,
}

impl Protector {
    /// Prepares it. Reads the storages from here on.
    ///
    /// # Errors
    /// [`AskError`]
    pub fn new(
        cluster: Cluster,
        store: PodStore,
        storages: impl IntoIterator<Item = (String, Monitor)>,
        settings: ProtectSettings,
        metrics: ProtectMetrics,
    ) -> Result<Self, AskError> {
        let watched = storages.into_iter().map(|(name, monitor)| Ok((name, monitor.watch(question(), ASKED_BY)?)));
        Ok(Self {
            storages: watched.collect::<Result<_, AskError>>()?,
            budget: Budget::new(settings.writes_per_second),
            outage: Outage::new("all"),
            paused_until: None,
            snapshots: HashMap::new(),
            refusals: Refusals::default(),
            lost: HashSet::new(),
            cluster,
            store,
            settings,
            metrics,
        })
    }

    /// Protects until `stop`, and then removes the costs unless they are to stay.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut store = self.store.subscribe();
        loop {
            let n_listed = store.borrow_and_update().n_listed;
            let step = async { if 0 < n_listed { self.step(n_listed).await } else { None } };
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = step => next,
            };
            let reads = self.storages.iter_mut().map(|(_, watcher)| watcher.changed().boxed());
            let reads =
                async { if reads.len() == 0 { std::future::pending().await } else { select_all(reads).await.0 } };
            tokio::select! {
                () = stop.cancelled() => break,
                () = reads => {}
                _ = store.changed() => tokio::time::sleep(GATHER).await,
                () = until(next) => {}
            }
        }
        if self.settings.removes_costs {
            self.remove_all().await;
        }
    }

    /// Assesses the pods of the namespaces that were listed, and writes what the budget allows. Returns when there is more to write,
    /// if there is.
    async fn step(&mut self, n_listed: usize) -> Option<Instant> {
        let assessment = self.assess();
        let n_unlisted = self.settings.n_scopes.saturating_sub(n_listed);
        // The pods of servers may be in the others.
        if n_unlisted == 0 {
            self.report(&assessment);
        }
        self.refusals.retain(&self.store.pods());
        let changes = assessment.changes();
        let n_changes = changes.len();
        let (mut due, refused_until) = self.refusals.due(changes);
        let is_paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        let n_writes = if is_paused { 0 } else { self.budget.take(due.len()) };
        let left = due.split_off(n_writes);
        self.metrics.record(ProtectFigures {
            busy_pods: assessment.n_busy_pods(),
            idle_pods: assessment.replica_sets.values().map(Vec::len).sum::<usize>() - assessment.n_busy_pods(),
            servers_without_pod: self.lost.len(),
            jobs_without_server: assessment.n_jobs_without_server,
            pending: n_changes - n_writes,
            unlisted_namespaces: n_unlisted,
        });
        let is_interrupted = self.write(due).await;
        let next = (!left.is_empty() || is_interrupted).then(|| Instant::now() + self.budget.until_next());
        let next = next.map(|next| self.paused_until.map_or(next, |paused| paused.max(next)));
        next.into_iter().chain(refused_until).min()
    }

    fn assess(&mut self) -> Assessment {
        let mut current = HashSet::new();
        for (name, watcher) in &self.storages {
            if let Ok(snapshot) = watcher.latest() {
                self.snapshots.insert(name.clone(), snapshot);
                current.insert(name.as_str());
            }
        }
        let names = self.storages.iter().map(|(name, _)| name.as_str());
        let views: Vec<StorageView<'_>> = names
            .map(|name| StorageView {
                name,
                snapshot: self.snapshots.get(name).map(Arc::as_ref),
                is_current: current.contains(name),
            })
            .collect();
        Assessment::new(&views, &self.store.pods(), &self.settings.pattern)
    }

    /// Logs each server without a pod once.
    fn report(&mut self, assessment: &Assessment) {
        let mut lost = HashSet::new();
        for server in &assessment.servers {
            let Err(why) = server.pod else { continue };
            let key = (server.storage.clone(), Arc::clone(&server.id));
            if !self.lost.contains(&key) {
                let name = server.name.as_deref().unwrap_or(&server.id);
                let advice = if why == NoPod::NoName { "upgrade JobRunr" } else { "its jobs are not protected" };
                warn!(storage = server.storage, server = name, "no pod for a server: {why}; {advice}");
            }
            lost.insert(key);
        }
        self.lost = lost;
    }

    /// Writes costs until the API server does not answer. Returns whether that was so.
    async fn write(&mut self, changes: Vec<Change>) -> bool {
        self.paused_until = None;
        for changes in changes.chunks(CONCURRENT_WRITES) {
            let pods: Vec<(Pod, Option<i32>)> = {
                let pods = self.store.pods();
                changes.iter().filter_map(|change| Some((pods.get(&change.pod)?.clone(), change.cost))).collect()
            };
            let cluster = &self.cluster.clone();
            let mut writes: FuturesUnordered<_> = pods
                .into_iter()
                .map(|(pod, cost)| async move {
                    let result = cluster.write(&pod, cost).await;
                    (pod, cost, result)
                })
                .collect();
            // Each is recorded as it comes: what was written is known even if the rest is given up.
            while let Some((pod, cost, result)) = writes.next().await {
                self.record(&pod, cost, result);
            }
            if self.paused_until.is_some() {
                return true;
            }
        }
        false
    }

    fn record(&mut self, pod: &Pod, cost: Option<i32>, result: Result<(), ClusterError>) {
        let key = pod.key();
        self.metrics.record_write(result.as_ref().map_or_else(ClusterError::outcome, |()| "ok"));
        match result {
            Ok(()) => {
                self.outage.end();
                self.paused_until = None;
                self.refusals.end(pod);
                debug!(namespace = &*key.0, pod = &*key.1, cost, "deletion cost");
                self.store.set_cost(&key, cost.map_or(Cost::None, Cost::Ours));
            }
            Err(ClusterError::Gone(_)) => self.store.remove(pod),
            Err(ClusterError::Foreign(why)) => {
                warn!(
                    namespace = &*key.0,
                    pod = &*key.1,
                    "somebody else manages the deletion cost, which stays: {why}"
                );
                self.store.set_cost(&key, Cost::Foreign);
            }
            Err(error) if error.is_about_the_pod() => self.refusals.record(pod, error),
            Err(error) => self.paused_until = Some(Instant::now() + self.outage.record(&error)),
        }
    }

    /// Removes the costs that we have written.
    async fn remove_all(&mut self) {
        let n_pods = self.removals().len();
        let removing = async {
            self.write(self.removals()).await;
            while !self.removals().is_empty() {
                sleep(REMOVAL_INTERVAL).await;
                self.write(self.removals()).await;
            }
        };
        if timeout(REMOVAL_TIME, removing).await.is_ok() {
            info!(pods = n_pods, "removed the deletion costs");
        } else {
            let pods = self.removals().len();
            warn!(pods, "not all deletion costs could be removed within {REMOVAL_TIME:?}; `protect --remove` does it");
        }
    }

    /// The changes that remove all costs that we have written.
    fn removals(&self) -> Vec<Change> {
        let pods = self.store.pods();
        let ours = pods.values().filter(|pod| matches!(pod.cost, Cost::Ours(_)));
        ours.map(|pod| Change { pod: pod.key(), cost: None, urgency: 0 }).collect()
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
