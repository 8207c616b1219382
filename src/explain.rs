//! `jobrunr-scaler explain`: what do KEDA and the HPA make of these ScaledObjects, and why?

mod ask;
mod input;
mod json;
mod outcome;
mod report;
mod table;
mod tls;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use futures::future::join_all;
use thiserror::Error;
use tonic::transport::Uri;

use crate::config::{Config, ConfigErrors, variables};
use crate::kubernetes::manifest::ScaledObject;
use crate::terminal;
use ask::{Asker, Database, Remote};
pub use input::InputErrors;
pub use report::{ReplicasReport, Report, ScaledObjectReport, StorageReport, TriggerReport};
use tls::TlsArgs;
pub use tls::TlsArgsError;

/// Say what KEDA and the HPA make of ScaledObjects, and why
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// A file with ScaledObjects, YAML, any number of documents; - for standard input. May be given several times
    #[arg(long = "filename", short, value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The configuration, YAML. For a single storage the environment alone is enough: JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Ask this running scaler as KEDA would, instead of the database. No configuration is needed then
    #[arg(long, value_name = "HOST:PORT", value_parser = ask::address)]
    pub scaler: Option<Uri>,

    #[command(flatten)]
    tls: TlsArgs,

    /// How many replicas the workload has, all of them ready. Without it 1 is assumed, and marked so
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,

    /// For people or for machines
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Ask again every so many seconds, 2 if none are given, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines. With --watch, one document a line.
    Json,
}

/// Why nothing could be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsArgsError),
    /// The manifests are wrong.
    #[error(transparent)]
    Input(#[from] InputErrors),
    /// Standard output cannot be written.
    #[error("the report cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command: the report goes to standard output. Returns whether every trigger of ours answered.
///
/// # Errors
/// [`ExplainError`]
pub async fn run(args: &ExplainArgs) -> Result<bool, ExplainError> {
    let asker = asker(args)?;
    let objects = input::scaled_objects(&args.files)?;
    loop {
        let scaled_objects = answers(&objects, &asker, args.replicas).await;
        let report = Report { scaled_objects, storages: asker.storages().await };
        print(&report, args)?;
        let Some(seconds) = args.watch else { return Ok(report.is_healthy()) };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn asker(args: &ExplainArgs) -> Result<Asker, ExplainError> {
    if let Some(address) = &args.scaler {
        return Ok(Asker::Remote(Remote::new(args.tls.endpoint(address)?, address, args.tls.hint())));
    }
    let loaded = Config::load_to_connect(args.config.as_deref(), variables())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let storages: BTreeMap<_, _> =
        loaded.config.storages.into_iter().map(|(name, storage)| (name.as_str().to_owned(), storage)).collect();
    Ok(Asker::Database(Box::new(Database::new(&storages))))
}

/// Asks for all triggers at once, so that one read of a storage answers them all.
async fn answers(objects: &[ScaledObject], asker: &Asker, replicas: Option<u32>) -> Vec<ScaledObjectReport> {
    let reports = objects.iter().map(|object| async move {
        let answers = object.triggers.iter().map(|trigger| async move {
            if trigger.is_ours() { Some(asker.ask(object, trigger).await) } else { None }
        });
        ScaledObjectReport::new(object, join_all(answers).await, replicas)
    });
    join_all(reports).await
}

fn print(report: &Report, args: &ExplainArgs) -> io::Result<()> {
    let watching = args.watch.is_some();
    let mut output = io::stdout();
    match args.output {
        Output::Json => output.write_all(json::text(report, watching)?.as_bytes())?,
        Output::Table => {
            if watching {
                output.write_all(heading(output.is_terminal()).as_bytes())?;
            }
            terminal::stdout().write_all(table::text(report).as_bytes())?;
        }
    }
    output.flush()
}

/// What precedes a table that is printed again and again. A terminal is cleared, so that the table stays in its place.
fn heading(is_terminal: bool) -> String {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{}{now}\n\n", if is_terminal { CLEAR } else { "" })
}
