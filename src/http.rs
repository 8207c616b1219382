//! Health and Prometheus metrics over HTTP.

use std::future::ready;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The content type of Prometheus' text format, in the version that the library writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop`: `/metrics`; `/healthz`, which is well while the process answers; and `/readyz`, which is well while
/// GetMetricSpec is answered. Neither looks at a database: a scaler whose database is away is still the one to ask.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, metrics: Metrics, stop: CancellationToken) -> std::io::Result<()> {
    let stopped = stop.clone();
    let is_ready = move || if stopped.is_cancelled() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let router = Router::new()
        .route("/metrics", get(move || ready(text(&metrics))))
        .route("/healthz", get(|| ready("ok\n")))
        .route("/readyz", get(move || ready((is_ready(), "\n"))));
    tokio::select! {
        result = axum::serve(listener, router) => result,
        // Whoever asks while calls in flight finish shall hear that we are no longer ready; the process ends then anyway.
        () = async { stop.cancelled().await; std::future::pending::<()>().await } => Ok(()),
    }
}

fn text(metrics: &Metrics) -> impl IntoResponse + use<> {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
