//! Writes the statements of a read, and decodes their rows.
//!
//! Everything that a read asks is one `UNION ALL`, so that it is one round trip and one snapshot of the database. Its parts
//! share seven columns, whose meaning depends on the kind of row. Only this module knows them:
//!
//! | kind | queue | a | b | c | d | text |
//! |---|---|---|---|---|---|---|
//! | enqueued | queue | jobs | oldest, µs | 1: the cursor is wrong | | |
//! | mutex | queue | blocked jobs | oldest that is free, µs | | | |
//! | processing | queue | jobs | with a fresh heartbeat | oldest heartbeat, µs | 1: the cursor is wrong | |
//! | due | queue | jobs | interval | earliest, µs | scan | |
//! | server | – | workers | poll interval, s | last heartbeat, µs | occupied workers | id, first heartbeat in µs, server tags and name, a line each |
//! | run | state | jobs scanned | | | | recurringJobId |
//! | recurring | – | definitions | sum of `createdAt` | | | |
//! | definition | – | `createdAt`, ms | | | | id, line break, JSON |
//! | migration | – | rows of JobRunr 8's | | | | |
//! | work | – | 1 if there is any | | | | |
//! | invalid | – | jobs | | | | |
//! | earliest | – | earliest, µs | | | | |
//! | kind | queue | jobs | first, µs | last, µs | sample | jobSignature |
//! | duration | – | end, µs | | | | id, duration, jobSignature, by line breaks |
//! | finished | – | end, µs | 1: the record is too long | | | id, line break, JSON |
//! | running | – | version | | | | id |
//! | excerpt | – | | | | | id, kind, and a part of the JSON, a line each |

use jiff::Timestamp;

use super::dialect::{Bind, Dialect, Select};
use super::schema::Schema;
use crate::config::ReadBounds;
use crate::jobrunr::Filter;
use crate::storage::HistoryPage;
use crate::storage::plan::DueState;
use crate::storage::plan::ReadPlan;
use crate::storage::rows::CALENDAR_MICROS;

mod decode;
mod due;
mod mutexes;
mod parts;
mod running;
#[cfg(test)]
mod tests;
mod work;

pub(super) use work::finished_runs;

pub(super) use decode::{
    Row, StateScan, active_runs, decode, definition, earliest, excerpt, has_migration, history, probe, running,
};

use decode::RowKind;

/// The states in which a run of a recurring job keeps JobRunr from creating another one (`ProcessRecurringJobsTask`).
const RUN_STATES: [&str; 4] = ["SCHEDULED", "AWAITING", "ENQUEUED", "PROCESSING"];
/// Parts per statement. PostgreSQL takes long to plan hundreds of them, and SQLite accepts at most 500. A queue's parts are
/// never split, so that a job that changes its state is seen in one of its states.
const MAX_PARTS: usize = 100;
/// Damaged rows that are counted.
const MAX_INVALID: u64 = 100;
/// Characters of a server's tags that are read.
const MAX_TAGS_CHARACTERS: usize = 4_096;
/// Characters of an id that are read.
const MAX_ID_CHARACTERS: usize = 128;
/// Characters of a recurring job's JSON that are read from each end. What says when the job runs is near one of them.
const JSON_END_CHARACTERS: usize = 8_192;
/// Separates the ends of a long JSON. JSON contains this character only escaped.
const GAP: char = '\u{1}';

/// A statement and its values, in the order of their placeholders.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) binds: Vec<Bind>,
}

/// A part of a statement: the columns that it fills, and where they come from. Its values must have been bound in the order
/// in which they appear in the text: columns first, then `from`.
#[derive(Default)]
struct Part<'a> {
    queue: usize,
    /// The columns `a` to `d`.
    numbers: [Option<&'a str>; 4],
    text: Option<&'a str>,
    from: &'a str,
    order_by: &'a str,
    limit: Option<u64>,
}

/// Writes statements, part by part.
pub(super) struct Writer<'a> {
    dialect: &'a dyn Dialect,
    schema: &'a Schema,
    heartbeat_multiplicand: u32,
    done: Vec<Statement>,
    statement: Statement,
    n_parts: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(dialect: &'a dyn Dialect, schema: &'a Schema, heartbeat_multiplicand: u32) -> Self {
        let (done, statement) = (Vec::new(), Statement::default());
        Self { dialect, schema, heartbeat_multiplicand, done, statement, n_parts: 0 }
    }

    /// The statements of a read: more than one if there are many filters.
    pub(super) fn read(mut self, plan: &ReadPlan<'_>) -> Vec<Statement> {
        for (index, queue) in plan.queues.iter().enumerate() {
            self.break_if_long();
            self.enqueued(index, queue, plan.enqueued_limit);
            if self.schema.jobs_have("mutex") {
                self.mutexes(index, queue, plan.mutex_limit());
            }
            self.processing(index, queue, plan);
            self.due(index, queue, DueState::Scheduled, &queue.scheduled, plan);
            if queue.work {
                self.kinds(index, queue, plan);
            }
            if let Some(awaiting) = &queue.awaiting {
                self.due(index, queue, DueState::Awaiting, awaiting, plan);
            }
        }
        self.servers(plan.bounds.servers);
        self.invalid();
        if plan.recurring && self.schema.recurring.is_some() {
            self.runs(plan);
            self.recurring();
        }
        self.done.push(self.statement);
        self.done
    }

    /// Checks whether there is any work where there was none: a job enqueued or being processed, or scheduled before `next`.
    /// Also reads one server and, if `recurring`, the version of the recurring jobs' definitions.
    pub(super) fn probe(mut self, next: Option<Timestamp>, recurring: bool) -> Statement {
        self.work(next);
        self.servers(1);
        if recurring {
            self.recurring();
        }
        self.statement
    }

    /// Searches all jobs of a state for the earliest that is due. One before the calendar counts as the calendar's first
    /// instant.
    pub(super) fn earliest_due(mut self, filter: &Filter, state: DueState, until: Timestamp) -> Statement {
        let first = CALENDAR_MICROS.start();
        let micros = self.dialect.micros("earliest");
        let earliest =
            self.dialect.int(&format!("CASE WHEN earliest IS NOT NULL THEN COALESCE({micros}, {first}) END"));
        for range in self.dialect.in_range("scheduledAt", None, until) {
            let condition = self.condition(state.name(), filter);
            let range = self.bound(range);
            let jobs = &self.schema.jobs;
            let from = format!("(SELECT min(scheduledAt) AS earliest FROM {jobs} WHERE {condition} AND {range}) due");
            self.part(
                RowKind::Earliest,
                &Part { numbers: [Some(&earliest), None, None, None], from: &from, ..Part::default() },
            );
        }
        self.statement
    }

    /// Reads the definitions of the recurring jobs.
    pub(super) fn definitions(mut self, bounds: &ReadBounds) -> Statement {
        let Some(recurring) = &self.schema.recurring else { return self.statement };
        let dialect = self.dialect;
        let created_at = recurring.has_created_at.then(|| dialect.int("createdAt"));
        // In a table made by hand the column may have the type JSON.
        let json = dialect.text("jobAsJson");
        let first = dialect.first_characters(&json, JSON_END_CHARACTERS);
        let last = dialect.last_characters(&json, JSON_END_CHARACTERS);
        let json = format!(
            "CASE WHEN {} <= {} THEN {json} ELSE {} END",
            dialect.length(&json),
            2 * JSON_END_CHARACTERS,
            dialect.concatenated(&[&first, &format!("'{GAP}'"), &last])
        );
        let text = dialect.concatenated(&["id", "'\n'", &json]);
        let part = Part {
            numbers: [created_at.as_deref(), None, None, None],
            text: Some(&text),
            from: &recurring.table,
            order_by: "id",
            limit: Some(bounds.definitions),
            ..Part::default()
        };
        self.part(RowKind::Definition, &part);
        self.statement
    }

    /// Reads finished jobs of one state, the newest first of each form in which the database stores times.
    pub(super) fn history(mut self, page: &HistoryPage) -> Statement {
        let dialect = self.dialect;
        let json = dialect.text("jobAsJson");
        let is_long = format!("{} > {}", dialect.length(&json), page.max_characters);
        let (micros, long) =
            (dialect.micros("updatedAt"), dialect.int(&format!("CASE WHEN {is_long} THEN 1 ELSE 0 END")));
        let record = format!("CASE WHEN {is_long} THEN '' ELSE {json} END");
        let id = dialect.id_text("id", self.schema.jobs_type("id"));
        let text = dialect.concatenated(&[&id, "'\n'", &record]);
        let (jobs, state) = (&self.schema.jobs, page.state.name());
        for range in dialect.in_range("updatedAt", Some(page.since), page.until) {
            let range = self.bound(range);
            let from = format!("{jobs} WHERE state = '{state}' AND {range}");
            let columns = "id, jobAsJson, updatedAt";
            let newest = Select { columns, from: &from, order_by: "updatedAt DESC", limit: Some(page.limit) };
            let from = format!("({}) finished", dialect.select(&newest));
            let numbers = [Some(micros.as_str()), Some(long.as_str()), None, None];
            self.part(RowKind::Finished, &Part { numbers, text: Some(&text), from: &from, ..Part::default() });
        }
        self.statement
    }

    /// Looks for the migration that came with JobRunr 8.0.0 (`v016__alter_jobs_stats_add_awaiting_jobs.sql`).
    pub(super) fn migration(mut self, migrations: &str) -> Statement {
        let count = self.dialect.int("count(*)");
        let from = format!("{migrations} WHERE script LIKE 'v016%'");
        self.part(
            RowKind::Migration,
            &Part { numbers: [Some(&count), None, None, None], from: &from, ..Part::default() },
        );
        self.statement
    }

    /// Checks for each of the recurring jobs whether it has a run in one of the states.
    pub(super) fn active_runs_of(mut self, ids: &[&str], states: &[&str]) -> Statement {
        let states = states.join("', '");
        for id in ids {
            let name = self.bind(Bind::Text((*id).to_owned()));
            let wanted = self.bind(Bind::Text((*id).to_owned()));
            let from = format!("{} WHERE recurringJobId = {wanted} AND state IN ('{states}')", self.schema.jobs);
            let one = self.dialect.int("1");
            let found = Select { columns: &one, from: &from, limit: Some(1), ..Select::default() };
            let found = format!("({})", self.dialect.select(&found));
            // Both values are the same, so that their order does not matter.
            let part = Part { numbers: [Some(&found), None, None, None], text: Some(&name), ..Part::default() };
            self.part(RowKind::Run, &part);
        }
        self.statement
    }
}
