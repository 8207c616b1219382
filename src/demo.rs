//! `jobrunr-scaler demo`: the guide's story, played around the real scaler.
//!
//! The tables are SQLite's, in a temporary folder. [`application`] stands in for JobRunr and writes them, the server is
//! that of `serve`, and [`keda`] calls it over gRPC and applies the rules of KEDA and the HPA. Nothing that is shown is
//! scripted: it is measured, and at the end compared with what the guide says.

mod application;
mod board;
mod database;
mod explained;
mod hints;
mod keda;
mod recurring;
mod scaled_object;
mod summary;
mod view;
mod work;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use self::application::Application;
use self::board::Board;
use self::database::Database;
use self::keda::Keda;
use self::summary::summary;
use self::view::View;
use self::work::Work;
use super::serve::{RunError, serve};
use crate::clock::Clock;
use crate::config::{Address, Config, ConfigErrors, StorageConfig, StorageName};
use crate::metrics::Metrics;

/// A story that takes longer than this by its own clock will not end well.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);
/// How often to look whether the story is over, by the machine's clock.
const LOOK: Duration = Duration::from_millis(50);

/// The options of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How many times as fast as real time it goes, from 1 to 100.
    #[arg(long, value_name = "FACTOR", default_value = "10", value_parser = speed)]
    speed: f64,
    /// Go on until Ctrl-C, with more and more work, to try other commands on it.
    #[arg(long)]
    keep: bool,
    /// The port of the scaler; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

/// Why the demo failed.
#[derive(Debug, Error)]
pub enum DemoError {
    /// No temporary folder, or nothing can be written to it.
    #[error("the temporary folder cannot be used: {0}")]
    Folder(std::io::Error),
    /// The port is taken.
    #[error("cannot listen on {address}: {cause}; choose another port with --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The scaler's default configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The stand-in could not write its tables.
    #[error("the demo's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The scaler failed.
    #[error(transparent)]
    Serve(#[from] RunError),
    /// The scaler cannot be called.
    #[error("the scaler cannot be called: {0}")]
    Client(#[from] tonic::transport::Error),
    /// Nothing can be shown.
    #[error("the output failed: {0}")]
    Output(std::io::Error),
    /// What was measured is not what the guide says.
    #[error("the story did not come out: {0}")]
    OtherStory(String),
}

/// How the play ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Over,
    Interrupted,
}

/// Plays the story, or with `--keep` goes on until Ctrl-C.
///
/// # Errors
/// [`DemoError`]; also if the story did not come out as the guide says.
pub async fn run(args: DemoArgs) -> Result<(), DemoError> {
    // Removed with all that is in it when this ends.
    let folder = tempfile::Builder::new().prefix("jobrunr-scaler-demo-").tempdir().map_err(DemoError::Folder)?;
    let file = folder.path().join("jobrunr.db");
    let listener = listen(args.port).await?;
    let address = listener.local_addr().map_err(DemoError::Output)?.to_string();
    let manifest = folder.path().join("scaled-object.yaml");
    tokio::fs::write(&manifest, scaled_object::manifest(&address)).await.map_err(DemoError::Folder)?;

    println!("{}", hints::opening(args.speed, args.keep));
    if args.keep {
        println!("{}", hints::to_try(&address, &file, &manifest));
    }
    let clock = Clock::fast(args.speed);
    let board = Arc::new(Board::new(clock.now()));
    let mut view = View::new(Arc::clone(&board), clock, args.speed);
    let paint = view.paint();
    let end = play(&args, &file, listener, &address, clock, &board, &mut view).await?;
    if end == End::Over {
        view.finish().map_err(DemoError::Output)?;
    }
    drop(view);
    if end == End::Interrupted {
        println!("\nStopped. The temporary folder is removed.");
        return Ok(());
    }
    let (text, not_as_told) = summary(&board.state(), paint);
    println!("{text}\n{}", hints::real_database(paint));
    if not_as_told.is_empty() { Ok(()) } else { Err(DemoError::OtherStory(not_as_told.join("; "))) }
}

async fn listen(port: u16) -> Result<TcpListener, DemoError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|cause| DemoError::Listen { address, cause })
}

/// Runs everybody side by side until the story is over.
async fn play(
    args: &DemoArgs,
    file: &Path,
    listener: TcpListener,
    address: &str,
    clock: Clock,
    board: &Arc<Board>,
    view: &mut View,
) -> Result<End, DemoError> {
    let start = clock.now();
    let database = Database::create(file, start).await?;
    let application = Application::new(database, clock, Arc::clone(board), Work::new(start, args.keep), start);
    let storages = storages(file)?;
    let stop = CancellationToken::new();
    let _server_ends_with_us = stop.clone().drop_guard();
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let keda = Keda::new(channel, address, clock, Arc::clone(board));
    tokio::select! {
        result = serve(listener, &storages, clock, Metrics::default(), stop) => result.map(|()| End::Interrupted).map_err(DemoError::from),
        result = application.run() => result.map(|()| End::Interrupted).map_err(DemoError::from),
        result = view.run() => result.map(|()| End::Interrupted).map_err(DemoError::Output),
        () = keda.run() => Ok(End::Interrupted),
        () = over(board, clock), if !args.keep => Ok(End::Over),
        () = interrupted() => Ok(End::Interrupted),
    }
}

/// The demo's database as the one storage, everything else by default.
fn storages(file: &Path) -> Result<BTreeMap<String, StorageConfig>, DemoError> {
    let name = StorageName::DEFAULT;
    let environment = [("JOBRUNR_SCALER_URL".to_owned(), "sqlite:demo.db".to_owned())];
    let mut config = Config::load(None, environment)?.config;
    // The path is put in here, because a folder's name may mean something else in an address.
    let storage = config.storages.remove(name);
    let storage = storage.map(|storage| StorageConfig { address: Address::Sqlite(file.to_owned()), ..storage });
    Ok(storage.into_iter().map(|storage| (name.to_owned(), storage)).collect())
}

async fn over(board: &Board, clock: Clock) {
    loop {
        tokio::time::sleep(LOOK).await;
        let state = board.state();
        if state.is_over() || LONGEST < state.elapsed(clock.now()) {
            return;
        }
    }
}

/// Returns on SIGINT and SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (1.0..=100.0).contains(&speed) => Ok(speed),
        _ => Err("a number from 1 to 100 is needed".to_owned()),
    }
}
