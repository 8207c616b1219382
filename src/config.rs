//! The configuration: a YAML file, overridden by the environment, and checked completely before anything starts.
//!
//! `file` and `env` collect what was given and where; `storage` and this module check it. Nothing here connects or binds. Files
//! are read (the configuration, `urlFile`, the certificates), and no text from here shows a password.
mod address;
mod bounds;
mod env;
mod file;
mod libpq;
mod log;
mod problem;
mod raw;
mod secret;
mod server_tls;
mod storage;
mod storage_name;
mod table_prefix;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::address::{
    Address, AddressError, AuthMechanism, LoginError, MongoDbAddress, ServerAddress, Tls, TlsMode, host_and_port,
};
pub use self::bounds::ReadBounds;
pub use self::env::variables;
pub use self::log::{LogConfig, LogFormat};
pub use self::problem::{ConfigErrors, Origin, Problem};
pub use self::secret::{Secret, SecretError};
pub use self::storage_name::{StorageName, StorageNameError};
pub use self::table_prefix::{TablePrefix, TablePrefixError};
pub use crate::tls::TlsFiles;

use self::problem::{Diagnostics, quoted};
use self::raw::{RawConfig, RawStorage, RawValue};

/// The example file that we ship: every key, its default and its purpose.
pub const EXAMPLE: &str = include_str!("../config.example.yaml");

/// The port for KEDA if `listen` is not given.
pub(crate) const DEFAULT_PORT: u16 = 9090;
/// The port for health and metrics if `http` is not given.
pub(crate) const DEFAULT_HTTP_PORT: u16 = 8080;

/// All settings, valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to serve KEDA. Default `0.0.0.0:9090`.
    pub listen: SocketAddr,
    /// Where to serve health checks and Prometheus over HTTP; `None` to serve none. Default `0.0.0.0:8080`.
    pub http: Option<SocketAddr>,
    /// Whether the HTTP port also shows what was decided recently, as a page and as JSON. Default `true`.
    pub page: bool,
    /// What to log, and in which format.
    pub log: LogConfig,
    /// The TLS files of the gRPC port; `None` to serve without TLS.
    pub tls: Option<TlsFiles>,
    /// The databases to read, at least one.
    pub storages: BTreeMap<StorageName, StorageConfig>,
}

/// One JobRunr database and table prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageConfig {
    /// The address of the database, with user and password.
    pub address: Address,
    /// JobRunr's table prefix. Default empty.
    pub table_prefix: TablePrefix,
    /// How often to read while there are callers. 100 ms to 1 min, default 1 s.
    pub refresh: Duration,
    /// The maximum age of an answer while the database is unavailable. At least `refresh`, default 1 min.
    pub max_staleness: Duration,
    /// The time limit of a statement. 100 ms to 1 min, default 5 s.
    pub statement_timeout: Duration,
    /// The time limit for connecting. 100 ms to 1 min, default 5 s.
    pub connect_timeout: Duration,
    /// Counts are capped here, so that a read does not grow with the table. `None` (`0` in the file) counts all. Default
    /// 10,000.
    pub count_limit: Option<u64>,
    /// After how many poll intervals without a heartbeat a server is dead: JobRunr's `serverTimeoutPollIntervalMultiplicand`,
    /// which is in no table. 1 to 100, default 4.
    pub heartbeat_multiplicand: u32,
    /// JobRunr's major version, 6 to 99; `None` to detect it from the tables. It decides when runs of recurring jobs are
    /// created.
    pub jobrunr_version: Option<u32>,
    /// The Kubernetes namespaces whose triggers may use the storage, at least one; `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// How many rows one read looks at. Not a key of the configuration.
    pub bounds: ReadBounds,
}

/// A configuration, and warnings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What was ignored, or is valid but rarely intended. One sentence each, without secrets, for the log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file, overrides it with the environment and checks everything.
    ///
    /// `env` is usually [`variables()`]. Names that do not start with `JOBRUNR_SCALER_` are ignored, and so are those that
    /// Kubernetes sets for a Service called `jobrunr-scaler`. An empty variable counts as not set, except for the table prefix
    /// (which may be empty) and namespaces (where empty is invalid).
    ///
    /// # Errors
    /// Everything that is wrong, each with its origin.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigErrors> {
        load(file, env, Purpose::Print)
    }

    /// As [`load`](Self::load), from the text of a file; `name` is its name in messages.
    ///
    /// # Errors
    /// Everything that is wrong, each with its origin.
    pub fn parse(
        name: &str,
        yaml: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        let mut diagnostics = Diagnostics::default();
        let raw = file::parse(name.to_owned(), yaml, &mut diagnostics);
        check(raw, env, Purpose::Print, diagnostics)
    }

    /// As [`load`](Self::load), and checks what a login to the databases needs: users, TLS files, and that no variable of the
    /// PostgreSQL driver interferes.
    ///
    /// # Errors
    /// Everything that is wrong, each with its origin.
    pub fn load_to_connect(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        load(file, env, Purpose::Connect)
    }

    /// As [`load_to_connect`](Self::load_to_connect), and checks the certificates of the gRPC port. Only at the start: a
    /// running server keeps the old certificates while new ones are invalid.
    ///
    /// # Errors
    /// Everything that is wrong, each with its origin.
    pub fn load_to_serve(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        load(file, env, Purpose::Serve)
    }

    /// Loads only [`http`](field@Self::http), to call a running scaler: whatever else is wrong by now, the scaler still runs with
    /// its old configuration.
    ///
    /// # Errors
    /// The file cannot be read, or the address is invalid.
    pub fn http(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<SocketAddr>, ConfigErrors> {
        let mut ignored = Diagnostics::default();
        let Some(mut raw) = read(file, &mut ignored) else { return ignored.finish().map(|_| None) };
        env::overlay(&mut raw, env, &mut ignored);
        let mut diagnostics = Diagnostics::default();
        let http = parse_value(raw.http, parse_http, &mut diagnostics).unwrap_or_else(|| Some(default_http()));
        diagnostics.finish().map(|_| http)
    }
}

/// Where HTTP is served if `http` is not given.
fn default_http() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_HTTP_PORT))
}

/// What a configuration is loaded for. Each purpose needs more than the one before; what only a later one needs may be missing
/// on this machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// To print the configuration, or statements for it.
    Print,
    /// To connect to the databases.
    Connect,
    /// To serve KEDA.
    Serve,
}

fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    purpose: Purpose,
) -> Result<Loaded, ConfigErrors> {
    let mut diagnostics = Diagnostics::default();
    let raw = read(file, &mut diagnostics);
    check(raw, env, purpose, diagnostics)
}

/// Reads the path of the configuration. Unlike other paths it may be empty, which counts as not given: as a variable, a template can
/// leave it behind.
///
/// # Errors
/// None.
pub fn parse_path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

/// Reads the file, if one is given. `None` if it could not be read.
fn read(file: Option<&Path>, diagnostics: &mut Diagnostics) -> Option<RawConfig> {
    match file.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => file::read(path, diagnostics),
        None => Some(RawConfig::default()),
    }
}

/// `raw` has the values of the file, `None` if it could not be read.
fn check(
    raw: Option<RawConfig>,
    env: impl IntoIterator<Item = (String, String)>,
    purpose: Purpose,
    mut diagnostics: Diagnostics,
) -> Result<Loaded, ConfigErrors> {
    let file_is_known = raw.is_some();
    let mut raw = raw.unwrap_or_default();
    env::overlay(&mut raw, env, &mut diagnostics);
    let config = Config {
        listen: parse_value(raw.listen, |text| parse_address(text, DEFAULT_PORT), &mut diagnostics)
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT))),
        http: parse_value(raw.http, parse_http, &mut diagnostics).unwrap_or_else(|| Some(default_http())),
        page: parse_value(raw.page, parse_page, &mut diagnostics).unwrap_or(true),
        log: LogConfig {
            format: parse_value(raw.log_format, log::parse_format, &mut diagnostics).unwrap_or_default(),
            filter: parse_value(raw.log_filter, log::parse_filter, &mut diagnostics)
                .unwrap_or_else(|| "info".to_owned()),
        },
        tls: server_tls::check(raw.tls, purpose, &mut diagnostics),
        // The environment may have only part of a storage, so without the file storages cannot be checked.
        storages: if file_is_known {
            check_storages(&raw.storages, purpose, &mut diagnostics)
        } else {
            BTreeMap::new()
        },
    };
    if Purpose::Connect <= purpose {
        libpq::reject(&raw.libpq, config.storages.values(), &mut diagnostics);
    }
    Ok(Loaded { config, warnings: diagnostics.finish()? })
}

fn check_storages(
    raw: &BTreeMap<StorageName, RawStorage>,
    purpose: Purpose,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<StorageName, StorageConfig> {
    if raw.is_empty() && diagnostics.n_problems() == 0 {
        diagnostics.problem(
            &Origin::Unknown,
            "no storage is configured; for one storage, set the environment variables\n      \
             JOBRUNR_SCALER_URL=jdbc:postgresql://host:5432/database, JOBRUNR_SCALER_USERNAME and \
             JOBRUNR_SCALER_PASSWORD;\n      for several, write a file and pass it with --config FILE",
        );
    }
    raw.iter()
        .filter_map(|(name, raw)| Some((name.clone(), storage::check(name, raw, purpose, diagnostics)?)))
        .collect()
}

/// Returns the parsed value; `None` if none was given, or if it is invalid, which is reported.
fn parse_value<T, E: fmt::Display>(
    value: Option<RawValue>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let value = value?;
    parse(&value.text).map_err(|error| diagnostics.problem(&value.origin, error)).ok()
}

fn parse_http(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    parse_address(text, DEFAULT_HTTP_PORT).map(Some).map_err(|error| format!("{error}, or `off`"))
}

fn parse_page(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{} is not a switch; use `true` or `false`", quoted(text)))
}

/// Parses an IP address with a port.
///
/// # Errors
/// What is wrong and what is allowed, for example with the default port.
pub(crate) fn parse_address(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(default_port);
        let value = quoted(text);
        format!(
            "{value} is not an IP address with a port; use for example `0.0.0.0:{port}`, `[::]:{port}` for IPv4 and IPv6"
        )
    })
}
