//! Checks the settings of one storage.
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::ReadBounds;
use super::address::Address;
use super::problem::{Diagnostics, Origin, quoted};
use super::raw::{RawStorage, RawValue, StorageKey};
use super::secret::Secret;
use super::{Purpose, StorageConfig, StorageName, TablePrefix};
use crate::duration;
use crate::jobrunr::DEFAULT_HEARTBEAT_MULTIPLICAND;

const DEFAULT_REFRESH: Duration = Duration::from_secs(1);
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_COUNT_LIMIT: u64 = 10_000;

/// The range of `refresh` and the timeouts. Less than 100 ms burdens the database, more than a minute is too slow for scaling.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// After a day, a number is worthless in any case.
const MAX_MAX_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the storage; `None` if it has no valid address. Invalid values are reported and replaced by their defaults.
pub(super) fn check(
    name: &StorageName,
    raw: &RawStorage,
    purpose: Purpose,
    diagnostics: &mut Diagnostics,
) -> Option<StorageConfig> {
    let refresh = value(raw, StorageKey::Refresh, DEFAULT_REFRESH, diagnostics, |text| parse_duration(text, &WAITS));
    let staleness = *WAITS.start()..=MAX_MAX_STALENESS;
    let max_staleness = value(raw, StorageKey::MaxStaleness, DEFAULT_MAX_STALENESS, diagnostics, |text| {
        parse_duration(text, &staleness)
    });
    if max_staleness < refresh
        && let Some(given) = raw.get(StorageKey::MaxStaleness)
    {
        let [max_staleness, refresh] = [max_staleness, refresh].map(duration::format_unsigned);
        let text = format!("`{max_staleness}` is less than `refresh`, which is `{refresh}`; it must be at least that");
        diagnostics.problem(&given.origin, text);
    }
    let table_prefix = value(raw, StorageKey::TablePrefix, TablePrefix::default(), diagnostics, |text| {
        text.parse().map_err(|error| format!("{} {error}", quoted(text)))
    });
    let statement_timeout =
        value(raw, StorageKey::StatementTimeout, DEFAULT_TIMEOUT, diagnostics, |text| parse_duration(text, &WAITS));
    let connect_timeout =
        value(raw, StorageKey::ConnectTimeout, DEFAULT_TIMEOUT, diagnostics, |text| parse_duration(text, &WAITS));
    let count_limit = value(raw, StorageKey::CountLimit, Some(DEFAULT_COUNT_LIMIT), diagnostics, count_limit);
    let heartbeat_multiplicand = value(
        raw,
        StorageKey::HeartbeatMultiplicand,
        DEFAULT_HEARTBEAT_MULTIPLICAND,
        diagnostics,
        heartbeat_multiplicand,
    );
    let jobrunr_version = value(raw, StorageKey::JobrunrVersion, None, diagnostics, jobrunr_version);
    let namespaces = value(raw, StorageKey::Namespaces, None, diagnostics, |text| namespaces(text).map(Some));
    let address = address(name, raw, &table_prefix, purpose, diagnostics)?;
    Some(StorageConfig {
        address,
        table_prefix,
        refresh,
        max_staleness,
        statement_timeout,
        connect_timeout,
        count_limit,
        heartbeat_multiplicand,
        jobrunr_version,
        namespaces,
        bounds: ReadBounds::default(),
    })
}

/// Returns the value of a key, or its default if it is missing or invalid.
fn value<T, E: fmt::Display>(
    raw: &RawStorage,
    key: StorageKey,
    default: T,
    diagnostics: &mut Diagnostics,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> T {
    super::parse_value(raw.get(key).cloned(), parse, diagnostics).unwrap_or(default)
}

fn address(
    name: &StorageName,
    raw: &RawStorage,
    prefix: &TablePrefix,
    purpose: Purpose,
    diagnostics: &mut Diagnostics,
) -> Option<Address> {
    let (text, origin) = address_text(name, raw, diagnostics)?;
    let mut address = match Address::parse(text.expose_secret()) {
        Ok((address, warnings)) => {
            for warning in warnings {
                diagnostics.warning(format!("storage `{name}`: {warning}"));
            }
            address
        }
        Err(error) => {
            diagnostics.problem(origin, error);
            return None;
        }
    };
    set_database(&mut address, raw, diagnostics);
    add_credentials(&mut address, raw, origin, diagnostics);
    if Purpose::Connect <= purpose {
        for error in address.login_errors() {
            diagnostics.problem(origin, error);
        }
        // The file is read for each connection, so it may appear later; more likely, its name is misspelled.
        let password = address.server().and_then(|server| server.password.as_ref());
        if let Some(Err(error)) = password.map(Secret::read) {
            diagnostics.warning(format!("storage `{name}`: the password is not available yet: {error}"));
        }
    }
    if matches!(address, Address::Sqlite(_))
        && prefix.schema().is_some()
        && let Some(given) = raw.get(StorageKey::TablePrefix)
    {
        let text = "has a schema, but SQLite has none; write the prefix without the dot (JobRunr itself has no prefix for SQLite)";
        diagnostics.problem(&given.origin, format_args!("{} {text}", quoted(&given.text)));
    }
    Some(address)
}

/// Sets the database of MongoDB, which its addresses do not name.
fn set_database(address: &mut Address, raw: &RawStorage, diagnostics: &mut Diagnostics) {
    let Some(given) = raw.get(StorageKey::Database) else { return };
    let Address::MongoDb(address) = address else {
        diagnostics.problem(&given.origin, "is for MongoDB only; name the database in the address (`url`)");
        return;
    };
    // MongoDB's own rule, and no character that would have to be quoted where the name is printed.
    let is_valid = |c: char| {
        !c.is_control() && !matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '*' | '<' | '>' | ':' | '|' | '?')
    };
    if given.text.is_empty() || 63 < given.text.len() || !given.text.chars().all(is_valid) {
        let text = "is not the name of a MongoDB database; use JobRunr's, by default `jobrunr`";
        diagnostics.problem(&given.origin, format_args!("{} {text}", quoted(&given.text)));
        return;
    }
    address.server.database.clone_from(&given.text);
}

/// Returns the address as given, and its origin. It may contain a password, so it is a secret.
fn address_text<'a>(
    name: &StorageName,
    raw: &'a RawStorage,
    diagnostics: &mut Diagnostics,
) -> Option<(SecretString, &'a Origin)> {
    match (raw.get(StorageKey::Url), raw.get(StorageKey::UrlFile)) {
        (Some(_), Some(file)) => {
            diagnostics.problem(&file.origin, "the address is given twice, as `url` and as `urlFile`; keep one");
            None
        }
        (Some(url), None) => Some((url.text.as_str().into(), &url.origin)),
        (None, Some(file)) => match Secret::File(PathBuf::from(&file.text)).read() {
            Ok(text) => Some((text, &file.origin)),
            Err(error) => {
                diagnostics.problem(&file.origin, error);
                None
            }
        },
        // The key may be there, but not as a text; that has been reported.
        (None, None) if raw.has_errors => None,
        (None, None) => {
            let text = format!(
                "the storage `{name}` has no address; set its `url`, for example jdbc:postgresql://host:5432/database"
            );
            diagnostics.problem(&raw.origin, text);
            None
        }
    }
}

/// Puts user and password into the address if they are given beside it.
fn add_credentials(address: &mut Address, raw: &RawStorage, url: &Origin, diagnostics: &mut Diagnostics) {
    let username = raw.get(StorageKey::Username);
    let password = password(raw, diagnostics);
    let Some(server) = address.server_mut() else {
        for origin in username.map(|given| &given.origin).into_iter().chain(password.map(|(_, origin)| origin)) {
            diagnostics.problem(origin, "a SQLite database has no users and no passwords; leave it out");
        }
        return;
    };
    if let Some(given) = username {
        match &server.username {
            _ if given.text.contains(char::is_control) => {
                diagnostics.problem(&given.origin, "the user has a control character, such as a line break; remove it");
            }
            Some(inside) if *inside != given.text => diagnostics.problem(&given.origin, given_twice("user", url)),
            _ => server.username = Some(given.text.clone()),
        }
    }
    if let Some((secret, origin)) = password {
        match &server.password {
            Some(inside) if *inside != secret => diagnostics.problem(origin, given_twice("password", url)),
            _ => server.password = Some(secret),
        }
    }
}

fn given_twice(what: &str, url: &Origin) -> String {
    format!("the {what} is given twice, here and in the address ({url}), and they may differ; keep one")
}

fn password<'a>(raw: &'a RawStorage, diagnostics: &mut Diagnostics) -> Option<(Secret, &'a Origin)> {
    match (raw.get(StorageKey::Password), raw.get(StorageKey::PasswordFile)) {
        (Some(_), Some(file)) => {
            diagnostics
                .problem(&file.origin, "the password is given twice, as `password` and as `passwordFile`; keep one");
            None
        }
        (Some(RawValue { text, origin }), None) => Some((Secret::Value(text.as_str().into()), origin)),
        (None, Some(RawValue { text, origin })) => Some((Secret::File(PathBuf::from(text)), origin)),
        (None, None) => None,
    }
}

fn parse_duration(text: &str, allowed: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = quoted(text);
    let signed = duration::parse(text).map_err(|_| {
        let likely = duration::guess(text).map_or_else(|| "PT30S".to_owned(), duration::format);
        format!("{value} is not an ISO-8601 duration; use for example `{likely}`")
    })?;
    match Duration::try_from(signed) {
        Ok(duration) if allowed.contains(&duration) => Ok(duration),
        _ => {
            let [least, most] = [*allowed.start(), *allowed.end()].map(duration::format_unsigned);
            Err(format!("{value} is not between `{least}` and `{most}`"))
        }
    }
}

fn count_limit(text: &str) -> Result<Option<u64>, String> {
    let limit = text
        .parse::<u64>()
        .map_err(|_| format!("{} is not a whole number; use for example `10000`, or `0` to count all", quoted(text)))?;
    Ok(Some(limit).filter(|limit| *limit != 0))
}

fn heartbeat_multiplicand(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| (1..=100).contains(number)).ok_or_else(|| {
        format!(
            "{} is not a whole number from 1 to 100; use the value that JobRunr is configured with, by default `4`",
            quoted(text)
        )
    })
}

fn jobrunr_version(text: &str) -> Result<Option<u32>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let version = text.parse().ok().filter(|version| (6..=99).contains(version));
    version.map(Some).ok_or_else(|| {
        format!(
            "{} is not a major version of JobRunr from 6 to 99; use for example `8`, or `auto` to detect it from the tables",
            quoted(text)
        )
    })
}

fn namespaces(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(
            "is empty, so that nobody could use the storage; name a namespace, or leave the key out to allow all"
                .to_owned(),
        );
    }
    let is_valid = |name: &str| name.len() <= 63 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match names.iter().find(|name| !is_valid(name)) {
        Some(invalid) => Err(format!(
            "{} is not the name of a Kubernetes namespace, which has 1 to 63 of the letters a-z, the digits 0-9 and `-`",
            quoted(invalid)
        )),
        None => Ok(names.into_iter().map(str::to_owned).collect()),
    }
}
