//! `jobrunr-scaler health`: whether a running scaler is ready, by its exit code.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Config, ConfigErrors, variables};

/// Longer than a scaler that works ever takes.
const DEADLINE: Duration = Duration::from_secs(2);

/// The options of `health`.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthArgs {
    /// Where the scaler serves health and metrics; if you do not say, where the configuration has it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<SocketAddr>,

    /// The scaler's configuration, YAML. Only `http` is looked at, in it and in the environment
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Why the scaler is not ready.
#[derive(Debug, Error)]
pub enum HealthError {
    /// Nobody knows whom to ask.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// The port is switched off.
    #[error(
        "`http` is `off` in the configuration, so the scaler serves no health; switch it on, or use the health check of the \
         gRPC port"
    )]
    Off,
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
    let address = match args.http {
        Some(address) => address,
        None => Config::http(args.config.as_deref(), variables())?.ok_or(HealthError::Off)?,
    };
    let address = reachable(address);
    let answer = timeout(DEADLINE, ask(address)).await.map_err(|_| HealthError::TooLate(address))?;
    let answer = answer.map_err(|error| HealthError::NoAnswer(address, error))?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(HealthError::NotReady(status.to_owned())) }
}

/// Who listens on all addresses is reached on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A request this simple needs no client.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
