//! `jobrunr-scaler grants-sql`: the statements that make a user for the scaler.

use std::path::PathBuf;

use thiserror::Error;

use super::{load_config_to_print, storage_named};
use crate::config::ConfigErrors;
use crate::storage::grants_sql;

/// The options of `grants-sql`.
#[derive(Clone, Debug, clap::Args)]
pub struct GrantsSqlArgs {
    /// The configuration, YAML. For a single storage the environment alone is enough: JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG")]
    pub config: Option<PathBuf>,

    /// The storage to print them for; need not be given where there is only one
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,

    /// The user to make; the configured one, if you do not say, or else jobrunr_scaler
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
}

/// Why there are no statements.
#[derive(Debug, Error)]
pub enum GrantsSqlError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// No storage, or not one alone.
    #[error("{0}")]
    Storage(String),
}

/// The statements for the configured storage.
///
/// # Errors
/// [`GrantsSqlError`]
pub fn run(args: &GrantsSqlArgs) -> Result<String, GrantsSqlError> {
    let config = load_config_to_print(args.config.as_deref())?.config;
    let (_, storage) = storage_named(&config, args.storage.as_deref()).map_err(GrantsSqlError::Storage)?;
    Ok(grants_sql(storage, args.role.as_deref()).to_string())
}
