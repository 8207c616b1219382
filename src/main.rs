//! The command line of jobrunr-scaler: parses it, runs the command, sets the exit code.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jobrunr_scaler::cli;
use jobrunr_scaler::cli::demo::DemoArgs;
use jobrunr_scaler::log::Log;
use jobrunr_scaler::metrics::Metrics;

/// A KEDA external scaler for JobRunr: latency, scheduled jobs and worker usage, read from the job database.
#[derive(Parser)]
#[command(name = "jobrunr-scaler", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer KEDA over gRPC.
    Serve(ServeArgs),
    /// Say what KEDA and the HPA make of ScaledObjects, and why.
    Explain(cli::explain::ExplainArgs),
    /// Look at the storages: login, rights, tables, indexes, version, clocks, servers.
    Check(cli::check::CheckArgs),
    /// Watch it scale: a play of JobRunr, KEDA and the HPA around the real scaler, without a cluster or a database.
    Demo(DemoArgs),
    /// Say when a recurring job runs next, as JobRunr computes it.
    NextRun(cli::next_run::NextRunArgs),
    /// Ask a running scaler whether it is ready: for probes where there is no curl.
    Health(cli::health::HealthArgs),
    /// Print the statements that make a database user with just the rights that the scaler needs.
    GrantsSql(cli::grants_sql::GrantsSqlArgs),
    /// Print the statements with which PostgreSQL tells of new jobs at once.
    NotifySql(cli::notify_sql::NotifySqlArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    /// The configuration, YAML. For a single storage the environment alone is enough: JOBRUNR_SCALER_URL.
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen; overrides the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to serve health and metrics; overrides the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Explain(args) => explain(&args),
        Command::Check(args) => check(&args),
        Command::Demo(args) => finish(block_on(cli::demo::run(args))),
        Command::NextRun(args) => next_run(&args),
        Command::Health(args) => finish(block_on(cli::health::run(args))),
        Command::GrantsSql(args) => {
            use cli::grants_sql::GrantsSqlError::Configuration;
            print_sql(cli::grants_sql::run(&args), |error| matches!(error, Configuration(_)))
        }
        Command::NotifySql(args) => {
            use cli::notify_sql::NotifySqlError::Configuration;
            print_sql(cli::notify_sql::run(&args), |error| matches!(error, Configuration(_)))
        }
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let loaded = match cli::load_config_to_serve(args.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(cli::EXIT_BAD_CONFIGURATION);
        }
    };
    let metrics = Metrics::default();
    let log = Log::start(&loaded.config.log, &metrics);
    match block_on(cli::serve::run(args.config.clone(), loaded, args.listen, args.http, metrics)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not printed, because standard error may be a pipe that nobody reads.
            log.line(&format!("jobrunr-scaler: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn explain(args: &cli::explain::ExplainArgs) -> ExitCode {
    let code = block_on(async { anyhow::Ok(cli::explain::run(args).await) });
    code.map_or_else(|error| finish(Err(error)), ExitCode::from)
}

fn check(args: &cli::check::CheckArgs) -> ExitCode {
    match block_on(async { anyhow::Ok(cli::check::run(args).await) }) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(cli::check::CheckError::Configuration(mistakes))) => {
            eprintln!("{mistakes}");
            ExitCode::from(cli::EXIT_BAD_CONFIGURATION)
        }
        Ok(Err(error)) => finish(Err(error.into())),
        Err(error) => finish(Err(error)),
    }
}

fn next_run(args: &cli::next_run::NextRunArgs) -> ExitCode {
    let (input, output, errors) = (std::io::stdin().lock(), std::io::stdout().lock(), std::io::stderr().lock());
    ExitCode::from(cli::next_run::run(args, input, output, errors, jiff::Timestamp::now()))
}

/// Prints statements, or what is wrong; a wrong configuration has an exit code of its own.
fn print_sql<E>(result: Result<String, E>, is_configuration: impl Fn(&E) -> bool) -> ExitCode
where
    E: std::error::Error + Send + Sync + 'static,
{
    match result {
        Ok(sql) => {
            print!("{sql}");
            ExitCode::SUCCESS
        }
        Err(mistakes) if is_configuration(&mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(cli::EXIT_BAD_CONFIGURATION)
        }
        Err(error) => finish(Err(error.into())),
    }
}

/// Runs a command to its end.
fn block_on<T, E>(command: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    Ok(tokio::runtime::Runtime::new()?.block_on(command)?)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrunr-scaler: {error:#}");
            ExitCode::FAILURE
        }
    }
}
