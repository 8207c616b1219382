//! The script that creates the scaler's user.

use super::super::grants::{OPTIONAL, REQUIRED, note, quoted};
use super::super::schema::Table;
use crate::config::TablePrefix;
use crate::storage::Grants;

pub(super) fn grants_sql(database: &str, prefix: &TablePrefix, role: &str) -> Grants {
    let user = format!("{}@'%'", text(role));
    let schema = prefix.schema().unwrap_or(database);
    let quoted_schema = quoted(schema, '`');
    let elsewhere = if schema == database {
        String::new()
    } else {
        format!("-- The scaler's address must name the database {quoted_schema}: the user has rights only there.\n")
    };
    let name = |table: Table| format!("{}jobrunr_{}", prefix.index_prefix(), table.name());
    let mut owner = format!(
        "-- Part 2, for the same administrator, or a user who has JobRunr's tables WITH GRANT OPTION. The scaler's user can read them
-- and do nothing else.
{elsewhere}"
    );
    for table in REQUIRED.map(name) {
        owner += &format!("GRANT SELECT ON {quoted_schema}.{table} TO {user};\n");
    }
    owner += &note(prefix);
    for table in OPTIONAL.map(name) {
        let grant = text(&format!("GRANT SELECT ON {quoted_schema}.{table} TO {user}"));
        let (schema, table) = (text(schema), text(&table));
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
            "-- Part 1, for an administrator, who can create users. Replace the password. Skip this part if the user exists already.
CREATE USER {user} IDENTIFIED BY 'change-me' WITH MAX_USER_CONNECTIONS 10;
"
        ),
        owner,
    }
}

/// A text literal. MySQL treats a backslash in it as an escape.
fn text(text: &str) -> String {
    quoted(&text.replace('\\', "\\\\"), '\'')
}
