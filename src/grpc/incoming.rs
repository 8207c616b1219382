//! Connections of the gRPC port, from the TLS handshake to the end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::debug;

use super::certificates::Certificates;
use super::paced::{Backlog, Paced};
use super::{GRACE, calls};
use crate::connections::{RateLimitedLog, Ticket};

/// The longest time until the first byte, with TLS until the end of the handshake. Both usually take milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which no call was answered is closed after this time.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(120);
/// A connection without open calls is closed after this time. KEDA's own client waits as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// KEDA's client sends no keepalive, so only ours notices that the client is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// KEDA multiplexes the streams of all ScaledObjects over one connection, and blocks forever at this limit. It is above what
/// [`calls::memory`] allows, so that KEDA gets an error instead.
const MAX_STREAMS: u32 = 20_000;
/// The bytes of a request that a client may send before any was read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The bytes that are buffered for a client that does not read. A response has some hundred bytes.
const SEND_BUFFER: usize = 16 * 1024;

/// The log of failed handshakes: a misconfigured client returns every second.
static HANDSHAKES: RateLimitedLog = RateLimitedLog::new();

/// What all connections share.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) routes: Routes,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) stop: CancellationToken,
}

/// Serves a connection until it ends, is idle for too long, or makes room for another.
pub(super) async fn serve(server: Server, stream: TcpStream, ticket: Ticket) {
    let ticket = Arc::new(ticket);
    let serving = async {
        // Otherwise a response waits for the acknowledgement of the previous one.
        let _ = stream.set_nodelay(true);
        match &server.certificates {
            None => match server.stop.run_until_cancelled(timeout(HANDSHAKE_TIMEOUT, stream.readable())).await {
                Some(Ok(_)) => serve_http2(&server, stream, &ticket).await,
                _ => debug!(client = %ticket.peer(), "connection closed: the client sent nothing"),
            },
            Some(certificates) => {
                let handshake = handshake(certificates, stream, &ticket);
                if let Some(Some(stream)) = server.stop.run_until_cancelled(handshake).await {
                    serve_http2(&server, stream, &ticket).await;
                }
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = ticket.closed() => {}
    }
}

async fn handshake(certificates: &Certificates, stream: TcpStream, ticket: &Ticket) -> Option<TlsStream<TcpStream>> {
    let error = match timeout(HANDSHAKE_TIMEOUT, certificates.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        // The client sent nothing: a load balancer checks whether the port is open.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            debug!(client = %ticket.peer(), "connection ended before its TLS handshake");
            return None;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not complete within {HANDSHAKE_TIMEOUT:?}"),
    };
    HANDSHAKES.warn(&format!("TLS handshake failed: {error}"), &ticket.peer());
    None
}

/// Serves HTTP/2.
async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin>(server: &Server, stream: S, ticket: &Arc<Ticket>) {
    ticket.begun();
    let backlog = Arc::new(Backlog::default());
    let answer = |request| calls::answer(&server.routes, ticket, &backlog, request);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    let stream = TokioIo::new(Paced::new(stream, Arc::clone(&backlog)));
    let mut connection = pin!(builder.serve_connection(stream, service_fn(answer)));
    tokio::select! {
        result = &mut connection => {
            if let Err(error) = result {
                debug!(client = %ticket.peer(), %error, "connection failed");
            }
            return;
        }
        () = ticket.idle(UNUSED_TIMEOUT, IDLE_TIMEOUT) => {}
        () = server.stop.cancelled() => {}
    }
    // Tells the client to begin no more calls. Open ones finish.
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}
