//! The commands of a read, as documents. Pure.
//!
//! One question is one small command: Amazon DocumentDB knows neither `$facet` nor `$unionWith`. Each walks an index and ends
//! at a limit.

use ::mongodb::bson::{Bson, Document, doc};
use jiff::Timestamp;

use super::schema::Schema;
use crate::storage::HistoryPage;
use crate::storage::plan::DueState;
use crate::storage::rows::CALENDAR_MICROS;

/// The states in which a run of a recurring job keeps JobRunr from creating another one (`ProcessRecurringJobsTask`).
pub(super) const RUN_STATES: [&str; 4] = ["SCHEDULED", "AWAITING", "ENQUEUED", "PROCESSING"];
/// Damaged documents that are counted.
const MAX_INVALID: i64 = 100;
/// Documents per answer; more follow on demand.
const BATCH: i64 = 10_001;
/// Documents with a job's JSON per answer.
const RECORDS_PER_BATCH: i64 = 100;
/// Definitions from which JobRunr's version is read.
const DEFINITIONS_FOR_VERSION: i64 = 10;

/// A query on a collection.
#[derive(Default)]
pub(super) struct Find<'a> {
    pub(super) filter: Document,
    pub(super) fields: Document,
    pub(super) sort: Option<Document>,
    pub(super) limit: Option<i64>,
    pub(super) hint: Option<&'a str>,
}

impl Find<'_> {
    fn command(self, collection: &str) -> Document {
        let mut command = doc! { "find": collection, "filter": self.filter, "projection": self.fields };
        if let Some(sort) = self.sort {
            command.insert("sort", sort);
        }
        if let Some(limit) = self.limit {
            command.insert("limit", limit);
        }
        if let Some(hint) = self.hint {
            command.insert("hint", hint);
        }
        // One round trip where there is a limit, and no cursor that the server has to keep.
        let is_one_batch = self.limit.is_some_and(|limit| limit < BATCH);
        command.insert("batchSize", self.limit.map_or(BATCH, |limit| limit.saturating_add(1).min(BATCH)));
        command.insert("singleBatch", is_one_batch);
        command
    }
}

/// Writes the commands for the collections of one storage.
pub(super) struct Writer<'a> {
    pub(super) schema: &'a Schema,
}

fn limit(limit: Option<u64>) -> Option<i64> {
    limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn count(collection: &str, query: Document, limit: Option<i64>) -> Document {
    let mut command = doc! { "count": collection, "query": query };
    if let Some(limit) = limit {
        command.insert("limit", limit);
    }
    command
}

fn calendar() -> Document {
    doc! { "$gte": *CALENDAR_MICROS.start(), "$lte": *CALENDAR_MICROS.end() }
}

impl Writer<'_> {
    pub(super) fn jobs(&self, find: Find<'_>) -> Document {
        find.command(&self.schema.jobs)
    }

    /// Counts the jobs of a state.
    pub(super) fn count(&self, state: &str, max: Option<u64>) -> Document {
        count(&self.schema.jobs, doc! { "state": state }, limit(max))
    }

    /// Counts the jobs being processed whose heartbeat is not older than `since`.
    pub(super) fn count_alive(&self, since: i64, max: Option<u64>) -> Document {
        count(&self.schema.jobs, doc! { "state": "PROCESSING", "updatedAt": { "$gte": since } }, limit(max))
    }

    /// Counts the jobs that are enqueued or being processed with a time outside the calendar.
    pub(super) fn count_invalid(&self) -> Document {
        let before = doc! { "updatedAt": { "$lt": *CALENDAR_MICROS.start() } };
        let after = doc! { "updatedAt": { "$gt": *CALENDAR_MICROS.end() } };
        let query = doc! { "state": { "$in": ["ENQUEUED", "PROCESSING"] }, "$or": [before, after] };
        count(&self.schema.jobs, query, Some(MAX_INVALID))
    }

    /// Finds the job of a state with the earliest `updatedAt`.
    pub(super) fn oldest(&self, state: &str) -> Document {
        self.jobs(Find {
            filter: doc! { "state": state, "updatedAt": calendar() },
            fields: doc! { "_id": 0, "updatedAt": 1 },
            sort: Some(doc! { "updatedAt": 1 }),
            limit: Some(1),
            hint: self.schema.update_index.as_deref(),
        })
    }

    /// Scans the due times of a state, in their order if there is an index for it, and then only up to `last`.
    pub(super) fn due_times(&self, state: DueState, last: Timestamp, max: Option<u64>) -> Document {
        let index = self.schema.due_index(state);
        let (until, sort) = match index {
            Some(_) => (doc! { "$gte": i64::MIN, "$lte": last.as_microsecond() }, Some(doc! { "scheduledAt": 1 })),
            None => (doc! { "$gte": i64::MIN }, None),
        };
        self.jobs(Find {
            filter: doc! { "state": state.name(), "scheduledAt": until },
            fields: doc! { "_id": 0, "scheduledAt": 1 },
            sort,
            limit: limit(max),
            hint: index.and_then(|index| index.as_deref()),
        })
    }

    /// Finds the first due time of a state after `last`.
    pub(super) fn next_due(&self, state: DueState, last: Timestamp) -> Document {
        self.jobs(Find {
            filter: doc! { "state": state.name(), "scheduledAt": { "$gt": last.as_microsecond() } },
            fields: doc! { "_id": 0, "scheduledAt": 1 },
            sort: Some(doc! { "scheduledAt": 1 }),
            limit: Some(1),
            hint: self.schema.due_index(state).and_then(|index| index.as_deref()),
        })
    }

    /// Finds the first due time of a state.
    pub(super) fn earliest_due(&self, state: DueState, until: Timestamp) -> Document {
        self.jobs(Find {
            filter: doc! { "state": state.name(), "scheduledAt": { "$gte": i64::MIN, "$lte": until.as_microsecond() } },
            fields: doc! { "_id": 0, "scheduledAt": 1 },
            sort: Some(doc! { "scheduledAt": 1 }),
            limit: Some(1),
            hint: self.schema.due_index(state).and_then(|index| index.as_deref()),
        })
    }

    /// Finds any job that is enqueued, being processed, or scheduled up to `until` (`None`: for any time). All states in one
    /// command, so that a job that moves between them is seen in one.
    pub(super) fn any_work(&self, until: Option<Timestamp>) -> Document {
        let active = doc! { "state": { "$in": ["ENQUEUED", "PROCESSING"] } };
        let due = doc! { "state": DueState::Scheduled.name(), "scheduledAt": up_to(until) };
        self.jobs(Find {
            filter: doc! { "$or": [active, due] },
            fields: doc! { "_id": 0, "state": 1, "updatedAt": 1, "scheduledAt": 1 },
            limit: Some(1),
            ..Find::default()
        })
    }

    /// Finds any job in state AWAITING with a deadline up to `until` (`None`: any).
    pub(super) fn any_awaiting(&self, until: Option<Timestamp>) -> Document {
        self.jobs(Find {
            filter: doc! { "state": DueState::Awaiting.name(), "scheduledAt": up_to(until) },
            fields: doc! { "_id": 0, "state": 1 },
            limit: Some(1),
            ..Find::default()
        })
    }

    /// Reads finished jobs of one state with their records, the newest first.
    pub(super) fn history(&self, page: &HistoryPage) -> Document {
        let range = doc! { "$gte": page.since.as_microsecond(), "$lte": page.until.as_microsecond() };
        let mut command = self.jobs(Find {
            filter: doc! { "state": page.state.name(), "updatedAt": range },
            fields: doc! { "_id": 1, "updatedAt": 1, "jobAsJson": 1 },
            sort: Some(doc! { "updatedAt": -1 }),
            limit: limit(Some(page.limit)),
            hint: self.schema.update_index.as_deref(),
        });
        // A record can be large: a few at a time.
        command.insert("batchSize", RECORDS_PER_BATCH);
        command.insert("singleBatch", false);
        command
    }

    /// Reads the servers with the newest heartbeats.
    pub(super) fn servers(&self, max: u64) -> Document {
        let find = Find {
            fields: doc! { "_id": 1, "name": 1, "firstHeartbeat": 1, "workerPoolSize": 1, "pollIntervalInSeconds": 1, "lastHeartbeat": 1 },
            sort: Some(doc! { "lastHeartbeat": -1 }),
            limit: limit(Some(max)),
            ..Find::default()
        };
        find.command(&self.schema.servers)
    }

    /// Lists the jobs being processed.
    pub(super) fn running(&self, max: u64) -> Document {
        self.jobs(Find {
            filter: doc! { "state": "PROCESSING" },
            fields: doc! { "_id": 1, "version": 1 },
            limit: limit(Some(max)),
            ..Find::default()
        })
    }

    /// Reads the records of jobs that still run. FerretDB has no operator that returns a part of a text.
    pub(super) fn records(&self, ids: Vec<Bson>) -> Document {
        let mut command = self.jobs(Find {
            filter: doc! { "_id": { "$in": ids }, "state": "PROCESSING" },
            fields: doc! { "_id": 1, "jobAsJson": 1, "jobSignature": 1 },
            ..Find::default()
        });
        // A record can be large: a few at a time.
        command.insert("batchSize", 10);
        command
    }

    /// Finds the active runs of recurring jobs. Only runs have a `recurringJobId`, so an index on it passes no other jobs.
    pub(super) fn runs(&self, max: u64) -> Document {
        self.jobs(Find {
            filter: doc! { "state": { "$in": &RUN_STATES[..] }, "recurringJobId": { "$gt": "" } },
            fields: doc! { "_id": 0, "recurringJobId": 1 },
            limit: limit(Some(max)),
            ..Find::default()
        })
    }

    /// Finds which of the recurring jobs have a run in one of the states.
    pub(super) fn active_runs_of(&self, ids: &[&str], states: &[&str]) -> Document {
        let query = doc! { "state": { "$in": states }, "recurringJobId": { "$in": ids } };
        doc! { "distinct": &self.schema.jobs, "key": "recurringJobId", "query": query }
    }

    /// Reads the version of the recurring jobs' definitions, as JobRunr itself does.
    pub(super) fn definitions_version(&self) -> Document {
        let group = doc! { "_id": Bson::Null, "n": { "$sum": 1 }, "sum": { "$sum": "$createdAt" } };
        doc! { "aggregate": &self.schema.recurring, "pipeline": [{ "$group": group }], "cursor": {} }
    }

    /// Reads the definitions of the recurring jobs.
    pub(super) fn definitions(&self, max: u64) -> Document {
        let find = Find {
            fields: doc! { "_id": 1, "jobAsJson": 1, "createdAt": 1 },
            sort: Some(doc! { "_id": 1 }),
            limit: limit(Some(max)),
            ..Find::default()
        };
        let mut command = find.command(&self.schema.recurring);
        // A definition can be large: a few at a time.
        command.insert("batchSize", RECORDS_PER_BATCH);
        command.insert("singleBatch", false);
        command
    }

    /// Reads the newest definitions of recurring jobs.
    pub(super) fn newest_definitions(&self) -> Document {
        let find = Find {
            fields: doc! { "_id": 0, "jobAsJson": 1 },
            sort: Some(doc! { "createdAt": -1 }),
            limit: Some(DEFINITIONS_FOR_VERSION),
            ..Find::default()
        };
        find.command(&self.schema.recurring)
    }
}

fn up_to(until: Option<Timestamp>) -> Document {
    match until {
        Some(until) => doc! { "$gte": i64::MIN, "$lte": until.as_microsecond() },
        None => doc! { "$gte": i64::MIN },
    }
}
