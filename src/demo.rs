//! `jobrunr-scaler demo`: a story around the real scaler, scaled by the recommended ScaledObject.
//!
//! The tables are SQLite's, in a temporary folder. `application` stands in for JobRunr and writes them, the server is
//! that of `serve`, and `keda` calls it over gRPC and applies the rules of KEDA and the HPA to the ScaledObject of
//! `k8s/scaledobject.yaml`. Everything that is shown is measured, and at the end compared with what should come out.

mod application;
mod fast_clock;
mod hpa_text;
mod keda;
mod live;
mod results;
mod scaled_object;
mod scaler_client;
mod state;
mod story;
mod tables;
mod texts;
mod view;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use self::application::Application;
use self::fast_clock::FastClock;
use self::keda::Keda;
use self::live::LiveValues;
use self::results::results;
pub(crate) use self::scaled_object::PlayError;
use self::scaled_object::PlayedObject;
use self::scaler_client::ScalerClient;
use self::state::DemoState;
use self::story::{Story, Work};
use self::tables::Tables;
use self::view::{Paint, View};
use super::serve::{RunError, serve};
use crate::clock::{Clock, TimeSource};
use crate::config::{Address, Config, ConfigErrors, StorageConfig, StorageName};
use crate::metrics::Metrics;

/// How often to check whether the story is over, by the machine's clock.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// How old an answer of the demo's scaler may be, by its clock and at least by the machine's.
const REFRESH: Duration = Duration::from_millis(250);
const SHORTEST_REFRESH: Duration = Duration::from_millis(5);

/// The options of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How many times as fast as real time it goes, from 1 to 100.
    #[arg(long, value_name = "FACTOR", default_value = "10", value_parser = speed)]
    speed: f64,
    /// Go on until Ctrl-C, with further work, to try other commands on it.
    #[arg(long)]
    keep: bool,
    /// The port of the scaler; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

/// Why the demo failed.
#[derive(Debug, Error)]
pub enum DemoError {
    /// There is no temporary folder, or it is read-only.
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
    /// The recommended ScaledObject cannot be played.
    #[error(transparent)]
    Play(#[from] PlayError),
    /// The scaler's default configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The tables could not be written.
    #[error("the demo's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The scaler failed.
    #[error(transparent)]
    Serve(#[from] RunError),
    /// The scaler's address is invalid.
    #[error("the scaler cannot be called: {0}")]
    Client(#[from] tonic::transport::Error),
    /// Standard output cannot be written.
    #[error("the output failed: {0}")]
    Output(std::io::Error),
    /// What was measured is not what should come out.
    #[error("unexpected result: {0}")]
    UnexpectedResult(String),
}

/// How the story ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Over,
    Interrupted,
}

/// What every part of the demo needs.
struct Stage {
    folder: tempfile::TempDir,
    address: String,
    clock: &'static FastClock,
    played: PlayedObject,
    story: Story,
    state: Arc<DemoState>,
}

/// Plays the story, or with `--keep` goes on until Ctrl-C.
///
/// # Errors
/// [`DemoError`], also if a result is not as expected.
pub(crate) async fn run(args: DemoArgs) -> Result<(), DemoError> {
    let listener = listen(args.port).await?;
    let stage = Stage::new(&listener, args.speed)?;
    let manifest = stage.folder.path().join("scaledobject.yaml");
    tokio::fs::write(&manifest, &stage.played.text).await.map_err(DemoError::Folder)?;

    let paint = Paint::stdout();
    let mut footer = Vec::new();
    println!("{}", texts::opening(&stage.story, &stage.address, args.speed, args.keep, paint));
    if args.keep {
        println!("{}", texts::to_try(&stage.played, &stage.address, &stage.database()));
        footer.extend(texts::explain_command(&stage.address, &manifest));
    }
    let mut view = View::new(Arc::clone(&stage.state), stage.clock, stage.played.clone(), footer);
    let end = play(&stage, listener, args.keep, &mut view).await?;
    if end == End::Over {
        view.finish().map_err(DemoError::Output)?;
    }
    drop(view);
    if end == End::Interrupted {
        println!("\nInterrupted. The temporary folder is removed.");
        return Ok(());
    }
    let (text, unexpected) = results(&stage.state.measurements(), paint);
    print!("\n{}\n{text}", texts::next_steps(paint));
    if unexpected.is_empty() { Ok(()) } else { Err(DemoError::UnexpectedResult(unexpected.join("; "))) }
}

impl Stage {
    fn new(listener: &TcpListener, speed: f64) -> Result<Self, DemoError> {
        // Removed with its contents when the demo ends.
        let folder = tempfile::Builder::new().prefix("jobrunr-scaler-demo-").tempdir().map_err(DemoError::Folder)?;
        let address = listener.local_addr().map_err(DemoError::Output)?.to_string();
        let played = PlayedObject::new(&address)?;
        let clock = FastClock::start(speed);
        let story = Story::new(clock.started_at(), &played);
        let state = Arc::new(DemoState::new(story, played.triggers.len()));
        Ok(Self { folder, address, clock, played, story, state })
    }

    fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("jobrunr.db")
    }
}

async fn listen(port: u16) -> Result<TcpListener, DemoError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|cause| DemoError::Listen { address, cause })
}

/// Runs all parts side by side until the story is over.
async fn play(stage: &Stage, listener: TcpListener, keep: bool, view: &mut View) -> Result<End, DemoError> {
    let Stage { clock, played, story, state, .. } = stage;
    let tables = Tables::create(&stage.database(), story.start).await?;
    let application = Application::new(tables, clock, Arc::clone(state), *story, Work::new(*story, keep));
    let refresh = clock.real(REFRESH).max(SHORTEST_REFRESH);
    let storages = storages(&stage.database(), refresh, clock)?;
    let stop = CancellationToken::new();
    let _stops_the_server = stop.clone().drop_guard();
    let client = ScalerClient::new(Endpoint::from_shared(format!("http://{}", stage.address))?.connect_lazy());
    let live = LiveValues::new(client.clone(), played.clone(), clock, Arc::clone(state), refresh);
    let keda = Keda::new(client, played.clone(), clock, Arc::clone(state));
    tokio::select! {
        result = serve(listener, &storages, Clock::Other(*clock), Metrics::default(), stop) => {
            result.map(|()| End::Interrupted).map_err(DemoError::from)
        }
        result = application.run() => result.map(|()| End::Interrupted).map_err(DemoError::from),
        result = view.run() => result.map(|()| End::Interrupted).map_err(DemoError::Output),
        () = keda.run() => Ok(End::Interrupted),
        () = live.run() => Ok(End::Interrupted),
        () = over(stage), if !keep => Ok(End::Over),
        () = interrupted() => Ok(End::Interrupted),
    }
}

/// The demo's database as the one storage, with defaults but for the faster clock.
fn storages(file: &Path, refresh: Duration, clock: &FastClock) -> Result<BTreeMap<String, StorageConfig>, DemoError> {
    let name = StorageName::DEFAULT;
    let environment = [("JOBRUNR_SCALER_URL".to_owned(), "sqlite:demo.db".to_owned())];
    let mut config = Config::load(None, environment)?.config;
    // Not in the address, because a folder's name may have another meaning there.
    let address = Address::Sqlite(file.to_owned());
    let storage = config.storages.remove(name).map(|storage| {
        let max_staleness = clock.real(storage.max_staleness);
        StorageConfig { address, refresh, max_staleness, ..storage }
    });
    Ok(storage.into_iter().map(|storage| (name.to_owned(), storage)).collect())
}

async fn over(stage: &Stage) {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        if stage.state.measurements().is_over() || stage.story.is_overdue(stage.clock.now()) {
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
        _ => Err("must be a number from 1 to 100".to_owned()),
    }
}
