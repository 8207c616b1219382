//! What the scripts of `grants-sql` share.

use super::schema::Table;
use crate::config::TablePrefix;

/// The tables without which nothing can be read.
pub(super) const REQUIRED: [Table; 2] = [Table::Jobs, Table::Servers];
/// The tables that are read if they exist. The statistics view is looked up in the catalog and never read.
pub(super) const OPTIONAL: [Table; 2] = [Table::RecurringJobs, Table::Migrations];

/// A comment on what is lost if optional tables are missing.
pub(super) fn note(prefix: &TablePrefix) -> String {
    let [recurring, migrations] = OPTIONAL.map(|table| prefix.table(table.name()));
    format!(
        "-- Schemas made by hand may lack tables. Without {recurring} recurring jobs are not counted; without
-- {migrations} the scaler reads JobRunr's version from the statistics view, or from jobrunrVersion.\n"
    )
}

/// Puts a text in quotes; quotes inside are doubled.
pub(super) fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, StorageConfig};
    use crate::storage::grants_sql;

    fn config(url: &str, prefix: &str) -> StorageConfig {
        let env = [("JOBRUNR_SCALER_URL", url), ("JOBRUNR_SCALER_TABLE_PREFIX", prefix)];
        let loaded = Config::load(None, env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        loaded.unwrap().config.storages.into_values().next().unwrap()
    }

    #[test]
    fn grants_sql_says_who_runs_what() {
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
