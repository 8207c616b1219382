//! The parts about how much work jobs are: their kinds, and how long finished ones ran.

use jiff::Timestamp;

use super::super::dialect::Select;
use super::decode::{Row, RowKind, instant, number, of_kind};
use super::{Part, Writer};
use crate::jobrunr::{FinishedRun, JobGroup, QUEUE_SAMPLE};
use crate::storage::plan::{QueuePlan, ReadPlan};
use crate::storage::rows::{KIND_CHARACTERS, KindRows, duration_seconds};

/// The longest record whose duration is searched for, in bytes, and on some databases whose kind is read. Longer ones take too long.
const MAX_RECORD_BYTES: usize = 65_536;
/// Characters of a duration that are read.
const DURATION_CHARACTERS: usize = 40;

/// The samples of jobs by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    Oldest = 0,
    Newest = 1,
    Due = 2,
}

impl Writer<'_> {
    /// Groups the jobs in the queue, and those that are due, by kind: samples of both ends of the queue, and one of the state
    /// SCHEDULED.
    pub(super) fn kinds(&mut self, index: usize, queue: &QueuePlan<'_>, plan: &ReadPlan<'_>) {
        let filter = queue.filter;
        let cursor = queue.cursor.map(|cursor| cursor.enqueued);
        for (sample, order_by) in [(Sample::Oldest, "updatedAt"), (Sample::Newest, "updatedAt DESC")] {
            let condition = self.condition("ENQUEUED", filter) + &self.since_cursor(cursor);
            self.groups(index, sample, &condition, ("updatedAt", order_by), None);
        }
        let condition = self.condition("SCHEDULED", filter);
        // Not before the calendar: what is due at an impossible time is counted without it.
        let until = queue.last_until().unwrap_or(plan.now);
        self.groups(index, Sample::Due, &condition, ("scheduledAt", ""), Some(until));
    }

    fn groups(
        &mut self,
        index: usize,
        sample: Sample,
        condition: &str,
        (time, order_by): (&str, &str),
        until: Option<Timestamp>,
    ) {
        let dialect = self.dialect;
        // Of the jobs in the queue that share a mutex, one counts.
        let has_mutexes = sample != Sample::Due && self.schema.jobs_have("mutex");
        let (mutex, count) =
            if has_mutexes { (", mutex", "count(*) - count(mutex) + count(DISTINCT mutex)") } else { ("", "count(*)") };
        let columns = format!("{} AS kind, {} AS micros{mutex}", self.kind(), dialect.micros(time));
        let from = format!("{} WHERE {condition}", self.schema.jobs);
        let jobs = Select { columns: &columns, from: &from, order_by, limit: Some(QUEUE_SAMPLE as u64) };
        let until = until.map_or_else(String::new, |until| format!(" WHERE micros <= {}", until.as_microsecond()));
        let from = format!("({}) sample{until} GROUP BY kind", dialect.select(&jobs));
        let [count, first, last] = [count, "min(micros)", "max(micros)"].map(|column| dialect.int(column));
        let which = dialect.int(&(sample as i64).to_string());
        let numbers = [Some(&*count), Some(&*first), Some(&*last), Some(&*which)];
        self.part(RowKind::Kind, &Part { queue: index, numbers, text: Some("kind"), from: &from, ..Part::default() });
    }

    /// A job's kind; empty where it would take the database too long to read. Tables made by hand may lack it.
    fn kind(&self) -> String {
        if !self.schema.jobs_have("jobSignature") {
            return "''".to_owned();
        }
        let kind = self.dialect.first_characters(&self.dialect.text("jobSignature"), KIND_CHARACTERS);
        self.of_short_records(&kind, "''")
    }

    /// An expression about a job, or another one if its record is so long that reading it takes the database too long.
    fn of_short_records(&self, expression: &str, otherwise: &str) -> String {
        let is_short = self.dialect.is_short("jobAsJson", MAX_RECORD_BYTES);
        match is_short.filter(|_| self.schema.jobs_have("jobAsJson")) {
            Some(is_short) => format!("CASE WHEN {is_short} THEN {expression} ELSE {otherwise} END"),
            None => expression.to_owned(),
        }
    }

    /// Reads how long the newest finished jobs ran, those that ended after `since`.
    pub(in crate::storage::sql) fn finished_runs(mut self, since: Option<Timestamp>, limit: u64) -> super::Statement {
        let dialect = self.dialect;
        let (micros, kind) = (dialect.micros("updatedAt"), self.kind());
        let json = dialect.text("jobAsJson");
        let duration = dialect.process_duration(&json, MAX_RECORD_BYTES, DURATION_CHARACTERS);
        let duration = self.of_short_records(&duration, "NULL");
        let id = dialect.id_text("id", self.schema.jobs_type("id"));
        let text = dialect.concatenated(&[&id, "'\n'", &format!("COALESCE({duration}, '')"), "'\n'", &kind]);
        let conditions = match since {
            Some(since) => dialect.after("updatedAt", since).into_iter().map(Some).collect(),
            None => vec![None],
        };
        for condition in conditions {
            let after = condition.map_or_else(String::new, |condition| format!(" AND {}", self.bound(condition)));
            let from = format!("{} WHERE state = 'SUCCEEDED'{after}", self.schema.jobs);
            let columns = if self.schema.jobs_have("jobSignature") {
                "id, jobSignature, jobAsJson, updatedAt"
            } else {
                "id, jobAsJson, updatedAt"
            };
            let newest = Select { columns, from: &from, order_by: "updatedAt DESC", limit: Some(limit) };
            let from = format!("({}) finished", dialect.select(&newest));
            let numbers = [Some(micros.as_str()), None, None, None];
            self.part(RowKind::Duration, &Part { numbers, text: Some(&text), from: &from, ..Part::default() });
        }
        self.statement
    }
}

/// Decodes the samples of a queue.
pub(super) fn kinds(rows: &[Row], index: usize) -> KindRows {
    let groups = |sample: Sample| {
        let rows = of_kind(rows, RowKind::Kind);
        let rows = rows.filter(|row| row.queue == index as i64 && row.d == Some(sample as i64));
        rows.filter_map(group).collect()
    };
    KindRows { oldest: groups(Sample::Oldest), newest: groups(Sample::Newest), due: groups(Sample::Due) }
}

fn group(row: &Row) -> Option<JobGroup> {
    #[expect(clippy::cast_precision_loss, reason = "at most as many as a sample has")]
    let jobs = number(row.a) as f64;
    let kind = row.text.as_deref().unwrap_or_default().trim_end().into();
    Some(JobGroup { kind, jobs, first: instant(row.b)?, last: instant(row.c)? })
}

/// Decodes the answer to [`Writer::finished_runs`]. Rows without a time are left out, those without a readable duration have none.
pub(in crate::storage::sql) fn finished_runs(rows: &[Row]) -> Vec<FinishedRun> {
    let run = |row: &Row| {
        let mut lines = row.text.as_deref()?.splitn(3, '\n');
        let (id, duration, kind) = (lines.next()?, lines.next()?, lines.next()?);
        Some(FinishedRun {
            id: id.trim_end().into(),
            kind: kind.trim_end().into(),
            ended_at: instant(row.a)?,
            seconds: duration_seconds(duration).unwrap_or(f64::NAN),
        })
    };
    rows.iter().filter_map(run).collect()
}
