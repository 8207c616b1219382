//! From the text of an address to its parts.
//!
//! Written by hand, because the `url` crate knows neither several hosts nor what comes after `jdbc:`.
use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use super::parameters::{Kind, Pair, Parameters};
use super::{Address, AddressError, Secret, ServerAddress};
use crate::config::mistake::nearest;

/// The schemes to suggest after a slip.
const SCHEMES: [&str; 5] = ["postgres", "postgresql", "mysql", "mariadb", "sqlite"];

pub(super) fn parse(text: &str) -> Result<(Address, Vec<String>), AddressError> {
    let text = text.trim();
    let (jdbc, text) = match text.split_at_checked(5) {
        Some((start, rest)) if start.eq_ignore_ascii_case("jdbc:") => (true, rest),
        _ => (false, text),
    };
    let (scheme, rest) = text.split_once(':').ok_or(AddressError::Scheme { nearest: None })?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" => {
            let (server, warnings) = server(Kind::Postgres, jdbc, rest)?;
            Ok((Address::Postgres(server), warnings))
        }
        "mysql" | "mariadb" => {
            let (server, warnings) = server(Kind::Mysql, jdbc, rest)?;
            Ok((Address::Mysql(server), warnings))
        }
        "sqlite" => sqlite(rest, jdbc),
        other => Err(foreign(other)),
    }
}

fn foreign(scheme: &str) -> AddressError {
    match scheme {
        "oracle" => AddressError::Unsupported("Oracle"),
        "sqlserver" | "mssql" => AddressError::Unsupported("SQL Server"),
        "db2" => AddressError::Unsupported("Db2"),
        "h2" => AddressError::Unsupported("H2"),
        "mongodb" | "mongodb+srv" => AddressError::Unsupported("MongoDB"),
        "cockroachdb" => AddressError::Unsupported("CockroachDB"),
        other => AddressError::Scheme { nearest: nearest(other, SCHEMES) },
    }
}

/// `rest` is what follows `postgresql:` or `mysql:`.
fn server(kind: Kind, jdbc: bool, rest: &str) -> Result<(ServerAddress, Vec<String>), AddressError> {
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = split_path(kind, jdbc, before_query)?;
    // The last `@`, so that a user such as `scaler@server` of Azure works without encoding.
    let (user_info, hosts) = match authority.rsplit_once('@') {
        Some((user_info, hosts)) => (Some(user_info), hosts),
        None => (None, authority),
    };
    if database.contains(['@', '/']) {
        return Err(AddressError::Path);
    }
    // What is not plain may be the start of a parameter, and so of a password; a database's name is printed.
    if !database.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '~' | '%')) {
        return Err(AddressError::Database(kind.example()));
    }
    let parameters = Parameters::read(kind, pairs(query)?)?;
    let hosts = match &parameters.host {
        Some(host) => vec![(check_host(kind, host)?, parameters.port.unwrap_or(kind.default_port()))],
        None => split_hosts(kind, hosts, parameters.port)?,
    };
    let database = match parameters.database {
        Some(database) => database,
        None => decode_name(database)?,
    };
    if database.is_empty() {
        return Err(AddressError::NoDatabase(kind.example()));
    }
    let (username, password) = user_info.map(split_user_info).transpose()?.unwrap_or_default();
    let username = once("user", username, parameters.username, |a, b| a == b)?;
    let password = once("password", password, parameters.password, |a, b| a.expose_secret() == b.expose_secret())?;
    let server = ServerAddress {
        hosts,
        database,
        username,
        password: password.map(Secret::Value),
        tls: parameters.tls,
        search_path: parameters.search_path,
        primary_only: parameters.primary_only,
    };
    Ok((server, parameters.warnings))
}

/// Authority and database. pgjdbc also takes `jdbc:postgresql:database`, which means localhost.
fn split_path(kind: Kind, jdbc: bool, text: &str) -> Result<(&str, &str), AddressError> {
    if let Some(rest) = text.strip_prefix("//") {
        return Ok(rest.split_once('/').unwrap_or((rest, "")));
    }
    match (kind, jdbc) {
        (Kind::Postgres, true) => Ok(("", text.strip_prefix('/').unwrap_or(text))),
        (Kind::Mysql, true) => {
            let (mode, rest) = text.split_once("://").ok_or(AddressError::NoHost(kind.example()))?;
            match mode.to_ascii_lowercase().as_str() {
                // The drivers try the hosts in turn, as we do for a plain list.
                "sequential" | "failover" => Ok(rest.split_once('/').unwrap_or((rest, ""))),
                _ => Err(AddressError::Mode),
            }
        }
        _ => Err(AddressError::NoHost(kind.example())),
    }
}

/// The parameters, decoded. JDBC drivers and sqlx agree on the encoding of HTML forms, where `+` is a space.
fn pairs(query: &str) -> Result<Vec<Pair<'_>>, AddressError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = pair.split_once('=').ok_or(AddressError::BareParameter)?;
        // Other databases separate parameters so, and a password may follow. One that begins here is never printed.
        if pair.contains([';', '#']) && !name.to_ascii_lowercase().ends_with("password") {
            return Err(AddressError::Separator);
        }
    }
    Ok(form_urlencoded::parse(query.as_bytes()).collect())
}

fn split_user_info(text: &str) -> Result<(Option<String>, Option<SecretString>), AddressError> {
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

fn split_hosts(kind: Kind, text: &str, port: Option<u16>) -> Result<Vec<(String, u16)>, AddressError> {
    let default_port = port.unwrap_or(kind.default_port());
    if text.is_empty() {
        return Ok(vec![("localhost".to_owned(), default_port)]);
    }
    if text.contains(['(', ')']) {
        return Err(AddressError::AddressBlock);
    }
    text.split(',').map(|text| split_host(kind, text.trim(), default_port)).collect()
}

fn split_host(kind: Kind, text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(AddressError::Ipv6)?;
        let host: Ipv6Addr = host.parse().map_err(|_| AddressError::Ipv6)?;
        let port = match rest {
            "" => default_port,
            rest => port_or(default_port, rest.strip_prefix(':').ok_or(AddressError::Port)?)?,
        };
        return Ok((host.to_string(), port));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Ipv6);
    }
    let (host, port) = text.split_once(':').unwrap_or((text, ""));
    // pgjdbc takes `//:5432/db` as localhost.
    let host = if host.is_empty() { "localhost".to_owned() } else { check_host(kind, &decode_name(host)?)? };
    Ok((host, port_or(default_port, port)?))
}

fn check_host(kind: Kind, host: &str) -> Result<String, AddressError> {
    if host.starts_with('/') {
        return if kind == Kind::Postgres { Ok(host.to_owned()) } else { Err(AddressError::Socket) };
    }
    let is_name = |host: &str| host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if host.parse::<Ipv6Addr>().is_ok() || (!host.is_empty() && is_name(host)) {
        return Ok(host.to_owned());
    }
    Err(AddressError::Host)
}

/// Drivers take `host:/database` as the default port.
fn port_or(default_port: u16, text: &str) -> Result<u16, AddressError> {
    if text.is_empty() { Ok(default_port) } else { parse_port(text) }
}

pub(super) fn parse_port(text: &str) -> Result<u16, AddressError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)
}

/// One of two ways to say something; both only if they say the same.
fn once<T>(
    what: &'static str,
    before_host: Option<T>,
    parameter: Option<T>,
    same: impl Fn(&T, &T) -> bool,
) -> Result<Option<T>, AddressError> {
    match (before_host, parameter) {
        (Some(a), Some(b)) if !same(&a, &b) => Err(AddressError::Twice(what)),
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
    // sqlx decodes the path, xerial's JDBC driver takes it as it is.
    let path = if jdbc { path.to_owned() } else { decode(path)? };
    if path.contains(char::is_control) {
        return Err(AddressError::Control);
    }
    // How the file is opened is our business alone: read only.
    let pairs = pairs.into_iter().filter(|(name, _)| name != "mode").collect();
    let warnings = Parameters::read(Kind::Sqlite, pairs)?.warnings;
    Ok((Address::Sqlite(PathBuf::from(path)), warnings))
}

/// Decodes what is printed.
fn decode_name(text: &str) -> Result<String, AddressError> {
    decode(text).and_then(|name| if name.contains(char::is_control) { Err(AddressError::Control) } else { Ok(name) })
}

fn decode(text: &str) -> Result<String, AddressError> {
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| AddressError::Encoding)
}
