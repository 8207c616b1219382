//! Connecting and waiting, and from the driver's errors to ours.

use std::future::Future;
use std::time::Duration;

use super::StorageError;
use crate::config::{ServerAddress, StorageConfig, host_and_port};

/// Tries the hosts of an address in turn. Where all fail, the error names each.
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
    Err(together(failed))
}

/// One error for all hosts. Where they fail alike it is of their kind.
fn together(mut failed: Vec<(String, StorageError)>) -> StorageError {
    let is_same = failed.windows(2).all(|pair| pair[0].1.to_string() == pair[1].1.to_string());
    if is_same {
        return failed.pop().map_or(StorageError::Unreachable("no host is given".to_owned()), |(_, error)| error);
    }
    let texts = failed.iter().map(|(place, error)| {
        let text = match error {
            StorageError::Unreachable(cause) | StorageError::Denied(cause) => cause.clone(),
            other => other.to_string(),
        };
        // Many causes begin with the place already.
        if text.starts_with(place.as_str()) { text } else { format!("{place}: {text}") }
    });
    let text = texts.collect::<Vec<_>>().join("; ");
    match failed.iter().all(|(_, error)| matches!(error, StorageError::Denied(_))) {
        true => StorageError::Denied(text),
        false => StorageError::Unreachable(text),
    }
}

/// Waits for a connection, at most the configured time.
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
            StorageError::Refused(cause) => StorageError::Unreachable(format!("{place}: {cause}")),
            other => other,
        }),
        Err(_) => Err(StorageError::Unreachable(format!("{place}: no connection within {:?}", config.connect_timeout))),
    }
}

/// Waits for the database, at most `timeout`.
pub(super) async fn before<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(StorageError::TimedOut(format!("{timeout:?}"))),
    }
}

/// Sorts a driver's error by what the person who reads it can do about it.
pub(super) fn storage_error(error: sqlx::Error) -> StorageError {
    match error {
        sqlx::Error::Database(database) => {
            let text = database.message().to_owned();
            // PostgreSQL's SQLSTATE; for MySQL and SQLite the driver gives the number behind it in `code`.
            let number = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|e| e.number().to_string());
            match number.as_deref().or(database.code().as_deref()).unwrap_or_default() {
                "28P01" | "28000" | "42501" | "1044" | "1045" | "1142" | "1227" | "1698" => StorageError::Denied(text),
                "57014" | "1969" | "3024" | "9" => StorageError::TimedOut(format!("the statement timeout: {text}")),
                "57P03" => StorageError::Starting(text),
                "57P01" | "57P02" | "53300" | "3D000" | "1040" | "1049" | "1053" | "5" | "6" | "10" | "14" | "26" => {
                    StorageError::Unreachable(text)
                }
                _ => StorageError::Refused(text),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StorageError::Unreadable(error.to_string())
        }
        other => StorageError::Unreachable(other.to_string()),
    }
}
