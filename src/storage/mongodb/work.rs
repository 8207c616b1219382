//! How much work jobs are: commands and answers about their kinds, and about how long finished ones ran. Pure.

use ::mongodb::bson::{Bson, Document, doc};
use jiff::Timestamp;

use super::command::{Find, Writer};
use super::decode::{documents, integer};
use crate::jobrunr::{FinishedRun, JobGroup, QUEUE_SAMPLE};
use crate::storage::StorageError;
use crate::storage::rows::{KIND_CHARACTERS, calendar_instant, duration_seconds};
use crate::text::printable;

/// The longest record whose duration is searched for, in bytes.
const MAX_RECORD_BYTES: usize = 65_536;
/// Records per batch, which the server sends whether or not all are wanted.
const RECORDS_PER_BATCH: i32 = 10;

impl Writer<'_> {
    /// Reads kinds and times of a sample of the jobs in a state.
    pub(super) fn kinds(&self, state: &str, time: &str, sort: Option<Document>) -> Document {
        let mut fields = doc! { "_id": 0, "jobSignature": 1 };
        fields.insert(time, 1);
        let hint = sort.as_ref().and(self.schema.update_index.as_deref());
        let filter = doc! { "state": state };
        self.jobs(Find { filter, fields, sort, limit: Some(QUEUE_SAMPLE as i64), hint })
    }

    /// Reads the records of the newest finished jobs, those that ended after `since`, a few at a time.
    pub(super) fn finished_records(&self, since: Option<Timestamp>, limit: u64) -> Document {
        let mut filter = doc! { "state": "SUCCEEDED" };
        if let Some(since) = since {
            filter.insert("updatedAt", doc! { "$gt": since.as_microsecond() });
        }
        let mut command = self.jobs(Find {
            filter,
            fields: doc! { "jobSignature": 1, "updatedAt": 1, "jobAsJson": 1 },
            sort: Some(doc! { "updatedAt": -1 }),
            limit: Some(i64::try_from(limit).unwrap_or(i64::MAX)),
            hint: self.schema.update_index.as_deref(),
        });
        command.insert("batchSize", RECORDS_PER_BATCH);
        command.insert("singleBatch", false);
        command
    }
}

fn kind(document: &Document) -> std::sync::Arc<str> {
    let kind = document.get_str("jobSignature").unwrap_or_default();
    kind.chars().take(KIND_CHARACTERS).collect::<String>().into()
}

/// Groups the answer to [`Writer::kinds`], up to an instant.
pub(super) fn groups(answer: &Document, time: &str, until: Option<Timestamp>) -> Result<Vec<JobGroup>, StorageError> {
    let jobs = documents(answer)?;
    let jobs = jobs.iter().filter_map(|job| Some((kind(job), integer(job, time).and_then(calendar_instant)?)));
    Ok(JobGroup::of_jobs(jobs.filter(|(_, at)| until.is_none_or(|until| *at <= until))))
}

/// Reads how long a finished job ran. One with a record that is too long, or tells nothing, has NaN.
pub(super) fn finished_run(document: &Document) -> Option<FinishedRun> {
    let id = document.get("_id").map(Bson::to_string).unwrap_or_default();
    let record = document.get_str("jobAsJson").ok().filter(|record| record.len() <= MAX_RECORD_BYTES);
    // The last one: most mappers write the job's parameters before `jobHistory`, and a text in JSON cannot contain this unescaped.
    let duration = record.and_then(|record| record.rsplit_once("\"processDuration\":"));
    Some(FinishedRun {
        id: printable(&id, 80).into(),
        kind: kind(document),
        ended_at: integer(document, "updatedAt").and_then(calendar_instant)?,
        seconds: duration.and_then(|(_, duration)| duration_seconds(duration)).unwrap_or(f64::NAN),
    })
}
