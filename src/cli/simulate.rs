//! `jobrunr-scaler simulate`: what ScaledObjects would have done with a workload.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{load_config, storage_named};
use crate::config::ConfigErrors;
use crate::duration;
use crate::kubernetes::manifest;
use crate::simulate::history::{HistoryBounds, HistoryOptions, Progress, read_history};
use crate::simulate::workload::{Builtin, read_csv, write_csv};
use crate::simulate::{Millis, Policy, Readiness, Settings, Workload, simulate, table};
use crate::terminal::stdout;
use crate::text::counted;
use crate::text::suggest::did_you_mean;

/// The longest duration of an option.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// The longest `--since`.
const LONGEST_SINCE: SignedDuration = SignedDuration::from_hours(24 * 366);
/// The workload that is read from a storage.
const HISTORY: &str = "history";
/// The steps of the progress bar.
const PROGRESS_STEPS: u64 = 1000;
/// The most pods of `--fixed`.
const MAX_PODS: i64 = 10_000;

/// Show what ScaledObjects would have done with a workload
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// A YAML file with ScaledObjects; - for standard input. Can be given several times, to compare
    #[arg(long = "filename", short, value_name = "FILE", required_unless_present = "fixed")]
    pub files: Vec<PathBuf>,

    /// The jobs: `history`, the finished jobs of a storage; a CSV file with the header
    /// arrival_seconds,duration_seconds[,due_seconds][,kind]; or built in: burst, steady, sinusoid, batch, long-tail, short-jobs,
    /// recurring
    #[arg(long, value_name = "history|FILE|NAME")]
    pub workload: String,

    /// With --workload history: the configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG")]
    pub config: Option<PathBuf>,

    /// With --workload history: the storage; not needed if there is only one
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,

    /// With --workload history: how far back. JobRunr keeps succeeded jobs for 36 hours by default
    #[arg(long, value_name = "DURATION", default_value = "PT36H", value_parser = parse_since)]
    pub since: SignedDuration,

    /// With --workload history: keep the names of jobs, which --export-workload writes; otherwise they are short hashes
    #[arg(long)]
    pub names: bool,

    /// The workers of a pod
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub workers_per_pod: u32,

    /// From the creation of a pod until its server announces itself; up to a tenth more or less, at random
    #[arg(long, value_name = "DURATION", default_value = "PT45S", value_parser = parse_duration)]
    pub pod_start: SignedDuration,

    /// JobRunr's poll interval. With PT0S, workers fetch at once
    #[arg(long, value_name = "DURATION", default_value = "PT15S", value_parser = parse_duration)]
    pub poll_interval: SignedDuration,

    /// The pods' terminationGracePeriodSeconds
    #[arg(long, value_name = "DURATION", default_value = "PT30S", value_parser = parse_duration)]
    pub grace_period: SignedDuration,

    /// JobRunr's interrupt-jobs-await-duration-on-stop: how long a server that stops waits for its jobs
    #[arg(long, value_name = "DURATION", default_value = "PT10S", value_parser = parse_duration)]
    pub await_on_stop: SignedDuration,

    /// Pods are ready once their server runs, because they have a readiness probe; otherwise as soon as they exist
    #[arg(long)]
    pub readiness_probe: bool,

    /// Kubernetes removes idle pods first, because busy ones have a higher pod-deletion-cost; otherwise the youngest
    #[arg(long)]
    pub spare_busy_pods: bool,

    /// The longest wait that a job should have: the share above it is reported
    #[arg(long, value_name = "DURATION", default_value = "PT1M", value_parser = parse_duration)]
    pub slo: SignedDuration,

    /// Also simulate that many pods, always on. Can be given several times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_PODS))]
    pub fixed: Vec<u32>,

    /// The seed of everything random. The same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// The output format
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,

    /// Also write the workload as CSV
    #[arg(long, value_name = "FILE")]
    pub export_workload: Option<PathBuf>,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Table,
    /// JSON for scripts.
    Json,
}

/// Why nothing was simulated.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// The configuration is invalid.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// A manifest, a ScaledObject or the workload is invalid.
    #[error("{0}")]
    Input(String),
    /// Standard output cannot be written.
    #[error("cannot write the results: {0}")]
    Output(#[from] io::Error),
}

/// Simulates, and prints the results.
///
/// # Errors
/// [`SimulateError`]
pub async fn run(args: &SimulateArgs) -> Result<(), SimulateError> {
    let policies = policies(args)?;
    let workload = workload(args).await?;
    if let Some(file) = &args.export_workload {
        export(&workload, file)?;
    }
    let simulation = simulate(&workload, &policies, &settings(args));
    match args.output {
        Output::Table => stdout().write_all(table(&simulation).as_bytes())?,
        Output::Json => {
            let text = serde_json::to_string(&simulation).map_err(io::Error::from)?;
            writeln!(io::stdout(), "{text}")?;
        }
    }
    Ok(())
}

fn settings(args: &SimulateArgs) -> Settings {
    // At most a day, by the parser.
    let millis = |duration: SignedDuration| duration.as_millis() as Millis;
    Settings {
        workers_per_pod: args.workers_per_pod,
        pod_start: millis(args.pod_start),
        readiness: if args.readiness_probe { Readiness::WithServer } else { Readiness::AtOnce },
        spares_busy_pods: args.spare_busy_pods,
        poll_interval: millis(args.poll_interval),
        grace_period: millis(args.grace_period),
        await_on_stop: millis(args.await_on_stop),
        slo: millis(args.slo),
        seed: args.seed,
        ..Settings::default()
    }
}

fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    duration_within(text, SignedDuration::ZERO, LONGEST)
}

fn parse_since(text: &str) -> Result<SignedDuration, String> {
    duration_within(text, SignedDuration::from_mins(1), LONGEST_SINCE)
}

fn duration_within(text: &str, least: SignedDuration, most: SignedDuration) -> Result<SignedDuration, String> {
    let parsed = duration::parse(text).map_err(|error| error.to_string())?;
    if (least..=most).contains(&parsed) {
        return Ok(parsed);
    }
    Err(format!("`{text}` is not allowed; use {} to {}", duration::format(least), duration::format(most)))
}

/// The ScaledObjects of all files, then the fixed pods. Reports all errors at once.
fn policies(args: &SimulateArgs) -> Result<Vec<Policy>, SimulateError> {
    let (mut policies, mut errors) = (Vec::<Policy>::new(), Vec::new());
    for file in &args.files {
        match of_file(file) {
            Ok(found) => {
                for mut policy in found {
                    // Two versions of one ScaledObject differ by their files.
                    if policies.iter().any(|other| other.name == policy.name) {
                        policy.name = format!("{} ({})", policy.name, file.display());
                    }
                    policies.push(policy);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(SimulateError::Input(errors.join("\n")));
    }
    policies.extend(args.fixed.iter().map(|n_pods| Policy::fixed(*n_pods)));
    Ok(policies)
}

fn of_file(file: &Path) -> Result<Vec<Policy>, String> {
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let mut text = String::new();
    let read = if is_stdin { io::stdin().lock().read_to_string(&mut text) } else { read_file(file, &mut text) };
    read.map_err(|error| format!("{name}: cannot read the file: {error}"))?;
    let manifests = manifest::read(&name, &text).map_err(|error| error.to_string())?;
    if manifests.scaled_objects.is_empty() {
        return Err(format!("{name}: there is no ScaledObject to simulate"));
    }
    let policies = manifests.scaled_objects.iter().map(Policy::scaled);
    policies.collect::<Result<_, _>>().map_err(|error| format!("{name}: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "a command reads its input before its runtime starts")]
fn read_file(file: &Path, text: &mut String) -> io::Result<usize> {
    File::open(file)?.read_to_string(text)
}

async fn workload(args: &SimulateArgs) -> Result<Workload, SimulateError> {
    let name = args.workload.as_str();
    if name == HISTORY {
        return history(args).await;
    }
    if let Some(builtin) = Builtin::from_name(name) {
        return Ok(builtin.workload(args.seed));
    }
    let is_file = Path::new(name).extension().is_some() || name.contains('/') || Path::new(name).exists();
    if !is_file {
        let builtin = Builtin::ALL.map(Builtin::name);
        let hint = did_you_mean(name, builtin.into_iter().chain([HISTORY]));
        return Err(SimulateError::Input(format!(
            "--workload is `{name}`, which is neither {HISTORY}, nor a CSV file, nor built in; built in are {}{hint}",
            builtin.join(", ")
        )));
    }
    #[expect(clippy::disallowed_methods, reason = "a command reads its input before its runtime starts")]
    let file =
        File::open(name).map_err(|error| SimulateError::Input(format!("{name}: cannot read the file: {error}")))?;
    read_csv(name, BufReader::new(file)).map_err(|error| SimulateError::Input(error.to_string()))
}

/// Reads the workload from a storage. Shows how far it is if standard error is a terminal.
async fn history(args: &SimulateArgs) -> Result<Workload, SimulateError> {
    let loaded = load_config(args.config.as_deref())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let (name, storage) = storage_named(&loaded.config, args.storage.as_deref()).map_err(SimulateError::Input)?;
    let options = HistoryOptions { since: args.since, names: args.names, bounds: HistoryBounds::default() };
    let bar = ProgressBar::new(PROGRESS_STEPS);
    if let Ok(style) = ProgressStyle::with_template("reading {msg} {bar:40} {percent} % {elapsed}") {
        bar.set_style(style);
    }
    let mut progress = |progress: Progress| {
        bar.set_message(counted(progress.jobs as u64, "job"));
        // A share is from 0 to 1.
        bar.set_position((progress.share * PROGRESS_STEPS as f64) as u64);
    };
    let read = read_history(name.as_str(), storage, &options, Timestamp::now(), &mut progress).await;
    bar.finish_and_clear();
    read.map_err(|error| SimulateError::Input(error.to_string()))
}

fn export(workload: &Workload, file: &Path) -> Result<(), SimulateError> {
    let written = File::create(file).and_then(|output| write_csv(workload, BufWriter::new(output)));
    written.map_err(|error| SimulateError::Input(format!("{}: cannot write the workload: {error}", file.display())))
}
