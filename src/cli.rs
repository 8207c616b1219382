//! The command line: arguments, the small commands, and exit codes.

pub mod check;
mod error;
pub mod grants_sql;
pub mod health;
pub mod help;
pub mod model_args;
pub mod next_run;
pub mod notify_sql;
pub mod protect;
pub mod recommend;
pub mod simulate;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

pub use error::CommandError;

use crate::config::{
    Config, ConfigErrors, DEFAULT_HTTP_PORT, DEFAULT_PORT, Loaded, StorageConfig, StorageName, parse_address,
    parse_path, variables,
};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::terminal::print_warnings;
use crate::{demo, explain, serve};

/// A KEDA external scaler that scales JobRunr workers straight from the job database.
#[derive(Debug, Parser)]
#[command(name = "jobrunr-scaler", version, arg_required_else_help = true)]
pub struct Args {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the scaler: answer KEDA over gRPC.
    Serve(ServeArgs),
    /// Show what KEDA and the HPA would do with ScaledObjects now, and why.
    Explain(explain::ExplainArgs),
    /// Spare pods with running jobs at scale-in: keep their deletion costs in step with JobRunr's tables.
    Protect(protect::ProtectArgs),
    /// Check the storages: login, rights, tables, indexes, version, clocks, servers.
    Check(check::CheckArgs),
    /// Watch it scale: JobRunr, KEDA and the HPA simulated around the real scaler, without a cluster or a database.
    Demo(demo::DemoArgs),
    /// Show what ScaledObjects would have done with a workload: how long jobs wait, what the pods cost, what is interrupted.
    Simulate(simulate::SimulateArgs),
    /// Find the settings of a ScaledObject that keep a promise at the lowest cost.
    Recommend(recommend::RecommendArgs),
    /// Print when a recurring job runs next, as JobRunr computes it.
    NextRun(next_run::NextRunArgs),
    /// Check whether a running scaler is ready, for probes in an image without curl.
    Health(health::HealthArgs),
    /// Print the SQL that creates a database user with only the rights that the scaler needs.
    GrantsSql(grants_sql::GrantsSqlArgs),
    /// Print the SQL that makes PostgreSQL notify the scaler of new jobs at once.
    NotifySql(notify_sql::NotifySqlArgs),
    /// Print the script that completes this command line in a shell.
    Completions(help::CompletionsArgs),
    /// Print a manual page, for man.
    Man(help::ManArgs),
}

/// The options of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL.
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    config: Option<PathBuf>,
    /// The address for KEDA; overrides the configuration.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = |text: &str| parse_address(text, DEFAULT_PORT))]
    listen: Option<SocketAddr>,
    /// The address for health and metrics; overrides the configuration.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = |text: &str| parse_address(text, DEFAULT_HTTP_PORT))]
    http: Option<SocketAddr>,
}

/// Runs a command.
///
/// # Errors
/// [`CommandError`], with the exit code and the message to print.
pub fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Serve(args) => serve(&args),
        Command::Explain(args) => healthy(block_on(explain::run(&args))??),
        Command::Protect(args) => protect(&args),
        Command::Check(args) => healthy(block_on(check::run(&args))??),
        Command::Demo(args) => Ok(block_on(demo::run(args))??),
        Command::Simulate(args) => Ok(block_on(simulate::run(&args))??),
        Command::Recommend(args) => Ok(block_on(recommend::run(&args))??),
        Command::NextRun(args) => {
            Ok(next_run::run(&args, io::stdin().lock(), io::stdout().lock(), jiff::Timestamp::now())?)
        }
        Command::Health(args) => Ok(block_on(health::run(args))??),
        Command::GrantsSql(args) => print(grants_sql::run(&args)?),
        Command::NotifySql(args) => print(notify_sql::run(&args)?),
        Command::Completions(args) => print(help::completions(&args)),
        Command::Man(args) => print(help::man(&args)?),
    }
}

fn serve(args: &ServeArgs) -> Result<(), CommandError> {
    let loaded = load_config_to_serve(args.config.as_deref())?;
    let metrics = Metrics::default();
    let log = Log::start(&loaded.config.log, &metrics);
    let result = block_on(serve::run(args.config.clone(), loaded, args.listen, args.http, metrics))?;
    result.map_err(|error| {
        // Logged, not printed: standard error may be a pipe that nobody reads.
        log.line(&error.to_string());
        CommandError::Reported
    })
}

#[cfg(feature = "protect")]
fn protect(args: &protect::ProtectArgs) -> Result<(), CommandError> {
    if args.remove {
        return print(&block_on(protect::runs_once(args))?.map_err(|error| CommandError::Failed(error.to_string()))?);
    }
    let loaded = load_config(args.config.as_deref())?;
    let metrics = Metrics::default();
    let log = Log::start(&loaded.config.log, &metrics);
    let result = block_on(protect::run(args, loaded, metrics))?;
    result.map_err(|error| {
        log.line(&error.to_string());
        CommandError::Reported
    })
}

#[cfg(not(feature = "protect"))]
fn protect(_args: &protect::ProtectArgs) -> Result<(), CommandError> {
    Err(CommandError::Failed(protect::MISSING_FEATURE.to_owned()))
}

/// Runs a command on its own runtime.
fn block_on<T>(command: impl Future<Output = T>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Runtime::new();
    Ok(runtime
        .map_err(|error| CommandError::Failed(format!("cannot start the async runtime: {error}")))?
        .block_on(command))
}

/// Fails if the command has reported a problem in its output.
fn healthy(is_healthy: bool) -> Result<(), CommandError> {
    if is_healthy { Ok(()) } else { Err(CommandError::Reported) }
}

fn print(text: impl AsRef<[u8]>) -> Result<(), CommandError> {
    Ok(io::stdout().write_all(text.as_ref())?)
}

/// Prints the configuration's warnings.
fn with_warnings(loaded: Loaded) -> Config {
    print_warnings(&loaded.warnings);
    loaded.config
}

/// Loads the configuration from the file, if given, and the environment, for a command that connects to databases.
///
/// # Errors
/// All problems at once.
pub fn load_config(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load_to_connect(file, variables())
}

/// As [`load_config`], for a command that only prints: users and files may be missing on this machine.
///
/// # Errors
/// All problems at once.
pub fn load_config_to_print(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load(file, variables())
}

/// As [`load_config`], and checks the certificates of the gRPC port.
///
/// # Errors
/// All problems at once.
pub fn load_config_to_serve(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load_to_serve(file, variables())
}

/// Returns the storage with this name, or the only one.
///
/// # Errors
/// The names that are configured.
fn storage_named<'a>(config: &'a Config, name: Option<&str>) -> Result<(&'a StorageName, &'a StorageConfig), String> {
    let names = || config.storages.keys().map(StorageName::as_str).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => config
            .storages
            .get_key_value(name)
            .ok_or_else(|| format!("--storage is `{name}`, which is not configured; configured: {}", names())),
        None if config.storages.len() == 1 => {
            config.storages.iter().next().ok_or_else(|| "no storage is configured".to_owned())
        }
        None => Err(format!("several storages are configured; choose one with --storage: {}", names())),
    }
}
