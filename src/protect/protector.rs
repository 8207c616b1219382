//! Keeps the costs in step with the jobs.

use std::collections::HashSet;
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
use super::pods::{Cost, NamePattern, NoPod, Pod, PodKey};
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
/// How long nothing is written while a storage has not answered for the first time: its servers may be in pods of others.
const FIRST_ANSWERS: Duration = Duration::from_secs(30);
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

/// A storage whose jobs are followed.
struct WatchedStorage {
    name: String,
    watcher: Watcher,
    /// Its latest snapshot, however old; `None` before the first.
    latest: Option<Arc<Snapshot>>,
}

impl WatchedStorage {
    fn view(&mut self) -> StorageView<'_> {
        let current = self.watcher.latest().ok();
        let is_current = current.is_some();
        self.latest = current.or(self.latest.take());
        StorageView { name: &self.name, snapshot: self.latest.as_deref(), is_current }
    }
}

/// Keeps the costs of pods in step with the jobs of storages.
pub struct Protector {
    cluster: Cluster,
    store: PodStore,
    storages: Vec<WatchedStorage>,
    settings: ProtectSettings,
    /// Until when first snapshots are awaited.
    awaits_until: Instant,
    budget: Budget,
    outage: Outage,
    /// When writing goes on after the API server did not answer.
    paused_until: Option<Instant>,
    refusals: Refusals,
    /// Pods of which a write has begun. If it is given up, the API server may have received it.
    in_flight: Vec<PodKey>,
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
        let watched = storages.into_iter().map(|(name, monitor)| {
            Ok(WatchedStorage { name, watcher: monitor.watch(question(), ASKED_BY)?, latest: None })
        });
        Ok(Self {
            storages: watched.collect::<Result<_, AskError>>()?,
            budget: Budget::new(settings.writes_per_second),
            outage: Outage::new("all"),
            paused_until: None,
            awaits_until: Instant::now() + FIRST_ANSWERS,
            in_flight: Vec::new(),
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
            let reads = self.storages.iter_mut().map(|storage| storage.watcher.changed().boxed());
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
        let mut figures = ProtectFigures {
            busy_pods: assessment.n_busy_pods(),
            idle_pods: assessment.replica_sets.values().map(Vec::len).sum::<usize>() - assessment.n_busy_pods(),
            servers_without_pod: self.lost.len(),
            jobs_without_server: assessment.n_jobs_without_server,
            pending: changes.len(),
            unlisted_namespaces: n_unlisted,
        };
        self.metrics.record(figures);
        let paused_until = self.paused_until.max(self.awaits_answers_until()).filter(|until| Instant::now() < *until);
        let (mut due, refused_until) = self.refusals.due(changes);
        if paused_until.is_some() {
            return paused_until.filter(|_| !due.is_empty()).into_iter().chain(refused_until).min();
        }
        let left = due.split_off(self.budget.take(due.len()));
        let n_due = due.len();
        let n_written = self.write(due).await;
        figures.pending = figures.pending.saturating_sub(n_written);
        self.metrics.record(figures);
        let next = (!left.is_empty() || n_written < n_due).then(|| Instant::now() + self.budget.until_next());
        next.max(self.paused_until).into_iter().chain(refused_until).min()
    }

    /// Until when first answers of storages are awaited, if there are any to await.
    fn awaits_answers_until(&self) -> Option<Instant> {
        let have_all = self.storages.iter().all(|storage| storage.latest.is_some());
        (!have_all).then_some(self.awaits_until)
    }

    fn assess(&mut self) -> Assessment {
        let views: Vec<StorageView<'_>> = self.storages.iter_mut().map(WatchedStorage::view).collect();
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

    /// Writes costs, and pauses when the API server does not answer. Returns how many were written.
    async fn write(&mut self, changes: Vec<Change>) -> usize {
        let mut n_written = 0;
        self.paused_until = None;
        for changes in changes.chunks(CONCURRENT_WRITES) {
            self.in_flight = changes.iter().map(|change| change.pod.clone()).collect();
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
            let mut failure = None;
            while let Some((pod, cost, result)) = writes.next().await {
                n_written += usize::from(result.is_ok());
                failure = self.record(&pod, cost, result).or(failure);
            }
            drop(writes);
            self.in_flight.clear();
            // Once for all of them, as they have failed together.
            if let Some(error) = failure {
                self.paused_until = Some(Instant::now() + self.outage.record(&error));
                break;
            }
        }
        n_written
    }

    /// Records the outcome of a write. Returns an error that is not about the pod.
    fn record(&mut self, pod: &Pod, cost: Option<i32>, result: Result<(), ClusterError>) -> Option<ClusterError> {
        let key = pod.key();
        self.metrics.record_write(result.as_ref().map_or_else(ClusterError::outcome, |()| "ok"));
        match result {
            Ok(()) => {
                self.outage.end();
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
            Err(error) => return Some(error),
        }
        None
    }

    /// Removes the costs that we have written.
    async fn remove_all(&mut self) {
        let n_pods = self.removals().len();
        let removing = async {
            // The watch shows what the API server received although the write was given up.
            let mut must_look_again = !self.in_flight.is_empty();
            loop {
                self.write(self.removals()).await;
                if !must_look_again && self.removals().is_empty() {
                    return;
                }
                must_look_again = false;
                sleep(REMOVAL_INTERVAL).await;
            }
        };
        if timeout(REMOVAL_TIME, removing).await.is_ok() {
            info!(pods = n_pods, "removed the deletion costs");
        } else {
            let pods = self.removals().len();
            warn!(pods, "not all deletion costs could be removed within {REMOVAL_TIME:?}; `protect --remove` does it");
        }
    }

    /// The changes that remove all costs that we have written, or may have.
    fn removals(&self) -> Vec<Change> {
        let pods = self.store.pods();
        let may_be_ours = |pod: &&Pod| matches!(pod.cost, Cost::Ours(_)) || self.in_flight.contains(&pod.key());
        let ours = pods.values().filter(may_be_ours);
        ours.map(|pod| Change { pod: pod.key(), cost: None, urgency: 0 }).collect()
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
