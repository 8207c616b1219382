//! What `simulate` and `recommend` have in common: the workload, and what is assumed of the application and the cluster.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{load_config, storage_named, with_warnings};
use crate::config::{ConfigErrors, StorageName, parse_path};
use crate::duration;
use crate::explain::input::{read_manifests, shown};
use crate::simulate::history::{HistoryBounds, HistoryOptions, Progress, read_history};
use crate::simulate::workload::{Builtin, read_csv, write_csv};
use crate::simulate::{Millis, Policy, PolicyError, Readiness, Settings, Workload};
use crate::terminal::print_warnings;
use crate::text::suggest::did_you_mean;
use crate::text::{counted, whole_number};

/// The longest duration of an option.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
const DEFAULT_SINCE: SignedDuration = SignedDuration::from_hours(36);
/// The longest `--since`.
const LONGEST_SINCE: SignedDuration = SignedDuration::from_hours(24 * 366);
/// The workload that is read from a storage.
const HISTORY: &str = "history";
/// The steps of the progress bar.
const PROGRESS_STEPS: u64 = 1000;

/// The workload, and what is assumed of the application and the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArgs {
    /// The jobs: `history`, the finished jobs of a storage; a CSV file with the columns arrival_seconds, duration_seconds and,
    /// if wanted, due_seconds and kind; or built in: burst, steady, sinusoid, batch, long-tail, short-jobs, recurring
    #[arg(long, value_name = "history|FILE|NAME")]
    pub workload: String,

    /// With --workload history: the configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,

    /// With --workload history: the storage; not needed if there is only one. `recommend` writes it into the ScaledObject
    #[arg(long, value_name = "NAME")]
    pub storage: Option<StorageName>,

    /// With --workload history: how far back [default: PT36H, for which JobRunr keeps succeeded jobs by default]
    #[arg(long, value_name = "DURATION", value_parser = parse_since)]
    pub since: Option<SignedDuration>,

    /// With --workload history: keep the names of jobs, which --export-workload writes; otherwise they are short hashes
    #[arg(long)]
    pub names: bool,

    /// The workers of a pod
    #[arg(long, value_name = "N", default_value = "8", value_parser = whole_number(1..=10_000_u32))]
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

    /// Kubernetes removes idle pods first, because busy ones have a higher pod-deletion-cost; otherwise younger ones
    #[arg(long)]
    pub spare_busy_pods: bool,

    /// The seed of everything random. The same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole_number(0..=u64::MAX))]
    pub seed: u64,

    /// Also write an HTML page with charts: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Also write the workload as CSV
    #[arg(long, value_name = "FILE")]
    pub export_workload: Option<PathBuf>,
}

/// A workload, and where it is from.
pub(super) struct LoadedWorkload {
    pub(super) workload: Workload,
    /// The storage whose history it is.
    pub(super) storage: Option<StorageName>,
}

/// Why nothing was simulated.
#[derive(Debug, Error)]
pub enum ModelError {
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

impl ModelArgs {
    pub(super) fn settings(&self) -> Settings {
        settings_of(self)
    }

    /// Reads or makes the workload, and writes it as CSV if that is wanted. `history_only` are the options that have no effect on other
    /// workloads.
    pub(super) async fn workload(&self, history_only: &[&str]) -> Result<LoadedWorkload, ModelError> {
        let loaded = if self.workload == HISTORY {
            history(self).await?
        } else {
            self.reject(history_only)?;
            LoadedWorkload { workload: made_or_from_csv(self).await?, storage: None }
        };
        if let Some(file) = &self.export_workload {
            export(&loaded.workload, file)?;
        }
        Ok(loaded)
    }

    /// Fails if one of these options is given.
    fn reject(&self, history_only: &[&str]) -> Result<(), ModelError> {
        let given = [("--storage", self.storage.is_some()), ("--since", self.since.is_some()), ("--names", self.names)];
        let unused = given.into_iter().find(|(option, is_given)| *is_given && history_only.contains(option));
        let error = |(option, _)| format!("{option} is for --workload history; --workload is `{}`", self.workload);
        unused.map_or(Ok(()), |unused| Err(ModelError::Input(error(unused))))
    }

    /// Writes a report if there is a file for it.
    pub(super) async fn write_report(&self, report: impl FnOnce() -> String) -> Result<(), ModelError> {
        let Some(file) = &self.report else { return Ok(()) };
        let written = tokio::fs::write(file, report()).await;
        written.map_err(|error| ModelError::Input(format!("{}: cannot write the report: {error}", file.display())))
    }
}

fn settings_of(args: &ModelArgs) -> Settings {
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
        seed: args.seed,
        ..Settings::default()
    }
}

pub(super) fn parse_duration(text: &str) -> Result<SignedDuration, String> {
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

/// The ScaledObjects of all files. Those without a trigger of this scaler are left out with a warning, unless there are no others.
/// Reports all errors at once.
pub(super) fn policies(files: &[PathBuf]) -> Result<Vec<Policy>, ModelError> {
    let (mut policies, mut foreign, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let found = of_file(file).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        for policy in found {
            match policy {
                Ok(policy) => policies.push((policy, file.as_path())),
                Err(error @ PolicyError::NoTrigger { .. }) => foreign.push(format!("{}: {error}", shown(file))),
                Err(error) => errors.push(format!("{}: {error}", shown(file))),
            }
        }
    }
    if policies.is_empty() {
        errors.append(&mut foreign);
    }
    if !errors.is_empty() {
        return Err(ModelError::Input(errors.join("\n")));
    }
    print_warnings(&foreign);
    Ok(told_apart(policies))
}

/// Gives each policy a name of its own: versions of one ScaledObject differ by their files, those of one file by a number.
fn told_apart(found: Vec<(Policy, &Path)>) -> Vec<Policy> {
    let mut policies = Vec::<Policy>::new();
    let mut numbers = BTreeMap::<String, usize>::new();
    for (mut policy, file) in found {
        let number = numbers.entry(policy.name.clone()).or_default();
        *number += 1;
        let is_taken = |name: &str| policies.iter().any(|other| other.name == name);
        let by_file = format!("{} ({})", policy.name, file.display());
        if is_taken(&by_file) {
            policy.name = format!("{} ({}, {number})", policy.name, file.display());
        } else if is_taken(&policy.name) {
            policy.name = by_file;
        }
        policies.push(policy);
    }
    policies
}

fn of_file(file: &Path) -> Result<Vec<Result<Policy, PolicyError>>, String> {
    let manifests = read_manifests(file)?;
    if manifests.scaled_objects.is_empty() {
        return Err(format!("{}: there is no ScaledObject to simulate", shown(file)));
    }
    Ok(manifests.scaled_objects.iter().map(Policy::scaled).collect())
}

async fn made_or_from_csv(args: &ModelArgs) -> Result<Workload, ModelError> {
    let name = args.workload.as_str();
    if let Some(builtin) = Builtin::from_name(name) {
        return Ok(builtin.workload(args.seed));
    }
    let is_file = Path::new(name).extension().is_some() || name.contains('/') || Path::new(name).exists();
    if !is_file {
        let builtin = Builtin::ALL.map(Builtin::name);
        let hint = did_you_mean(name, builtin.into_iter().chain([HISTORY]));
        return Err(ModelError::Input(format!(
            "--workload is `{name}`, which is neither {HISTORY}, nor a CSV file, nor built in; built in are {}{hint}",
            builtin.join(", ")
        )));
    }
    let file = tokio::fs::File::open(name).await;
    let file =
        file.map_err(|error| ModelError::Input(format!("{name}: cannot read the file: {error}")))?.into_std().await;
    read_csv(name, BufReader::new(file)).map_err(|error| ModelError::Input(error.to_string()))
}

/// Reads the workload from a storage. Shows how far it is if standard error is a terminal.
async fn history(args: &ModelArgs) -> Result<LoadedWorkload, ModelError> {
    let config = with_warnings(load_config(args.config.as_deref())?);
    let given = args.storage.as_ref().map(StorageName::as_str);
    let (name, storage) = storage_named(&config, given).map_err(ModelError::Input)?;
    let options = HistoryOptions {
        since: args.since.unwrap_or(DEFAULT_SINCE),
        names: args.names,
        bounds: HistoryBounds::default(),
    };
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
    let workload = read.map_err(|error| ModelError::Input(error.to_string()))?;
    Ok(LoadedWorkload { workload, storage: Some(name.clone()) })
}

fn export(workload: &Workload, file: &Path) -> Result<(), ModelError> {
    let written = File::create(file).and_then(|output| write_csv(workload, BufWriter::new(output)));
    written.map_err(|error| ModelError::Input(format!("{}: cannot write the workload: {error}", file.display())))
}
