//! One file a command.

pub mod demo;
pub mod explain;
pub mod grants_sql;
pub mod health;
pub mod next_run;
pub mod notify_sql;
pub mod serve;

use std::io::IsTerminal;
use std::path::Path;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigErrors, Loaded, LogConfig, LogFormat, StorageConfig, StorageName, variables};

/// The exit code for a bad configuration: `EX_USAGE` of sysexits.h.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Reads the configuration from the file, if one is given, and the environment, for a command that connects to databases.
///
/// # Errors
/// All its mistakes at once.
pub fn load_config(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load_to_connect(file, variables())
}

/// As [`load_config`], for a command that only prints: users and files may be missing here.
///
/// # Errors
/// All its mistakes at once.
pub fn load_config_to_print(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load(file, variables())
}

/// The storage of that name, or the only one.
///
/// # Errors
/// Which names there are.
fn storage_named<'a>(config: &'a Config, name: Option<&str>) -> Result<(&'a StorageName, &'a StorageConfig), String> {
    let names = || config.storages.keys().map(StorageName::as_str).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => config
            .storages
            .get_key_value(name)
            .ok_or_else(|| format!("--storage is `{name}`, which is not configured; there are: {}", names())),
        None if config.storages.len() == 1 => {
            config.storages.iter().next().ok_or_else(|| "no storage is configured".to_owned())
        }
        None => Err(format!("several storages are configured; choose one with --storage: {}", names())),
    }
}

/// As [`load_config`], and checks the certificates of the gRPC port too.
///
/// # Errors
/// All its mistakes at once.
pub fn load_config_to_serve(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load_to_serve(file, variables())
}

/// Sends the log to standard error, so that standard output is a command's own.
pub fn start_log(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // It would say on standard error that standard error cannot be written, and panic in the middle of a call.
    let builder = builder.log_internal_errors(false);
    match config.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
