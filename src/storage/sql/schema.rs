//! JobRunr's tables, as the database's catalogue describes them.

use std::collections::BTreeMap;

use crate::config::StorageConfig;
use crate::storage::SchemaError;

/// Column names and types of a table, as the database's catalogue has them; empty for no such table.
pub(super) type Columns = Vec<(String, String)>;

/// The tables whose columns are looked at, and the view of statistics, without JobRunr's prefix.
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

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Servers => "backgroundjobservers",
            Self::RecurringJobs => "recurring_jobs",
            Self::Migrations => "migrations",
            Self::Stats => "jobs_stats",
        }
    }

    /// The columns without which nothing can be said. They have been there since JobRunr 1.0.
    fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Jobs => &["state", "updatedAt", "scheduledAt"],
            Self::Servers => &["workerPoolSize", "pollIntervalInSeconds", "lastHeartbeat"],
            Self::RecurringJobs => &["id", "jobAsJson"],
            Self::Migrations => &["script"],
            Self::Stats => &[],
        }
    }
}

/// JobRunr's tables as they are in one storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schema {
    /// The jobs table, prefix included.
    pub(super) jobs: String,
    /// The background job servers' table, prefix included.
    pub(super) servers: String,
    /// The recurring jobs' table, prefix included, whether it can be read or not.
    pub(super) recurring_table: String,
    /// What is known of it; `None` where it cannot be read.
    pub(super) recurring: Option<RecurringTable>,
    /// The migrations' table; `None` where it cannot be read, as in schemas made by hand.
    pub(super) migrations: Option<String>,
    /// Whether the catalogue alone shows that JobRunr 8 or later made the tables.
    pub(super) is_version_8: bool,
    /// Whether the statistics view is there.
    pub(super) has_stats: bool,
    /// What is odd about the tables and costs something.
    pub(super) notes: Vec<String>,
    /// Whether an index of the jobs begins with the instant for which they are scheduled, as JobRunr's does. JobRunr Pro's
    /// has the state before it, which is better, and a table made by hand may have neither.
    pub(super) has_instant_index: bool,
    /// Whether an index of the jobs begins with the state and that instant.
    pub(super) has_state_instant_index: bool,
    /// Whether an index of the jobs begins with the state and `updatedAt`.
    pub(super) has_update_index: bool,
    /// Lower-case column names and types.
    jobs_columns: BTreeMap<String, String>,
    servers_columns: BTreeMap<String, String>,
}

/// The recurring jobs' table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecurringTable {
    /// Prefix included.
    pub(super) table: String,
    /// Whether it has the column `createdAt`, which came with JobRunr 5.1.3.
    pub(super) has_created_at: bool,
}

impl Schema {
    /// Checks what the catalogue says of the tables; `columns` are those of [`Table::ALL`], in that order, and `indexes` the
    /// columns of each index of the jobs, separated by commas.
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
        let required = [(Table::Jobs, &jobs), (Table::Servers, &servers)];
        let missing = required.iter().filter(|(_, columns)| columns.is_empty());
        let missing: Vec<String> = missing.map(|(table, _)| prefix.table(table.name())).collect();
        if !missing.is_empty() {
            let prefix = prefix.as_str().to_owned();
            return Err(SchemaError::TablesMissing { database: database.to_owned(), tables: missing, prefix });
        }
        for (table, columns) in required {
            let missing = lacking(table, columns);
            if !missing.is_empty() {
                return Err(SchemaError::ColumnsMissing { table: prefix.table(table.name()), columns: missing });
            }
        }
        let has = |columns: &BTreeMap<String, String>, column: &str| columns.contains_key(&column.to_lowercase());
        let is_readable = |table, columns: &BTreeMap<String, String>| lacking(table, columns).is_empty();
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
            has_instant_index: begins(&indexes, &["scheduledAt"]),
            has_state_instant_index: begins(&indexes, &["state", "scheduledAt"]),
            has_update_index: begins(&indexes, &["state", "updatedAt"]),
            jobs_columns: jobs,
            servers_columns: servers,
        })
    }

    pub(super) fn jobs_have(&self, column: &str) -> bool {
        self.jobs_columns.contains_key(&column.to_lowercase())
    }

    pub(super) fn servers_have(&self, column: &str) -> bool {
        self.servers_columns.contains_key(&column.to_lowercase())
    }

    /// The type of a column of the jobs table, lower case.
    pub(super) fn jobs_type(&self, column: &str) -> &str {
        self.jobs_columns.get(&column.to_lowercase()).map_or("", String::as_str)
    }
}

fn lacking(table: Table, columns: &BTreeMap<String, String>) -> Vec<&'static str> {
    table.needed().iter().copied().filter(|column| !columns.contains_key(&column.to_lowercase())).collect()
}

/// Whether an index begins with these columns.
fn begins(indexes: &[Vec<String>], columns: &[&str]) -> bool {
    let is_same = |(given, wanted): (&String, &&str)| given.eq_ignore_ascii_case(wanted);
    indexes.iter().any(|index| columns.len() <= index.len() && index.iter().zip(columns).all(is_same))
}

/// What the lack of an index costs, and how to make it. Old schemas and those made by hand lack some.
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
        notes.push(format!("{jobs} has no index that begins with state: every read walks the whole table; {remedy}"));
    } else if !by_update {
        notes.push(format!(
            "{jobs} has no index on (state, updatedAt): finding the oldest job walks all that are enqueued; {remedy}"
        ));
    }
    if !begins(indexes, &["scheduledAt"]) && !begins(indexes, &["state", "scheduledAt"]) {
        notes.push(format!(
            "{jobs} has no index on scheduledAt: finding what is due walks all jobs that are scheduled; create it as JobRunr \
             does: CREATE INDEX {prefix}jobrunr_job_scheduled_at_idx ON {jobs} (scheduledAt)"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_index_is_named_with_what_it_costs() {
        let check = |indexes: &[&str], expected: &[&str]| {
            let indexes: Vec<Vec<String>> =
                indexes.iter().map(|columns| columns.split(',').map(str::to_owned).collect()).collect();
            let notes = missing_indexes("tbl_jobrunr_jobs", "tbl_", &indexes);
            assert_eq!(notes.len(), expected.len(), "{indexes:?}: {notes:?}");
            for (note, expected) in notes.iter().zip(expected) {
                assert!(note.contains(expected), "{indexes:?}: {note}");
            }
        };
        let (whole, oldest, due) = ("walks the whole table", "finding the oldest", "finding what is due");
        check(&["id", "state", "scheduledat", "state,updatedat"], &[]);
        check(&["id"], &[whole, due]);
        // Before JobRunr 5.2.
        check(&["id", "state", "updatedat", "scheduledat"], &[oldest]);
        // JobRunr Pro.
        check(&["state,priority,updatedat", "state,scheduledat,priority"], &[]);
    }
}
