//! `jobrunr-scaler health`: whether a running scaler is ready, by its exit code.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than a scaler that works ever takes.
const DEADLINE: Duration = Duration::from_secs(2);

/// The options of `health`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct HealthArgs {
    /// Where the scaler serves health and metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
}

/// Why the scaler is not ready.
#[derive(Debug, Error)]
pub enum HealthError {
    /// Nobody answers.
    #[error("{0} does not answer: {1}; is `http` configured otherwise?")]
    NoAnswer(SocketAddr, io::Error),
    /// Nobody answers in time.
    #[error("{0} does not answer within 2 s")]
    TooLate(SocketAddr),
    /// It says so.
    #[error("the scaler is not ready: {0}")]
    NotReady(String),
}

/// Asks for `/readyz`.
///
/// # Errors
/// [`HealthError`]
pub async fn run(args: HealthArgs) -> Result<(), HealthError> {
    let answer = timeout(DEADLINE, ask(args.http)).await.map_err(|_| HealthError::TooLate(args.http))?;
    let answer = answer.map_err(|error| HealthError::NoAnswer(args.http, error))?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(HealthError::NotReady(status.to_owned())) }
}

/// A request this simple needs no client.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
