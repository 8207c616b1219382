//! The hosts and ports of an address.
use std::net::Ipv6Addr;

use super::AddressError;
use super::decode::decode_name;
use super::scheme::Scheme;

/// Splits `host1:port1,host2,…`. Hosts without a port get `port`, or the default of the scheme.
pub(super) fn split_hosts(scheme: Scheme, text: &str, port: Option<u16>) -> Result<Vec<(String, u16)>, AddressError> {
    let default_port = port.unwrap_or(scheme.default_port());
    if text.is_empty() {
        return Ok(vec![("localhost".to_owned(), default_port)]);
    }
    if text.contains(['(', ')']) {
        return Err(AddressError::AddressBlock);
    }
    text.split(',').map(|text| split_host(scheme, text.trim(), default_port)).collect()
}

fn split_host(scheme: Scheme, text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
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
    // To pgjdbc, `//:5432/db` is localhost.
    let host = if host.is_empty() { "localhost".to_owned() } else { check_host(scheme, &decode_name(host)?)? };
    Ok((host, port_or(default_port, port)?))
}

/// Returns a valid host name, IP address, or directory of a Unix socket.
pub(super) fn check_host(scheme: Scheme, host: &str) -> Result<String, AddressError> {
    if host.starts_with('/') {
        return if scheme == Scheme::Postgres { Ok(host.to_owned()) } else { Err(AddressError::Socket) };
    }
    let is_name = |host: &str| host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if host.parse::<Ipv6Addr>().is_ok() || (!host.is_empty() && is_name(host)) {
        return Ok(host.to_owned());
    }
    Err(AddressError::Host)
}

/// To the drivers, `host:/database` has the default port.
fn port_or(default_port: u16, text: &str) -> Result<u16, AddressError> {
    if text.is_empty() { Ok(default_port) } else { parse_port(text) }
}

pub(super) fn parse_port(text: &str) -> Result<u16, AddressError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)
}
