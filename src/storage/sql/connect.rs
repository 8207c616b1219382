//! Connects to one of several hosts within the timeouts.

use std::future::Future;

use super::StorageError;
use super::errors::storage_error;
use crate::config::{ServerAddress, StorageConfig, host_and_port};

/// Tries the hosts of an address in turn. If all fail, the error names each.
pub(super) async fn first_host<'a, S, F>(
    address: &'a ServerAddress,
    connect_to: impl Fn(&'a str, u16) -> F,
) -> Result<S, StorageError>
where
    F: Future<Output = Result<S, StorageError>>,
{
    let mut failed = Vec::new();
    for (host, port) in &address.hosts {
        match connect_to(host, *port).await {
            Ok(session) => return Ok(session),
            Err(error) => failed.push((host_and_port(host, *port), error)),
        }
    }
    Err(combined(failed))
}

/// Combines the errors of all hosts. If all hosts fail in the same way, the kind of error is kept.
fn combined(mut failed: Vec<(String, StorageError)>) -> StorageError {
    let is_same = failed.windows(2).all(|pair| pair[0].1.to_string() == pair[1].1.to_string());
    if is_same {
        return failed.pop().map_or(StorageError::Unreachable("no host is given".to_owned()), |(_, error)| error);
    }
    let texts = failed.iter().map(|(place, error)| {
        let text = match error {
            StorageError::Unreachable(cause) | StorageError::Denied(cause) => cause.clone(),
            other => other.to_string(),
        };
        // Many causes begin with the host already.
        if text.starts_with(place.as_str()) { text } else { format!("{place}: {text}") }
    });
    let text = texts.collect::<Vec<_>>().join("; ");
    match failed.iter().all(|(_, error)| matches!(error, StorageError::Denied(_))) {
        true => StorageError::Denied(text),
        false => StorageError::Unreachable(text),
    }
}

/// Waits for a connection, at most the configured time. `place` is the host or the file that errors name.
pub(super) async fn connected<C>(
    connecting: impl Future<Output = Result<C, sqlx::Error>>,
    config: &StorageConfig,
    place: &str,
) -> Result<C, StorageError> {
    match tokio::time::timeout(config.connect_timeout, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match storage_error(error) {
            StorageError::Unreachable(cause) => StorageError::Unreachable(format!("{place}: {cause}")),
            StorageError::Starting(cause) => StorageError::Starting(format!("{place}: {cause}")),
            StorageError::Denied(cause) => StorageError::Denied(format!("{place}: {cause}")),
            StorageError::Rejected(cause) | StorageError::Busy(cause) => {
                StorageError::Unreachable(format!("{place}: {cause}"))
            }
            other => other,
        }),
        Err(_) => Err(StorageError::Unreachable(format!("{place}: no connection within {:?}", config.connect_timeout))),
    }
}
