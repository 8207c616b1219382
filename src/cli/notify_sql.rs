//! `jobrunr-scaler notify-sql`: the SQL that makes PostgreSQL notify the scaler of new jobs.

use std::path::PathBuf;

use thiserror::Error;

use super::{load_config_to_print, storage_named, with_warnings};
use crate::config::{ConfigErrors, parse_path};
use crate::storage::notify_sql;

/// The options of `notify-sql`.
#[derive(Clone, Debug, clap::Args)]
pub struct NotifySqlArgs {
    /// The configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,

    /// The storage; needed only if several are configured
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,
}

/// Why there is no SQL.
#[derive(Debug, Error)]
pub enum NotifySqlError {
    /// The configuration is invalid.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// There is no such storage, or several.
    #[error("{0}")]
    Storage(String),
    /// The storage is not on PostgreSQL.
    #[error(
        "storage `{0}` is not on PostgreSQL, the only database that can notify of new jobs; on others the scaler polls every \
         `refresh`, and there is nothing to install"
    )]
    NotPostgres(String),
}

/// Returns the SQL for the configured storage.
///
/// # Errors
/// [`NotifySqlError`]
pub fn run(args: &NotifySqlArgs) -> Result<String, NotifySqlError> {
    let config = with_warnings(load_config_to_print(args.config.as_deref())?);
    let (name, storage) = storage_named(&config, args.storage.as_deref()).map_err(NotifySqlError::Storage)?;
    notify_sql(storage).ok_or_else(|| NotifySqlError::NotPostgres(name.to_string()))
}
