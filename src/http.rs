//! Health, Prometheus metrics and the page over HTTP.

mod page;

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::page::Page;
use crate::connections::{Connections, Memory, Ticket, descriptor_limit};
use crate::metrics::Metrics;

/// The content type of the version of Prometheus' text format that the library writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Open connections. Each serves one request.
const MAX_CONNECTIONS: usize = 256;
/// A connection gets this time for its request, which takes less.
const MIN_AGE: Duration = Duration::from_millis(50);
/// The longest time from the start of a connection to the end of its response, unless that is a stream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// All requests for metrics within this time get the same text, which has half a megabyte with a thousand triggers.
const TEXT_LIFETIME: Duration = Duration::from_secs(1);

/// Serves until it is dropped: `/metrics`; `/healthz`, which succeeds while the process responds; and `/readyz`, which succeeds
/// while the scaler answers GetMetricSpec, that is until `stop`. Neither depends on a database: a scaler whose database is
/// unavailable still has to answer KEDA. And the page, if there is to be one.
pub async fn serve(listener: TcpListener, metrics: Metrics, page: Option<Page>, stop: CancellationToken) {
    let is_ready = move || if stop.is_cancelled() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let text = Arc::new(MetricsText { metrics, last: Mutex::default() });
    let router = Router::new()
        .route("/metrics", get(move || ready(text.response())))
        .route("/healthz", get(|| ready("ok\n")))
        .route("/readyz", get(move || ready((is_ready(), "\n"))));
    let router = page.into_iter().fold(router, |router, page| router.merge(page.router()));
    let connections = Connections::new(MAX_CONNECTIONS.min(descriptor_limit() / 4), MIN_AGE, Memory::new(0, 0, 0));
    loop {
        let (stream, ticket) = connections.accept(&listener).await;
        tokio::spawn(answer(router.clone(), stream, ticket));
    }
}

/// Answers one request. Probes and Prometheus are rare enough to connect each time.
async fn answer(router: Router, stream: TcpStream, ticket: Ticket) {
    let mut builder = http1::Builder::new();
    let builder = builder.keep_alive(false).header_read_timeout(None);
    let (deadline, mut deadlines) = watch::channel(Instant::now() + REQUEST_TIMEOUT);
    let router = router.layer(Extension(Deadline(deadline)));
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        // A client that disconnects or is too slow gets no response.
        _ = serving => {}
        () = passed(&mut deadlines) => {}
        () = ticket.closed() => {}
    }
}

/// When a connection is closed. A handler whose response is a stream moves it.
#[derive(Clone)]
struct Deadline(watch::Sender<Instant>);

impl Deadline {
    fn extend(&self, lasting: Duration) {
        self.0.send_replace(Instant::now() + lasting);
    }
}

async fn passed(deadlines: &mut watch::Receiver<Instant>) {
    loop {
        let deadline = *deadlines.borrow_and_update();
        tokio::select! {
            () = sleep_until(deadline) => return,
            // The sender lives as long as the connection.
            Ok(()) = deadlines.changed() => {}
        }
    }
}

/// The metrics as text, cached for [`TEXT_LIFETIME`].
struct MetricsText {
    metrics: Metrics,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl MetricsText {
    fn response(&self) -> Response {
        match self.text() {
            Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    fn text(&self) -> Result<Bytes, std::fmt::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(at, _)| at.elapsed() < TEXT_LIFETIME) {
            return Ok(text.clone());
        }
        let text = Bytes::from(self.metrics.text()?);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}
