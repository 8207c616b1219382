//! The configuration as written, before any check: texts and their origins.
use std::collections::BTreeMap;

use super::StorageName;
use super::problem::{Diagnostics, Origin};

/// One key of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StorageKey {
    Url,
    UrlFile,
    Username,
    Password,
    PasswordFile,
    Database,
    TablePrefix,
    Refresh,
    MaxStaleness,
    StatementTimeout,
    ConnectTimeout,
    CountLimit,
    HeartbeatMultiplicand,
    JobrunrVersion,
    Namespaces,
}

impl StorageKey {
    /// Every key, its name in the file and its suffix in environment variables.
    pub(super) const ALL: [(StorageKey, &'static str, &'static str); 15] = [
        (StorageKey::Url, "url", "URL"),
        (StorageKey::UrlFile, "urlFile", "URL_FILE"),
        (StorageKey::Username, "username", "USERNAME"),
        (StorageKey::Password, "password", "PASSWORD"),
        (StorageKey::PasswordFile, "passwordFile", "PASSWORD_FILE"),
        (StorageKey::Database, "database", "DATABASE"),
        (StorageKey::TablePrefix, "tablePrefix", "TABLE_PREFIX"),
        (StorageKey::Refresh, "refresh", "REFRESH"),
        (StorageKey::MaxStaleness, "maxStaleness", "MAX_STALENESS"),
        (StorageKey::StatementTimeout, "statementTimeout", "STATEMENT_TIMEOUT"),
        (StorageKey::ConnectTimeout, "connectTimeout", "CONNECT_TIMEOUT"),
        (StorageKey::CountLimit, "countLimit", "COUNT_LIMIT"),
        (StorageKey::HeartbeatMultiplicand, "heartbeatMultiplicand", "HEARTBEAT_MULTIPLICAND"),
        (StorageKey::JobrunrVersion, "jobrunrVersion", "JOBRUNR_VERSION"),
        (StorageKey::Namespaces, "namespaces", "NAMESPACES"),
    ];

    pub(super) fn of_file(name: &str) -> Option<StorageKey> {
        Self::ALL.iter().find(|(_, in_file, _)| *in_file == name).map(|(key, ..)| *key)
    }

    pub(super) fn of_variable(suffix: &str) -> Option<StorageKey> {
        Self::ALL.iter().find(|(.., in_variable)| *in_variable == suffix).map(|(key, ..)| *key)
    }

    /// The key that sets the same thing in another way.
    fn alternative(self) -> Option<StorageKey> {
        match self {
            StorageKey::Url => Some(StorageKey::UrlFile),
            StorageKey::UrlFile => Some(StorageKey::Url),
            StorageKey::Password => Some(StorageKey::PasswordFile),
            StorageKey::PasswordFile => Some(StorageKey::Password),
            _ => None,
        }
    }
}

/// A value as given, and where. No `Debug`, because it may be a password.
#[derive(Clone)]
pub(super) struct RawValue {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// All values that were given.
#[derive(Default)]
pub(super) struct RawConfig {
    pub(super) listen: Option<RawValue>,
    pub(super) http: Option<RawValue>,
    pub(super) page: Option<RawValue>,
    pub(super) log_format: Option<RawValue>,
    pub(super) log_filter: Option<RawValue>,
    pub(super) tls: RawTls,
    pub(super) storages: BTreeMap<StorageName, RawStorage>,
    /// Variables of libpq that are set but must not be: see [`libpq`](super::libpq).
    pub(super) libpq: Vec<String>,
}

/// The TLS files of the gRPC port, as given.
#[derive(Default)]
pub(super) struct RawTls {
    pub(super) cert_file: Option<RawValue>,
    pub(super) key_file: Option<RawValue>,
    pub(super) client_ca_file: Option<RawValue>,
}

/// What was given for one storage.
pub(super) struct RawStorage {
    /// Where the storage is mentioned first.
    pub(super) origin: Origin,
    /// Whether a part of it could not be read, which was reported.
    pub(super) has_errors: bool,
    values: BTreeMap<StorageKey, RawValue>,
}

impl RawStorage {
    pub(super) fn new(origin: Origin) -> Self {
        RawStorage { origin, has_errors: false, values: BTreeMap::new() }
    }

    pub(super) fn get(&self, key: StorageKey) -> Option<&RawValue> {
        self.values.get(&key)
    }

    /// Sets a value of the file. The parser has rejected duplicate keys.
    pub(super) fn set(&mut self, key: StorageKey, value: RawValue) {
        self.values.insert(key, value);
    }

    /// Sets a value of the environment. It replaces the file's value of the same key and of its alternative.
    pub(super) fn override_with(&mut self, key: StorageKey, value: RawValue, diagnostics: &mut Diagnostics) {
        if let Some(RawValue { origin: Origin::Variable(other), .. }) = self.get(key) {
            diagnostics
                .problem(&value.origin, format_args!("is the same setting as the variable {other}; set only one"));
            return;
        }
        if let Some(other) = key.alternative()
            && self.get(other).is_some_and(|other| !matches!(other.origin, Origin::Variable(_)))
        {
            self.values.remove(&other);
        }
        self.values.insert(key, value);
    }
}
