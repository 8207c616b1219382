//! `jobrunr-scaler simulate`: what ScaledObjects would have done with a workload.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::SignedDuration;

use super::model_args::{LoadedWorkload, ModelArgs, ModelError, parse_duration, policies};
use crate::simulate::{Millis, Policy, Settings, markdown, report, simulate, table};
use crate::terminal::stdout;
use crate::text::whole_number;

/// The most pods of `--fixed`.
const MAX_PODS: u32 = 10_000;

/// Show what ScaledObjects would have done with a workload
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// A YAML file with ScaledObjects; - for standard input. Can be given several times, to compare. Not needed with --fixed
    /// or --clairvoyant
    #[arg(long = "filename", short, value_name = "FILE", required_unless_present_any = ["fixed", "clairvoyant"])]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// The longest wait that a job should have: the share above it is reported
    #[arg(long, value_name = "DURATION", default_value = "PT1M", value_parser = parse_duration)]
    pub slo: SignedDuration,

    /// Also simulate that many pods, always on. Can be given several times
    #[arg(long, value_name = "N", value_parser = whole_number(1..=MAX_PODS))]
    pub fixed: Vec<u32>,

    /// Also show what perfect knowledge would cost: pods just in time for the jobs, 95 % of which wait up to --slo
    #[arg(long)]
    pub clairvoyant: bool,

    /// The output format
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Table,
    /// A table in Markdown.
    Markdown,
    /// JSON for scripts.
    Json,
}

/// Simulates, and prints the results.
///
/// # Errors
/// [`ModelError`]
pub async fn run(args: &SimulateArgs) -> Result<(), ModelError> {
    let mut policies = policies(&args.files)?;
    policies.extend(args.fixed.iter().map(|n_pods| Policy::fixed(*n_pods)));
    policies.extend(args.clairvoyant.then(Policy::clairvoyant));
    let LoadedWorkload { workload, storage } = args.model.workload(&["--storage", "--since", "--names"]).await?;
    if let Some(storage) = storage {
        policies.iter_mut().for_each(|policy| policy.note_history_of(storage.as_str()));
    }
    // At most a day, by the parser.
    let settings = Settings { slo: args.slo.as_millis() as Millis, ..args.model.settings() };
    let simulation = simulate(&workload, &policies, &settings);
    args.model.write_report(|| report(&simulation)).await?;
    match args.output {
        Output::Table => stdout().write_all(table(&simulation).as_bytes())?,
        Output::Markdown => stdout().write_all(markdown(&simulation).as_bytes())?,
        Output::Json => {
            let text = serde_json::to_string(&simulation).map_err(io::Error::from)?;
            writeln!(io::stdout(), "{text}")?;
        }
    }
    Ok(())
}
