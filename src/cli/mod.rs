//! One file a command.

pub mod check;
pub mod demo;
pub mod explain;
pub mod grants_sql;
pub mod health;
pub mod next_run;
pub mod notify_sql;
pub mod serve;
mod terminal;

use std::path::Path;

use crate::config::{Config, ConfigErrors, Loaded, StorageConfig, StorageName, variables};

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
