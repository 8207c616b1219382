//! `scalerAddress`: where KEDA's gRPC client finds the scaler.
//!
//! KEDA passes it to `grpc.NewClient` (`pkg/scalers/external_scaler.go`), whose names are not URLs
//! (<https://github.com/grpc/grpc/blob/master/doc/naming.md>).

/// The default port of the scaler's HTTP side (health, metrics). KEDA cannot use it.
pub const HTTP_PORT: u16 = 8080;

/// The prefixes of those gRPC resolvers that can find a scaler. The first is the default since KEDA 2.16.
const RESOLVERS: [&str; 2] = ["dns:///", "passthrough:///"];

/// Why KEDA cannot reach a scaler at an address: what must be there instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalerAddressError {
    /// A URL.
    #[error("HOST:PORT without `{0}`, such as jobrunr-scaler.keda:9090")]
    Scheme(String),
    /// A host without a port. gRPC then uses port 443; KEDA before 2.16 fails.
    #[error("HOST:PORT; the port is missing, which is 9090 by default")]
    NoPort,
    /// Anything else.
    #[error("HOST:PORT, such as jobrunr-scaler.keda:9090, with a port from 1 to 65535")]
    Other,
}

/// Returns the port in a `scalerAddress`. Blanks around the address are ignored, as by KEDA 2.18 and later.
///
/// # Errors
/// What must be there instead.
pub fn scaler_port(address: &str) -> Result<u16, ScalerAddressError> {
    let address = address.trim();
    let rest = RESOLVERS.iter().find_map(|resolver| address.strip_prefix(resolver)).unwrap_or(address);
    if let Some((scheme, _)) = rest.split_once("://") {
        return Err(ScalerAddressError::Scheme(format!("{scheme}://")));
    }
    if is_host(rest) {
        return Err(ScalerAddressError::NoPort);
    }
    let (host, port) = rest.rsplit_once(':').ok_or(ScalerAddressError::Other)?;
    let is_number = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    match port.parse() {
        Ok(port) if is_number && is_host(host) => Ok(port),
        _ => Err(ScalerAddressError::Other),
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_v6 = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => !v6.is_empty() && v6.chars().all(is_v6),
        None => !host.is_empty() && host.chars().all(is_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaler_port_accepts_what_grpc_can_dial() {
        for (address, expected) in [
            ("jobrunr-scaler.keda:9090", 9090),
            ("jobrunr-scaler.keda.svc.cluster.local.:9090", 9090),
            ("dns:///jobrunr-scaler.keda:9090", 9090),
            ("passthrough:///10.0.0.7:65535", 65535),
            ("[fd00::1]:1", 1),
            (" a_b:8080\n", 8080),
        ] {
            assert_eq!(scaler_port(address), Ok(expected), "{address:?}");
        }
        let scheme = |scheme: &str| ScalerAddressError::Scheme(scheme.to_owned());
        for (address, expected) in [
            ("http://jobrunr-scaler.keda:9090", scheme("http://")),
            ("https://jobrunr-scaler.keda", scheme("https://")),
            ("dns:///grpc://jobrunr-scaler:9090", scheme("grpc://")),
            ("jobrunr-scaler.keda", ScalerAddressError::NoPort),
            ("dns:///jobrunr-scaler.keda", ScalerAddressError::NoPort),
            ("[::1]", ScalerAddressError::NoPort),
            ("", ScalerAddressError::Other),
            (":9090", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:0", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:65536", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:+9090", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:grpc", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:9090/", ScalerAddressError::Other),
            ("jobrunr scaler:9090", ScalerAddressError::Other),
            ("jobrunr-scaler.keda:9090:9090", ScalerAddressError::Other),
            ("user@jobrunr-scaler.keda:9090", ScalerAddressError::Other),
            ("::1:9090", ScalerAddressError::Other),
        ] {
            assert_eq!(scaler_port(address), Err(expected), "{address:?}");
        }
    }
}
