//! The environment: every setting as a variable, laid over the file.
use super::mistake::{Place, Report, likeness, nearest};
use super::raw::{Given, Key, Raw, RawStorage};
use super::{StorageName, libpq};

/// What every variable of ours starts with.
const PREFIX: &str = "JOBRUNR_SCALER_";

/// Variables that are no key of a storage. `CONFIG` is the command line's `--config`.
const GENERAL: [&str; 8] =
    ["LISTEN", "HTTP", "LOG_FORMAT", "LOG_FILTER", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "CONFIG"];

/// The environment of this process, without what is not Unicode (which no setting can be, and `std::env::vars` would
/// panic about).
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Lays the environment's settings over what the file says.
pub(super) fn overlay(raw: &mut Raw, env: impl IntoIterator<Item = (String, String)>, report: &mut Report) {
    for (variable, text) in env {
        if let Some(name) = variable.strip_prefix(PREFIX) {
            let given = Given { text, place: Place::Variable(variable.clone()) };
            set(raw, name, given, report);
        } else if libpq::is_taken(&variable, &text) {
            raw.libpq.push(variable);
        }
    }
}

/// `name` is what follows the prefix.
fn set(raw: &mut Raw, name: &str, given: Given, report: &mut Report) {
    match name {
        "LISTEN" => set_general(&mut raw.listen, given),
        "HTTP" => set_general(&mut raw.http, given),
        "LOG_FORMAT" => set_general(&mut raw.log_format, given),
        "LOG_FILTER" => set_general(&mut raw.log_filter, given),
        "TLS_CERT_FILE" => set_general(&mut raw.tls.cert_file, given),
        "TLS_KEY_FILE" => set_general(&mut raw.tls.key_file, given),
        "TLS_CLIENT_CA_FILE" => set_general(&mut raw.tls.client_ca_file, given),
        "CONFIG" => {}
        name => match storage_setting(name) {
            Some((storage, key)) => set_storage(raw, &storage, key, given, report),
            None if is_of_kubernetes(name) => {}
            None => {
                report.warning(format!("the environment variable {} is unknown{}", variable(name), suggestion(name)))
            }
        },
    }
}

/// A variable set to nothing is as good as none: templates often leave one behind.
fn set_general(slot: &mut Option<Given>, given: Given) {
    if !given.text.is_empty() {
        *slot = Some(given);
    }
}

fn set_storage(raw: &mut Raw, name: &str, key: Key, given: Given, report: &mut Report) {
    // Nothing is a value only where it means something of its own.
    if given.text.is_empty() && !matches!(key, Key::TablePrefix | Key::Namespaces) {
        return;
    }
    match name.parse::<StorageName>() {
        Ok(name) => {
            let new = || RawStorage::new(given.place.clone());
            raw.storages.entry(name).or_insert_with(new).override_with(key, given, report);
        }
        Err(error) => report.mistake(&given.place, error),
    }
}

/// The storage and the key that a variable is about: `URL` is of the storage `default`, `STORAGES_MY_ORDERS_URL` of
/// `my-orders`. Unambiguous, as no key's name ends with `_` and another key's name.
fn storage_setting(name: &str) -> Option<(String, Key)> {
    let Some(name) = name.strip_prefix("STORAGES_") else {
        return Key::of_variable(name).map(|key| (StorageName::DEFAULT.to_owned(), key));
    };
    Key::ALL.iter().find_map(|(key, _, end)| {
        let storage = name.strip_suffix(end)?.strip_suffix('_')?;
        let is_plain = storage.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '_'));
        (!storage.is_empty() && is_plain).then(|| (storage.to_ascii_lowercase().replace('_', "-"), *key))
    })
}

/// Whether Kubernetes set the variable because there is a Service `jobrunr-scaler` or `jobrunr-scaler-…` in the
/// namespace: `…SERVICE_HOST`, `…SERVICE_PORT`, `…SERVICE_PORT_GRPC`, `…PORT`, `…PORT_9090_TCP`, `…PORT_9090_TCP_ADDR`.
/// No setting of ours looks like that.
fn is_of_kubernetes(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    match words.as_slice() {
        [.., "SERVICE", "HOST"] | [.., "PORT"] => true,
        [.., "PORT", number, protocol] | [.., "PORT", number, protocol, "PROTO" | "ADDR"]
            if is_number(number) && is_protocol(protocol) =>
        {
            true
        }
        words => words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]),
    }
}

/// The name of a variable for a text, in which only what a name can hold appears.
fn variable(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '?' }).collect();
    format!("{PREFIX}{name}")
}

fn suggestion(name: &str) -> String {
    let ends = Key::ALL.map(|(.., end)| end);
    let meant = match name.strip_prefix("STORAGES_") {
        Some(rest) => nearest_of_storage(rest, &ends).map(|meant| format!("STORAGES_{meant}")),
        None => nearest(name, ends.into_iter().chain(GENERAL)).map(str::to_owned),
    };
    meant.map(|meant| format!("; did you mean `{}`?", variable(&meant))).unwrap_or_default()
}

/// The storage's name may have any number of `_` in it, so every end is compared with every key.
fn nearest_of_storage(rest: &str, keys: &[&str]) -> Option<String> {
    rest.match_indices('_')
        .map(|(at, _)| (&rest[..at], &rest[at + 1..]))
        .filter_map(|(storage, end)| Some((storage, end, nearest(end, keys.iter().copied())?)))
        .max_by(|(_, a, key_a), (_, b, key_b)| likeness(a, key_a).total_cmp(&likeness(b, key_b)))
        .map(|(storage, _, key)| format!("{storage}_{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_variables_are_told_from_settings() {
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
            assert!(is_of_kubernetes(name) && storage_setting(name).is_none(), "{name}");
        }
        for (_, _, end) in Key::ALL {
            assert!(!is_of_kubernetes(end), "{end}");
        }
        for name in ["PORTS", "PORT_9090", "PORT_GRPC_TCP", "HOST", "SERVICE_HOSTS"] {
            assert!(!is_of_kubernetes(name), "{name}");
        }
    }

    #[test]
    fn a_variable_names_a_storage_and_a_key() {
        let check = |name: &str, expected: Option<(&str, Key)>| {
            assert_eq!(storage_setting(name), expected.map(|(storage, key)| (storage.to_owned(), key)), "{name}");
        };
        check("URL", Some(("default", Key::Url)));
        check("PASSWORD_FILE", Some(("default", Key::PasswordFile)));
        check("STORAGES_ORDERS_URL", Some(("orders", Key::Url)));
        check("STORAGES_MY_ORDERS_PASSWORD_FILE", Some(("my-orders", Key::PasswordFile)));
        check("STORAGES_PASSWORD_URL_FILE", Some(("password", Key::UrlFile)));
        check("STORAGES_URL", None);
        check("STORAGES__URL", None);
        check("STORAGES_orders_URL", None);
        check("ORDERS_URL", None);
    }

    #[test]
    fn no_key_ends_with_another() {
        for (_, _, a) in Key::ALL {
            for (_, _, b) in Key::ALL {
                assert!(a == b || !a.ends_with(&format!("_{b}")), "{a} {b}");
            }
        }
    }
}
