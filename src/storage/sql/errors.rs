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

fn lock_timed_out(text: String) -> StorageError {
    StorageError::TimedOut(format!("the lock timeout: {text}"))
}

fn kind(error: &dyn DatabaseError) -> Kind {
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        postgres_kind(error.code())
    } else if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        mysql_kind(error.number(), error.code().unwrap_or_default())
    } else if let Some(error) = error.try_downcast_ref::<SqliteError>() {
        sqlite_kind(error.code().as_deref().unwrap_or_default())
    } else {
        StorageError::Rejected
    }
}

/// Recognizes PostgreSQL's errors by their SQLSTATE. Only the classes 22 and 42 (data, syntax) are about the statement itself.
fn postgres_kind(code: &str) -> Kind {
    match code {
        "28P01" | "28000" | "42501" => StorageError::Denied,
        "57014" => timed_out,
        "55P03" => lock_timed_out,
        "57P03" => StorageError::Starting,
        "53300" | "3D000" => StorageError::Unreachable,
        _ => match code.get(..2).unwrap_or_default() {
            "22" | "42" => StorageError::Rejected,
            // Connection, transaction state, operator intervention.
            "08" | "25" | "57" => StorageError::Unreachable,
            _ => StorageError::Busy,
        },
    }
}

/// Recognizes the errors of MySQL and MariaDB by their numbers, and the others by their SQLSTATE. Only the classes 22 and 42 are
/// about the statement itself, apart from numbers that other classes or none would suit better.
fn mysql_kind(number: u16, code: &str) -> Kind {
    match number {
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 => StorageError::Denied,
        1969 | 3024 | 1317 => timed_out,
        1205 => lock_timed_out,
        // A node of a Galera cluster that has not joined yet.
        1047 => StorageError::Starting,
        // Too many connections or queries, an unknown database, a shutdown.
        1040 | 1049 | 1053 | 1203 | 1226 => StorageError::Unreachable,
        // Too many prepared statements.
        1461 => StorageError::Busy,
        // Collations that cannot be mixed or converted, and characters that the column does not have.
        1267 | 1270 | 1271 | 1300 | 1366 | 3854 | 3988 => StorageError::Rejected,
        _ => match code.get(..2).unwrap_or_default() {
            "22" | "42" => StorageError::Rejected,
            "08" => StorageError::Unreachable,
            _ => StorageError::Busy,
        },
    }
}

/// Recognizes SQLite's errors by their result codes, of which the lowest eight bits are what an extended one extends.
fn sqlite_kind(code: &str) -> Kind {
    match code.parse().unwrap_or(0_u32) & 0xff {
        // An error in the statement, and values that do not fit.
        1 | 18 | 20 | 25 => StorageError::Rejected,
        3 | 23 => StorageError::Denied,
        9 => timed_out,
        // Busy, locked, read error, corrupt, cannot be opened, not a database.
        5 | 6 | 10 | 11 | 14 | 26 => StorageError::Unreachable,
        _ => StorageError::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: Kind) -> &'static str {
        match kind(String::new()) {
            StorageError::Busy(_) => "busy",
            StorageError::Denied(_) => "denied",
            StorageError::Rejected(_) => "rejected",
            StorageError::Starting(_) => "starting",
            StorageError::TimedOut(_) => "timed out",
            StorageError::Unreachable(_) => "unreachable",
            other => panic!("{other:?}"),
        }
    }

    /// Only what the statement's text or values cause is the filter's fault, for which it is blamed a minute long.
    #[test]
    fn errors_are_told_apart_by_their_codes() {
        let postgres = [
            // Character not in repertoire, untranslatable character, undefined column, syntax error.
            ("rejected", &["22021", "22P05", "42703", "42601"][..]),
            ("denied", &["28P01", "28000", "42501"]),
            ("timed out", &["57014", "55P03"]),
            ("starting", &["57P03"]),
            ("unreachable", &["57P01", "53300", "3D000", "08006", "25P03"]),
            // Out of memory, disk full, deadlock, conflict with recovery, corrupted index.
            ("busy", &["53200", "53100", "53400", "40P01", "40001", "XX002", "0A000", "nonsense"]),
        ];
        for (expected, codes) in postgres {
            for code in codes {
                assert_eq!(name(postgres_kind(code)), expected, "{code}");
            }
        }
        let mysql = [
            // Syntax error, unknown column, incorrect value, illegal mix of collations, invalid character string.
            ("rejected", &[(1064, "42000"), (1054, "42S22"), (1292, "22007"), (1267, "HY000"), (1300, "HY000")][..]),
            ("denied", &[(1045, "28000"), (1044, "42000"), (1142, "42000"), (1143, "42000"), (1227, "42000")]),
            // Statement timeout of either server, lock wait timeout, killed by an administrator.
            ("timed out", &[(1969, "70100"), (3024, "HY000"), (1205, "HY000"), (1317, "70100")]),
            // Galera: the node is not ready.
            ("starting", &[(1047, "08S01")]),
            ("unreachable", &[(1040, "08004"), (1049, "42000"), (1053, "08S01"), (1203, "42000"), (1226, "42000")]),
            // Deadlock, out of memory, disk full, prepared statements, lost its place.
            ("busy", &[(1213, "40001"), (1037, "HY001"), (1021, "HY000"), (1461, "42000"), (9999, "HY000")]),
        ];
        for (expected, codes) in mysql {
            for (number, code) in codes {
                assert_eq!(name(mysql_kind(*number, code)), expected, "{number}");
            }
        }
        let sqlite = [
            ("rejected", &["1", "18", "20", "25"][..]),
            ("timed out", &["9"]),
            // Extended codes: of SQLITE_BUSY, of SQLITE_IOERR, of SQLITE_CANTOPEN.
            ("unreachable", &["5", "517", "6", "10", "266", "14", "526", "26", "11"]),
            ("denied", &["3", "23"]),
            ("busy", &["7", "13", "17"]),
        ];
        for (expected, codes) in sqlite {
            for code in codes {
                assert_eq!(name(sqlite_kind(code)), expected, "{code}");
            }
        }
    }
}
