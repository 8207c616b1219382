//! `jobrunr-scaler serve`: the scaler itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Config, StorageConfig};
use crate::grpc::{self, Scaler, ServeError, StorageEntry};
use crate::http;
use crate::metrics::Metrics;
use crate::monitor::{Monitor, MonitorSettings};

/// How much longer than its statement timeout a read may take before its connection is given up.
const STATEMENT_SLACK: Duration = Duration::from_secs(1);

/// Why serving failed.
#[derive(Debug, Error)]
pub enum RunError {
    /// The address is in use, or not ours.
    #[error("cannot listen on {address}: {cause}; choose another address with --listen or `listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        cause: std::io::Error,
    },
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
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Binds the address and serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`]
pub async fn run(config: Config, warnings: &[String]) -> Result<(), RunError> {
    for warning in warnings {
        warn!("{warning}");
    }
    let listener = bind(config.listen).await?;
    let http = match config.http {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|cause| RunError::Http { address, cause })?),
        None => None,
    };
    let metrics = Metrics::default();
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    if let Some(http) = http {
        if let Ok(address) = http.local_addr() {
            info!(%address, "health and metrics");
        }
        let (metrics, stop) = (metrics.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = http::serve(http, metrics, stop).await {
                warn!(%error, "health and metrics are served no more");
            }
        });
    }
    serve(
        listener,
        &config.storages.into_iter().map(|(name, s)| (name.as_str().to_owned(), s)).collect(),
        Clock::System,
        metrics,
        stop,
    )
    .await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|cause| RunError::Listen { address, cause })
}

/// Serves these storages on a bound listener until `stop`.
///
/// # Errors
/// [`RunError`]
pub async fn serve(
    listener: TcpListener,
    storages: &BTreeMap<String, StorageConfig>,
    clock: Clock,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), RunError> {
    if let Ok(address) = listener.local_addr() {
        info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    // The readers end after the server, so that calls in flight still get their answers.
    let stop_reading = CancellationToken::new();
    let _readers_end_with_us = stop_reading.clone().drop_guard();
    let entries = storages.iter().map(|(name, storage)| {
        info!(storage = name, address = %storage.address, prefix = storage.table_prefix.as_str(), "storage");
        (name.clone(), entry(name, storage, clock, &metrics, &stop_reading))
    });
    let scaler = Scaler::new(entries.collect(), clock, metrics.clone(), stop.clone());
    grpc::serve(listener, scaler, stop).await?;
    info!("stopped");
    Ok(())
}

/// The monitor of a storage and who may use it.
#[must_use]
pub fn entry(
    name: &str,
    storage: &StorageConfig,
    clock: Clock,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> StorageEntry {
    let settings = MonitorSettings {
        refresh: storage.refresh,
        max_staleness: storage.max_staleness,
        read_timeout: storage.statement_timeout + STATEMENT_SLACK,
    };
    let source = Arc::new(storage.clone());
    let monitor = Monitor::start(name.to_owned(), source, settings, clock, metrics.clone(), stop.clone());
    StorageEntry { monitor, namespaces: storage.namespaces.clone() }
}

async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        warn!("SIGTERM cannot be handled: the process will be killed instead of stopping gracefully");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("stopping: streams end, calls in flight finish");
    stop.cancel();
}
