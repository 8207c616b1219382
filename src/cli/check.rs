//! `jobrunr-scaler check`: whether the storages can be read, and what needs attention.

use std::io::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use super::protect::PodArgs;
use super::{load_config, storage_named, with_warnings};
use crate::config::{Config, ConfigErrors, parse_path};
use crate::protect::report::PodsReport;
use crate::storage::{Finding, Level, check};
use crate::terminal::{BOLD, GREEN, RED, YELLOW, painted, paragraph, stdout};

/// The options that need `--protect`.
const POD_OPTIONS: [&str; 3] = ["namespaces", "selector", "server_name"];

/// The options of `check`.
#[derive(Clone, Debug, clap::Args)]
#[command(mut_args(|arg| if POD_OPTIONS.contains(&arg.get_id().as_str()) { arg.requires("protect") } else { arg }))]
pub struct CheckArgs {
    /// The configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,

    /// Check only this storage
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,

    /// Also show which server is which pod, what it runs and what its deletion cost is. Needs a Kubernetes cluster
    #[arg(long)]
    pub protect: bool,

    /// Which pods
    #[command(flatten)]
    pub pods: PodArgs,

    /// The output format
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Table,
    /// JSON for scripts.
    Json,
}

/// Why the check could not run.
#[derive(Debug, Error)]
pub enum CheckError {
    /// The configuration is invalid.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// There is no storage with this name.
    #[error("{0}")]
    Storage(String),
    /// The pods cannot be shown.
    #[error("{0}")]
    Pods(String),
    /// Standard output cannot be written.
    #[error("cannot write the findings: {0}")]
    Output(#[from] std::io::Error),
}

/// The findings of all storages. As JSON this is an interface: fields are added, never renamed or removed.
#[derive(Debug, Serialize)]
struct CheckReport {
    storages: Vec<StorageReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<PodsReport>,
}

/// The findings of one storage.
#[derive(Debug, Serialize)]
struct StorageReport {
    name: String,
    /// Whether its triggers can be answered.
    healthy: bool,
    findings: Vec<Finding>,
}

/// Checks the storages one after the other and prints the findings. Returns whether all of them are healthy.
///
/// # Errors
/// [`CheckError`]
pub async fn run(args: &CheckArgs) -> Result<bool, CheckError> {
    let config = with_warnings(load_config(args.config.as_deref())?);
    let mut storages = Vec::new();
    let chosen: Vec<_> = match &args.storage {
        Some(name) => vec![storage_named(&config, Some(name)).map_err(CheckError::Storage)?],
        None => config.storages.iter().collect(),
    };
    for (name, storage) in chosen {
        let check = check(storage, Timestamp::now).await;
        storages.push(StorageReport {
            name: name.as_str().to_owned(),
            healthy: check.is_healthy(),
            findings: check.findings(),
        });
    }
    let pods = if args.protect { Some(pods_report(&config, args).await.map_err(CheckError::Pods)?) } else { None };
    let report = CheckReport { storages, pods };
    match args.output {
        Output::Table => stdout().write_all(table(&report).as_bytes())?,
        Output::Json => {
            let text = serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?;
            writeln!(std::io::stdout(), "{text}")?;
        }
    }
    let is_healthy = report.pods.as_ref().is_none_or(PodsReport::is_healthy);
    Ok(is_healthy && report.storages.iter().all(|storage| storage.healthy))
}

#[cfg(feature = "protect")]
async fn pods_report(config: &Config, args: &CheckArgs) -> Result<PodsReport, String> {
    use crate::protect::{cluster::Cluster, process};

    let cluster = Cluster::infer().await.map_err(|error| error.to_string())?;
    let options = super::protect::options(&args.pods);
    process::report(&cluster, config, &options).await.map_err(|error| error.to_string())
}

#[cfg(not(feature = "protect"))]
async fn pods_report(_config: &Config, _args: &CheckArgs) -> Result<PodsReport, String> {
    Err(super::protect::MISSING_FEATURE.to_owned())
}

fn table(report: &CheckReport) -> String {
    let mut text = String::new();
    for storage in &report.storages {
        if !text.is_empty() {
            text.push('\n');
        }
        paragraph(&mut text, "", &format!("storage {}", storage.name), |line| painted(line, BOLD));
        for finding in &storage.findings {
            let (mark, style) = match finding.level {
                Level::Ok => ("ok", GREEN),
                Level::Warning => ("warning", YELLOW),
                Level::Problem => ("problem", RED),
            };
            let line = format!("{mark}: {}: {}", finding.topic, finding.text);
            paragraph(&mut text, "  ", &line, |line| match line.strip_prefix(mark) {
                Some(rest) => painted(mark, style) + rest,
                None => line.to_owned(),
            });
        }
    }
    if let Some(pods) = &report.pods {
        text += "\n";
        text += &pods.table();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        _args: CheckArgs,
    }

    #[test]
    fn options_of_pods_need_protect() {
        let check = |options: &[&str], expected: bool| {
            let parsed = |further: &[&str]| Command::try_parse_from([&["check"], options, further].concat()).is_ok();
            assert_eq!(parsed(&[]), expected, "{options:?}");
            assert!(parsed(&["--protect"]), "{options:?}");
        };
        check(&[], true);
        check(&["--storage", "orders"], true);
        check(&["--namespace", "orders"], false);
        check(&["--selector", "app=jobrunr-workers"], false);
        check(&["--server-name", "*.workers"], false);
    }
}
