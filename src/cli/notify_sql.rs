//! `jobrunr-scaler notify-sql`: the statements that make PostgreSQL tell of new jobs.

use std::path::PathBuf;

use thiserror::Error;

use super::{load_config_to_print, storage_named};
use crate::config::ConfigErrors;
use crate::storage::notify_sql;

/// The options of `notify-sql`.
#[derive(Clone, Debug, clap::Args)]
pub struct NotifySqlArgs {
    /// The configuration, YAML. For a single storage the environment alone is enough: JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG")]
    pub config: Option<PathBuf>,

    /// The storage to print them for; need not be given where there is only one
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,
}

/// Why there are no statements.
#[derive(Debug, Error)]
pub enum NotifySqlError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// No storage, or not one alone.
    #[error("{0}")]
    Storage(String),
    /// Not PostgreSQL.
    #[error(
        "storage `{0}` is not on PostgreSQL, the only database that tells of new jobs by itself; elsewhere the scaler \
         looks every refresh, and nothing is to be installed"
    )]
    NotPostgres(String),
}

/// The statements for the configured storage.
///
/// # Errors
/// [`NotifySqlError`]
pub fn run(args: &NotifySqlArgs) -> Result<String, NotifySqlError> {
    let config = load_config_to_print(args.config.as_deref())?.config;
    let (name, storage) = storage_named(&config, args.storage.as_deref()).map_err(NotifySqlError::Storage)?;
    notify_sql(storage).ok_or_else(|| NotifySqlError::NotPostgres(name.to_string()))
}
