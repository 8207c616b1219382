//! The gRPC server: KEDA's service, health, reflection, limits and shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use super::certificates::Certificates;
use super::incoming::{self, Server};
use super::proto::DESCRIPTORS;
use super::proto::external_scaler_server::ExternalScalerServer;
use super::scaler::Scaler;
use super::{GRACE, calls};
use crate::connections::{Connections, descriptor_limit};

/// A trigger's metadata has some hundred bytes. KEDA may add certificates in PEM.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Open connections. KEDA has one per address and set of certificates, so thousands are an attack.
const MAX_CONNECTIONS: usize = 1_024;
/// A connection gets this time for its handshake and its first call, which take milliseconds.
const MIN_AGE: Duration = Duration::from_millis(250);
/// The services of the health protocol. Kubernetes' probes ask for the named ones.
const HEALTH_SERVICES: [&str; 4] = ["", "liveness", "readiness", "externalscaler.ExternalScaler"];

/// Why the server failed.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The reflection service could not be built.
    #[error("the reflection service failed: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener has no address.
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// Serves on a bound listener until `stop`. Then it accepts no more calls, streams end with OK, and calls in flight finish. With
/// certificates it accepts only TLS.
///
/// # Errors
/// [`ServeError`]
pub async fn serve(
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    scaler: Scaler,
    stop: CancellationToken,
) -> Result<SocketAddr, ServeError> {
    let address = listener.local_addr()?;
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in HEALTH_SERVICES {
        health.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let scaler = ExternalScalerServer::new(scaler).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(health_service).add_service(reflection).add_service(scaler).prepare();
    let server = Server { routes, certificates, stop: stop.clone() };
    let open = TaskTracker::new();
    // At most half of the descriptors: databases, files and the other port need some as well.
    let max_connections = MAX_CONNECTIONS.min(descriptor_limit() / 2);
    let connections = Connections::new(max_connections, MIN_AGE, calls::memory());
    let accepting = async {
        loop {
            let (stream, ticket) = connections.accept(&listener).await;
            open.spawn(incoming::serve(server.clone(), stream, ticket));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    health.set_service_status("readiness", tonic_health::ServingStatus::NotServing).await;
    open.close();
    if timeout(GRACE, open.wait()).await.is_err() {
        tracing::warn!("connections closed: they did not end within {GRACE:?}");
    }
    Ok(address)
}
