//! JobRunr's collections and their indexes.

use std::collections::BTreeSet;

use ::mongodb::bson::Document;

use crate::config::{StorageConfig, TablePrefix};
use crate::storage::SchemaError;
use crate::storage::plan::DueState;

/// JobRunr's collections in one storage, by their whole names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Schema {
    pub(super) jobs: String,
    pub(super) servers: String,
    pub(super) recurring: String,
    /// The index on `state, updatedAt`.
    pub(super) update_index: Option<String>,
    /// For each state in which jobs wait for their due time, the index on `state, scheduledAt`, whose name may be unknown.
    scheduled_index: Option<Option<String>>,
    awaiting_index: Option<Option<String>>,
    /// Warnings, such as a missing index.
    pub(super) notes: Vec<String>,
}

/// An index, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    name: String,
    fields: Vec<String>,
    is_partial: bool,
}

impl Index {
    /// Reads a description of `listIndexes`.
    pub(super) fn read(document: &Document) -> Option<Self> {
        Some(Self {
            name: document.get_str("name").ok()?.to_owned(),
            fields: document.get_document("key").ok()?.keys().cloned().collect(),
            is_partial: document.contains_key("partialFilterExpression"),
        })
    }

    fn begins(&self, fields: [&str; 2]) -> bool {
        self.fields.iter().zip(fields).filter(|(field, wanted)| field == wanted).count() == 2
    }
}

/// Returns the name of one of JobRunr's collections.
pub(super) fn collection(prefix: &TablePrefix, name: &str) -> String {
    format!("{prefix}{name}")
}

impl Schema {
    /// The names, before anything was seen.
    pub(super) fn named(prefix: &TablePrefix) -> Self {
        let [jobs, servers, recurring] =
            ["jobs", "background_job_servers", "recurring_jobs"].map(|name| collection(prefix, name));
        Self { jobs, servers, recurring, ..Self::default() }
    }

    /// Checks that the collections exist.
    pub(super) fn check(
        &self,
        config: &StorageConfig,
        database: &str,
        names: &BTreeSet<String>,
    ) -> Result<(), SchemaError> {
        let missing: Vec<String> =
            [&self.jobs, &self.servers].into_iter().filter(|name| !names.contains(*name)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (database, prefix) = (database.to_owned(), config.table_prefix.to_string());
        Err(SchemaError::CollectionsMissing { database, collections: missing, prefix })
    }

    /// Sets what the indexes on the jobs allow. `None`: the user may not list them, so that JobRunr's own are assumed.
    pub(super) fn set_indexes(&mut self, indexes: Option<&[Index]>) {
        let Some(indexes) = indexes else {
            self.scheduled_index = Some(None);
            self.notes.push(format!(
                "the indexes on {} cannot be listed: grant listIndexes on it, see jobrunr-scaler grants-sql",
                self.jobs
            ));
            return;
        };
        let find = |fields: [&str; 2], may_be_partial: bool| {
            let is_usable = |index: &&Index| index.begins(fields) && (may_be_partial || !index.is_partial);
            indexes.iter().find(is_usable).map(|index| index.name.clone())
        };
        self.update_index = find(["state", "updatedAt"], false);
        self.scheduled_index = find(["state", "scheduledAt"], true).map(Some);
        self.awaiting_index = find(["state", "scheduledAt"], false).map(Some);
        self.notes = self.missing_indexes(find(["state", "recurringJobId"], true).is_some());
    }

    /// The index in which the jobs of a state are in the order of their due times.
    pub(super) fn due_index(&self, state: DueState) -> Option<&Option<String>> {
        match state {
            DueState::Scheduled => self.scheduled_index.as_ref(),
            DueState::Awaiting => self.awaiting_index.as_ref(),
        }
    }

    /// Warns of missing indexes: what each costs, and how to create it as JobRunr does since 6.0.
    fn missing_indexes(&self, has_recurring_index: bool) -> Vec<String> {
        let jobs = &self.jobs;
        let note = |is_missing: bool, fields: &str, cost: &str, create: &str| {
            is_missing.then(|| {
                format!(
                    "{jobs} has no index on {fields}: {cost}; create it as JobRunr does since 6.0: db.getCollection(\"{jobs}\")\
                     .createIndex({create})"
                )
            })
        };
        let notes = [
            note(
                self.update_index.is_none(),
                "(state, updatedAt)",
                "every read scans the whole collection",
                "{state: 1, updatedAt: 1}, {name: \"jobsByStateUpdatedAtAscIdx\"}",
            ),
            note(
                self.scheduled_index.is_none(),
                "(state, scheduledAt)",
                "finding due jobs scans all scheduled jobs",
                "{state: 1, scheduledAt: 1}, {name: \"scheduledPartialIdx\", partialFilterExpression: {state: \"SCHEDULED\"}}",
            ),
            note(
                !has_recurring_index,
                "(state, recurringJobId)",
                "finding the runs of recurring jobs scans all waiting jobs",
                "{state: 1, recurringJobId: 1}, {name: \"recurringJobPartialIdx\", partialFilterExpression: {recurringJobId: \
                 {$exists: true}}}",
            ),
        ];
        notes.into_iter().flatten().collect()
    }
}
