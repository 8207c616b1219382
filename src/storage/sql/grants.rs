//! The rights that the scaler needs, as statements.

use super::schema::Table;
use crate::config::{Address, StorageConfig};

/// The tables that are read. The statistics view is looked for in the catalogue, and never read.
const READ: [Table; 4] = [Table::Jobs, Table::Servers, Table::RecurringJobs, Table::Migrations];

/// The statements that make a user for a storage, with a password to be put in; nothing more than these is ever needed.
#[must_use]
pub fn grants_sql(config: &StorageConfig, role: &str) -> String {
    let tables: Vec<String> = READ.iter().map(|table| config.table_prefix.table(table.name())).collect();
    match &config.address {
        Address::Postgres(address) => postgres(&tables, config.table_prefix.schema(), &address.database, role),
        Address::Mysql(address) => mysql(&tables, config.table_prefix.schema(), &address.database, role),
        Address::Sqlite(path) => format!(
            "-- SQLite has no users: who may read the file may read the tables. The scaler opens it read-only.\n\
             -- It needs the right to read {0}, and with a write-ahead log also to read {0}-wal and to write {0}-shm.\n",
            path.display()
        ),
    }
}

fn postgres(tables: &[String], schema: Option<&str>, database: &str, role: &str) -> String {
    let (role, database) = (quoted(role, '"'), quoted(database, '"'));
    let schema = schema.unwrap_or("public");
    let mut sql = format!(
        "-- A role for jobrunr-scaler: it reads JobRunr's tables and may do nothing else. Run it in the database that JobRunr
-- uses, as the owner of its tables, and put a password in.
CREATE ROLE {role} LOGIN PASSWORD 'change-me' CONNECTION LIMIT 10;
GRANT CONNECT ON DATABASE {database} TO {role};
GRANT USAGE ON SCHEMA {schema} TO {role};
"
    );
    for table in tables {
        sql += &format!("GRANT SELECT ON {table} TO {role};\n");
    }
    sql += &note(tables);
    sql
}

fn mysql(tables: &[String], schema: Option<&str>, database: &str, role: &str) -> String {
    let user = format!("{}@'%'", quoted(role, '\''));
    let elsewhere = schema.filter(|schema| *schema != database);
    let mut sql = elsewhere.map_or_else(String::new, |schema| {
        format!("-- The tables are in the database {schema}: let the address name it too, since only there the user has rights.\n")
    });
    sql += &format!(
        "-- A user for jobrunr-scaler: it reads JobRunr's tables and may do nothing else. Put a password in.
CREATE USER {user} IDENTIFIED BY 'change-me' WITH MAX_USER_CONNECTIONS 10;
"
    );
    for table in tables {
        // The prefix may name the database already.
        let table = if schema.is_some() { table.clone() } else { format!("{}.{table}", quoted(database, '`')) };
        sql += &format!("GRANT SELECT ON {table} TO {user};\n");
    }
    sql += &note(tables);
    sql
}

/// Schemas made by hand may lack tables that we can do without.
fn note(tables: &[String]) -> String {
    let [_, _, recurring, migrations] = tables else { return String::new() };
    format!(
        "-- Leave out what is not there: without {recurring} recurring jobs are not seen, and without
-- {migrations} the scaler looks at the statistics view for JobRunr's version, or at jobrunrVersion.\n"
    )
}

/// A name in quotes, those inside doubled.
fn quoted(name: &str, quote: char) -> String {
    format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
}
