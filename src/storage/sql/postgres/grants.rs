//! The script that creates the scaler's role.

use super::super::grants::{OPTIONAL, REQUIRED, note, quoted};
use super::super::schema::Table;
use crate::config::{ServerAddress, TablePrefix};
use crate::storage::Grants;

pub(super) fn grants_sql(server: &ServerAddress, prefix: &TablePrefix, role: &str) -> Grants {
    let (role_name, role, database) = (quoted(role, '\''), quoted(role, '"'), quoted(&server.database, '"'));
    let tables = |tables: [Table; 2]| tables.map(|table| prefix.table(table.name()));
    let required = tables(REQUIRED).join(", ");
    let optional = tables(OPTIONAL).map(|table| quoted(&table, '\'')).join(", ");
    // PostgreSQL converts names without quotes to lower case.
    let schemas = prefix.schema().or(server.search_path.as_deref()).unwrap_or("public").split(',');
    let lower = |schema: &str| if schema.starts_with('"') { schema.to_owned() } else { schema.to_lowercase() };
    let schemas: Vec<String> = schemas.filter(|schema| *schema != "$user").map(lower).collect();
    let set_path = match (prefix.schema(), &server.search_path) {
        (None, Some(_)) => format!("SET search_path TO {};\n", schemas.join(", ")),
        _ => String::new(),
    };
    let schemas = schemas.join(",");
    let note = note(prefix);
    Grants {
        administrator: format!(
            "-- Part 1, for an administrator: a superuser, or a role that can create roles. Replace the password. Skip this part if
-- the role exists already.
CREATE ROLE {role} LOGIN PASSWORD 'change-me' CONNECTION LIMIT 10;
GRANT CONNECT ON DATABASE {database} TO {role};
"
        ),
        owner: format!(
            "-- Part 2, for the owner of JobRunr's tables, in the database {database}. The role can read them and do nothing else.
{set_path}GRANT SELECT ON {required} TO {role};
{note}DO $jobrunr_scaler$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY string_to_array('{schemas}', ',') LOOP
    IF to_regnamespace(name) IS NOT NULL AND NOT has_schema_privilege({role_name}, to_regnamespace(name)::oid, 'USAGE') THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', to_regnamespace(name), {role_name});
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
