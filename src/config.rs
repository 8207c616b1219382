//! The configuration: a YAML file, the environment laid over it, and everything checked before anything starts.
//!
//! `file` and `env` collect what was given and where, `storage` and this module check it. Nothing here connects or binds;
//! files are read (the configuration, `urlFile`, the certificates), and no text made here shows a password.
mod address;
mod bounds;
mod env;
mod file;
mod libpq;
mod log;
mod mistake;
mod raw;
mod secret;
mod storage;
mod table_prefix;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

pub use self::address::{Address, AddressError, LoginError, ServerAddress, Tls, TlsMode, place};
pub use self::bounds::ReadBounds;
pub use self::env::variables;
pub use self::log::{LogConfig, LogFormat};
pub use self::mistake::{ConfigErrors, Mistake, Place};
pub use self::secret::{Secret, SecretError};
pub use self::table_prefix::{TablePrefix, TablePrefixError};
pub use crate::tls::TlsFiles;

use self::mistake::{Report, shown};
use self::raw::{Given, Raw};

/// The configuration with every key, its default and what it is for, as shipped.
pub const EXAMPLE: &str = include_str!("../config.example.yaml");

/// The port of KEDA's calls when `listen` is not given.
const DEFAULT_PORT: u16 = 9090;
/// The port of health and metrics when `http` is not given.
const DEFAULT_HTTP_PORT: u16 = 8080;

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to answer KEDA. Default `0.0.0.0:9090`.
    pub listen: SocketAddr,
    /// Where to answer health checks and Prometheus over HTTP; `None` for nowhere. Default `0.0.0.0:8080`.
    pub http: Option<SocketAddr>,
    /// What to log, and how.
    pub log: LogConfig,
    /// The certificate of the gRPC port; `None` to answer without TLS.
    pub tls: Option<TlsFiles>,
    /// The databases to read, at least one.
    pub storages: BTreeMap<StorageName, StorageConfig>,
}

/// The name under which triggers ask for a storage: 1 to 40 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageName(String);

/// One JobRunr database and table prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageConfig {
    /// Where the database is, with user and password.
    pub address: Address,
    /// JobRunr's table prefix. Default empty.
    pub table_prefix: TablePrefix,
    /// How often to read while somebody asks. 100 ms to 1 min, default 1 s.
    pub refresh: Duration,
    /// How old an answer may be while the database is away. At least `refresh`, default 1 min.
    pub max_staleness: Duration,
    /// When the database is to give up a statement. 100 ms to 1 min, default 5 s.
    pub statement_timeout: Duration,
    /// When to give up connecting. 100 ms to 1 min, default 5 s.
    pub connect_timeout: Duration,
    /// Where counting ends, so that a read does not grow with the table. `None` (`0` in the file) counts all. Default
    /// 10 000.
    pub count_limit: Option<u64>,
    /// After how many poll intervals without a heartbeat a server is dead: JobRunr's own
    /// `serverTimeoutPollIntervalMultiplicand`, which stands in no table. 1 to 100, default 4.
    pub heartbeat_multiplicand: u32,
    /// JobRunr's major version, where the tables do not tell it. 6 to 99; `None` sees it in the tables. It decides how
    /// recurring jobs come to run.
    pub jobrunr_version: Option<u32>,
    /// The Kubernetes namespaces whose triggers may use the storage, at least one; `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// How much one read looks at. Not a key of the configuration.
    pub bounds: ReadBounds,
}

/// A configuration, and what a person should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What was ignored or looks wrong but may be meant. One sentence each, without secrets, for the log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file, lays the environment over it and checks all of it.
    ///
    /// `env` is usually [`variables()`]; names that do not start with `JOBRUNR_SCALER_` are passed over, and so are those
    /// that Kubernetes sets for a Service called `jobrunr-scaler`. A variable that is set to nothing counts as not set,
    /// except for a table prefix (which may be empty) and namespaces (where nothing is a mistake).
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigErrors> {
        load(file, env, Purpose::Print)
    }

    /// As [`load`](Self::load), with the file's text at hand; `name` stands for the file in what is said.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn parse(
        name: &str,
        yaml: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        let mut report = Report::default();
        let raw = file::parse(name.to_owned(), yaml, &mut report);
        check(raw, env, Purpose::Print, report)
    }

    /// As [`load`](Self::load), and checks what a login to the databases takes: users, the files of TLS, and that no
    /// variable of the PostgreSQL driver's own adds to it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load_to_connect(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        load(file, env, Purpose::Connect)
    }

    /// As [`load_to_connect`](Self::load_to_connect), and checks the certificates of the gRPC port too. Later they may be
    /// broken for a while without harm: who serves keeps those that it has.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load_to_serve(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        load(file, env, Purpose::Serve)
    }

    /// Only [`http`](field@Self::http), for who asks a running scaler: whatever else is wrong meanwhile, it serves with what
    /// it had.
    ///
    /// # Errors
    /// The file cannot be read, or the address is wrong.
    pub fn http(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<SocketAddr>, ConfigErrors> {
        let mut ignored = Report::default();
        let raw = match file {
            Some(path) => file::read(path, &mut ignored),
            None => Some(Raw::default()),
        };
        let Some(mut raw) = raw else { return ignored.finish().map(|_| None) };
        env::overlay(&mut raw, env, &mut ignored);
        let mut report = Report::default();
        let http = given(raw.http, parse_http, &mut report).unwrap_or_else(|| Some(default_http()));
        report.finish().map(|_| http)
    }
}

/// Where HTTP is served when `http` is not given.
fn default_http() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_HTTP_PORT))
}

/// What a configuration is loaded for: each purpose needs what those before it need, and more. What only a later one needs
/// may be missing on this machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// To print it, or statements for it.
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
    let mut report = Report::default();
    let raw = match file {
        Some(path) => file::read(path, &mut report),
        None => Some(Raw::default()),
    };
    check(raw, env, purpose, report)
}

/// `raw` is what the file says, `None` when it could not be read.
fn check(
    raw: Option<Raw>,
    env: impl IntoIterator<Item = (String, String)>,
    purpose: Purpose,
    mut report: Report,
) -> Result<Loaded, ConfigErrors> {
    let file_is_known = raw.is_some();
    let mut raw = raw.unwrap_or_default();
    env::overlay(&mut raw, env, &mut report);
    let config = Config {
        listen: given(raw.listen, |text| parse_address(text, DEFAULT_PORT), &mut report)
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT))),
        http: given(raw.http, parse_http, &mut report).unwrap_or_else(|| Some(default_http())),
        log: LogConfig {
            format: given(raw.log_format, log::parse_format, &mut report).unwrap_or_default(),
            filter: given(raw.log_filter, log::parse_filter, &mut report).unwrap_or_else(|| "info".to_owned()),
        },
        tls: tls::check(raw.tls, purpose, &mut report),
        // What the environment says of a storage may be half of it, so it says nothing without the file.
        storages: if file_is_known { check_storages(&raw.storages, purpose, &mut report) } else { BTreeMap::new() },
    };
    if Purpose::Connect <= purpose {
        libpq::refuse(&raw.libpq, config.storages.values(), &mut report);
    }
    Ok(Loaded { config, warnings: report.finish()? })
}

fn check_storages(
    raw: &BTreeMap<StorageName, raw::RawStorage>,
    purpose: Purpose,
    report: &mut Report,
) -> BTreeMap<StorageName, StorageConfig> {
    if raw.is_empty() && report.n_mistakes() == 0 {
        report.mistake(
            &Place::Anywhere,
            "no storage is configured; the shortest way is the environment variable\n      \
             JOBRUNR_SCALER_URL=jdbc:postgresql://host:5432/database with JOBRUNR_SCALER_USERNAME and \
             JOBRUNR_SCALER_PASSWORD\n      beside it; several storages are configured in a file, given \
              with --config FILE",
        );
    }
    raw.iter().filter_map(|(name, raw)| Some((name.clone(), storage::check(name, raw, purpose, report)?))).collect()
}

/// The parsed value; `None` when none or a wrong one was given.
fn given<T, E: fmt::Display>(
    given: Option<Given>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    report: &mut Report,
) -> Option<T> {
    let given = given?;
    match parse(&given.text) {
        Ok(value) => Some(value),
        Err(error) => {
            report.mistake(&given.place, error);
            None
        }
    }
}

fn parse_http(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    parse_address(text, DEFAULT_HTTP_PORT).map(Some).map_err(|error| format!("{error}; `off` for none"))
}

fn parse_address(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(default_port);
        let value = shown(text);
        format!(
            "{value} is no IP address with a port; write for example `0.0.0.0:{port}`, or `[::]:{port}` for IPv6 too"
        )
    })
}

impl StorageName {
    /// The name of the storage that the environment configures without naming it, and that a trigger means when it names
    /// none.
    pub const DEFAULT: &str = "default";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StorageName {
    fn default() -> Self {
        StorageName(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for StorageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A map keyed by names can be asked with a text.
impl std::borrow::Borrow<str> for StorageName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorageName {
    type Err = StorageNameError;

    fn from_str(text: &str) -> Result<Self, StorageNameError> {
        let is_valid = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if is_valid && (1..=40).contains(&text.len()) {
            return Ok(StorageName(text.to_owned()));
        }
        Err(StorageNameError(shown(text)))
    }
}

/// A text that is no name of a storage.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} is no name of a storage; a name is 1 to 40 of the letters a-z, the digits 0-9 and `-`")]
pub struct StorageNameError(String);
