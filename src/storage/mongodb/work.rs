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
const MAX_RECORD_BYTES: i64 = 65_536;
/// Characters of a duration that are read.
const DURATION_CHARACTERS: i64 = 40;

impl Writer<'_> {
    /// Reads kinds and times of a sample of the jobs in a state.
    pub(super) fn kinds(&self, state: &str, time: &str, sort: Option<Document>) -> Document {
        let mut fields = doc! { "_id": 0, "jobSignature": 1 };
        fields.insert(time, 1);
        let hint = sort.as_ref().and(self.schema.update_index.as_deref());
        let filter = doc! { "state": state };
        self.jobs(Find { filter, fields, sort, limit: Some(QUEUE_SAMPLE as i64), hint })
    }

    /// Reads how long the newest finished jobs ran, those that ended after `since`. The server cuts the duration out of each
    /// record: what follows its last `"processDuration":`.
    pub(super) fn finished_runs(&self, since: Option<Timestamp>, limit: u64) -> Document {
        let mut matches = doc! { "state": "SUCCEEDED" };
        if let Some(since) = since {
            matches.insert("updatedAt", doc! { "$gt": since.as_microsecond() });
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = doc! { "$arrayElemAt": [{ "$split": ["$jobAsJson", "\"processDuration\":"] }, -1] };
        let duration = doc! { "$substrCP": [after, 0, DURATION_CHARACTERS] };
        let is_short = doc! { "$lte": [{ "$strLenBytes": "$jobAsJson" }, MAX_RECORD_BYTES] };
        let duration = doc! { "$cond": [is_short, duration, ""] };
        doc! {
            "aggregate": &self.schema.jobs,
            "pipeline": [
                { "$match": matches },
                { "$sort": { "updatedAt": -1 } },
                { "$limit": limit },
                { "$project": { "jobSignature": 1, "updatedAt": 1, "duration": duration } },
            ],
            "cursor": { "batchSize": limit.saturating_add(1) },
        }
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

/// Decodes the answer to [`Writer::finished_runs`].
pub(super) fn finished_runs(answer: &Document) -> Result<Vec<FinishedRun>, StorageError> {
    let run = |document: &&Document| {
        let id = document.get("_id").map(Bson::to_string).unwrap_or_default();
        Some(FinishedRun {
            id: printable(&id, 80).into(),
            kind: kind(document),
            ended_at: integer(document, "updatedAt").and_then(calendar_instant)?,
            seconds: document.get_str("duration").ok().and_then(duration_seconds).unwrap_or(f64::NAN),
        })
    };
    Ok(documents(answer)?.iter().filter_map(run).collect())
}
