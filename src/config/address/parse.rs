//! Parses an address.
//!
//! By hand, because the `url` crate supports neither several hosts nor what follows `jdbc:`.
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use super::decode::{decode, decode_name};
use super::host::{check_host, split_hosts};
use super::parameters::{Pair, Parameters};
use super::scheme::Scheme;
use super::{Address, AddressError, Secret, ServerAddress, mongodb};

pub(super) fn parse(text: &str) -> Result<(Address, Vec<String>), AddressError> {
    let text = text.trim();
    let (jdbc, text) = match text.split_at_checked(5) {
        Some((start, rest)) if start.eq_ignore_ascii_case("jdbc:") => (true, rest),
        _ => (false, text),
    };
    let (scheme, rest) = text.split_once(':').ok_or(AddressError::Scheme { likely: None })?;
    match Scheme::parse(scheme)? {
        Scheme::Postgres => {
            let (server, warnings) = server(Scheme::Postgres, jdbc, rest)?;
            Ok((Address::Postgres(server), warnings))
        }
        Scheme::Mysql => {
            let (server, warnings) = server(Scheme::Mysql, jdbc, rest)?;
            Ok((Address::Mysql(server), warnings))
        }
        scheme @ (Scheme::MongoDb | Scheme::MongoDbSrv) => mongodb::parse(scheme, rest),
        Scheme::Sqlite => sqlite(rest, jdbc),
    }
}

/// `rest` is what follows `postgresql:` or `mysql:`.
fn server(scheme: Scheme, jdbc: bool, rest: &str) -> Result<(ServerAddress, Vec<String>), AddressError> {
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = split_path(scheme, jdbc, before_query)?;
    // The last `@`, so that a user such as `scaler@server` of Azure works without encoding.
    let (user_info, hosts) = match authority.rsplit_once('@') {
        Some((user_info, hosts)) => (Some(user_info), hosts),
        None => (None, authority),
    };
    if database.contains(['@', '/']) {
        return Err(AddressError::Path);
    }
    // A special character may start a parameter, and so a password, but a database's name is printed.
    if !database.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '~' | '%')) {
        return Err(AddressError::Database(scheme.example()));
    }
    let parameters = Parameters::read(scheme, pairs(query)?)?;
    let hosts = match &parameters.host {
        Some(host) => vec![(check_host(scheme, host)?, parameters.port.unwrap_or(scheme.default_port()))],
        None => split_hosts(scheme, hosts, parameters.port)?,
    };
    let database = match parameters.database {
        Some(database) => database,
        None => decode_name(database)?,
    };
    if database.is_empty() {
        return Err(AddressError::NoDatabase(scheme.example()));
    }
    let (username, password) = user_info.map(split_user_info).transpose()?.unwrap_or_default();
    let username = agree("user", username, parameters.username, |a, b| a == b)?;
    let password = agree("password", password, parameters.password, |a, b| a.expose_secret() == b.expose_secret())?;
    let server = ServerAddress {
        hosts,
        database,
        username,
        password: password.map(Secret::Value),
        tls: parameters.tls,
        search_path: parameters.search_path,
        primary_only: parameters.primary_only,
        is_pooled: parameters.is_pooled,
    };
    Ok((server, parameters.warnings))
}

/// Splits authority and database. To pgjdbc, `jdbc:postgresql:database` is on localhost.
fn split_path(scheme: Scheme, jdbc: bool, text: &str) -> Result<(&str, &str), AddressError> {
    if let Some(rest) = text.strip_prefix("//") {
        return Ok(rest.split_once('/').unwrap_or((rest, "")));
    }
    match (scheme, jdbc) {
        (Scheme::Postgres, true) => Ok(("", text.strip_prefix('/').unwrap_or(text))),
        (Scheme::Mysql, true) => {
            let (mode, rest) = text.split_once("://").ok_or(AddressError::NoHost(scheme.example()))?;
            match mode.to_ascii_lowercase().as_str() {
                // The drivers try the hosts in turn, as this scaler does for a plain list.
                "sequential" | "failover" => Ok(rest.split_once('/').unwrap_or((rest, ""))),
                _ => Err(AddressError::Mode),
            }
        }
        _ => Err(AddressError::NoHost(scheme.example())),
    }
}

/// Splits and decodes the parameters. JDBC drivers and sqlx agree on the encoding of HTML forms, where `+` is a space.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, AddressError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = pair.split_once('=').ok_or(AddressError::BareParameter)?;
        // Other databases separate parameters this way, and a password may follow. The value of `password` is never printed.
        if pair.contains([';', '#']) && !name.to_ascii_lowercase().ends_with("password") {
            return Err(AddressError::Separator);
        }
    }
    Ok(form_urlencoded::parse(query.as_bytes()).collect())
}

pub(super) fn split_user_info(text: &str) -> Result<(Option<String>, Option<SecretString>), AddressError> {
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (text, None),
    };
    if username.contains([';', '#', '&', '=']) {
        return Err(AddressError::Separator);
    }
    let username = Some(decode_name(username)?).filter(|username| !username.is_empty());
    let password = password.map(decode).transpose()?.map(SecretString::from);
    Ok((username, password))
}

/// Returns the value that was given before the host or as a parameter. If both were given, they must be equal.
fn agree<T>(
    what: &'static str,
    before_host: Option<T>,
    parameter: Option<T>,
    is_same: impl Fn(&T, &T) -> bool,
) -> Result<Option<T>, AddressError> {
    match (before_host, parameter) {
        (Some(a), Some(b)) if !is_same(&a, &b) => Err(AddressError::Twice(what)),
        (a, b) => Ok(a.or(b)),
    }
}

fn sqlite(rest: &str, jdbc: bool) -> Result<(Address, Vec<String>), AddressError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.strip_prefix("file:").unwrap_or(path);
    let pairs = pairs(query)?;
    let in_memory = pairs.iter().any(|(name, value)| name == "mode" && value == "memory");
    if in_memory || path.starts_with(":memory:") || (jdbc && path.is_empty()) {
        return Err(AddressError::InMemory);
    }
    if path.is_empty() || path.starts_with(":resource:") {
        return Err(AddressError::NoFile);
    }
    if path.contains([';', '#', '@']) {
        return Err(AddressError::SqlitePath);
    }
    // sqlx decodes the path, the JDBC driver does not.
    let path = if jdbc { path.to_owned() } else { decode(path)? };
    if path.contains(char::is_control) {
        return Err(AddressError::Control);
    }
    // The file is always opened read-only.
    let pairs = pairs.into_iter().filter(|(name, _)| name != "mode").collect();
    let warnings = Parameters::read(Scheme::Sqlite, pairs)?.warnings;
    Ok((Address::Sqlite(PathBuf::from(path)), warnings))
}
