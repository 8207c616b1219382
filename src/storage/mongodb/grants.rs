//! The script that creates the scaler's user.

use super::schema::collection;
use crate::config::MongoDbAddress;
use crate::config::TablePrefix;
use crate::storage::Grants;

/// For `mongosh`, and for Amazon DocumentDB, which has the same commands.
pub(super) fn grants(address: &MongoDbAddress, prefix: &TablePrefix, role: &str) -> Grants {
    let database = &address.server.database;
    let source = address.auth_source.as_deref().unwrap_or("admin");
    let names = ["jobs", "background_job_servers", "recurring_jobs"];
    let privilege = |name| {
        let (database, name) = (quoted(database), quoted(&collection(prefix, name)));
        format!("    {{ resource: {{ db: {database}, collection: {name} }}, actions: [\"find\", \"listIndexes\"] }},\n")
    };
    let privileges: String = names.map(privilege).concat();
    let (database, source, role, reads) =
        (quoted(database), quoted(source), quoted(role), quoted(&format!("{role}_reads_{prefix}jobrunr")));
    Grants {
        administrator: format!(
            "// For mongosh, run by an administrator, who can create roles and users. Replace the password. The scaler's user can
// read JobRunr's collections and do nothing else.
db.getSiblingDB({database}).createRole({{
  role: {reads},
  privileges: [
{privileges}  ],
  roles: [],
}});
db.getSiblingDB({source}).createUser({{ user: {role}, pwd: \"change-me\", roles: [{{ role: {reads}, db: {database} }}] }});
"
        ),
        owner: String::new(),
    }
}

/// A literal of JavaScript, of which JSON is a part.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
