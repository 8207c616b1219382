//! The parts of statements.

use jiff::{SignedDuration, Timestamp};

use super::super::dialect::{Condition, Select};
use super::decode::RowKind;
use super::{Bind, MAX_ID_CHARACTERS, MAX_INVALID, MAX_PARTS, MAX_TAGS_CHARACTERS, Part, RUN_STATES, Writer};
use crate::jobrunr::{DEFAULT_POLL_INTERVAL_SECONDS, Filter};
use crate::storage::plan::QueueCursor;
use crate::storage::plan::{QueuePlan, ReadPlan};
use crate::storage::rows::{MAX_NAME_CHARACTERS, MAX_POLL_INTERVAL_SECONDS, MAX_WORKERS};

impl Writer<'_> {
    /// Binds a value. Returns its placeholder.
    pub(super) fn bind(&mut self, bind: Bind) -> String {
        self.statement.binds.push(bind);
        self.dialect.placeholder(self.statement.binds.len())
    }

    /// Binds the values of a condition. Returns its SQL, each `?` replaced by a placeholder.
    pub(super) fn bound(&mut self, condition: Condition) -> String {
        let mut pieces = condition.sql.split('?');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (piece, bind) in pieces.zip(condition.binds) {
            text += &self.bind(bind);
            text += piece;
        }
        text
    }

    /// Continues in another statement if this one has too many parts.
    pub(super) fn break_if_long(&mut self) {
        if MAX_PARTS <= self.n_parts {
            self.done.push(std::mem::take(&mut self.statement));
            self.n_parts = 0;
        }
    }

    /// Adds a part: its columns, `NULL` for those that it does not fill.
    pub(super) fn part(&mut self, kind: RowKind, part: &Part<'_>) {
        let dialect = self.dialect;
        let (kind, queue) = ((kind as i64).to_string(), part.queue.to_string());
        let mut columns = format!("{} AS kind, {} AS queue", dialect.int(&kind), dialect.int(&queue));
        for (number, name) in part.numbers.into_iter().zip(["a", "b", "c", "d"]) {
            let number = number.map_or_else(|| dialect.int("NULL"), str::to_owned);
            columns += &format!(", {number} AS {name}");
        }
        columns += &format!(", {} AS text", dialect.text(part.text.unwrap_or("NULL")));
        let select = Select { columns: &columns, from: part.from, order_by: part.order_by, limit: part.limit };
        if 0 < self.n_parts {
            self.statement.sql += "\nUNION ALL ";
        }
        self.n_parts = self.n_parts.saturating_add(1);
        self.statement.sql += &dialect.select(&select);
    }

    /// The condition that a job is in a state and the filter selects it.
    pub(super) fn condition(&mut self, state: &str, filter: &Filter) -> String {
        let mut condition = format!("state = '{state}'");
        if let Some(priority) = filter.priority {
            condition += &format!(" AND priority = {}", self.bind(Bind::Int(i64::from(priority))));
        }
        if let Some(priority) = filter.above_priority {
            condition += &format!(" AND priority < {}", self.bind(Bind::Int(i64::from(priority))));
        }
        if let Some(tag) = &filter.server_tag {
            condition += &format!(" AND serverTag = {}", self.bind(Bind::Text(tag.to_string())));
        }
        if let Some(queue) = &filter.dynamic_queue {
            condition += &format!(" AND dynamicQueue = {}", self.bind(Bind::Text(queue.to_string())));
        }
        condition
    }

    /// The further condition that a job is at or after the cursor, if there is one.
    pub(super) fn since_cursor(&mut self, cursor: Option<Timestamp>) -> String {
        let condition = cursor.and_then(|cursor| self.dialect.since_cursor("updatedAt", cursor));
        condition.map_or_else(String::new, |condition| format!(" AND {}", self.bound(condition)))
    }

    /// Counts jobs up to the limit, where the database stops.
    fn count(&self, condition: &str, order_by: &str, limit: Option<u64>) -> String {
        let from = format!("{} WHERE {condition}", self.schema.jobs);
        let select = Select { columns: "1 AS one", from: &from, order_by, limit };
        self.dialect.int(&format!("(SELECT count(*) FROM ({}) counted)", self.dialect.select(&select)))
    }

    /// Counts the jobs of one state from the cursor on, as the part's column `n`.
    fn counted(&mut self, state: &str, filter: &Filter, cursor: Option<Timestamp>, limit: Option<u64>) -> String {
        let condition = self.condition(state, filter) + &self.since_cursor(cursor);
        let column = format!("{} AS n", self.count(&condition, cursor_order(cursor), limit));
        // The limit keeps the database from evaluating the count wherever `n` is used.
        let select = Select { columns: &column, limit: Some(1), ..Select::default() };
        format!("({}) counted", self.dialect.select(&select))
    }

    /// Whether there is a job before the cursor although none was counted after it: 1 or 0.
    fn is_cursor_wrong(&mut self, state: &str, filter: &Filter, cursor: Option<Timestamp>) -> Option<String> {
        cursor?;
        let condition = self.condition(state, filter);
        let jobs = &self.schema.jobs;
        let found = format!("CASE WHEN n = 0 AND EXISTS (SELECT 1 FROM {jobs} WHERE {condition}) THEN 1 ELSE 0 END");
        Some(self.dialect.int(&found))
    }

    /// The earliest `updatedAt` among the jobs of one state, of one class of values.
    pub(super) fn oldest(&mut self, state: &str, filter: &Filter, cursor: Option<Timestamp>, class: &str) -> String {
        let condition = self.condition(state, filter) + &self.since_cursor(cursor);
        let and = if class.is_empty() { "" } else { " AND " };
        let (jobs, micros) = (&self.schema.jobs, self.dialect.micros("oldest"));
        format!(
            "(SELECT {micros} FROM (SELECT min(updatedAt) AS oldest FROM {jobs} WHERE {condition}{and}{class}) head)"
        )
    }

    /// Counts enqueued jobs and finds the oldest: one part per class of values, the first of which also counts.
    pub(super) fn enqueued(&mut self, index: usize, queue: &QueuePlan<'_>, limit: Option<u64>) {
        const STATE: &str = "ENQUEUED";
        let (filter, cursor) = (queue.filter, queue.cursor.map(|cursor| cursor.enqueued));
        for (nth, class) in self.dialect.value_classes("updatedAt").iter().enumerate() {
            let oldest = self.oldest(STATE, filter, cursor, class);
            if nth == 0 {
                let is_cursor_wrong = self.is_cursor_wrong(STATE, filter, cursor);
                let from = self.counted(STATE, filter, cursor, limit);
                let numbers = [Some("n"), Some(&*oldest), is_cursor_wrong.as_deref(), None];
                self.part(RowKind::Enqueued, &Part { queue: index, numbers, from: &from, ..Part::default() });
            } else {
                let numbers = [None, Some(&*oldest), None, None];
                self.part(RowKind::Enqueued, &Part { queue: index, numbers, ..Part::default() });
            }
        }
    }

    /// Counts jobs being processed, and those of them with a fresh heartbeat.
    pub(super) fn processing(&mut self, index: usize, queue: &QueuePlan<'_>, plan: &ReadPlan<'_>) {
        const STATE: &str = "PROCESSING";
        let (filter, cursor) = (queue.filter, queue.cursor.map(|cursor| cursor.processing));
        let alive = self.condition(STATE, filter) + &self.since_cursor(cursor);
        let (updated, oldest_alive) = (self.dialect.micros("updatedAt"), self.oldest_fresh_heartbeat(plan.now));
        let alive =
            self.count(&format!("{alive} AND {updated} >= {oldest_alive}"), cursor_order(cursor), plan.count_limit);
        // Only a cursor needs the oldest heartbeat.
        let has_cursors = self.dialect.since_cursor("updatedAt", plan.now).is_some();
        let class = self.dialect.value_classes("updatedAt").into_iter().next().filter(|_| has_cursors);
        let oldest = class.map(|class| self.oldest(STATE, filter, cursor, &class));
        let is_cursor_wrong = self.is_cursor_wrong(STATE, filter, cursor);
        let from = self.counted(STATE, filter, cursor, plan.count_limit);
        let numbers = [Some("n"), Some(&*alive), oldest.as_deref(), is_cursor_wrong.as_deref()];
        self.part(RowKind::Processing, &Part { queue: index, numbers, from: &from, ..Part::default() });
    }

    /// The instant, in µs, from which on a job's heartbeat counts as fresh. The servers refresh their jobs once per poll
    /// interval, and a job does not say which server runs it: the slowest live server decides, else the one seen last, else
    /// JobRunr's default.
    fn oldest_fresh_heartbeat(&mut self, now: Timestamp) -> String {
        let servers = &self.schema.servers;
        let heartbeat = self.dialect.micros("lastHeartbeat");
        let factor = i64::from(self.heartbeat_multiplicand).saturating_mul(1_000_000);
        let first = self.bind(Bind::Int(now.as_microsecond()));
        let first = self.dialect.int(&first);
        let second = self.bind(Bind::Int(now.as_microsecond()));
        let second = self.dialect.int(&second);
        // Multiplied as 64 bits: microseconds of ten minutes do not fit into 32.
        let poll = self.dialect.int(&format!(
            "CASE WHEN pollIntervalInSeconds BETWEEN 1 AND {MAX_POLL_INTERVAL_SECONDS} THEN pollIntervalInSeconds END"
        ));
        let valid = format!("{servers} WHERE {heartbeat} IS NOT NULL AND {poll} IS NOT NULL");
        let seen_last = Select { columns: &poll, from: &valid, order_by: "lastHeartbeat DESC", limit: Some(1) };
        let seen_last = self.dialect.select(&seen_last);
        format!(
            "{first} - {factor} * COALESCE(\
             (SELECT max({poll}) FROM {servers} WHERE {heartbeat} >= {second} - {factor} * {poll}), ({seen_last}), \
             {DEFAULT_POLL_INTERVAL_SECONDS})"
        )
    }

    /// Whether any job is enqueued, being processed, or due before `next`.
    pub(super) fn work(&mut self, next: Option<Timestamp>) {
        let mut conditions = vec!["state = 'ENQUEUED'".to_owned(), "state = 'PROCESSING'".to_owned()];
        let before = next.and_then(|next| next.checked_sub(SignedDuration::from_micros(1)).ok());
        let befores = before.map_or_else(
            || vec![Condition::new("scheduledAt IS NOT NULL", Vec::new())],
            |before| self.dialect.in_range("scheduledAt", None, before),
        );
        for before in befores {
            conditions.push(format!("state IN ('SCHEDULED', 'AWAITING') AND {}", self.bound(before)));
        }
        let jobs = &self.schema.jobs;
        let exists = conditions.iter().map(|condition| format!("EXISTS (SELECT 1 FROM {jobs} WHERE {condition})"));
        let exists = exists.collect::<Vec<_>>().join(" OR ");
        let found = self.dialect.int(&format!("CASE WHEN {exists} THEN 1 ELSE 0 END"));
        self.part(RowKind::Work, &Part { numbers: [Some(&found), None, None, None], ..Part::default() });
    }

    /// Reads the servers with the newest heartbeats.
    pub(super) fn servers(&mut self, limit: u64) {
        let (schema, dialect) = (self.schema, self.dialect);
        // An impossible number is read as one just above the maximum.
        let clamped = |column: &str, max: i64| {
            dialect.int(&format!("CASE WHEN {column} > {max} THEN {} ELSE {column} END", max.saturating_add(1)))
        };
        let workers = clamped("workerPoolSize", MAX_WORKERS);
        let poll = clamped("pollIntervalInSeconds", MAX_POLL_INTERVAL_SECONDS);
        let heartbeat = dialect.micros("lastHeartbeat");
        let occupied = schema.servers_have("occupiedWorkers").then(|| clamped("occupiedWorkers", MAX_WORKERS));
        let text = self.server_text();
        let newest = Select { columns: "*", from: &schema.servers, order_by: "lastHeartbeat DESC", limit: Some(limit) };
        let from = format!("({}) newest", dialect.select(&newest));
        let numbers = [Some(&*workers), Some(&*poll), Some(&*heartbeat), occupied.as_deref()];
        self.part(RowKind::Server, &Part { numbers, text: Some(&text), from: &from, ..Part::default() });
    }

    /// A server's id, first heartbeat, tags and name, a line each; empty where the table lacks the column. The name comes last: it
    /// may contain anything.
    fn server_text(&self) -> String {
        let (schema, dialect) = (self.schema, self.dialect);
        let bounded = |text: &str, n: usize| dialect.first_characters(text, n);
        let line = |column: &str, text: &dyn Fn() -> String| match schema.servers_have(column) {
            true => format!("COALESCE({}, '')", text()),
            false => "''".to_owned(),
        };
        let lines = [
            line("id", &|| bounded(&dialect.id_text("id", schema.servers_type("id")), MAX_ID_CHARACTERS)),
            line("firstHeartbeat", &|| dialect.text(&dialect.micros("firstHeartbeat"))),
            line("serverTags", &|| bounded(&dialect.text("serverTags"), MAX_TAGS_CHARACTERS)),
            line("name", &|| bounded(&dialect.text("name"), MAX_NAME_CHARACTERS)),
        ];
        let [id, first, tags, name] = &lines;
        dialect.concatenated(&[id, "'\n'", first, "'\n'", tags, "'\n'", name])
    }

    /// Counts damaged rows among enqueued jobs and jobs being processed, if an index finds them.
    pub(super) fn invalid(&mut self) {
        let dialect = self.dialect;
        let ranges = [dialect.before_calendar("updatedAt"), dialect.after_calendar("updatedAt")].concat();
        if ranges.is_empty() || !self.schema.has_update_index {
            return;
        }
        let counts = ["ENQUEUED", "PROCESSING"]
            .iter()
            .flat_map(|state| ranges.iter().map(move |range| format!("state = '{state}' AND {range}")));
        let counts: Vec<String> = counts.map(|condition| self.count(&condition, "", Some(MAX_INVALID))).collect();
        let sum = counts.join(" + ");
        self.part(RowKind::Invalid, &Part { numbers: [Some(&sum), None, None, None], ..Part::default() });
    }

    /// Finds which recurring jobs have an active run, by a bounded scan of each state in which a run is not finished.
    pub(super) fn runs(&mut self, plan: &ReadPlan<'_>) {
        let count = self.dialect.int("count(*)");
        for (index, state) in RUN_STATES.iter().enumerate() {
            let cursor = |part: fn(QueueCursor) -> Timestamp| plan.first_cursor.map(part);
            let cursor = match *state {
                "ENQUEUED" => cursor(|cursor| cursor.enqueued),
                "PROCESSING" => cursor(|cursor| cursor.processing),
                _ => None,
            };
            let after = self.since_cursor(cursor);
            let runs = format!("{} WHERE state = '{state}'{after}", self.schema.jobs);
            let (order_by, limit) = (cursor_order(cursor), Some(plan.bounds.runs));
            let runs = Select { columns: "recurringJobId", from: &runs, order_by, limit };
            let from = format!("({}) runs GROUP BY recurringJobId", self.dialect.select(&runs));
            let (numbers, text) = ([Some(&*count), None, None, None], Some("recurringJobId"));
            self.part(RowKind::Run, &Part { queue: index, numbers, text, from: &from, ..Part::default() });
        }
    }

    /// Reads the version of the recurring jobs' definitions.
    pub(super) fn recurring(&mut self) {
        let Some(recurring) = &self.schema.recurring else { return };
        let count = self.dialect.int("count(*)");
        // A sum of remainders cannot overflow.
        let sum = recurring.has_created_at.then(|| self.dialect.int("sum(createdAt % 1000000007)"));
        let numbers = [Some(&*count), sum.as_deref(), None, None];
        self.part(RowKind::Recurring, &Part { numbers, from: &recurring.table, ..Part::default() });
    }
}

/// The order that makes the database begin at the cursor. With stale statistics it may prefer an index on the state alone to
/// the one on the state and `updatedAt`, and walk all jobs that have moved on. Only the latter index gives this order without
/// sorting.
pub(super) fn cursor_order(cursor: Option<Timestamp>) -> &'static str {
    if cursor.is_some() { "updatedAt" } else { "" }
}
