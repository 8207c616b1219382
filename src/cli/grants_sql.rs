//! `jobrunr-scaler grants-sql`: the SQL that creates a database user for the scaler.

use std::path::PathBuf;

use thiserror::Error;

use super::{load_config_to_print, storage_named, with_warnings};
use crate::config::{ConfigErrors, parse_path};
use crate::storage::grants_sql;

/// The options of `grants-sql`.
#[derive(Clone, Debug, clap::Args)]
pub struct GrantsSqlArgs {
    /// The configuration file, YAML. One storage needs no file: set JOBRUNR_SCALER_URL
    #[arg(long, short, value_name = "FILE", env = "JOBRUNR_SCALER_CONFIG", value_parser = parse_path)]
    pub config: Option<PathBuf>,

    /// The storage; needed only if several are configured
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,

    /// The user to create [default: the configured one, or else jobrunr_scaler]
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
}

/// Why there is no SQL.
#[derive(Debug, Error)]
pub enum GrantsSqlError {
    /// The configuration is invalid.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// There is no such storage, or several.
    #[error("{0}")]
    Storage(String),
}

/// Returns the SQL for the configured storage.
///
/// # Errors
/// [`GrantsSqlError`]
pub fn run(args: &GrantsSqlArgs) -> Result<String, GrantsSqlError> {
    let config = with_warnings(load_config_to_print(args.config.as_deref())?);
    let (_, storage) = storage_named(&config, args.storage.as_deref()).map_err(GrantsSqlError::Storage)?;
    Ok(grants_sql(storage, args.role.as_deref()).to_string())
}
