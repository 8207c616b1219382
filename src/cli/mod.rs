//! One file a command.

pub mod demo;
pub mod explain;
pub mod next_run;
pub mod serve;

use std::io::IsTerminal;
use std::path::Path;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigErrors, Loaded, LogConfig, LogFormat, variables};

/// The exit code for a bad configuration: `EX_USAGE` of sysexits.h.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Reads the configuration from the file, if one is given, and the environment.
///
/// # Errors
/// All its mistakes at once.
pub fn load_config(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    Config::load(file, variables())
}

/// As [`load_config`], and checks the certificates too.
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
    match config.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
