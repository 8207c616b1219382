//! TLS handshakes, before a connection becomes one of gRPC.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::ready;
use futures::stream::{Stream, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::certificates::Certificates;

/// A handshake takes milliseconds. Whoever takes longer than this wants to hold us up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at a time; further connections wait in the listener's backlog.
const MAX_HANDSHAKES: usize = 512;
/// Failed handshakes are told this often at most: a client that is set up wrongly comes back every second.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// No more file handles, for example: trying again at once would only burn time.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The connections that came through their handshake. Handshakes go side by side, so that a slow one delays nobody.
pub(super) fn with_tls(
    connections: impl Stream<Item = io::Result<TcpStream>>,
    certificates: Arc<Certificates>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let told = Arc::new(Told::default());
    connections
        .map(move |connection| handshake(connection, Arc::clone(&certificates), Arc::clone(&told)))
        .buffer_unordered(MAX_HANDSHAKES)
        .filter_map(|connection| ready(connection.map(Ok)))
}

async fn handshake(
    connection: io::Result<TcpStream>,
    certificates: Arc<Certificates>,
    told: Arc<Told>,
) -> Option<TlsStream<TcpStream>> {
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            debug!(%error, "a connection could not be accepted");
            sleep(PAUSE_AFTER_ERROR).await;
            return None;
        }
    };
    let client = connection.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
    match timeout(HANDSHAKE_TIMEOUT, certificates.acceptor().accept(connection)).await {
        Ok(Ok(connection)) => Some(connection),
        // Nothing was said at all, as when a load balancer looks whether the port is open.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            debug!(client, "a connection ended before its TLS handshake");
            None
        }
        Ok(Err(error)) => {
            told.tell(&client, &error.to_string());
            None
        }
        Err(_) => {
            told.tell(&client, &format!("not done within {HANDSHAKE_TIMEOUT:?}"));
            None
        }
    }
}

/// When a failed handshake was last told.
#[derive(Default)]
struct Told(Mutex<Option<Instant>>);

impl Told {
    fn tell(&self, client: &str, error: &str) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < TELL_EVERY) {
            debug!(client, error, "a TLS handshake failed");
        } else {
            warn!(client, error, "a TLS handshake failed; further ones within a minute are logged at the level debug");
            *last = Some(now);
        }
    }
}
