//! Connects to one of several hosts within the timeouts, and translates the drivers' errors.

use std::future::Future;

use sqlx::error::DatabaseError;

use super::{StorageError, mysql, postgres, sqlite};
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
            StorageError::Rejected(cause) => StorageError::Unreachable(format!("{place}: {cause}")),
            other => other,
        }),
        Err(_) => Err(StorageError::Unreachable(format!("{place}: no connection within {:?}", config.connect_timeout))),
    }
}

/// The kinds of errors that a server reports, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    Denied,
    TimedOut,
    Starting,
    Unreachable,
    Rejected,
}

/// Translates a driver's error.
pub(super) fn storage_error(error: sqlx::Error) -> StorageError {
    match error {
        sqlx::Error::Database(error) => {
            let text = error.message().to_owned();
            match kind(error.as_ref()) {
                ErrorKind::Denied => StorageError::Denied(text),
                ErrorKind::TimedOut => StorageError::TimedOut(format!("the statement timeout: {text}")),
                ErrorKind::Starting => StorageError::Starting(text),
                ErrorKind::Unreachable => StorageError::Unreachable(text),
                ErrorKind::Rejected => StorageError::Rejected(text),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StorageError::InvalidAnswer(error.to_string())
        }
        other => StorageError::Unreachable(other.to_string()),
    }
}

/// Each database recognizes its own errors by their codes.
fn kind(error: &dyn DatabaseError) -> ErrorKind {
    let kinds = [postgres::error_kind, mysql::error_kind, sqlite::error_kind];
    kinds.iter().find_map(|kind| kind(error)).unwrap_or(ErrorKind::Rejected)
}
