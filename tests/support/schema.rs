//! JobRunr's tables for every database that is tested, derived from the one description of them: `src/demo/jobrunr.sql`.

use super::database::{Kind, Layout};

/// JobRunr 8's tables on SQLite.
const SQLITE: &str = include_str!("../../src/demo/jobrunr.sql");

/// The types that differ.
struct Types {
    id: &'static str,
    instant: &'static str,
    document: &'static str,
    flag: &'static str,
}

/// Returns the statements that create the tables. `table_prefix` stands before the tables' names.
pub(crate) fn create_tables(kind: Kind, layout: Layout, table_prefix: &str) -> Vec<String> {
    let types = types(kind, layout.hand_made);
    let statements = SQLITE.split(';').map(without_comments).filter(|statement| !statement.is_empty());
    let wanted = statements.filter(|statement| !layout.hand_made || is_in_hand_made(statement));
    wanted.map(|statement| adapted(&statement, &types, layout, table_prefix)).collect()
}

fn types(kind: Kind, hand_made: bool) -> Types {
    let (id, instant, document, flag) = match (kind, hand_made) {
        (Kind::Postgres, false) => ("char(36)", "timestamp(6)", "text", "int"),
        (Kind::Postgres, true) => ("uuid", "timestamptz", "jsonb", "boolean"),
        (Kind::MariaDb | Kind::MySql, false) => ("NCHAR(36)", "DATETIME(6)", "MEDIUMTEXT", "int"),
        (Kind::MariaDb | Kind::MySql, true) => ("VARCHAR(36)", "TIMESTAMP(6)", "LONGTEXT", "BOOLEAN"),
        (Kind::Sqlite, false) => ("NCHAR(36)", "TIMESTAMP", "TEXT", "INT"),
        (Kind::MongoDb, _) => panic!("MongoDB has no tables"),
        (Kind::Sqlite, true) => ("VARCHAR", "DATETIME", "json", "BOOLEAN"),
    };
    Types { id, instant, document, flag }
}

fn without_comments(statement: &str) -> String {
    let lines = statement.lines().filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// People's own migrations often leave out indexes, and the tables that the scaler does not need.
fn is_in_hand_made(statement: &str) -> bool {
    statement.starts_with("CREATE TABLE") && !statement.contains("_migrations") && !statement.contains("_metadata")
}

fn adapted(statement: &str, types: &Types, layout: Layout, table_prefix: &str) -> String {
    let recurring_id = if layout.hand_made { "VARCHAR(128)" } else { "NCHAR(128)" };
    let mut adapted = statement.to_owned();
    for (sqlite, here) in [
        ("CREATE TABLE jobrunr_", format!("CREATE TABLE {table_prefix}jobrunr_")),
        ("INSERT INTO jobrunr_", format!("INSERT INTO {table_prefix}jobrunr_")),
        (" ON jobrunr_", format!(" ON {table_prefix}jobrunr_")),
        ("CREATE INDEX jobrunr_", format!("CREATE INDEX {}jobrunr_", layout.prefix)),
        ("NCHAR(128)", recurring_id.to_owned()),
        ("NCHAR(36)", types.id.to_owned()),
        (" TIMESTAMP", format!(" {}", types.instant)),
        (" TEXT", format!(" {}", types.document)),
        ("running INT", format!("running {}", types.flag)),
    ] {
        adapted = adapted.replace(sqlite, &here);
    }
    if !layout.pro {
        return adapted;
    }
    // What JobRunr Pro adds.
    adapted
        .replace(
            "recurringJobId VARCHAR(128) NULL",
            "recurringJobId VARCHAR(128) NULL, priority int NOT NULL, serverTag VARCHAR(128) NOT NULL, \
             dynamicQueue VARCHAR(128) NULL, mutex VARCHAR(128) NULL, mutexInUse VARCHAR(128) NULL",
        )
        .replace(
            "name VARCHAR(128) NULL",
            "name VARCHAR(128) NULL, occupiedWorkers int NULL, serverTags VARCHAR(512) NULL",
        )
}
