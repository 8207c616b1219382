//! `jobrunr-scaler recommend`: which settings keep a promise at the lowest cost.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

use super::model_args::{LoadedWorkload, ModelArgs, ModelError, policies};
use crate::config::StorageName;
use crate::simulate::recommend::{Rated, RecommendOptions, Recommendation, Slo, recommend};
use crate::simulate::{recommendation_report, table};
use crate::terminal::{BOLD, DIM, painted, paragraph, stdout};
use crate::text::{number, whole_number};

/// The lines of the front that the table shows.
const MAX_FRONT: usize = 12;

/// Find the settings of a ScaledObject that keep a promise at the lowest cost
#[derive(Clone, Debug, clap::Args)]
pub struct RecommendArgs {
    /// The promise: p50, p95, p99, mean or max of the waits from due to start, and a duration
    #[arg(long, value_name = "PROMISE", default_value = "p95 latency <= PT1M")]
    pub slo: Slo,

    /// A YAML file with the ScaledObjects of today, to compare with; - for standard input. Can be given several times
    #[arg(long = "filename", short, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// The most pods
    #[arg(long, value_name = "N", default_value = "10", value_parser = whole_number(1..=1_000_u32))]
    pub max_pods: u32,

    /// The name of the Deployment to scale, and of the ScaledObject
    #[arg(long, value_name = "NAME", default_value = "jobrunr-workers")]
    pub target: String,

    /// The namespace of the ScaledObject
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The scaler's address in the ScaledObject
    #[arg(long, value_name = "HOST:PORT", default_value = "jobrunr-scaler.keda:9090")]
    pub scaler_address: String,

    /// The output format
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people, with the ScaledObject at its end.
    Table,
    /// Only the ScaledObject, ready to apply.
    Yaml,
    /// JSON for scripts.
    Json,
}

/// Searches, and prints the recommendation.
///
/// # Errors
/// [`ModelError`]
pub async fn run(args: &RecommendArgs) -> Result<(), ModelError> {
    let mut others = policies(&args.files)?;
    let LoadedWorkload { workload, storage } = args.model.workload(&["--since", "--names"]).await?;
    if let Some(storage) = &storage {
        others.iter_mut().for_each(|policy| policy.note_history_of(storage.as_str()));
    }
    // A trigger that names no storage asks for the default one.
    let storage = storage.filter(|name| *name != StorageName::default()).or(args.model.storage.clone());
    let options = RecommendOptions {
        slo: args.slo,
        max_pods: args.max_pods,
        target: args.target.clone(),
        namespace: args.namespace.clone(),
        scaler_address: args.scaler_address.clone(),
        storage: storage.as_ref().map(StorageName::to_string),
    };
    let found = recommend(&workload, &others, &options, &args.model.settings())
        .map_err(|error| ModelError::Input(error.to_string()))?;
    args.model.write_report(|| recommendation_report(&found)).await?;
    match args.output {
        Output::Table => stdout().write_all(text(&found).as_bytes())?,
        Output::Yaml => stdout().write_all(found.manifest.as_bytes())?,
        Output::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&found).map_err(io::Error::from)?)?,
    }
    Ok(())
}

fn text(found: &Recommendation) -> String {
    let mut text = String::new();
    for reason in &found.reasons {
        paragraph(&mut text, "", reason, str::to_owned);
    }
    text.push('\n');
    let _ = writeln!(text, "{}", painted("Candidates that no other beats, on the first two thirds", BOLD));
    let headings = "  pod-hours   p50 s   p95 s   p99 s  cut  target  wait  ahead  cool  window  min  max";
    let _ = writeln!(text, "{}", painted(headings, DIM));
    for rated in front(found) {
        let (candidate, latency) = (rated.candidate, rated.latency_seconds);
        let mark = if rated.candidate == found.chosen.candidate { '>' } else { ' ' };
        let _ = writeln!(
            text,
            "{mark} {:>9} {:>7} {:>7} {:>7} {:>4} {:>7} {:>5} {:>6} {:>5} {:>7} {:>4} {:>4}",
            number(rated.pod_hours, 2),
            number(latency.p50, 1),
            number(latency.p95, 1),
            number(latency.p99, 1),
            rated.jobs_interrupted,
            candidate.target,
            if candidate.max_latency == 0 { "–".to_owned() } else { candidate.max_latency.to_string() },
            candidate.scheduled_in,
            candidate.cooldown,
            candidate.stabilization,
            candidate.min,
            candidate.max,
        );
    }
    let _ = writeln!(text, "\n{}", painted("On the last third, beside others", BOLD));
    text.push_str(&table(&found.check));
    let _ = writeln!(text, "\n{}", painted("The ScaledObject", BOLD));
    text.push_str(&found.manifest);
    text
}

/// The part of the front around the chosen one.
fn front(found: &Recommendation) -> Vec<Rated> {
    let rated = found.front_and_chosen();
    let chosen = rated.iter().position(|rated| rated.candidate == found.chosen.candidate).unwrap_or_default();
    rated.into_iter().skip(chosen.saturating_sub(MAX_FRONT / 2)).take(MAX_FRONT).collect()
}
