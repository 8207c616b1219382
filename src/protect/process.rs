//! The process: puts the parts together, and stops them.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cluster::{Cluster, ClusterError, Scope};
use super::options::ProtectOptions;
use super::pods::Cost;
use super::protector::{ProtectSettings, Protector, question};
use super::report::PodsReport;
use super::store::PodStore;
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::http;
use crate::metrics::Metrics;
use crate::monitor::AskError;
use crate::serve::start_storage;
use crate::storage::{Storage, StorageError};
use crate::tasks::{TaskFailed, Tasks};

/// How long to wait before a removal is tried again that the API server did not answer.
const REMOVAL_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Why protection failed.
#[derive(Debug, Error)]
pub enum ProtectError {
    /// The Kubernetes API cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The address of health and metrics is in use, or not ours.
    #[error(
        "cannot listen on {address} for health and metrics: {cause}; choose another address with --http or `http`, or `off`"
    )]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The handlers of signals cannot be installed.
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
    /// A storage cannot be asked.
    #[error("{0}")]
    Ask(#[from] AskError),
    /// A storage cannot be read.
    #[error("storage `{storage}`: {cause}")]
    Storage {
        /// Its name.
        storage: String,
        /// Why.
        cause: StorageError,
    },
    /// Not all costs could be removed.
    #[error("removed the deletion costs of {}, then failed: {cause}", crate::text::counted(*n_pods as u64, "pod"))]
    Removal {
        /// How many were.
        n_pods: usize,
        /// The last error.
        cause: ClusterError,
    },
    /// A task has failed. Kubernetes restarts the process.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

/// Protects pods until SIGTERM or SIGINT. `http` replaces the address of the configuration.
///
/// # Errors
/// [`ProtectError`]
pub async fn run(
    cluster: Cluster,
    loaded: Loaded,
    http: Option<SocketAddr>,
    options: &ProtectOptions,
    metrics: Metrics,
) -> Result<(), ProtectError> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(ProtectError::Signals)?;
    let (tasks, stop) = (Tasks::default(), CancellationToken::new());
    let stopping = stop.clone();
    tasks.spawn("signals", async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        info!("stopping");
        stopping.cancel();
    });
    if let Some(address) = http.or(loaded.config.http) {
        let listener = TcpListener::bind(address).await.map_err(|cause| ProtectError::Http { address, cause })?;
        info!(%address, "health and metrics");
        tasks.spawn("health and metrics", http::serve(listener, metrics.clone(), None, stop.clone()));
    }
    tokio::select! {
        result = protect(cluster, &loaded.config, options, &metrics, &tasks, stop) => result?,
        failed = tasks.failed() => return Err(failed.into()),
    }
    info!("stopped");
    Ok(())
}

/// Protects pods until `stop`.
///
/// # Errors
/// [`ProtectError`]
pub async fn protect(
    cluster: Cluster,
    config: &Config,
    options: &ProtectOptions,
    metrics: &Metrics,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Result<(), ProtectError> {
    // The storages are read until the costs are removed.
    let reading = CancellationToken::new();
    let _reading = reading.clone().drop_guard();
    let storages = config.storages.iter().map(|(name, storage)| {
        let handle = start_storage(name.as_str(), storage, Clock::System, metrics, tasks, &reading);
        (name.as_str().to_owned(), handle.monitor)
    });
    let store = PodStore::default();
    let scopes = options.scopes(&cluster);
    let settings = ProtectSettings {
        pattern: options.pattern.clone(),
        writes_per_second: options.writes_per_second,
        n_scopes: scopes.len(),
        removes_costs: !options.keeps_costs,
    };
    let protector = Protector::new(cluster.clone(), store.clone(), storages, settings, metrics.protect())?;
    for scope in scopes {
        info!(namespace = scope.namespace, selector = scope.selector, "protecting pods");
        let following = store.clone().follow(cluster.clone(), scope.clone());
        let following = reading.clone().run_until_cancelled_owned(following);
        tasks.spawn(format!("watch of {}", scope.namespace), async move {
            let _ = following.await;
        });
    }
    protector.run(stop).await;
    Ok(())
}

/// Removes the costs that any `protect` has written. Returns of how many pods. What fails in one namespace or for one pod does not keep
/// the others, and is tried again.
///
/// # Errors
/// [`ProtectError::Removal`]
pub async fn remove(cluster: &Cluster, options: &ProtectOptions) -> Result<usize, ProtectError> {
    let (mut n_pods, mut failure) = (0, None);
    for scope in options.scopes(cluster) {
        let mut waits = REMOVAL_WAITS.into_iter();
        while let Err(error) = remove_in(cluster, &scope, &mut n_pods).await {
            let Some(wait) = waits.next().filter(|_| !error.is_about_the_pod()) else {
                failure = Some(error);
                break;
            };
            tokio::time::sleep(wait).await;
        }
    }
    failure.map_or(Ok(n_pods), |cause| Err(ProtectError::Removal { n_pods, cause }))
}

/// Removes the costs of one namespace. `n_pods` counts them. Returns the last error.
async fn remove_in(cluster: &Cluster, scope: &Scope, n_pods: &mut usize) -> Result<(), ClusterError> {
    let (pods, _) = cluster.list(scope).await?;
    let mut result = Ok(());
    for pod in pods.iter().filter(|pod| matches!(pod.cost, Cost::Ours(_))) {
        match cluster.write(pod, None).await {
            Ok(()) => *n_pods += 1,
            Err(ClusterError::Gone(_)) => {}
            Err(error) if error.is_about_the_pod() => result = Err(error),
            Err(error) => return Err(error),
        }
    }
    result
}

/// Reads storages and pods once, and reports which server is which pod, and what it costs.
///
/// # Errors
/// [`ProtectError`]
pub async fn report(cluster: &Cluster, config: &Config, options: &ProtectOptions) -> Result<PodsReport, ProtectError> {
    let mut snapshots = Vec::new();
    for (name, storage) in &config.storages {
        let failed = |cause| ProtectError::Storage { storage: name.as_str().to_owned(), cause };
        let mut session = storage.connect().await.map_err(failed)?;
        let snapshot = session.read(&[question()].into_iter().collect(), Clock::System.now()).await.map_err(failed)?;
        session.close().await;
        snapshots.push((name.as_str().to_owned(), snapshot));
    }
    let mut pods = super::pods::Pods::new();
    for Scope { namespace, selector } in options.scopes(cluster) {
        let (listed, _) = cluster.list(&Scope { namespace, selector }).await?;
        pods.extend(listed.into_iter().map(|pod| (pod.key(), pod)));
    }
    Ok(PodsReport::new(&snapshots, &pods, &options.pattern))
}
