//! `jobrunr-scaler protect`: the options.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{DEFAULT_HTTP_PORT, parse_address, parse_path};
use crate::protect::pods::NamePattern;
use crate::text::whole_number;

/// The options of `protect`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProtectArgs {
    /// The configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,

    /// The address for health and metrics; overrides the configuration
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = |text: &str| parse_address(text, DEFAULT_HTTP_PORT))]
    pub http: Option<SocketAddr>,

    /// Which pods
    #[command(flatten)]
    pub pods: PodArgs,

    /// How many deletion costs to write per second at most
    #[arg(long, value_name = "N", default_value = "10", value_parser = whole_number(1..=1_000_u32))]
    pub writes_per_second: u32,

    /// Leave the deletion costs when protection ends: where several replicas protect the same pods
    #[arg(long)]
    pub keep_costs: bool,

    /// Only remove the deletion costs that were written, and exit
    #[arg(long)]
    pub remove: bool,
}

/// Which pods are protected.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PodArgs {
    /// The namespace of the workers' pods; can be repeated. Default: the namespace of the service account or the kubeconfig
    #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,

    /// The labels of the workers' pods, such as app=jobrunr-workers. Default: all pods of the namespace
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,

    /// How the name of a JobRunr server comes from the name of its pod, which is `*`
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub server_name: NamePattern,
}

/// Why pods cannot be protected by this binary.
#[cfg(not(feature = "protect"))]
pub const MISSING_FEATURE: &str =
    "this binary has no client for the Kubernetes API; build it with `--features protect`, or use the image";

#[cfg(feature = "protect")]
pub use with_cluster::{options, run, runs_once};

#[cfg(feature = "protect")]
mod with_cluster {
    use super::{PodArgs, ProtectArgs};
    use crate::config::Loaded;
    use crate::metrics::Metrics;
    use crate::protect::cluster::Cluster;
    use crate::protect::options::ProtectOptions;
    use crate::protect::process::{self, ProtectError};

    /// The options of the pods.
    #[must_use]
    pub fn options(pods: &PodArgs) -> ProtectOptions {
        ProtectOptions {
            namespaces: pods.namespaces.clone(),
            selector: pods.selector.clone(),
            pattern: pods.server_name.clone(),
            writes_per_second: 1,
            keeps_costs: false,
        }
    }

    /// Protects pods until a signal.
    ///
    /// # Errors
    /// [`ProtectError`]
    pub async fn run(args: &ProtectArgs, loaded: Loaded, metrics: Metrics) -> Result<(), ProtectError> {
        let options = ProtectOptions {
            writes_per_second: args.writes_per_second,
            keeps_costs: args.keep_costs,
            ..options(&args.pods)
        };
        process::run(Cluster::infer().await?, loaded, args.http, &options, metrics).await
    }

    /// Removes the deletion costs. Returns what to print.
    ///
    /// # Errors
    /// [`ProtectError`]
    pub async fn runs_once(args: &ProtectArgs) -> Result<String, ProtectError> {
        let n_pods = process::remove(&Cluster::infer().await?, &options(&args.pods)).await?;
        Ok(format!("removed the deletion costs of {}\n", crate::text::counted(n_pods as u64, "pod")))
    }
}
