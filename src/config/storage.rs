//! The settings of one storage, checked.
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};

use super::ReadBounds;
use super::address::{Address, ServerAddress};
use super::mistake::{Place, Report, shown};
use super::raw::{Given, Key, RawStorage};
use super::secret::Secret;
use super::{Purpose, StorageConfig, StorageName, TablePrefix};
use crate::jobrunr::DEFAULT_HEARTBEAT_MULTIPLICAND;

const DEFAULT_REFRESH: Duration = Duration::from_secs(1);
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_COUNT_LIMIT: u64 = 10_000;

/// For everything that is waited for. Less than 100 ms burdens the database, more than a minute helps nobody who scales.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// A day, after which a number is surely worth nothing.
const LONGEST_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);

/// The storage; `None` when it has no address to speak of. Wrong values are reported and stand as their defaults.
pub(super) fn check(
    name: &StorageName,
    raw: &RawStorage,
    purpose: Purpose,
    report: &mut Report,
) -> Option<StorageConfig> {
    let refresh = value(raw, Key::Refresh, DEFAULT_REFRESH, report, |text| duration(text, &WAITS));
    let staleness = *WAITS.start()..=LONGEST_STALENESS;
    let max_staleness = value(raw, Key::MaxStaleness, DEFAULT_MAX_STALENESS, report, |text| duration(text, &staleness));
    if max_staleness < refresh
        && let Some(given) = raw.get(Key::MaxStaleness)
    {
        let [max_staleness, refresh] = [max_staleness, refresh].map(iso);
        report.mistake(
            &given.place,
            format_args!("`{max_staleness}` is less than `refresh`, `{refresh}`; give at least that"),
        );
    }
    let table_prefix = value(raw, Key::TablePrefix, TablePrefix::default(), report, |text| {
        text.parse().map_err(|error| format!("{} {error}", shown(text)))
    });
    let statement_timeout = value(raw, Key::StatementTimeout, DEFAULT_TIMEOUT, report, |text| duration(text, &WAITS));
    let connect_timeout = value(raw, Key::ConnectTimeout, DEFAULT_TIMEOUT, report, |text| duration(text, &WAITS));
    let count_limit = value(raw, Key::CountLimit, Some(DEFAULT_COUNT_LIMIT), report, count_limit);
    let heartbeat_multiplicand =
        value(raw, Key::HeartbeatMultiplicand, DEFAULT_HEARTBEAT_MULTIPLICAND, report, heartbeat_multiplicand);
    let jobrunr_version = value(raw, Key::JobrunrVersion, None, report, jobrunr_version);
    let namespaces = value(raw, Key::Namespaces, None, report, |text| namespaces(text).map(Some));
    let address = address(name, raw, &table_prefix, purpose, report)?;
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

/// The value of a key, or its default when none or a wrong one was given.
fn value<T, E: fmt::Display>(
    raw: &RawStorage,
    key: Key,
    default: T,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> T {
    super::given(raw.get(key).cloned(), parse, report).unwrap_or(default)
}

fn address(
    name: &StorageName,
    raw: &RawStorage,
    prefix: &TablePrefix,
    purpose: Purpose,
    report: &mut Report,
) -> Option<Address> {
    let (text, place) = address_text(name, raw, report)?;
    let mut address = match Address::parse(text.expose_secret()) {
        Ok((address, warnings)) => {
            for warning in warnings {
                report.warning(format!("storage `{name}`: {warning}"));
            }
            address
        }
        Err(error) => {
            report.mistake(place, error);
            return None;
        }
    };
    log_in(name, &mut address, raw, place, report);
    if Purpose::Connect <= purpose {
        for error in address.server().map(ServerAddress::login_errors).unwrap_or_default() {
            report.mistake(place, error);
        }
    }
    if matches!(address, Address::Sqlite(_))
        && prefix.schema().is_some()
        && let Some(given) = raw.get(Key::TablePrefix)
    {
        let text = "has a schema, but SQLite has none; write the prefix without the dot (JobRunr itself \
         takes no prefix for SQLite)";
        report.mistake(&given.place, format_args!("{} {text}", shown(&given.text)));
    }
    Some(address)
}

/// The address as it was given, and where. It may hold a password, so it travels as a secret.
fn address_text<'a>(name: &StorageName, raw: &'a RawStorage, report: &mut Report) -> Option<(SecretString, &'a Place)> {
    match (raw.get(Key::Url), raw.get(Key::UrlFile)) {
        (Some(_), Some(file)) => {
            report.mistake(&file.place, "the address is given twice, as `url` and as `urlFile`; keep one");
            None
        }
        (Some(url), None) => Some((url.text.as_str().into(), &url.place)),
        (None, Some(file)) => match Secret::File(PathBuf::from(&file.text)).read() {
            Ok(text) => Some((text, &file.place)),
            Err(error) => {
                report.mistake(&file.place, error);
                None
            }
        },
        // The key may be there, but not as a text; that is reported already.
        (None, None) if raw.is_damaged => None,
        (None, None) => {
            let text = format!(
                "the storage `{name}` has no address; give its `url`, for example \
                 jdbc:postgresql://host:5432/database"
            );
            report.mistake(&raw.place, text);
            None
        }
    }
}

/// Puts user and password, where they are given beside the address, into it.
fn log_in(name: &StorageName, address: &mut Address, raw: &RawStorage, url: &Place, report: &mut Report) {
    let username = raw.get(Key::Username);
    let password = password(name, raw, report);
    let Some(server) = address.server_mut() else {
        for place in username.map(|given| &given.place).into_iter().chain(password.map(|(_, place)| place)) {
            report.mistake(place, "a SQLite database has no users and no passwords; leave it out");
        }
        return;
    };
    if let Some(given) = username {
        match &server.username {
            _ if given.text.contains(char::is_control) => {
                report.mistake(&given.place, "the user has a control character, such as a line break; leave it out");
            }
            Some(inside) if *inside != given.text => report.mistake(&given.place, twice("user", url)),
            _ => server.username = Some(given.text.clone()),
        }
    }
    if let Some((secret, place)) = password {
        match &server.password {
            Some(inside) if !is_same(inside, &secret) => report.mistake(place, twice("password", url)),
            _ => server.password = Some(secret),
        }
    }
}

fn twice(what: &str, url: &Place) -> String {
    format!("the {what} is given twice, here and in the address ({url}), and they may differ; keep one")
}

/// A file may change, so it is never the same as a value.
fn is_same(a: &Secret, b: &Secret) -> bool {
    match (a, b) {
        (Secret::Value(a), Secret::Value(b)) => a.expose_secret() == b.expose_secret(),
        _ => false,
    }
}

fn password<'a>(name: &StorageName, raw: &'a RawStorage, report: &mut Report) -> Option<(Secret, &'a Place)> {
    match (raw.get(Key::Password), raw.get(Key::PasswordFile)) {
        (Some(_), Some(file)) => {
            report.mistake(&file.place, "the password is given twice, as `password` and as `passwordFile`; keep one");
            None
        }
        (Some(Given { text, place }), None) => Some((Secret::Value(text.as_str().into()), place)),
        (None, Some(Given { text, place })) => {
            let secret = Secret::File(PathBuf::from(text));
            // It is read at each connect, so it may still come; but it is rather a slip.
            if let Err(error) = secret.read() {
                report.warning(format!("storage `{name}`: the password is not there yet: {error}"));
            }
            Some((secret, place))
        }
        (None, None) => None,
    }
}

fn duration(text: &str, allowed: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = shown(text);
    let signed = crate::duration::parse(text).map_err(|_| {
        // `30s` is not taken, to have one way to write it, but it is understood.
        let meant = text.parse::<SignedDuration>().map_or_else(|_| "PT30S".to_owned(), |meant| meant.to_string());
        format!("{value} is no ISO-8601 duration; write for example `{meant}`")
    })?;
    match Duration::try_from(signed) {
        Ok(duration) if allowed.contains(&duration) => Ok(duration),
        _ => Err(format!("{value} is not between `{}` and `{}`", iso(*allowed.start()), iso(*allowed.end()))),
    }
}

/// A duration as a person would write it in the file.
fn iso(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{duration:?}"), |signed| signed.to_string())
}

fn count_limit(text: &str) -> Result<Option<u64>, String> {
    let limit = text
        .parse::<u64>()
        .map_err(|_| format!("{} is no whole number; write for example `10000`, or `0` to count all", shown(text)))?;
    Ok(Some(limit).filter(|limit| *limit != 0))
}

fn heartbeat_multiplicand(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| (1..=100).contains(number)).ok_or_else(|| {
        format!(
            "{} is no whole number from 1 to 100; write what JobRunr is configured with, by default `4`",
            shown(text)
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
            "{} is no major version of JobRunr from 6 to 99; write for example `8`, or `auto` to see it in the tables",
            shown(text)
        )
    })
}

fn namespaces(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(
            "names no namespace, so that nobody could use the storage; name at least one, or leave it out for all"
                .to_owned(),
        );
    }
    let is_valid = |name: &str| name.len() <= 63 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match names.iter().find(|name| !is_valid(name)) {
        Some(wrong) => Err(format!(
            "{} is no name of a Kubernetes namespace, which has 1 to 63 of the letters a-z, the digits 0-9 and `-`",
            shown(wrong)
        )),
        None => Ok(names.into_iter().map(str::to_owned).collect()),
    }
}
