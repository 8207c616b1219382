//! Decodes the answers to commands. Pure.

use ::mongodb::bson::{Bson, Document};
use jiff::{SignedDuration, Timestamp};

use super::id;
use crate::jobrunr::{DEFAULT_POLL_INTERVAL_SECONDS, Server};
use crate::storage::plan::{QueuePlan, ReadPlan};
use crate::storage::rows::{
    CALENDAR_MICROS, DefinitionRow, DefinitionsVersion, DueScans, Interval, JobExcerpt, MAX_KIND_CHARACTERS,
    RunningRow, Scan, ServerRow, calendar_instant,
};
use crate::storage::{HistoryRow, StorageError};

/// Characters of a recurring job's JSON that are kept of each end. What says when the job runs is near one of them.
const JSON_END_CHARACTERS: usize = 8_192;

/// Returns a field as a whole number, whatever its numeric type.
pub(super) fn integer(document: &Document, field: &str) -> Option<i64> {
    match document.get(field)? {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        // Saturates, which is as far outside the calendar as the number itself.
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        Bson::Double(n) if !n.is_nan() => Some(*n as i64),
        _ => None,
    }
}

/// Returns the documents of an answer, which are all if the command has one batch.
pub(super) fn documents(answer: &Document) -> Result<Vec<&Document>, StorageError> {
    let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let batch = batch.map_err(|error| StorageError::InvalidAnswer(error.to_string()))?;
    Ok(batch.iter().filter_map(Bson::as_document).collect())
}

/// Returns the number of an answer to `count`.
pub(super) fn count(answer: &Document) -> Result<u64, StorageError> {
    let n = integer(answer, "n").and_then(|n| u64::try_from(n).ok());
    n.ok_or_else(|| StorageError::InvalidAnswer("`count` returned no number".to_owned()))
}

/// Returns the instant of the first document; `None` if there is none, or outside the calendar.
pub(super) fn first_instant(answer: &Document, field: &str) -> Result<Option<Timestamp>, StorageError> {
    let documents = documents(answer)?;
    Ok(documents.first().and_then(|document| integer(document, field)).and_then(calendar_instant))
}

/// Returns the servers, and how many were left out because a number is impossible.
pub(super) fn servers(answer: &Document) -> Result<(Vec<Server>, u64), StorageError> {
    let documents = documents(answer)?;
    let servers: Vec<Server> = documents.iter().filter_map(|document| server(document).into_server()).collect();
    let n_invalid = documents.len().saturating_sub(servers.len()) as u64;
    Ok((servers, n_invalid))
}

fn server(document: &Document) -> ServerRow {
    let time = |field| document.get_datetime(field).ok().map(|at| at.timestamp_millis());
    let time = |field| time(field).and_then(|millis| calendar_instant(millis.checked_mul(1_000)?));
    ServerRow {
        id: document.get("_id").and_then(id::text),
        name: document.get_str("name").ok().map(str::to_owned),
        first_heartbeat: time("firstHeartbeat"),
        worker_pool_size: integer(document, "workerPoolSize"),
        poll_interval_seconds: integer(document, "pollIntervalInSeconds"),
        last_heartbeat: time("lastHeartbeat"),
        occupied_workers: None,
        tags: None,
    }
}

/// Returns the instant, in µs, from which on a job's heartbeat counts as fresh. A job does not say which server runs it: the
/// slowest live server decides, else the one seen last, else JobRunr's default. `servers` are the newest heartbeat first.
pub(super) fn fresh_since(servers: &[Server], now: Timestamp, multiplicand: u32) -> i64 {
    let live = servers.iter().filter(|server| server.is_alive(now, multiplicand));
    let slowest = live.map(|server| server.poll_interval).max();
    let poll_interval = slowest
        .or_else(|| servers.first().map(|server| server.poll_interval))
        .unwrap_or_else(|| SignedDuration::from_secs(DEFAULT_POLL_INTERVAL_SECONDS.into()));
    let micros = i64::try_from(poll_interval.as_micros()).unwrap_or(i64::MAX).saturating_mul(multiplicand.into());
    now.as_microsecond().saturating_sub(micros)
}

/// Collects the due times that a scan passes, one after another.
pub(super) struct DueCounter<'a> {
    pub(super) until: &'a [Timestamp],
    pub(super) scan: Scan,
}

impl<'a> DueCounter<'a> {
    pub(super) fn new(queue: &'a QueuePlan<'_>, is_in_order: bool) -> Self {
        let intervals = vec![Interval::default(); queue.until.len().saturating_add(1)];
        Self { until: &queue.until, scan: Scan { intervals, is_in_order, ..Scan::default() } }
    }

    pub(super) fn add(&mut self, document: &Document) {
        self.scan.n_scanned = self.scan.n_scanned.saturating_add(1);
        if let Some(micros) = integer(document, "scheduledAt") {
            self.add_time(micros);
        }
    }

    /// Adds the first due time after the last instant, which an ordered scan does not reach.
    pub(super) fn add_later(&mut self, micros: Option<i64>) {
        micros.into_iter().for_each(|micros| self.add_time(micros));
    }

    fn add_time(&mut self, micros: i64) {
        let Some(at) = calendar_instant(micros) else {
            let n = if micros < *CALENDAR_MICROS.start() {
                &mut self.scan.n_before_calendar
            } else {
                &mut self.scan.n_after_calendar
            };
            *n = n.saturating_add(1);
            return;
        };
        let nth = self.until.partition_point(|until| *until < at);
        if let Some(interval) = self.scan.intervals.get_mut(nth) {
            interval.n_jobs = interval.n_jobs.saturating_add(1);
            interval.earliest = interval.earliest.into_iter().chain([at]).min();
        }
    }

    pub(super) fn finish(mut self, plan: &ReadPlan<'_>) -> DueScans {
        self.scan.is_truncated = plan.scan_limit().is_some_and(|limit| limit <= self.scan.n_scanned);
        DueScans { of_state: self.scan, ..DueScans::default() }
    }
}

/// Returns the version of the recurring jobs' definitions.
pub(super) fn definitions_version(answer: &Document) -> Result<DefinitionsVersion, StorageError> {
    let documents = documents(answer)?;
    let Some(group) = documents.first() else {
        return Ok(DefinitionsVersion { n_definitions: 0, sum: Some(0) });
    };
    let n_definitions = integer(group, "n").and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Ok(DefinitionsVersion { n_definitions, sum: integer(group, "sum") })
}

/// Returns a recurring job's definition, cut where it is long; `None` for a document without an id.
pub(super) fn definition(document: &Document) -> Option<DefinitionRow> {
    let json = document.get_str("jobAsJson").unwrap_or_default();
    let (json, json_end) = if json.len() <= 2 * JSON_END_CHARACTERS {
        (json.to_owned(), None)
    } else {
        let first = json.chars().take(JSON_END_CHARACTERS).collect();
        let start = json.char_indices().rev().take(JSON_END_CHARACTERS).last().map_or(0, |(at, _)| at);
        (first, json.get(start..).map(str::to_owned))
    };
    let id = document.get_str("_id").ok()?.to_owned();
    Some(DefinitionRow { id, created_at_millis: integer(document, "createdAt"), json, json_end })
}

/// Returns a finished job, without its record if that has more than `max_characters`; `None` for a document without an instant in
/// the calendar.
pub(super) fn finished(document: &Document, max_characters: u64) -> Option<HistoryRow> {
    let updated_at = integer(document, "updatedAt").and_then(calendar_instant)?;
    let json = document.get_str("jobAsJson").unwrap_or_default();
    // No record has fewer bytes than characters.
    let is_short = (json.len() as u64) <= max_characters || (json.chars().count() as u64) <= max_characters;
    let id = document.get("_id")?;
    let id = id::text(id).unwrap_or_else(|| id.to_string());
    Some(HistoryRow { id, updated_at, json: is_short.then(|| json.to_owned()) })
}

/// Returns the jobs of an answer to `running`. Without an id that can be asked for, a job is left out.
pub(super) fn running(answer: &Document) -> Result<Vec<RunningRow>, StorageError> {
    let row = |document: &&Document| {
        Some(RunningRow { id: id::text(document.get("_id")?)?, version: integer(document, "version") })
    };
    Ok(documents(answer)?.iter().filter_map(row).collect())
}

/// Returns a job's record; `None` for a document without an id.
pub(super) fn excerpt(document: &Document) -> Option<JobExcerpt> {
    let json = document.get_str("jobAsJson").unwrap_or_default();
    let kind = document.get_str("jobSignature").unwrap_or_default().chars().take(MAX_KIND_CHARACTERS).collect();
    Some(JobExcerpt { id: id::text(document.get("_id")?)?, kind, json: json.to_owned() })
}

/// Returns JobRunr's major version, 7 standing for all before 8, from definitions of recurring jobs: since 8.0 they say how
/// they were created. `None` if there are none.
pub(super) fn major_version(answer: &Document) -> Result<Option<u32>, StorageError> {
    let mut found = None;
    for document in documents(answer)? {
        let json: Option<serde_json::Value> =
            document.get_str("jobAsJson").ok().and_then(|json| serde_json::from_str(json).ok());
        match json.as_ref().and_then(serde_json::Value::as_object) {
            Some(definition) if definition.contains_key("createdBy") => return Ok(Some(8)),
            Some(_) => found = Some(7),
            None => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use ::mongodb::bson::{Uuid, doc};

    use super::*;

    #[test]
    fn finished_job_has_its_id_and_a_record_that_is_not_too_long() {
        let text = "0196a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        let uuid = Bson::Binary(Uuid::parse_str(text).unwrap().into());
        for (id, shown) in [(uuid, text), (Bson::String(text.to_owned()), text), (Bson::Int32(7), "7")] {
            let document = doc! { "_id": id, "updatedAt": 1_764_000_000_000_000_i64, "jobAsJson": "{\"ä\":1}" };
            let job = finished(&document, 7).unwrap();
            assert_eq!((job.id.as_str(), job.json.as_deref()), (shown, Some("{\"ä\":1}")));
            assert_eq!(finished(&document, 6).unwrap().json, None);
        }
        assert_eq!(finished(&doc! { "_id": "a", "updatedAt": i64::MAX }, 7), None);
        assert_eq!(finished(&doc! { "_id": "a" }, 7), None);
    }
}
