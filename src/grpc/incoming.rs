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

/// Until the first byte, and with TLS until its handshake is done. Both take milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which no call was ever answered is closed after this time.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(120);
/// One without an open call since its last one, after this; KEDA's own client waits as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// KEDA's client sends no keepalive, so that only ours finds out that it is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// KEDA multiplexes all streams of all ScaledObjects over one connection, and blocks for ever where there is no room: above
/// what [`calls::memory`] lets it open, so that it gets an error instead.
const MAX_STREAMS: u32 = 20_000;
/// What a client may send of a request before any of it was read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What is made ready for a client that does not read. An answer has some hundred bytes.
const SEND_BUFFER: usize = 16 * 1024;

/// Failed handshakes, one line a minute: a client that is set up wrongly comes back every second.
static HANDSHAKES: RateLimitedLog = RateLimitedLog::new();

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) routes: Routes,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) stop: CancellationToken,
}

/// Serves a connection until it ends, idles, or has to make room for another.
pub(super) async fn serve(server: Server, stream: TcpStream, ticket: Ticket) {
    let ticket = Arc::new(ticket);
    let serving = async {
        // Without it an answer waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match &server.certificates {
            None => match server.stop.run_until_cancelled(timeout(HANDSHAKE_TIMEOUT, stream.readable())).await {
                Some(Ok(_)) => exchange(&server, stream, &ticket).await,
                _ => debug!(client = %ticket.peer(), "a connection was closed: nothing was said"),
            },
            Some(certificates) => {
                let handshake = handshake(certificates, stream, &ticket);
                if let Some(Some(stream)) = server.stop.run_until_cancelled(handshake).await {
                    exchange(&server, stream, &ticket).await;
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
        // Nothing was said at all, as when a load balancer looks whether the port is open.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            debug!(client = %ticket.peer(), "a connection ended before its TLS handshake");
            return None;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done within {HANDSHAKE_TIMEOUT:?}"),
    };
    HANDSHAKES.warn(&format!("a TLS handshake failed: {error}"), &ticket.peer());
    None
}

/// Speaks HTTP/2.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(server: &Server, stream: S, ticket: &Arc<Ticket>) {
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
                debug!(client = %ticket.peer(), %error, "a connection failed");
            }
            return;
        }
        () = ticket.idle(UNUSED_TIMEOUT, IDLE_TIMEOUT) => {}
        () = server.stop.cancelled() => {}
    }
    // The client is told to begin no more calls; those that are open finish.
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}
