//! `jobrunr-scaler explain`: what KEDA and the HPA do with ScaledObjects, and why.

mod client_tls;
mod evaluate;
pub(crate) mod input;
mod obstacle;
mod promise;
mod report;
mod source;
mod summary;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use futures::future::join_all;
use thiserror::Error;
use tonic::transport::Uri;

use crate::config::{Config, ConfigErrors, parse_path, variables};
use crate::kubernetes::manifest::ScaledObject;
use crate::terminal::{self, print_warnings};
use crate::text::whole_number;
use client_tls::TlsArgs;
pub(crate) use client_tls::TlsArgsError;
use input::Input;
pub(crate) use input::InputErrors;
pub(crate) use report::{Report, ScaledObjectReport};
use source::{Local, Remote, Source};

/// Explain what KEDA and the HPA do with ScaledObjects, and why
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// A YAML file with ScaledObjects, in any number of documents; - for standard input. Can be given several times
    #[arg(long = "filename", short, value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The configuration, YAML. For a single storage the environment alone is enough: JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,

    /// Ask a running scaler, as KEDA does, instead of the database. No configuration is needed then
    #[arg(long, value_name = "HOST:PORT", value_parser = source::parse_address)]
    pub scaler: Option<Uri>,

    #[command(flatten)]
    tls: TlsArgs,

    /// The namespace of manifests that name none, as with kubectl. If omitted, `default` is assumed
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The current number of replicas, all of them ready. If omitted, 1 is assumed, and the report says so
    #[arg(long, value_name = "N", value_parser = whole_number(0..=u32::MAX))]
    pub replicas: Option<u32>,

    /// The format of the report
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Repeat every SECONDS, 2 if omitted, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = whole_number(1..=86_400_u64))]
    pub watch: Option<u64>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines. With --watch, one document per line.
    Json,
}

/// Why nothing could be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsArgsError),
    /// The manifests are wrong.
    #[error(transparent)]
    Input(#[from] InputErrors),
    /// Standard output cannot be written.
    #[error("the report cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command: prints the report to standard output. Returns whether every trigger for this scaler answered, and
/// those of ScaledJobs are valid.
///
/// # Errors
/// [`ExplainError`]
pub(crate) async fn run(args: &ExplainArgs) -> Result<bool, ExplainError> {
    let source = source(args)?;
    let Input { mut objects, has_valid_jobs } = input::read_all(&args.files)?;
    for object in &mut objects {
        object.namespace = object.namespace.take().or_else(|| args.namespace.clone());
    }
    loop {
        let scaled_objects = evaluate(&objects, &source, args.replicas).await;
        let report = Report { scaled_objects, storages: source.storages().await };
        print(&report, args)?;
        let Some(seconds) = args.watch else { return Ok(report.is_healthy() && has_valid_jobs) };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn source(args: &ExplainArgs) -> Result<Source, ExplainError> {
    if let Some(address) = &args.scaler {
        return Ok(Source::Remote(Remote::new(args.tls.endpoint(address)?, address, args.tls.hint())));
    }
    let loaded = Config::load_to_connect(args.config.as_deref(), variables())?;
    print_warnings(&loaded.warnings);
    let storages = loaded.config.storages.into_iter().map(|(name, storage)| (name.as_str().to_owned(), storage));
    Ok(Source::Local(Box::new(Local::new(storages.collect()))))
}

/// Asks for all triggers at once, so that one read of a storage answers them all.
async fn evaluate(objects: &[ScaledObject], source: &Source, replicas: Option<u32>) -> Vec<ScaledObjectReport> {
    let reports = objects.iter().map(|object| async move {
        let replies = object
            .triggers
            .iter()
            .map(|spec| async move { if spec.is_ours() { Some(source.reply(object, spec).await) } else { None } });
        evaluate::evaluate(object, join_all(replies).await, replicas)
    });
    join_all(reports).await
}

fn print(report: &Report, args: &ExplainArgs) -> io::Result<()> {
    let watching = args.watch.is_some();
    let mut output = io::stdout();
    match args.output {
        Output::Json => output.write_all(report.json(watching)?.as_bytes())?,
        Output::Table => {
            if watching {
                output.write_all(heading(output.is_terminal()).as_bytes())?;
            }
            terminal::stdout().write_all(table::text(report).as_bytes())?;
        }
    }
    output.flush()
}

/// Returns what precedes a repeated table. A terminal is cleared, so that the table stays in its place.
fn heading(is_terminal: bool) -> String {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{}{now}\n\n", if is_terminal { CLEAR } else { "" })
}
