//! JobRunr's tables, as the database's catalog describes them.

use std::collections::BTreeMap;

use crate::config::{StorageConfig, TablePrefix};
use crate::storage::SchemaError;

/// Column names and types of a table, from the catalog; empty if there is no such table.
pub(super) type Columns = Vec<(String, String)>;

/// JobRunr's tables that are read, and its statistics view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Jobs,
    Servers,
    RecurringJobs,
    Migrations,
    Stats,
}

impl Table {
    pub(super) const ALL: [Self; 5] = [Self::Jobs, Self::Servers, Self::RecurringJobs, Self::Migrations, Self::Stats];

    /// The name without JobRunr's prefix.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Servers => "backgroundjobservers",
            Self::RecurringJobs => "recurring_jobs",
            Self::Migrations => "migrations",
            Self::Stats => "jobs_stats",
        }
    }

    /// The columns without which the table cannot be read. They have existed since JobRunr 1.0.
    fn required_columns(self) -> &'static [&'static str] {
        match self {
            Self::Jobs => &["state", "updatedAt", "scheduledAt"],
            Self::Servers => &["workerPoolSize", "pollIntervalInSeconds", "lastHeartbeat"],
            Self::RecurringJobs => &["id", "jobAsJson"],
            Self::Migrations => &["script"],
            Self::Stats => &[],
        }
    }
}

/// JobRunr's tables in one storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schema {
    /// The jobs table, with the prefix.
    pub(super) jobs: String,
    /// The background job servers' table, with the prefix.
    pub(super) servers: String,
    /// The name of the recurring jobs' table, with the prefix, whether or not it can be read.
    pub(super) recurring_table: String,
    /// The recurring jobs' table; `None` if it cannot be read.
    pub(super) recurring: Option<RecurringTable>,
    /// The migrations' table; `None` if it cannot be read, as in schemas made by hand.
    pub(super) migrations: Option<String>,
    /// Whether the catalog alone shows that JobRunr 8 or later created the tables.
    pub(super) is_version_8: bool,
    /// Whether the statistics view exists.
    pub(super) has_stats: bool,
    /// Warnings, such as a missing index.
    pub(super) notes: Vec<String>,
    /// Whether an index on the jobs begins with `scheduledAt`, as JobRunr's does. JobRunr Pro's begins with the state, which is
    /// better; a table made by hand may have neither.
    pub(super) has_time_index: bool,
    /// Whether an index on the jobs begins with `state, scheduledAt`.
    pub(super) has_state_time_index: bool,
    /// Whether an index on the jobs begins with `state, updatedAt`.
    pub(super) has_update_index: bool,
    /// Names and types of the columns, in lower case.
    jobs_columns: BTreeMap<String, String>,
    servers_columns: BTreeMap<String, String>,
}

/// The recurring jobs' table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecurringTable {
    /// Its name, with the prefix.
    pub(super) table: String,
    /// Whether it has the column `createdAt`, which came with JobRunr 5.1.3.
    pub(super) has_created_at: bool,
}

impl Schema {
    /// Checks the tables against the catalog. `columns` are those of [`Table::ALL`], in that order, and `indexes` the columns
    /// of each index on the jobs, separated by commas.
    pub(super) fn new(
        config: &StorageConfig,
        database: &str,
        columns: [Columns; Table::ALL.len()],
        indexes: Vec<String>,
    ) -> Result<Self, SchemaError> {
        let prefix = &config.table_prefix;
        let indexes: Vec<Vec<String>> =
            indexes.iter().map(|columns| columns.to_lowercase().split(',').map(str::to_owned).collect()).collect();
        let [jobs, servers, recurring, migrations, stats] = columns.map(|columns| -> BTreeMap<String, String> {
            columns.into_iter().map(|(name, kind)| (name.to_lowercase(), kind.to_lowercase())).collect()
        });
        check_required(&[(Table::Jobs, &jobs), (Table::Servers, &servers)], prefix, database)?;
        let has = |columns: &BTreeMap<String, String>, column: &str| columns.contains_key(&column.to_lowercase());
        let is_readable = |table, columns: &BTreeMap<String, String>| missing_columns(table, columns).is_empty();
        let recurring_table = prefix.table(Table::RecurringJobs.name());
        let with_runs = is_readable(Table::RecurringJobs, &recurring) && has(&jobs, "recurringJobId");
        Ok(Self {
            jobs: prefix.table(Table::Jobs.name()),
            servers: prefix.table(Table::Servers.name()),
            recurring: with_runs.then(|| RecurringTable {
                table: recurring_table.clone(),
                has_created_at: has(&recurring, "createdAt"),
            }),
            recurring_table,
            migrations: is_readable(Table::Migrations, &migrations).then(|| prefix.table(Table::Migrations.name())),
            // The view's column came with 8.0.0, the table's with JobRunr Pro 8.
            is_version_8: has(&stats, "processed") || has(&recurring, "nextRunAt"),
            has_stats: !stats.is_empty(),
            notes: missing_indexes(&prefix.table(Table::Jobs.name()), prefix.index_prefix(), &indexes),
            has_time_index: begins(&indexes, &["scheduledAt"]),
            has_state_time_index: begins(&indexes, &["state", "scheduledAt"]),
            has_update_index: begins(&indexes, &["state", "updatedAt"]),
            jobs_columns: jobs,
            servers_columns: servers,
        })
    }

    /// Whether a scan of the jobs in a state can end at a bound, because another index finds what it misses.
    pub(super) fn bounds_state_scan(&self) -> bool {
        self.has_time_index || self.has_state_time_index
    }

    pub(super) fn jobs_have(&self, column: &str) -> bool {
        self.jobs_columns.contains_key(&column.to_lowercase())
    }

    pub(super) fn servers_have(&self, column: &str) -> bool {
        self.servers_columns.contains_key(&column.to_lowercase())
    }

    /// The type of a column of the servers' table, in lower case.
    pub(super) fn servers_type(&self, column: &str) -> &str {
        self.servers_columns.get(&column.to_lowercase()).map_or("", String::as_str)
    }

    /// The type of a column of the jobs table, in lower case.
    pub(super) fn jobs_type(&self, column: &str) -> &str {
        self.jobs_columns.get(&column.to_lowercase()).map_or("", String::as_str)
    }
}

/// Checks that the tables exist and have the columns without which nothing can be read.
fn check_required(
    required: &[(Table, &BTreeMap<String, String>)],
    prefix: &TablePrefix,
    database: &str,
) -> Result<(), SchemaError> {
    let missing = required.iter().filter(|(_, columns)| columns.is_empty());
    let tables: Vec<String> = missing.map(|(table, _)| prefix.table(table.name())).collect();
    if !tables.is_empty() {
        let (database, prefix) = (database.to_owned(), prefix.as_str().to_owned());
        return Err(SchemaError::TablesMissing { database, tables, prefix });
    }
    for (table, columns) in required {
        let columns = missing_columns(*table, columns);
        if !columns.is_empty() {
            return Err(SchemaError::ColumnsMissing { table: prefix.table(table.name()), columns });
        }
    }
    Ok(())
}

fn missing_columns(table: Table, columns: &BTreeMap<String, String>) -> Vec<&'static str> {
    let required = table.required_columns().iter().copied();
    required.filter(|column| !columns.contains_key(&column.to_lowercase())).collect()
}

/// Returns whether an index begins with these columns.
fn begins(indexes: &[Vec<String>], columns: &[&str]) -> bool {
    let is_same = |(actual, wanted): (&String, &&str)| actual.eq_ignore_ascii_case(wanted);
    indexes.iter().any(|index| columns.len() <= index.len() && index.iter().zip(columns).all(is_same))
}

/// Warns of missing indexes: what each costs, and how to create it. Old schemas and those made by hand lack some.
fn missing_indexes(jobs: &str, prefix: &str, indexes: &[Vec<String>]) -> Vec<String> {
    let mut notes = Vec::new();
    // JobRunr Pro's indexes have other columns in between.
    let by_update = indexes.iter().any(|index| {
        index.first().is_some_and(|first| first == "state") && index.iter().any(|column| column == "updatedat")
    });
    let remedy = format!(
        "create it as JobRunr does since 5.2: CREATE INDEX {prefix}jobrunr_jobs_state_updated_idx ON {jobs} (state, updatedAt)"
    );
    if !begins(indexes, &["state"]) {
        notes.push(format!("{jobs} has no index that begins with state: every read scans the whole table; {remedy}"));
    } else if !by_update {
        notes.push(format!(
            "{jobs} has no index on (state, updatedAt): finding the oldest job scans all enqueued jobs; {remedy}"
        ));
    }
    if !begins(indexes, &["scheduledAt"]) && !begins(indexes, &["state", "scheduledAt"]) {
        notes.push(format!(
            "{jobs} has no index on scheduledAt: finding due jobs scans all scheduled jobs; create it as JobRunr \
             does: CREATE INDEX {prefix}jobrunr_job_scheduled_at_idx ON {jobs} (scheduledAt)"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_indexes_are_named_with_their_cost() {
        let check = |indexes: &[&str], expected: &[&str]| {
            let indexes: Vec<Vec<String>> =
                indexes.iter().map(|columns| columns.split(',').map(str::to_owned).collect()).collect();
            let notes = missing_indexes("tbl_jobrunr_jobs", "tbl_", &indexes);
            assert_eq!(notes.len(), expected.len(), "{indexes:?}: {notes:?}");
            for (note, expected) in notes.iter().zip(expected) {
                assert!(note.contains(expected), "{indexes:?}: {note}");
            }
        };
        let (whole, oldest, due) = ("scans the whole table", "finding the oldest", "finding due jobs");
        check(&["id", "state", "scheduledat", "state,updatedat"], &[]);
        check(&["id"], &[whole, due]);
        // Before JobRunr 5.2.
        check(&["id", "state", "updatedat", "scheduledat"], &[oldest]);
        // JobRunr Pro.
        check(&["state,priority,updatedat", "state,scheduledat,priority"], &[]);
    }
}
