//! `jobrunr-scaler health`: exits with 0 if a running scaler is ready.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Config, ConfigErrors, DEFAULT_HTTP_PORT, parse_address, parse_path, variables};

/// Longer than a working scaler ever takes.
const DEADLINE: Duration = Duration::from_secs(2);

/// The options of `health`.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthArgs {
    /// The HTTP address of the scaler [default: that of the configuration]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = |text: &str| parse_address(text, DEFAULT_HTTP_PORT))]
    pub http: Option<SocketAddr>,

    /// The configuration file, YAML. Only `http` is read from it
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,
}

/// Why the scaler is not ready.
#[derive(Debug, Error)]
pub enum HealthError {
    /// The configuration has no valid address.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// HTTP is switched off.
    #[error(
        "`http` is `off` in the configuration, so the scaler serves no health; switch it on, or use the gRPC health check"
    )]
    Off,
    /// There is no answer.
    #[error("no answer from {0}: {1}; does the scaler use another `http` address?")]
    NoAnswer(SocketAddr, io::Error),
    /// There is no answer in time.
    #[error("no answer from {0} within 2 s")]
    TooLate(SocketAddr),
    /// The scaler says so.
    #[error("the scaler is not ready: {0}")]
    NotReady(String),
}

/// Requests `/readyz`.
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

/// Replaces the unspecified address, on which a server listens, with localhost.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Sends the request by hand: it is too simple for an HTTP client.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
