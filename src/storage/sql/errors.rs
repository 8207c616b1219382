//! Translates the drivers' errors.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::StorageError;

/// Makes an error of a server's words, by what can be done about it.
type Kind = fn(String) -> StorageError;

/// Translates a driver's error.
pub(super) fn storage_error(error: sqlx::Error) -> StorageError {
    match error {
        sqlx::Error::Database(error) => {
            let kind = kind(error.as_ref());
            kind(error.message().to_owned())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StorageError::InvalidAnswer(error.to_string())
        }
        other => StorageError::Unreachable(other.to_string()),
    }
}

fn timed_out(text: String) -> StorageError {
    StorageError::TimedOut(format!("the statement timeout: {text}"))
}

fn kind(error: &dyn DatabaseError) -> Kind {
    let kind = postgres_kind(error).or_else(|| mysql_kind(error)).or_else(|| sqlite_kind(error));
    kind.unwrap_or(StorageError::Rejected)
}

/// Recognizes PostgreSQL's errors by their SQLSTATE; `None` for another driver's error.
fn postgres_kind(error: &dyn DatabaseError) -> Option<Kind> {
    Some(match error.try_downcast_ref::<PgDatabaseError>()?.code() {
        "28P01" | "28000" | "42501" => StorageError::Denied,
        "57014" => timed_out,
        "57P03" => StorageError::Starting,
        "57P01" | "57P02" | "53300" | "3D000" => StorageError::Unreachable,
        _ => StorageError::Rejected,
    })
}

/// Recognizes the errors of MySQL and MariaDB by their numbers; `None` for another driver's error.
fn mysql_kind(error: &dyn DatabaseError) -> Option<Kind> {
    Some(match error.try_downcast_ref::<MySqlDatabaseError>()?.number() {
        1044 | 1045 | 1142 | 1227 | 1698 => StorageError::Denied,
        1969 | 3024 => timed_out,
        1040 | 1049 | 1053 => StorageError::Unreachable,
        _ => StorageError::Rejected,
    })
}

/// Recognizes SQLite's errors by their result codes; `None` for another driver's error.
fn sqlite_kind(error: &dyn DatabaseError) -> Option<Kind> {
    let code = error.try_downcast_ref::<SqliteError>()?.code();
    Some(match code.as_deref().unwrap_or_default() {
        "9" => timed_out,
        "5" | "6" | "10" | "14" | "26" => StorageError::Unreachable,
        _ => StorageError::Rejected,
    })
}
