//! The rights that the scaler needs, as statements.

use std::fmt;

use super::schema::Table;
use crate::config::{Address, ServerAddress, StorageConfig, TablePrefix};

/// The tables without which nothing can be read.
const NEEDED: [Table; 2] = [Table::Jobs, Table::Servers];
/// The tables that are read where they are there. The statistics view is looked for in the catalogue, and never read.
const OPTIONAL: [Table; 2] = [Table::RecurringJobs, Table::Migrations];

/// The user's name where the configuration has none.
pub const DEFAULT_ROLE: &str = "jobrunr_scaler";

/// The statements that make a user for a storage; nothing more than these is ever needed. `Display` is the whole script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// What an administrator runs, with a password to be put in; empty for SQLite.
    pub administrator: String,
    /// What the owner of the tables runs afterwards. It succeeds also where optional tables are absent.
    pub owner: String,
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.administrator.is_empty() { "" } else { "\n" };
        write!(f, "{}{separator}{}", self.administrator, self.owner)
    }
}

/// The statements for a storage. `role` is the user to make; without, the configured one, or else [`DEFAULT_ROLE`].
#[must_use]
pub fn grants_sql(config: &StorageConfig, role: Option<&str>) -> Grants {
    let configured = config.address.server().and_then(|server| server.username.as_deref());
    let role = role.or(configured).unwrap_or(DEFAULT_ROLE);
    match &config.address {
        Address::Postgres(server) => postgres(server, &config.table_prefix, role),
        Address::Mysql(server) => mysql(&server.database, &config.table_prefix, role),
        Address::Sqlite(path) => Grants {
            administrator: String::new(),
            owner: format!(
                "-- SQLite has no users: who may read the file may read the tables. The scaler opens it read-only.\n\
                 -- It needs the right to read {0}, and with a write-ahead log also to read {0}-wal and to write {0}-shm.\n",
                path.display()
            ),
        },
    }
}

fn postgres(server: &ServerAddress, prefix: &TablePrefix, role: &str) -> Grants {
    let (role_name, role, database) = (quoted(role, '\''), quoted(role, '"'), quoted(&server.database, '"'));
    let tables = |tables: [Table; 2]| tables.map(|table| prefix.table(table.name()));
    let (needed, optional) = (tables(NEEDED).join(", "), tables(OPTIONAL).map(|table| quoted(&table, '\'')).join(", "));
    // Names without quotes are in lower case for PostgreSQL.
    let schemas = prefix.schema().or(server.search_path.as_deref()).unwrap_or("public").to_lowercase();
    let schemas: Vec<&str> = schemas.split(',').filter(|schema| *schema != "$user").collect();
    let set_path = match (prefix.schema(), &server.search_path) {
        (None, Some(_)) => format!("SET search_path TO {};\n", schemas.join(", ")),
        _ => String::new(),
    };
    let schemas = schemas.join(",");
    let note = note(prefix);
    Grants {
        administrator: format!(
            "-- Part 1, for an administrator: a superuser, or somebody who may create roles. Put a password in. Leave this part
-- out where the role is there already.
CREATE ROLE {role} LOGIN PASSWORD 'change-me' CONNECTION LIMIT 10;
GRANT CONNECT ON DATABASE {database} TO {role};
"
        ),
        owner: format!(
            "-- Part 2, for the owner of JobRunr's tables, in the database {database}. The role may read them and do nothing else.
{set_path}GRANT SELECT ON {needed} TO {role};
{note}DO $jobrunr_scaler$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY string_to_array('{schemas}', ',') LOOP
    IF to_regnamespace(name) IS NOT NULL AND NOT has_schema_privilege({role_name}, name, 'USAGE') THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', name, {role_name});
    END IF;
  END LOOP;
  FOREACH name IN ARRAY ARRAY[{optional}] LOOP
    IF to_regclass(name) IS NOT NULL THEN
      EXECUTE format('GRANT SELECT ON %s TO %I', to_regclass(name), {role_name});
    END IF;
  END LOOP;
END
$jobrunr_scaler$;
"
        ),
    }
}

fn mysql(database: &str, prefix: &TablePrefix, role: &str) -> Grants {
    let user = format!("{}@'%'", mysql_text(role));
    let schema = prefix.schema().unwrap_or(database);
    let place = quoted(schema, '`');
    let elsewhere = if schema == database {
        String::new()
    } else {
        format!("-- Let the scaler's address name the database {place}: only there the user has rights.\n")
    };
    let name = |table: Table| format!("{}jobrunr_{}", prefix.index_prefix(), table.name());
    let mut owner = format!(
        "-- Part 2, for the same administrator, or for somebody who has JobRunr's tables WITH GRANT OPTION. The user may read them
-- and do nothing else.
{elsewhere}"
    );
    for table in NEEDED.map(name) {
        owner += &format!("GRANT SELECT ON {place}.{table} TO {user};\n");
    }
    owner += &note(prefix);
    for table in OPTIONAL.map(name) {
        let grant = mysql_text(&format!("GRANT SELECT ON {place}.{table} TO {user}"));
        let (schema, table) = (mysql_text(schema), mysql_text(&table));
        owner += &format!(
            "SET @grant = (SELECT IF(COUNT(*) = 0, 'DO 0', {grant})
  FROM information_schema.tables WHERE table_schema = {schema} AND table_name = {table});
PREPARE jobrunr_scaler FROM @grant;
EXECUTE jobrunr_scaler;
DEALLOCATE PREPARE jobrunr_scaler;
"
        );
    }
    Grants {
        administrator: format!(
            "-- Part 1, for an administrator, who may create users. Put a password in. Leave this part out where the user is there
-- already.
CREATE USER {user} IDENTIFIED BY 'change-me' WITH MAX_USER_CONNECTIONS 10;
"
        ),
        owner,
    }
}

/// Why some tables may be absent.
fn note(prefix: &TablePrefix) -> String {
    let [recurring, migrations] = OPTIONAL.map(|table| prefix.table(table.name()));
    format!(
        "-- Schemas made by hand may lack tables: without {recurring} recurring jobs are not seen, and without
-- {migrations} the scaler looks at the statistics view for JobRunr's version, or at jobrunrVersion.\n"
    )
}

/// A text in quotes, those inside doubled.
fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}

/// A text as MySQL reads it, where a backslash escapes.
fn mysql_text(text: &str) -> String {
    quoted(&text.replace('\\', "\\\\"), '\'')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(url: &str, prefix: &str) -> StorageConfig {
        let env = [("JOBRUNR_SCALER_URL", url), ("JOBRUNR_SCALER_TABLE_PREFIX", prefix)];
        let loaded = Config::load(None, env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        loaded.unwrap().config.storages.into_values().next().unwrap()
    }

    #[test]
    fn grants_say_who_runs_what() {
        let scripts = [
            grants_sql(&config("postgres://scaler@h/Orders?currentSchema=jobs,public", ""), None),
            grants_sql(&config("postgres://h/orders", "MySchema.tbl_"), None),
            grants_sql(&config("jdbc:mariadb://scaler@h/orders", ""), Some("it's")),
            grants_sql(&config("jdbc:mysql://scaler@h/orders", "jobs.tbl_"), None),
            grants_sql(&config("sqlite:/data/jobrunr.db", ""), None),
        ];
        insta::assert_snapshot!(scripts.map(|script| script.to_string()).join("\n\n"));
    }
}
