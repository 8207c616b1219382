//! `jobrunr-scaler serve`: the scaler itself.

mod reload;
mod storages;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::storages::Storages;
pub use self::storages::start_storage;
use crate::clock::Clock;
use crate::config::{Config, Loaded, StorageConfig};
use crate::grpc::{self, Certificates, Scaler, ServeError};
use crate::http::{self, Page};
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::tasks::{TaskFailed, Tasks};
use crate::tls::TlsError;

/// Why the scaler failed.
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
    /// The certificate has become invalid since the configuration was checked.
    #[error("the certificate is invalid: {0}")]
    Certificate(#[from] TlsError),
    /// The handlers of signals cannot be installed.
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A task of the scaler has failed. Kubernetes restarts the scaler.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

/// Binds the address and serves until SIGTERM or SIGINT. `listen` and `http` replace the addresses of the configuration. `file` is
/// the file of the configuration, which is followed. `metrics` also has the dropped lines of the log.
///
/// # Errors
/// [`RunError`]
pub async fn run(
    file: Option<PathBuf>,
    loaded: Loaded,
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
    metrics: Metrics,
) -> Result<(), RunError> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let config = loaded.config;
    let signals = Signals::new().map_err(RunError::Signals)?;
    let certificates = config.tls.clone().map(Certificates::load).transpose()?.map(Arc::new);
    let listener = bind(listen.unwrap_or(config.listen)).await?;
    let (tasks, stop) = (Tasks::default(), CancellationToken::new());
    let http = bind_http(http.or(config.http)).await?;
    if let Some(certificates) = &certificates {
        let mutual = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        info!(not_after = %certificates.state().not_after, mutual, "TLS");
        metrics.watch_certificate(certificates.watch());
    }
    tasks.spawn("signals", stop_on_signal(signals.terminate, stop.clone()));
    // The readers end with the storages, after the server, so that calls in flight get their answers.
    let by_name = storages_by_name(config.clone());
    let recent = if config.page && http.is_some() { Recent::new() } else { Recent::off() };
    let storages = Storages::start(&by_name, Clock::System, metrics.clone(), tasks.clone(), stop.clone());
    if let Some(listener) = http {
        let page = config.page.then(|| Page::new(recent.clone(), storages.handles(), Clock::System));
        tasks.spawn(HTTP_TASK, http::serve(listener, metrics.clone(), page, stop.clone()));
    }
    let scaler = Scaler::new(storages.handles(), Clock::System, metrics.clone(), recent);
    // A panic in one of these ends the process, as in `main`.
    tokio::select! {
        result = serve_scaler(listener, certificates.clone(), scaler, &tasks, stop) => result,
        () = reload::follow(file, signals.hangup, config, storages, &metrics) => Ok(()),
        () = follow_files(certificates.as_deref()) => Ok(()),
    }
}

/// The task that serves health, metrics and the page.
const HTTP_TASK: &str = "health and metrics";

/// Binds the address of health, metrics and the page, if one is configured.
async fn bind_http(address: Option<SocketAddr>) -> Result<Option<TcpListener>, RunError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|cause| RunError::Http { address, cause })?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "health and metrics");
    }
    Ok(Some(listener))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|cause| RunError::Listen { address, cause })
}

/// Never returns.
async fn follow_files(certificates: Option<&Certificates>) {
    match certificates {
        Some(certificates) => certificates.follow_files().await,
        None => std::future::pending().await,
    }
}

/// Serves these storages on a bound listener, without TLS, until `stop`.
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
    let tasks = Tasks::default();
    let storages = Storages::start(storages, clock, metrics.clone(), tasks.clone(), stop.clone());
    let scaler = Scaler::new(storages.handles(), clock, metrics, Recent::off());
    serve_scaler(listener, None, scaler, &tasks, stop).await
}

/// Serves until `stop`, or until a task fails.
async fn serve_scaler(
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    scaler: Scaler,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Result<(), RunError> {
    if let Ok(address) = listener.local_addr() {
        info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    tokio::select! {
        result = grpc::serve(listener, certificates, scaler, stop) => result?,
        failed = tasks.failed() => return Err(failed.into()),
    };
    info!("stopped");
    Ok(())
}

/// Returns the storages of a configuration by name.
fn storages_by_name(config: Config) -> BTreeMap<String, StorageConfig> {
    config.storages.into_iter().map(|(name, storage)| (name.as_str().to_owned(), storage)).collect()
}

/// The handled signals. Installed first, because by default each of them ends the process.
struct Signals {
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, hangup: signal(SignalKind::hangup())? })
    }
}

async fn stop_on_signal(mut terminate: Signal, stop: CancellationToken) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("stopping: streams end, calls in flight finish");
    stop.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn serving_ends_when_a_task_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (metrics, tasks, stop) = (Metrics::default(), Tasks::default(), CancellationToken::new());
        let storages = Storages::start(&BTreeMap::new(), Clock::System, metrics.clone(), tasks.clone(), stop.clone());
        let scaler = Scaler::new(storages.handles(), Clock::System, metrics, Recent::off());
        tasks.spawn("reader of orders", async { panic!("no row like that") });
        let error = serve_scaler(listener, None, scaler, &tasks, stop).await.unwrap_err();
        assert_eq!(error.to_string(), "the task `reader of orders` failed: it panicked: no row like that");
    }
}
