//! The configuration as it was written, before anything is checked: texts and their places.
use std::collections::BTreeMap;

use super::StorageName;
use super::mistake::{Place, Report};

/// One key of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Url,
    UrlFile,
    Username,
    Password,
    PasswordFile,
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

impl Key {
    /// Every key, with its name in the file and its end in environment variables.
    pub(super) const ALL: [(Key, &'static str, &'static str); 14] = [
        (Key::Url, "url", "URL"),
        (Key::UrlFile, "urlFile", "URL_FILE"),
        (Key::Username, "username", "USERNAME"),
        (Key::Password, "password", "PASSWORD"),
        (Key::PasswordFile, "passwordFile", "PASSWORD_FILE"),
        (Key::TablePrefix, "tablePrefix", "TABLE_PREFIX"),
        (Key::Refresh, "refresh", "REFRESH"),
        (Key::MaxStaleness, "maxStaleness", "MAX_STALENESS"),
        (Key::StatementTimeout, "statementTimeout", "STATEMENT_TIMEOUT"),
        (Key::ConnectTimeout, "connectTimeout", "CONNECT_TIMEOUT"),
        (Key::CountLimit, "countLimit", "COUNT_LIMIT"),
        (Key::HeartbeatMultiplicand, "heartbeatMultiplicand", "HEARTBEAT_MULTIPLICAND"),
        (Key::JobrunrVersion, "jobrunrVersion", "JOBRUNR_VERSION"),
        (Key::Namespaces, "namespaces", "NAMESPACES"),
    ];

    pub(super) fn of_file(name: &str) -> Option<Key> {
        Self::ALL.iter().find(|(_, in_file, _)| *in_file == name).map(|(key, ..)| *key)
    }

    pub(super) fn of_variable(end: &str) -> Option<Key> {
        Self::ALL.iter().find(|(.., in_variable)| *in_variable == end).map(|(key, ..)| *key)
    }

    /// The other way to give the same thing.
    fn alternative(self) -> Option<Key> {
        match self {
            Key::Url => Some(Key::UrlFile),
            Key::UrlFile => Some(Key::Url),
            Key::Password => Some(Key::PasswordFile),
            Key::PasswordFile => Some(Key::Password),
            _ => None,
        }
    }
}

/// A text that was given, and where. No `Debug`, because it may be a password.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Everything that was given.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) listen: Option<Given>,
    pub(super) http: Option<Given>,
    pub(super) log_format: Option<Given>,
    pub(super) log_filter: Option<Given>,
    pub(super) tls: RawTls,
    pub(super) storages: BTreeMap<StorageName, RawStorage>,
    /// Variables of libpq's that are set and may not be: see [`libpq`](super::libpq).
    pub(super) libpq: Vec<String>,
}

/// The files of the gRPC port's TLS, as given.
#[derive(Default)]
pub(super) struct RawTls {
    pub(super) cert_file: Option<Given>,
    pub(super) key_file: Option<Given>,
    pub(super) client_ca_file: Option<Given>,
}

/// What was given for one storage.
pub(super) struct RawStorage {
    /// Where the storage is mentioned first.
    pub(super) place: Place,
    /// Whether a part of it could not be read, which was reported.
    pub(super) is_damaged: bool,
    given: BTreeMap<Key, Given>,
}

impl RawStorage {
    pub(super) fn new(place: Place) -> Self {
        RawStorage { place, is_damaged: false, given: BTreeMap::new() }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Given> {
        self.given.get(&key)
    }

    /// Takes a value from the file. The parser has refused a key that is there twice.
    pub(super) fn set(&mut self, key: Key, given: Given) {
        self.given.insert(key, given);
    }

    /// Takes a value from the environment, which replaces what the file says, also in the other way to say it.
    pub(super) fn override_with(&mut self, key: Key, given: Given, report: &mut Report) {
        if let Some(Given { place: Place::Variable(other), .. }) = self.get(key) {
            report.mistake(&given.place, format_args!("says the same as the variable {other}; set one of them"));
            return;
        }
        if let Some(other) = key.alternative()
            && self.get(other).is_some_and(|other| !matches!(other.place, Place::Variable(_)))
        {
            self.given.remove(&other);
        }
        self.given.insert(key, given);
    }
}
