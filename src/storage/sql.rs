//! The one statement that answers all questions of a refresh, for every SQL database.
//!
//! A statement is a `UNION ALL` of parts that all have the same seven columns, so that one round trip carries counts,
//! instants and servers, and one decoder reads them all:
//!
//! | part | slot | a | b | c | d | text |
//! |---|---|---|---|---|---|---|
//! | 1 enqueued | filter | jobs | oldest, µs | | | |
//! | 2 processing | filter | jobs | with a fresh heartbeat | | | |
//! | 3 scheduled | filter | jobs | look-ahead's place | | | |
//! | 4 server | – | workers | poll interval, s | last heartbeat, µs | occupied workers | server tags |

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Schema;
use crate::config::StorageConfig;
use crate::jobrunr::{Count, DEFAULT_POLL_INTERVAL_SECONDS, Filter, MissingColumn, Questions, Queue, Server, Snapshot};

/// Server rows read at most. Dead rows stay while no server lives; these are the newest.
const MAX_SERVERS: u32 = 1_000;

/// A value bound to a statement. No value is ever written into the SQL itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bind {
    Text(String),
    Int(i64),
    Real(f64),
}

/// A statement and its values, in the order of their placeholders.
#[derive(Clone, Debug, PartialEq)]
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
    /// Conditions that split the rows into those whose column can be compared with itself. `[""]` where all can.
    fn comparable(&self, column: &str) -> Vec<String> {
        let _ = column;
        vec![String::new()]
    }
    /// A column of the servers table as text; `NULL` where it is missing.
    fn text(&self, column: &str) -> String;
}

/// Everything that shapes a statement besides the questions.
pub(crate) struct Reading<'a> {
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) schema: &'a Schema,
    /// `None` counts exactly.
    pub(crate) count_limit: Option<u64>,
    pub(crate) heartbeat_multiplicand: u32,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(dialect: &'a dyn Dialect, schema: &'a Schema, config: &StorageConfig) -> Self {
        Self { dialect, schema, count_limit: config.count_limit, heartbeat_multiplicand: config.heartbeat_multiplicand }
    }

    /// Writes the statement. Filters whose columns are missing are left out; [`snapshot`](Self::snapshot) says so.
    pub(crate) fn statement(&self, questions: &Questions, now: Timestamp) -> Statement {
        let mut writer = Writer { reading: self, sql: String::new(), binds: Vec::new() };
        for (slot, (filter, look_aheads)) in questions.iter().enumerate() {
            if self.missing_column(filter).is_some() {
                continue;
            }
            writer.enqueued(slot, filter);
            writer.processing(slot, filter, now);
            for (place, look_ahead) in look_aheads.iter().enumerate() {
                writer.scheduled(slot, place, filter, now, *look_ahead);
            }
        }
        writer.servers();
        Statement { sql: writer.sql, binds: writer.binds }
    }

    /// Puts the rows together again.
    pub(crate) fn snapshot(&self, questions: &Questions, now: Timestamp, rows: &[Row]) -> Snapshot {
        let mut queues: BTreeMap<Filter, Result<Queue, MissingColumn>> = BTreeMap::new();
        for (slot, (filter, look_aheads)) in questions.iter().enumerate() {
            let queue = match self.missing_column(filter) {
                Some(missing) => Err(missing),
                None => Ok(self.queue(rows, slot, look_aheads.iter().copied())),
            };
            queues.insert(filter.clone(), queue);
        }
        let servers = rows.iter().filter(|row| row.part == Part::Server as i64).map(server).collect();
        Snapshot { read_at: now, heartbeat_multiplicand: self.heartbeat_multiplicand, servers, queues }
    }

    fn queue(&self, rows: &[Row], slot: usize, look_aheads: impl Iterator<Item = SignedDuration>) -> Queue {
        let of = |part: Part| rows.iter().filter(move |row| row.part == part as i64 && row.slot == slot as i64);
        let sum = |part: Part| of(part).filter_map(|row| row.a).sum::<i64>();
        let alive = of(Part::Processing).filter_map(|row| row.b).sum::<i64>();
        let scheduled = look_aheads.enumerate().map(|(place, look_ahead)| {
            let n = of(Part::Scheduled).filter(|row| row.b == Some(place as i64)).filter_map(|row| row.a).sum();
            (look_ahead, self.count(n))
        });
        Queue {
            enqueued: self.count(sum(Part::Enqueued)),
            oldest_enqueued_at: of(Part::Enqueued).filter_map(|row| row.b).min().map(instant),
            processing: self.count(sum(Part::Processing)),
            processing_alive: self.count(alive),
            scheduled: scheduled.collect(),
        }
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
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Enqueued = 1,
    Processing = 2,
    Scheduled = 3,
    Server = 4,
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

struct Writer<'a> {
    reading: &'a Reading<'a>,
    sql: String,
    binds: Vec<Bind>,
}

impl Writer<'_> {
    fn bind(&mut self, bind: Bind) -> String {
        self.binds.push(bind);
        self.reading.dialect.placeholder(self.binds.len())
    }

    /// Replaces each `?` of a condition by the placeholder of its value.
    fn bound(&mut self, condition: &str, binds: Vec<Bind>) -> String {
        let mut pieces = condition.split('?');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (piece, bind) in pieces.zip(binds) {
            text += &self.bind(bind);
            text += piece;
        }
        text
    }

    fn start_part(&mut self, part: Part, slot: usize) {
        let int = |text: String| self.reading.dialect.int(&text);
        let head = format!("SELECT {} AS part, {} AS slot", int((part as i64).to_string()), int(slot.to_string()));
        if !self.sql.is_empty() {
            self.sql += "\nUNION ALL ";
        }
        self.sql += &head;
    }

    /// `state = '…'` and the filter's conditions.
    fn condition(&mut self, state: &str, filter: &Filter) -> String {
        let mut condition = format!("state = '{state}'");
        if let Some(priority) = filter.priority {
            condition += &format!(" AND priority = {}", self.bind(Bind::Int(i64::from(priority))));
        }
        if let Some(tag) = &filter.server_tag {
            condition += &format!(" AND serverTag = {}", self.bind(Bind::Text(tag.clone())));
        }
        if let Some(queue) = &filter.dynamic_queue {
            condition += &format!(" AND dynamicQueue = {}", self.bind(Bind::Text(queue.clone())));
        }
        condition
    }

    /// Counts jobs up to the limit: the database stops there.
    fn count(&self, condition: &str) -> String {
        let limit = self.reading.count_limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        let jobs = &self.reading.schema.jobs;
        self.reading
            .dialect
            .int(&format!("(SELECT count(*) FROM (SELECT 1 AS one FROM {jobs} WHERE {condition}{limit}) counted)"))
    }

    fn nothing(&self) -> String {
        self.reading.dialect.int("NULL")
    }

    fn enqueued(&mut self, slot: usize, filter: &Filter) {
        let dialect = self.reading.dialect;
        for (nth, comparable) in dialect.comparable("updatedAt").into_iter().enumerate() {
            self.start_part(Part::Enqueued, slot);
            let n_jobs = if nth == 0 {
                let condition = self.condition("ENQUEUED", filter);
                self.count(&condition)
            } else {
                self.nothing()
            };
            let condition = self.condition("ENQUEUED", filter);
            let jobs = &self.reading.schema.jobs;
            let oldest = format!(
                "(SELECT {} FROM (SELECT min(updatedAt) AS oldest FROM {jobs} WHERE {condition}{comparable}) head)",
                dialect.micros("oldest")
            );
            let (nothing, no_text) = (self.nothing(), dialect.text("NULL"));
            self.sql += &format!(", {n_jobs} AS a, {oldest} AS b, {nothing} AS c, {nothing} AS d, {no_text} AS text");
        }
    }

    fn processing(&mut self, slot: usize, filter: &Filter, now: Timestamp) {
        self.start_part(Part::Processing, slot);
        let all = self.condition("PROCESSING", filter);
        let all = self.count(&all);
        let alive = self.condition("PROCESSING", filter);
        let updated = self.reading.dialect.micros("updatedAt");
        let oldest_alive = self.oldest_heartbeat(now);
        let alive = self.count(&format!("{alive} AND {updated} >= {oldest_alive}"));
        let nothing = self.nothing();
        self.sql += &format!(", {all}, {alive}, {nothing}, {nothing}, {}", self.reading.dialect.text("NULL"));
    }

    /// The instant, in µs, from which on a job's heartbeat is fresh. The servers refresh their jobs every poll
    /// interval, and the row does not say which server runs a job: the slowest live server decides, else the last one
    /// seen, else JobRunr's default.
    fn oldest_heartbeat(&mut self, now: Timestamp) -> String {
        let servers = &self.reading.schema.servers;
        let heartbeat = self.reading.dialect.micros("lastHeartbeat");
        let factor = i64::from(self.reading.heartbeat_multiplicand) * 1_000_000;
        let first = self.bind(Bind::Int(now.as_microsecond()));
        let first = self.reading.dialect.int(&first);
        let second = self.bind(Bind::Int(now.as_microsecond()));
        let second = self.reading.dialect.int(&second);
        // Multiplied as 64 bits: microseconds of ten minutes do not fit into 32.
        let poll = self.reading.dialect.int("pollIntervalInSeconds");
        format!(
            "{first} - {factor} * COALESCE(\
             (SELECT max({poll}) FROM {servers} WHERE {heartbeat} >= {second} - {factor} * {poll}), \
             (SELECT {poll} FROM {servers} ORDER BY lastHeartbeat DESC LIMIT 1), \
             {DEFAULT_POLL_INTERVAL_SECONDS})"
        )
    }

    fn scheduled(&mut self, slot: usize, place: usize, filter: &Filter, now: Timestamp, look_ahead: SignedDuration) {
        let until = now.checked_add(look_ahead).unwrap_or(Timestamp::MAX);
        self.start_part(Part::Scheduled, slot);
        let dialect = self.reading.dialect;
        let mut counts = Vec::new();
        for (due, binds) in dialect.at_most("scheduledAt", until) {
            let condition = self.condition("SCHEDULED", filter);
            let due = self.bound(&due, binds);
            counts.push(self.count(&format!("{condition} AND {due}")));
        }
        let (n_jobs, place) = (counts.join(" + "), dialect.int(&place.to_string()));
        let (nothing, no_text) = (self.nothing(), dialect.text("NULL"));
        self.sql += &format!(", {n_jobs}, {place}, {nothing}, {nothing}, {no_text}");
    }

    fn servers(&mut self) {
        self.start_part(Part::Server, 0);
        let schema = self.reading.schema;
        let dialect = self.reading.dialect;
        let optional = |column: &'static str| if schema.servers_have(column) { column } else { "NULL" };
        self.sql += &format!(
            ", {} AS a, {} AS b, {} AS c, {} AS d, {} AS text FROM (SELECT * FROM {} ORDER BY lastHeartbeat DESC LIMIT {MAX_SERVERS}) newest",
            dialect.int("workerPoolSize"),
            dialect.int("pollIntervalInSeconds"),
            dialect.micros("lastHeartbeat"),
            dialect.int(optional("occupiedWorkers")),
            dialect.text(optional("serverTags")),
            schema.servers,
        );
    }
}
