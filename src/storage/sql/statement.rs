//! Writes the statements. Everything that a read asks is one `UNION ALL`, so that it is one round trip and one snapshot of
//! the database; its parts share seven columns, whose meaning depends on the kind:
//!
//! | kind | queue | a | b | c | d | text |
//! |---|---|---|---|---|---|---|
//! | enqueued | queue | jobs | oldest, µs | 1: before the cursor | | |
//! | processing | queue | jobs | with a fresh heartbeat | oldest heartbeat, µs | 1: before the cursor | |
//! | due | queue | jobs | interval | earliest, µs | look | |
//! | server | – | workers | poll interval, s | last heartbeat, µs | occupied workers | server tags |
//! | run | state | jobs looked at | | | | recurringJobId |
//! | recurring | – | definitions | sum of `createdAt` | | | |
//! | definition | – | `createdAt`, ms | | | | id, line break, JSON |
//! | migration | – | rows of JobRunr 8's | | | | |
//! | work | – | 1 where there is some | | | | |
//! | invalid | – | jobs | | | | |
//! | earliest | – | earliest, µs | | | | |

use jiff::Timestamp;

use super::dialect::Dialect;
use super::schema::Schema;
use crate::config::ReadBounds;
use crate::jobrunr::Filter;
use crate::storage::cursors::DueState;
use crate::storage::plan::ReadPlan;
use crate::storage::rows::CALENDAR_MICROS;

mod decode;
mod due;
mod parts;

pub(super) use decode::{ByState, Kind, Row, active_runs, decode, definition, instant, of_kind, recurring_mark};

/// The states in which a run of a recurring job keeps JobRunr from writing another one (`ProcessRecurringJobsTask`).
const RUN_STATES: [&str; 4] = ["SCHEDULED", "AWAITING", "ENQUEUED", "PROCESSING"];
/// Parts of a statement. PostgreSQL takes long to plan hundreds of them, and SQLite accepts no more than 500. A queue's
/// parts are never split, so that a job that moves on is seen in one of its states.
const MAX_PARTS: usize = 100;
/// Damaged rows that are counted.
const MAX_INVALID: u64 = 100;
/// Characters of a server's tags that are moved.
const MAX_TAGS_CHARACTERS: usize = 4_096;
/// Characters of a recurring job's JSON that are moved from each of its ends: what says when it runs is near one of them.
const JSON_END_CHARACTERS: usize = 8_192;
/// Parts the ends of a long JSON. Within JSON it can only stand escaped.
pub(super) const GAP: char = '\u{1}';

/// A value bound to a statement. No value is ever written into the SQL itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    Text(String),
    Int(i64),
    Real(f64),
}

/// A statement and its values, in the order of their placeholders.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) binds: Vec<Bind>,
}

/// Writes a statement, part by part.
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

    /// The statements of a read: more than one where very many filters are asked for.
    pub(super) fn read(mut self, plan: &ReadPlan<'_>) -> Vec<Statement> {
        for (index, queue) in plan.queues.iter().enumerate() {
            self.break_if_long();
            self.enqueued(index, queue, plan.count_limit);
            self.processing(index, queue, plan);
            self.due(index, queue, DueState::Scheduled, &queue.scheduled, plan);
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

    /// Looks whether there is any work, where there was none: nothing enqueued or being processed, and nothing scheduled
    /// before `next`. The marks of the servers and of the recurring jobs come along.
    pub(super) fn probe(mut self, next: Option<Timestamp>, recurring: bool) -> Statement {
        self.work(next);
        self.servers(1);
        if recurring {
            self.recurring();
        }
        self.statement
    }

    /// Searches all jobs of a state for the earliest that is due; one before the calendar counts as its first instant.
    pub(super) fn earliest_due(mut self, filter: &Filter, state: DueState, until: Timestamp) -> Statement {
        let first = CALENDAR_MICROS.start();
        for range in self.dialect.between("scheduledAt", None, until) {
            self.start_part(Kind::Earliest, 0);
            let micros = self.dialect.micros("earliest");
            let earliest =
                self.dialect.int(&format!("CASE WHEN earliest IS NOT NULL THEN COALESCE({micros}, {first}) END"));
            self.columns([Some(&earliest), None, None, None], None);
            let condition = self.condition(&[state.name()], filter);
            let range = self.bound(range);
            let jobs = &self.schema.jobs;
            self.statement.sql +=
                &format!(" FROM (SELECT min(scheduledAt) AS earliest FROM {jobs} WHERE {condition} AND {range}) due");
        }
        self.statement
    }

    /// Reads the definitions of the recurring jobs.
    pub(super) fn definitions(mut self, bounds: &ReadBounds) -> Statement {
        let Some(recurring) = &self.schema.recurring else { return self.statement };
        self.start_part(Kind::Definition, 0);
        let dialect = self.dialect;
        let created_at = recurring.has_created_at.then(|| dialect.int("createdAt"));
        // Made by hand the column may be of the type JSON.
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
        self.columns([created_at.as_deref(), None, None, None], Some(&text));
        self.statement.sql += &format!(" FROM {} ORDER BY id{}", recurring.table, dialect.limit(bounds.definitions));
        self.statement
    }

    /// Looks for the migration that came with JobRunr 8.0.0 (`v016__alter_jobs_stats_add_awaiting_jobs.sql`).
    pub(super) fn migration(mut self, migrations: &str) -> Statement {
        self.start_part(Kind::Migration, 0);
        self.columns([Some(&self.dialect.int("count(*)")), None, None, None], None);
        self.statement.sql += &format!(" FROM {migrations} WHERE script LIKE 'v016%'");
        self.statement
    }

    /// Looks whether recurring jobs have a run in one of the states.
    pub(super) fn active_runs_of(mut self, ids: &[&str], states: &[&str]) -> Statement {
        let states = states.join("', '");
        for id in ids {
            self.start_part(Kind::Run, 0);
            let name = self.bind(Bind::Text((*id).to_owned()));
            let wanted = self.bind(Bind::Text((*id).to_owned()));
            let jobs = &self.schema.jobs;
            let found = format!(
                "(SELECT {} FROM {jobs} WHERE recurringJobId = {wanted} AND state IN ('{states}'){})",
                self.dialect.int("1"),
                self.dialect.limit(1)
            );
            // Both values are the same, so that their order does not matter.
            self.columns([Some(&found), None, None, None], Some(&name));
        }
        self.statement
    }
}
