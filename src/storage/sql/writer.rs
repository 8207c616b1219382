//! Writes the parts of the statement.

use jiff::{SignedDuration, Timestamp};

use super::super::heads::Heads;
use super::{Bind, MAX_PARTS, MAX_RUNS, Part, RUN_STATES, Reading, Statement};
use crate::jobrunr::{DEFAULT_POLL_INTERVAL_SECONDS, Filter};

/// Jobs looked at in one state, or by one index, to count those that are due. JobRunr's indexes know the state or the
/// instant, never both: whichever is walked, very many jobs that are not meant may be in the way.
const MAX_LOOKED_AT: u32 = 10_000;
/// Jobs looked at to find the next one that is scheduled. Where it is not among them, polling finds it in its time.
const MAX_LOOKED_AHEAD: u32 = 1_000;
/// Server rows read at most. Dead rows stay while no server lives; these are the newest.
const MAX_SERVERS: u32 = 1_000;
/// Recurring jobs read at most: the open-source version is sold as being good for a hundred.
const MAX_DEFINITIONS: u32 = 10_000;

pub(super) struct Writer<'a> {
    reading: &'a Reading<'a>,
    done: Vec<Statement>,
    statement: Statement,
    n_parts: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(reading: &'a Reading<'a>) -> Self {
        Self { reading, done: Vec::new(), statement: Statement::default(), n_parts: 0 }
    }

    /// All that was written.
    pub(super) fn finish(mut self) -> Vec<Statement> {
        self.done.push(self.statement);
        self.done
    }

    /// What was written, where it is known to fit into one statement.
    pub(super) fn only(self) -> Statement {
        self.statement
    }

    fn bind(&mut self, bind: Bind) -> String {
        self.statement.binds.push(bind);
        self.reading.dialect.placeholder(self.statement.binds.len())
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
        if self.n_parts == MAX_PARTS {
            self.done.push(std::mem::take(&mut self.statement));
            self.n_parts = 0;
        }
        let int = |text: String| self.reading.dialect.int(&text);
        let head = format!("SELECT {} AS part, {} AS slot", int((part as i64).to_string()), int(slot.to_string()));
        if 0 < self.n_parts {
            self.statement.sql += "\nUNION ALL ";
        }
        self.n_parts += 1;
        self.statement.sql += &head;
    }

    /// Ends a part's head: the columns that it gives, NULL for those that it does not.
    fn columns(&mut self, numbers: [Option<&str>; 4], text: Option<&str>) {
        let dialect = self.reading.dialect;
        for (number, name) in numbers.into_iter().zip(["a", "b", "c", "d"]) {
            let number = number.map_or_else(|| dialect.int("NULL"), str::to_owned);
            self.statement.sql += &format!(", {number} AS {name}");
        }
        self.statement.sql += &format!(", {} AS text", dialect.text(text.unwrap_or("NULL")));
    }

    /// `state = '…'` and the filter's conditions.
    fn condition(&mut self, states: &[&str], filter: &Filter) -> String {
        let mut condition = match states {
            [state] => format!("state = '{state}'"),
            states => format!("state IN ('{}')", states.join("', '")),
        };
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

    /// The condition that a job lies at or behind the head, where one is known.
    fn from(&mut self, head: Option<Timestamp>) -> String {
        let condition = head.and_then(|head| self.reading.dialect.at_least("updatedAt", head));
        condition.map_or_else(String::new, |(condition, binds)| format!(" AND {}", self.bound(&condition, binds)))
    }

    /// Counts jobs up to the limit: the database stops there.
    fn count(&self, condition: &str) -> String {
        let limit = self.reading.count_limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        let jobs = &self.reading.schema.jobs;
        self.reading
            .dialect
            .int(&format!("(SELECT count(*) FROM (SELECT 1 AS one FROM {jobs} WHERE {condition}{limit}) counted)"))
    }

    pub(super) fn enqueued(&mut self, slot: usize, filter: &Filter) {
        let dialect = self.reading.dialect;
        for (nth, comparable) in dialect.comparable("updatedAt").into_iter().enumerate() {
            self.start_part(Part::Enqueued, slot);
            let head = self.reading.heads.and_then(|heads| heads.get(filter)).map(|head| head.enqueued);
            let n_jobs = (nth == 0).then(|| {
                let condition = self.condition(&["ENQUEUED"], filter) + &self.from(head) + in_order(head);
                self.count(&condition)
            });
            let condition = self.condition(&["ENQUEUED"], filter) + &self.from(head);
            let jobs = &self.reading.schema.jobs;
            let oldest = format!(
                "(SELECT {} FROM (SELECT min(updatedAt) AS oldest FROM {jobs} WHERE {condition}{comparable}) head)",
                dialect.micros("oldest")
            );
            self.columns([n_jobs.as_deref(), Some(&oldest), None, None], None);
        }
    }

    pub(super) fn processing(&mut self, slot: usize, filter: &Filter, now: Timestamp) {
        self.start_part(Part::Processing, slot);
        let head = self.reading.heads.and_then(|heads| heads.get(filter)).map(|head| head.processing);
        let all = self.condition(&["PROCESSING"], filter) + &self.from(head) + in_order(head);
        let all = self.count(&all);
        let alive = self.condition(&["PROCESSING"], filter) + &self.from(head);
        let dialect = self.reading.dialect;
        let updated = dialect.micros("updatedAt");
        let oldest_alive = self.oldest_heartbeat(now);
        let alive = self.count(&format!("{alive} AND {updated} >= {oldest_alive}{}", in_order(head)));
        let oldest = dialect.at_least("updatedAt", now).map(|_| {
            let condition = self.condition(&["PROCESSING"], filter) + &self.from(head);
            let jobs = &self.reading.schema.jobs;
            format!(
                "(SELECT {} FROM (SELECT min(updatedAt) AS oldest FROM {jobs} WHERE {condition}) head)",
                dialect.micros("oldest")
            )
        });
        self.columns([Some(&all), Some(&alive), oldest.as_deref(), None], None);
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

    /// Counts jobs that are scheduled, or have their deadline, at or before `until`.
    pub(super) fn due(&mut self, part: Part, slot: usize, place: usize, filter: &Filter, until: Timestamp) {
        let state = if part == Part::Awaiting { "AWAITING" } else { "SCHEDULED" };
        self.start_part(part, slot);
        let dialect = self.reading.dialect;
        let is_bounded = self.is_two_sided() && self.reading.count_limit.is_some();
        let n_jobs =
            if is_bounded { self.bounded_due(state, filter, until) } else { self.exact_due(state, filter, until) };
        self.columns([Some(&n_jobs), Some(&dialect.int(&place.to_string())), None, None], None);
    }

    /// Whether jobs that are due are found by the state or by the instant, but not by both. An index on both finds them
    /// at once; without one on the instant only the state is left; and SQLite prefers the state.
    fn is_two_sided(&self) -> bool {
        self.reading.dialect.trusts_statistics() && self.reading.schema.has_instant_index
    }

    fn exact_due(&mut self, state: &str, filter: &Filter, until: Timestamp) -> String {
        let mut counts = Vec::new();
        for (due, binds) in self.reading.dialect.at_most("scheduledAt", until) {
            let condition = self.condition(&[state], filter);
            let due = self.bound(&due, binds);
            counts.push(self.count(&format!("{condition} AND {due}")));
        }
        counts.join(" + ")
    }

    /// Counts by the state: exact where that many jobs or fewer are in it. Where there are more, it counts by the instant
    /// too, from the last that is due backwards, and takes what finds more.
    fn bounded_due(&mut self, state: &str, filter: &Filter, until: Timestamp) -> String {
        let dialect = self.reading.dialect;
        let jobs = &self.reading.schema.jobs;
        let columns = columns(filter);
        let mut by_instant = Vec::new();
        for (due, binds) in dialect.at_most("scheduledAt", until) {
            let due = self.bound(&due, binds);
            let condition = self.condition(&[state], filter);
            by_instant.push(format!(
                "(SELECT count(*) FROM (SELECT {columns} FROM {jobs} WHERE {due} ORDER BY scheduledAt DESC LIMIT \
                 {MAX_LOOKED_AT}) latest WHERE {condition})"
            ));
        }
        let mut is_due = Vec::new();
        for (due, binds) in dialect.at_most("scheduledAt", until) {
            is_due.push(self.bound(&due, binds));
        }
        let condition = self.condition(&[state], filter);
        dialect.int(&format!(
            "(SELECT CASE WHEN count(*) < {MAX_LOOKED_AT} THEN COALESCE(sum(due), 0) \
             ELSE GREATEST(sum(due), {}) END FROM (SELECT CASE WHEN {} THEN 1 ELSE 0 END AS due FROM {jobs} \
             WHERE {condition} LIMIT {MAX_LOOKED_AT}) looked_at)",
            by_instant.join(" + "),
            is_due.join(" OR "),
        ))
    }

    /// Finds the first instant after `until` at which a job is scheduled or, for `demand`, has its deadline.
    pub(super) fn next(&mut self, slot: usize, place: usize, filter: &Filter, until: Timestamp, demand: bool) {
        let states: &[&str] = if demand { &["SCHEDULED", "AWAITING"] } else { &["SCHEDULED"] };
        self.start_part(Part::Next, slot);
        let dialect = self.reading.dialect;
        let columns = columns(filter);
        let mut firsts = Vec::new();
        for (nth, (later, binds)) in dialect.after("scheduledAt", until).into_iter().enumerate() {
            let later = self.bound(&later, binds);
            let condition = self.condition(states, filter);
            let jobs = &self.reading.schema.jobs;
            let among = if self.reading.schema.has_instant_index {
                format!(
                    "(SELECT {columns} FROM {jobs} WHERE {later} ORDER BY scheduledAt LIMIT {MAX_LOOKED_AHEAD}) \
                     ahead{nth} WHERE {condition}"
                )
            } else {
                format!("{jobs} WHERE {later} AND {condition}")
            };
            firsts.push(format!(
                "SELECT {} AS at FROM (SELECT scheduledAt FROM {among} ORDER BY scheduledAt LIMIT 1) first{nth}",
                dialect.micros("scheduledAt"),
            ));
        }
        let first = format!("(SELECT min(at) FROM ({}) firsts)", firsts.join(" UNION ALL "));
        self.columns([Some(&first), Some(&dialect.int(&place.to_string())), None, None], None);
    }

    /// Looks whether there is any work: see [`Reading::work`].
    pub(super) fn work(&mut self, next: Option<Timestamp>) {
        self.start_part(Part::Work, 0);
        let dialect = self.reading.dialect;
        let head = self.reading.heads.and_then(Heads::first);
        let mut conditions = Vec::new();
        for (state, head) in
            [("ENQUEUED", head.map(|head| head.enqueued)), ("PROCESSING", head.map(|head| head.processing))]
        {
            conditions.push(format!("state = '{state}'{}", self.from(head)));
        }
        let is_before = next.and_then(|next| next.checked_sub(SignedDuration::from_micros(1)).ok());
        let befores = is_before.map_or_else(
            || vec![("scheduledAt IS NOT NULL".to_owned(), Vec::new())],
            |before| dialect.at_most("scheduledAt", before),
        );
        for (before, binds) in befores {
            let before = self.bound(&before, binds);
            conditions.push(format!("state IN ('SCHEDULED', 'AWAITING') AND {before}"));
        }
        let jobs = &self.reading.schema.jobs;
        let looks: Vec<String> =
            conditions.iter().map(|condition| format!("EXISTS (SELECT 1 FROM {jobs} WHERE {condition})")).collect();
        let found = format!("CASE WHEN {} THEN 1 ELSE 0 END", looks.join(" OR "));
        self.columns([Some(&dialect.int(&found)), None, None, None], None);
    }

    pub(super) fn servers(&mut self) {
        self.start_part(Part::Server, 0);
        let schema = self.reading.schema;
        let dialect = self.reading.dialect;
        let optional = |column: &'static str| if schema.servers_have(column) { column } else { "NULL" };
        self.columns(
            [
                Some(&dialect.int("workerPoolSize")),
                Some(&dialect.int("pollIntervalInSeconds")),
                Some(&dialect.micros("lastHeartbeat")),
                Some(&dialect.int(optional("occupiedWorkers"))),
            ],
            Some(optional("serverTags")),
        );
        self.statement.sql +=
            &format!(" FROM (SELECT * FROM {} ORDER BY lastHeartbeat DESC LIMIT {MAX_SERVERS}) newest", schema.servers);
    }

    /// Finds out which recurring jobs have a run, from a bounded look at each state in which a run is not done.
    pub(super) fn runs(&mut self) {
        for (slot, state) in RUN_STATES.iter().enumerate() {
            self.start_part(Part::Run, slot);
            self.columns([Some(&self.reading.dialect.int("count(*)")), None, None, None], Some("recurringJobId"));
            let head = self.reading.heads.and_then(Heads::first);
            let head = match *state {
                "ENQUEUED" => head.map(|head| head.enqueued),
                "PROCESSING" => head.map(|head| head.processing),
                _ => None,
            };
            let from = self.from(head) + in_order(head);
            self.statement.sql += &format!(
                " FROM (SELECT recurringJobId FROM {} WHERE state = '{state}'{from} LIMIT {MAX_RUNS}) runs \
                 GROUP BY recurringJobId",
                self.reading.schema.jobs
            );
        }
    }

    /// Looks whether one recurring job has a run in one of the states.
    pub(super) fn runs_of(&mut self, id: &str, states: &[&str]) {
        self.start_part(Part::Run, 0);
        let dialect = self.reading.dialect;
        let name = self.bind(Bind::Text(id.to_owned()));
        let wanted = self.bind(Bind::Text(id.to_owned()));
        let states = states.join("', '");
        let jobs = &self.reading.schema.jobs;
        let found = format!(
            "(SELECT {} FROM {jobs} WHERE recurringJobId = {wanted} AND state IN ('{states}') LIMIT 1)",
            dialect.int("1")
        );
        self.columns([Some(&found), None, None, None], Some(&name));
    }

    /// How many recurring jobs there are, and what changes when one of them is defined anew: JobRunr itself goes by this
    /// sum (`RecurringJobTable`).
    pub(super) fn recurring(&mut self) {
        let Some(recurring) = &self.reading.schema.recurring else { return };
        self.start_part(Part::Recurring, 0);
        let dialect = self.reading.dialect;
        let sum = if recurring.has_created_at { dialect.int("sum(createdAt)") } else { dialect.int("NULL") };
        self.columns([Some(&dialect.int("count(*)")), Some(&sum), None, None], None);
        self.statement.sql += &format!(" FROM {}", recurring.table);
    }

    pub(super) fn definitions(&mut self) {
        let Some(recurring) = &self.reading.schema.recurring else { return };
        self.start_part(Part::Definition, 0);
        let dialect = self.reading.dialect;
        let created_at = recurring.has_created_at.then(|| dialect.int("createdAt"));
        self.columns([created_at.as_deref(), None, None, None], Some(&dialect.lines("id", "jobAsJson")));
        self.statement.sql += &format!(" FROM {} ORDER BY id LIMIT {MAX_DEFINITIONS}", recurring.table);
    }

    /// Looks for the migration that came with JobRunr 8.0.0 (`v016__alter_jobs_stats_add_awaiting_jobs.sql`).
    pub(super) fn migration(&mut self, migrations: &str) {
        self.start_part(Part::Migration, 0);
        self.columns([Some(&self.reading.dialect.int("count(*)")), None, None, None], None);
        self.statement.sql += &format!(" FROM {migrations} WHERE script LIKE 'v016%'");
    }
}

/// Makes the database begin at the head: by stale statistics it may take an index on the state alone for as good as the one
/// on the state and `updatedAt`, and walk all that has moved on. Only the latter gives this order without sorting.
fn in_order(head: Option<Timestamp>) -> &'static str {
    if head.is_some() { " ORDER BY updatedAt" } else { "" }
}

/// The columns that tell whether a job is meant. Others are left where they are: a job may be large.
fn columns(filter: &Filter) -> String {
    let mut columns = "state, scheduledAt".to_owned();
    for (column, is_wanted) in [
        ("priority", filter.priority.is_some()),
        ("serverTag", filter.server_tag.is_some()),
        ("dynamicQueue", filter.dynamic_queue.is_some()),
    ] {
        if is_wanted {
            columns += ", ";
            columns += column;
        }
    }
    columns
}
