//! The pods as the API server last showed them, kept up to date by a watch per namespace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::cluster::{Cluster, ClusterError, PodEvent, Scope};
use super::pods::{Cost, Pod, PodKey, Pods};

/// The first wait after an error, and the longest one.
pub(super) const RETRIES: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(30);
/// A watch that ends before this time and without an event has failed.
const SHORT_WATCH: Duration = Duration::from_secs(10);
/// After so many failures of a watch in a row the pods are listed again: what it cannot deliver, a list may.
const MAX_WATCH_FAILURES: u32 = 3;

/// The pods of all namespaces. Clones share them.
#[derive(Clone)]
pub struct PodStore(Arc<Inner>);

struct Inner {
    pods: Mutex<Pods>,
    /// Counts changes, and the namespaces that were listed.
    state: watch::Sender<StoreState>,
}

/// What changes in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// How often pods have changed.
    pub n_changes: u64,
    /// How many namespaces were listed at least once.
    pub n_listed: usize,
}

impl Default for PodStore {
    fn default() -> Self {
        Self(Arc::new(Inner { pods: Mutex::default(), state: watch::Sender::default() }))
    }
}

impl PodStore {
    /// The pods.
    pub fn pods(&self) -> MutexGuard<'_, Pods> {
        // Nothing panics while the lock is held.
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies of changes that come from the API server.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<StoreState> {
        self.0.state.subscribe()
    }

    /// Records what was written, before the watch shows it.
    pub fn set_cost(&self, key: &PodKey, cost: Cost) {
        if let Some(pod) = self.pods().get_mut(key) {
            pod.cost = cost;
        }
    }

    /// Forgets a pod that is gone, but not a later one of the same name.
    pub fn remove(&self, pod: &Pod) {
        let mut pods = self.pods();
        if pods.get(&pod.key()).is_some_and(|known| known.uid == pod.uid) {
            pods.remove(&pod.key());
        }
    }

    fn apply(&self, event: PodEvent) {
        match event {
            PodEvent::Changed(pod) => drop(self.pods().insert(pod.key(), pod)),
            PodEvent::Removed(pod) => self.remove(&pod),
            PodEvent::Version => return,
        }
        self.0.state.send_modify(|state| state.n_changes = state.n_changes.wrapping_add(1));
    }

    fn replace(&self, namespace: &str, listed: Vec<Pod>, is_first: bool) {
        {
            let mut pods = self.pods();
            pods.retain(|(of, _), _| **of != *namespace);
            pods.extend(listed.into_iter().map(|pod| (pod.key(), pod)));
        }
        self.0.state.send_modify(|state| {
            state.n_changes = state.n_changes.wrapping_add(1);
            state.n_listed += usize::from(is_first);
        });
    }

    /// Keeps the pods of a namespace up to date. Never returns. While the API server does not answer, they stay what they were.
    pub async fn follow(self, cluster: Cluster, scope: Scope) {
        let mut outage = Outage::new(&scope.namespace);
        let mut is_first = true;
        loop {
            let listed = cluster.list(&scope).await;
            let mut version = match listed {
                Ok((pods, version)) => {
                    self.replace(&scope.namespace, pods, std::mem::take(&mut is_first));
                    version
                }
                Err(error) => {
                    outage.wait(&error).await;
                    continue;
                }
            };
            let mut n_failures = 0;
            while n_failures < MAX_WATCH_FAILURES {
                let began = Instant::now();
                let result = self.watch(&cluster, &scope, &mut version, &mut outage).await;
                n_failures += 1;
                match result {
                    // A few minutes have passed.
                    Ok(()) if SHORT_WATCH <= began.elapsed() => {
                        outage.end();
                        n_failures = 0;
                    }
                    // Closed at once, perhaps by a proxy.
                    Ok(()) => sleep(outage.next_wait()).await,
                    // What has happened since is not known.
                    Err(ClusterError::Expired(_)) => {
                        sleep(outage.next_wait()).await;
                        break;
                    }
                    Err(error) => outage.wait(&error).await,
                }
            }
        }
    }

    /// Applies the events of one watch until it ends.
    async fn watch(
        &self,
        cluster: &Cluster,
        scope: &Scope,
        version: &mut String,
        outage: &mut Outage,
    ) -> Result<(), ClusterError> {
        let events = cluster.watch(scope, version).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            self.apply(event?);
            outage.end();
        }
        Ok(())
    }
}

/// A wait that is up to a quarter shorter or longer, so that not everybody comes back at the same instant.
pub(super) fn varied(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + fastrand::f64() / 2.0)
}

/// The log of an outage: its first error, each new one, and its end.
pub(super) struct Outage {
    what: String,
    last: Option<ClusterError>,
    wait: Duration,
}

impl Outage {
    pub(super) fn new(namespace: &str) -> Self {
        Self { what: namespace.to_owned(), last: None, wait: RETRIES.start }
    }

    /// Records that the API server has answered.
    pub(super) fn end(&mut self) {
        if self.last.take().is_some() {
            info!(namespace = self.what, "the API server answers again");
        }
        self.wait = RETRIES.start;
    }

    /// Records an error. Returns how long to wait before the next request.
    pub(super) fn record(&mut self, error: &ClusterError) -> Duration {
        let is_new =
            self.last.as_ref().is_none_or(|last| std::mem::discriminant(last) != std::mem::discriminant(error));
        if is_new {
            warn!(namespace = self.what, "{error}; deletion costs stay as they are");
        }
        self.last = Some(error.clone());
        self.next_wait()
    }

    /// Returns how long to wait before the next request, longer each time until [`Self::end`].
    fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = wait.saturating_mul(2).min(RETRIES.end);
        varied(wait)
    }

    async fn wait(&mut self, error: &ClusterError) {
        let wait = self.record(error);
        sleep(wait).await;
    }
}
