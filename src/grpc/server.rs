//! The gRPC server: KEDA's service, health, reflection, limits and the shutdown.

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

/// A trigger's metadata is some hundred bytes; KEDA may add certificates in PEM.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Open connections. KEDA has one for each address and set of certificates, so that thousands would be an attack.
const MAX_CONNECTIONS: usize = 1_024;
/// A handshake and a call take some milliseconds.
const MIN_AGE: Duration = Duration::from_millis(250);
/// Services of the health protocol besides the empty name; Kubernetes' probes ask for these.
const HEALTH_SERVICES: [&str; 4] = ["", "liveness", "readiness", "externalscaler.ExternalScaler"];

/// Why the server ended otherwise than by its stop.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The reflection service could not be built.
    #[error("the reflection service failed: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener has no address.
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// Serves on a bound listener until `stop`; then no new calls are taken, streams end with OK, calls in flight finish.
/// With certificates it speaks TLS and nothing else.
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
    // Half of the descriptors at most: databases, files and the other port need some, too.
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
        tracing::warn!("some connections did not end within {GRACE:?} and are cut off");
    }
    Ok(address)
}
