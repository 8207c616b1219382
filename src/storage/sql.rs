//! The one statement that answers all questions of a refresh, for every SQL database.
//!
//! A statement is a `UNION ALL` of parts that all have the same seven columns, so that one round trip carries counts,
//! instants and servers, and one decoder reads them all:
//!
//! | part | slot | a | b | c | d | text |
//! |---|---|---|---|---|---|---|
//! | 1 enqueued | filter | jobs | oldest, µs | | | |
//! | 2 processing | filter | jobs | with a fresh heartbeat | oldest heartbeat, µs | | |
//! | 3 scheduled | filter | jobs | look-ahead's place | | | |
//! | 4 server | – | workers | poll interval, s | last heartbeat, µs | occupied workers | server tags |
//! | 5 awaiting | filter | jobs | look-ahead's place | | | |
//! | 6 next | filter | first instant beyond, µs | look-ahead's place | | | |
//! | 7 run | state's place | jobs looked at | | | | recurringJobId |
//! | 8 recurring | – | definitions | sum of `createdAt` | | | |
//! | 9 definition | – | `createdAt`, ms | | | | id, line break, JSON |
//! | 10 migration | – | rows of JobRunr 8's | | | | |
//! | 11 work | – | 1 where there is some | | | | |

mod writer;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use self::writer::Writer;
use super::Schema;
use super::heads::Heads;
use crate::config::StorageConfig;
use crate::jobrunr::{
    Count, DEFAULT_POLL_INTERVAL_SECONDS, Filter, LastSeenServers, LookAheads, MissingColumn, Questions, Queue, Server,
    Snapshot,
};

/// The states in which a run of a recurring job keeps JobRunr from writing another one (`ProcessRecurringJobsTask`).
const RUN_STATES: [&str; 4] = ["SCHEDULED", "AWAITING", "ENQUEUED", "PROCESSING"];
/// Jobs looked at in each of these states, to see which recurring jobs have a run.
const MAX_RUNS: u32 = 1_000;
/// A statement has at most so many parts. PostgreSQL plans hundreds of them for long, and SQLite takes no more than 500;
/// a second statement costs a round trip more.
const MAX_PARTS: usize = 100;

/// A value bound to a statement. No value is ever written into the SQL itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bind {
    Text(String),
    Int(i64),
    Real(f64),
}

/// A statement and its values, in the order of their placeholders.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) binds: Vec<Bind>,
}

/// What differs between the databases.
pub(crate) trait Dialect: Send + Sync {
    /// The placeholder of the `n`-th value, from 1.
    fn placeholder(&self, n: usize) -> String;
    /// Casts an expression to a 64-bit integer.
    fn int(&self, expression: &str) -> String;
    /// A UTC wall-clock column as microseconds since 1970, whatever the time zone of the session.
    fn micros(&self, column: &str) -> String;
    /// A condition for the rows whose column is at or before `instant`, answered by an index on the column. Several
    /// conditions where the database keeps instants in several forms; no row meets two of them.
    fn at_most(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)>;
    /// The condition that a column is at or after `instant`. `None` where the database has no use for it.
    fn at_least(&self, column: &str, instant: Timestamp) -> Option<(String, Vec<Bind>)>;
    /// Whether the database takes the index that promises most by its statistics, which may be wrong.
    fn trusts_statistics(&self) -> bool;
    /// The same as [`at_most`](Self::at_most) for the rows whose column is after `instant`.
    fn after(&self, column: &str, instant: Timestamp) -> Vec<(String, Vec<Bind>)>;
    /// Conditions that split the rows into those whose column can be compared with itself. `[""]` where all can.
    fn comparable(&self, column: &str) -> Vec<String> {
        let _ = column;
        vec![String::new()]
    }
    /// An expression as text; `NULL` where it is missing.
    fn text(&self, expression: &str) -> String;
    /// Two texts with a line break in between.
    fn lines(&self, first: &str, second: &str) -> String;
}

/// Everything that shapes a statement besides the questions.
pub(crate) struct Reading<'a> {
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) schema: &'a Schema,
    /// `None` counts exactly.
    pub(crate) count_limit: Option<u64>,
    pub(crate) heartbeat_multiplicand: u32,
    /// Where to begin; `None` looks at everything.
    pub(crate) heads: Option<&'a Heads>,
}

/// Which recurring jobs have a run, as far as the first [`MAX_RUNS`] jobs of each state say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Runs {
    pub(crate) of: BTreeSet<String>,
    /// The states with more jobs than were looked at.
    pub(crate) unseen_states: Vec<&'static str>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(dialect: &'a dyn Dialect, schema: &'a Schema, config: &StorageConfig) -> Self {
        let (count_limit, heartbeat_multiplicand) = (config.count_limit, config.heartbeat_multiplicand);
        Self { dialect, schema, count_limit, heartbeat_multiplicand, heads: None }
    }

    /// Writes the statement; more than one where there are very many questions. Filters whose columns are missing are
    /// left out; [`snapshot`](Self::snapshot) says so.
    pub(crate) fn statements(&self, questions: &Questions, now: Timestamp) -> Vec<Statement> {
        let mut writer = Writer::new(self);
        for (slot, (filter, look_aheads)) in questions.iter().enumerate() {
            if self.missing_column(filter).is_some() {
                continue;
            }
            writer.enqueued(slot, filter);
            writer.processing(slot, filter, now);
            for (place, (look_ahead, demand)) in look_aheads.iter().enumerate() {
                let until = now.checked_add(*look_ahead).unwrap_or(Timestamp::MAX);
                writer.due(Part::Scheduled, slot, place, filter, until);
                if *demand {
                    writer.due(Part::Awaiting, slot, place, filter, until);
                }
                writer.next(slot, place, filter, until, *demand);
            }
        }
        writer.servers();
        if questions.want_demand() && self.schema.recurring.is_some() {
            writer.runs();
            writer.recurring();
        }
        writer.finish()
    }

    /// Looks whether there is any work, where there was none: nothing enqueued or being processed, and nothing scheduled
    /// before `next`. The marks of the servers and of the recurring jobs come along.
    pub(crate) fn work(&self, next: Option<Timestamp>, demand: bool) -> Statement {
        let mut writer = Writer::new(self);
        writer.work(next);
        writer.servers();
        if demand {
            writer.recurring();
        }
        writer.only()
    }

    /// Reads the definitions of the recurring jobs.
    pub(crate) fn definitions(&self) -> Statement {
        let mut writer = Writer::new(self);
        writer.definitions();
        writer.only()
    }

    /// Looks for JobRunr 8's migration.
    pub(crate) fn migration(&self, migrations: &str) -> Statement {
        let mut writer = Writer::new(self);
        writer.migration(migrations);
        writer.only()
    }

    /// Looks whether recurring jobs have a run in one of the states.
    pub(crate) fn runs_of(&self, ids: &[&str], states: &[&str]) -> Statement {
        let mut writer = Writer::new(self);
        ids.iter().for_each(|id| writer.runs_of(id, states));
        writer.only()
    }

    /// Puts the rows together again. The recurring jobs take more than rows; they are added by whoever reads.
    pub(crate) fn snapshot(&self, questions: &Questions, now: Timestamp, rows: &[Row]) -> Snapshot {
        let mut queues: BTreeMap<Filter, Result<Queue, MissingColumn>> = BTreeMap::new();
        for (slot, (filter, look_aheads)) in questions.iter().enumerate() {
            let queue = match self.missing_column(filter) {
                Some(missing) => Err(missing),
                None => Ok(self.queue(rows, slot, look_aheads)),
            };
            queues.insert(filter.clone(), queue);
        }
        let servers = of(rows, Part::Server).map(server).collect();
        let multiplicand = self.heartbeat_multiplicand;
        let notes = self.schema.notes.clone();
        Snapshot {
            read_at: now,
            heartbeat_multiplicand: multiplicand,
            servers,
            last_seen_servers: LastSeenServers::default(),
            queues,
            recurring: None,
            notes,
        }
    }

    fn queue(&self, rows: &[Row], slot: usize, look_aheads: &LookAheads) -> Queue {
        let of = |part: Part| of(rows, part).filter(move |row| row.slot == slot as i64);
        let sum = |part: Part| of(part).filter_map(|row| row.a).sum::<i64>();
        let alive = of(Part::Processing).filter_map(|row| row.b).sum::<i64>();
        let mut queue = Queue {
            enqueued: self.count(sum(Part::Enqueued)),
            oldest_enqueued_at: of(Part::Enqueued).filter_map(|row| row.b).min().map(instant),
            processing: self.count(sum(Part::Processing)),
            processing_alive: self.count(alive),
            oldest_heartbeat_at: of(Part::Processing).filter_map(|row| row.c).min().map(instant),
            ..Queue::default()
        };
        for (place, (&look_ahead, demand)) in look_aheads.iter().enumerate() {
            let here = |part: Part| of(part).filter(move |row| row.b == Some(place as i64)).filter_map(|row| row.a);
            queue.scheduled.insert(look_ahead, self.count(here(Part::Scheduled).sum()));
            if *demand {
                queue.awaiting.insert(look_ahead, self.count(here(Part::Awaiting).sum()));
            }
            if let Some(next) = here(Part::Next).min() {
                queue.next_scheduled_at.insert(look_ahead, instant(next));
            }
        }
        queue
    }

    fn count(&self, n: i64) -> Count {
        let n_jobs = u64::try_from(n).unwrap_or(0);
        match self.count_limit {
            Some(limit) if limit <= n_jobs => Count { n_jobs: limit, limited: true },
            _ => Count { n_jobs, limited: false },
        }
    }

    fn missing_column(&self, filter: &Filter) -> Option<MissingColumn> {
        let wanted = [
            ("priority", filter.priority.is_some()),
            ("serverTag", filter.server_tag.is_some()),
            ("dynamicQueue", filter.dynamic_queue.is_some()),
        ];
        let (key, _) = wanted.into_iter().find(|(column, wanted)| *wanted && !self.schema.jobs_have(column))?;
        Some(MissingColumn { key, table: self.schema.jobs.clone(), column: key })
    }
}

/// The kinds of rows in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Enqueued = 1,
    Processing = 2,
    Scheduled = 3,
    Server = 4,
    Awaiting = 5,
    Next = 6,
    Run = 7,
    Recurring = 8,
    Definition = 9,
    Migration = 10,
    Work = 11,
}

/// A row of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) part: i64,
    pub(crate) slot: i64,
    pub(crate) a: Option<i64>,
    pub(crate) b: Option<i64>,
    pub(crate) c: Option<i64>,
    pub(crate) d: Option<i64>,
    pub(crate) text: Option<String>,
}

/// The rows of one kind.
pub(crate) fn of(rows: &[Row], part: Part) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.part == part as i64)
}

/// Which recurring jobs have a run, from an answer.
pub(crate) fn runs(rows: &[Row]) -> Runs {
    let is_there = |row: &&Row| row.a.is_some_and(|n| 0 < n);
    let ids = of(rows, Part::Run).filter(is_there).filter_map(|row| row.text.as_deref());
    let ids = ids.map(|id| id.trim_end().to_owned());
    let n_seen = |slot: usize| -> i64 {
        of(rows, Part::Run).filter(|row| row.slot == slot as i64).filter_map(|row| row.a).sum()
    };
    let unseen = RUN_STATES.iter().enumerate().filter(|(slot, _)| i64::from(MAX_RUNS) <= n_seen(*slot));
    Runs { of: ids.collect(), unseen_states: unseen.map(|(_, state)| *state).collect() }
}

/// An instant from microseconds since 1970; one beyond the years that we know is moved to the last that we do.
fn instant(micros: i64) -> Timestamp {
    let limit = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(limit)
}

fn server(row: &Row) -> Server {
    let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    let poll = row.b.filter(|seconds| 0 < *seconds).unwrap_or(i64::from(DEFAULT_POLL_INTERVAL_SECONDS));
    Server {
        worker_pool_size: positive(row.a).unwrap_or(0),
        poll_interval: SignedDuration::from_secs(poll),
        last_heartbeat: row.c.map_or(Timestamp::UNIX_EPOCH, instant),
        occupied_workers: positive(row.d),
        server_tags: row.text.clone(),
    }
}
