//! The environment: every setting as a variable, which overrides the file.
use super::problem::{Diagnostics, Origin};
use super::raw::{RawConfig, RawStorage, RawValue, StorageKey};
use super::{StorageName, libpq};
use crate::text::suggest::{closest, hint, likeness};

/// The prefix of all our variables.
const PREFIX: &str = "JOBRUNR_SCALER_";

/// Variables that do not belong to a storage. `CONFIG` is the command line's `--config`.
const GENERAL: [&str; 9] = [
    "LISTEN",
    "HTTP",
    "HTTP_PAGE",
    "LOG_FORMAT",
    "LOG_FILTER",
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "TLS_CLIENT_CA_FILE",
    "CONFIG",
];

/// Returns the environment of this process without variables that are not Unicode: no setting can be one, and
/// `std::env::vars` panics on them.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Overrides the file's values with those of the environment.
pub(super) fn overlay(
    raw: &mut RawConfig,
    env: impl IntoIterator<Item = (String, String)>,
    diagnostics: &mut Diagnostics,
) {
    for (variable, text) in env {
        if let Some(name) = variable.strip_prefix(PREFIX) {
            let value = RawValue { text, origin: Origin::Variable(variable.clone()) };
            set(raw, name, value, diagnostics);
        } else if libpq::is_used(&variable, &text) {
            raw.libpq.push(variable);
        }
    }
}

/// `name` is what follows the prefix.
fn set(raw: &mut RawConfig, name: &str, value: RawValue, diagnostics: &mut Diagnostics) {
    match name {
        "LISTEN" => set_general(&mut raw.listen, value),
        "HTTP" => set_general(&mut raw.http, value),
        "HTTP_PAGE" => set_general(&mut raw.page, value),
        "LOG_FORMAT" => set_general(&mut raw.log_format, value),
        "LOG_FILTER" => set_general(&mut raw.log_filter, value),
        // For these, empty is a problem.
        "TLS_CERT_FILE" => raw.tls.cert_file = Some(value),
        "TLS_KEY_FILE" => raw.tls.key_file = Some(value),
        "TLS_CLIENT_CA_FILE" => raw.tls.client_ca_file = Some(value),
        "CONFIG" => {}
        name => match storage_setting(name) {
            Some((storage, key)) => set_storage(raw, &storage, key, value, diagnostics),
            None if is_set_by_kubernetes(name, &value.text) => {}
            None => {
                let (variable, suggestion) = (variable(name), suggestion(name));
                diagnostics.warning(format!("the environment variable {variable} is unknown{suggestion}"));
            }
        },
    }
}

/// An empty variable counts as not set: templates often leave one behind.
fn set_general(setting: &mut Option<RawValue>, value: RawValue) {
    if !value.text.is_empty() {
        *setting = Some(value);
    }
}

fn set_storage(raw: &mut RawConfig, name: &str, key: StorageKey, value: RawValue, diagnostics: &mut Diagnostics) {
    // For these two, empty has a meaning.
    if value.text.is_empty() && !matches!(key, StorageKey::TablePrefix | StorageKey::Namespaces) {
        return;
    }
    match name.parse::<StorageName>() {
        Ok(name) => {
            let new = || RawStorage::new(value.origin.clone());
            raw.storages.entry(name).or_insert_with(new).override_with(key, value, diagnostics);
        }
        Err(error) => diagnostics.problem(&value.origin, error),
    }
}

/// Returns the storage and the key that a variable sets: `URL` belongs to the storage `default`, `STORAGES_MY_ORDERS_URL` to
/// `my-orders`. Unambiguous, because no key's name ends with `_` and another key's name.
fn storage_setting(name: &str) -> Option<(String, StorageKey)> {
    let Some(name) = name.strip_prefix("STORAGES_") else {
        return StorageKey::of_variable(name).map(|key| (StorageName::DEFAULT.to_owned(), key));
    };
    StorageKey::ALL.iter().find_map(|(key, _, suffix)| {
        let storage = name.strip_suffix(suffix)?.strip_suffix('_')?;
        let is_plain = storage.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '_'));
        (!storage.is_empty() && is_plain).then(|| (storage.to_ascii_lowercase().replace('_', "-"), *key))
    })
}

/// Returns whether Kubernetes set the variable because there is a Service `jobrunr-scaler` or `jobrunr-scaler-…` in the
/// namespace: `…SERVICE_HOST`, `…SERVICE_PORT`, `…SERVICE_PORT_GRPC`, `…PORT`, `…PORT_9090_TCP`, `…PORT_9090_TCP_ADDR`.
/// None of our settings looks like that, and somebody who sets a port that does not exist gives a number.
fn is_set_by_kubernetes(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    match words.as_slice() {
        [.., "SERVICE", "HOST"] => true,
        [.., "PORT", number, protocol] | [.., "PORT", number, protocol, "PROTO" | "ADDR" | "PORT"]
            if is_number(number) && is_protocol(protocol) =>
        {
            true
        }
        words if words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) => true,
        [.., "PORT"] => value.contains("://"),
        _ => false,
    }
}

/// Returns the full name of a variable for a message, with `?` for characters that a name cannot have.
fn variable(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '?' }).collect();
    format!("{PREFIX}{name}")
}

fn suggestion(name: &str) -> String {
    let suffixes = StorageKey::ALL.map(|(.., suffix)| suffix);
    let likely = match name.strip_prefix("STORAGES_") {
        Some(rest) => closest_of_storage(rest, &suffixes).map(|likely| format!("STORAGES_{likely}")),
        None => closest(name, suffixes.into_iter().chain(GENERAL)).map(str::to_owned),
    };
    hint(likely.map(|likely| variable(&likely)))
}

/// The storage's name may contain any number of `_`, so every suffix is compared with every key.
fn closest_of_storage(rest: &str, keys: &[&str]) -> Option<String> {
    rest.match_indices('_')
        .map(|(at, _)| (&rest[..at], &rest[at + 1..]))
        .filter_map(|(storage, suffix)| Some((storage, suffix, closest(suffix, keys.iter().copied())?)))
        .max_by(|(_, a, key_a), (_, b, key_b)| likeness(a, key_a).total_cmp(&likeness(b, key_b)))
        .map(|(storage, _, key)| format!("{storage}_{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kubernetes_services_are_no_settings() {
        for name in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_GRPC",
            "PORT",
            "PORT_9090_TCP",
            "PORT_9090_TCP_PROTO",
            "PORT_9090_TCP_PORT",
            "PORT_9090_TCP_ADDR",
            "METRICS_SERVICE_HOST",
            "METRICS_PORT",
            "METRICS_PORT_8080_UDP_ADDR",
        ] {
            let is_service = is_set_by_kubernetes(name, "tcp://10.96.0.7:9090");
            assert!(is_service && storage_setting(name).is_none(), "{name}");
        }
        for (_, _, suffix) in StorageKey::ALL {
            assert!(!is_set_by_kubernetes(suffix, "tcp://10.96.0.7:9090"), "{suffix}");
        }
        for name in ["PORTS", "PORT_9090", "PORT_GRPC_TCP", "HOST", "SERVICE_HOSTS", "PORT", "HTTP_PORT"] {
            assert!(!is_set_by_kubernetes(name, "9095"), "{name}");
        }
    }

    #[test]
    fn variable_names_a_storage_and_a_key() {
        let check = |name: &str, expected: Option<(&str, StorageKey)>| {
            assert_eq!(storage_setting(name), expected.map(|(storage, key)| (storage.to_owned(), key)), "{name}");
        };
        check("URL", Some(("default", StorageKey::Url)));
        check("PASSWORD_FILE", Some(("default", StorageKey::PasswordFile)));
        check("STORAGES_ORDERS_URL", Some(("orders", StorageKey::Url)));
        check("STORAGES_MY_ORDERS_PASSWORD_FILE", Some(("my-orders", StorageKey::PasswordFile)));
        check("STORAGES_PASSWORD_URL_FILE", Some(("password", StorageKey::UrlFile)));
        check("STORAGES_URL", None);
        check("STORAGES__URL", None);
        check("STORAGES_orders_URL", None);
        check("ORDERS_URL", None);
    }

    #[test]
    fn keys_do_not_end_with_one_another() {
        for (_, _, a) in StorageKey::ALL {
            for (_, _, b) in StorageKey::ALL {
                assert!(a == b || !a.ends_with(&format!("_{b}")), "{a} {b}");
            }
        }
    }
}
