//! The gRPC server: KEDA's service, health, reflection, limits and the shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::certificates::Certificates;
use super::incoming::with_tls;
use super::proto::DESCRIPTORS;
use super::proto::external_scaler_server::ExternalScalerServer;
use super::scaler::Scaler;

/// A trigger's metadata is some hundred bytes; KEDA may add certificates in PEM.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// KEDA multiplexes all streams of all ScaledObjects over one connection, and blocks for ever where there is no room.
const MAX_STREAMS: u32 = 1_000_000;
/// KEDA's client sends no keepalive, so that only ours finds out that it is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams end and calls finish within this time after the stop; what is left then is cut off.
const GRACE: Duration = Duration::from_secs(5);
/// Services of the health protocol besides the empty name; Kubernetes' probes ask for these.
const HEALTH_SERVICES: [&str; 4] = ["", "liveness", "readiness", "externalscaler.ExternalScaler"];

/// Why the server ended otherwise than by its stop.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
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
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE));
    let router = Server::builder()
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(scaler);
    let stopped = stop.clone().cancelled_owned();
    let server = async {
        match certificates {
            None => router.serve_with_incoming_shutdown(incoming, stopped).await,
            Some(certificates) => router.serve_with_incoming_shutdown(with_tls(incoming, certificates), stopped).await,
        }
    };
    let cut_off = async {
        stop.cancelled().await;
        health.set_service_status("readiness", tonic_health::ServingStatus::NotServing).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result?,
        () = cut_off => tracing::warn!("some connections did not end within {GRACE:?} and are cut off"),
    }
    Ok(address)
}
