//! Translates the drivers' errors.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::StorageError;

/// The kinds of errors that a server reports, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorKind {
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

fn kind(error: &dyn DatabaseError) -> ErrorKind {
    let kind = postgres_kind(error).or_else(|| mysql_kind(error)).or_else(|| sqlite_kind(error));
    kind.unwrap_or(ErrorKind::Rejected)
}

/// Recognizes PostgreSQL's errors by their SQLSTATE; `None` for another driver's error.
fn postgres_kind(error: &dyn DatabaseError) -> Option<ErrorKind> {
    Some(match error.try_downcast_ref::<PgDatabaseError>()?.code() {
        "28P01" | "28000" | "42501" => ErrorKind::Denied,
        "57014" => ErrorKind::TimedOut,
        "57P03" => ErrorKind::Starting,
        "57P01" | "57P02" | "53300" | "3D000" => ErrorKind::Unreachable,
        _ => ErrorKind::Rejected,
    })
}

/// Recognizes the errors of MySQL and MariaDB by their numbers; `None` for another driver's error.
fn mysql_kind(error: &dyn DatabaseError) -> Option<ErrorKind> {
    Some(match error.try_downcast_ref::<MySqlDatabaseError>()?.number() {
        1044 | 1045 | 1142 | 1227 | 1698 => ErrorKind::Denied,
        1969 | 3024 => ErrorKind::TimedOut,
        1040 | 1049 | 1053 => ErrorKind::Unreachable,
        _ => ErrorKind::Rejected,
    })
}

/// Recognizes SQLite's errors by their result codes; `None` for another driver's error.
fn sqlite_kind(error: &dyn DatabaseError) -> Option<ErrorKind> {
    let code = error.try_downcast_ref::<SqliteError>()?.code();
    Some(match code.as_deref().unwrap_or_default() {
        "9" => ErrorKind::TimedOut,
        "5" | "6" | "10" | "14" | "26" => ErrorKind::Unreachable,
        _ => ErrorKind::Rejected,
    })
}
