//! The parts of statements.

use jiff::{SignedDuration, Timestamp};

use super::super::dialect::Condition;
use super::{Bind, Kind, MAX_INVALID, MAX_PARTS, MAX_TAGS_CHARACTERS, RUN_STATES, Writer};
use crate::jobrunr::{DEFAULT_POLL_INTERVAL_SECONDS, Filter};
use crate::storage::cursors::QueueCursor;
use crate::storage::plan::{QueuePlan, ReadPlan};
use crate::storage::rows::{MAX_POLL_INTERVAL_SECONDS, MAX_WORKERS};

impl Writer<'_> {
    pub(super) fn bind(&mut self, bind: Bind) -> String {
        self.statement.binds.push(bind);
        self.dialect.placeholder(self.statement.binds.len())
    }

    /// Replaces each `?` of a condition by the placeholder of its value.
    pub(super) fn bound(&mut self, condition: Condition) -> String {
        let mut pieces = condition.sql.split('?');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (piece, bind) in pieces.zip(condition.binds) {
            text += &self.bind(bind);
            text += piece;
        }
        text
    }

    pub(super) fn break_if_long(&mut self) {
        if MAX_PARTS <= self.n_parts {
            self.done.push(std::mem::take(&mut self.statement));
            self.n_parts = 0;
        }
    }

    pub(super) fn start_part(&mut self, kind: Kind, queue: usize) {
        let int = |text: String| self.dialect.int(&text);
        let head = format!("SELECT {} AS kind, {} AS queue", int((kind as i64).to_string()), int(queue.to_string()));
        if 0 < self.n_parts {
            self.statement.sql += "\nUNION ALL ";
        }
        self.n_parts = self.n_parts.saturating_add(1);
        self.statement.sql += &head;
    }

    /// Ends a part's head: the columns that it gives, NULL for those that it does not.
    pub(super) fn columns(&mut self, numbers: [Option<&str>; 4], text: Option<&str>) {
        for (number, name) in numbers.into_iter().zip(["a", "b", "c", "d"]) {
            let number = number.map_or_else(|| self.dialect.int("NULL"), str::to_owned);
            self.statement.sql += &format!(", {number} AS {name}");
        }
        self.statement.sql += &format!(", {} AS text", self.dialect.text(text.unwrap_or("NULL")));
    }

    /// `state = '…'` and the filter's conditions.
    pub(super) fn condition(&mut self, states: &[&str], filter: &Filter) -> String {
        let mut condition = match states {
            [state] => format!("state = '{state}'"),
            states => format!("state IN ('{}')", states.join("', '")),
        };
        if let Some(priority) = filter.priority {
            condition += &format!(" AND priority = {}", self.bind(Bind::Int(i64::from(priority))));
        }
        if let Some(tag) = &filter.server_tag {
            condition += &format!(" AND serverTag = {}", self.bind(Bind::Text(tag.to_string())));
        }
        if let Some(queue) = &filter.dynamic_queue {
            condition += &format!(" AND dynamicQueue = {}", self.bind(Bind::Text(queue.to_string())));
        }
        condition
    }

    /// The condition that a job lies at or behind the cursor, where there is one.
    pub(super) fn from(&mut self, cursor: Option<Timestamp>) -> String {
        let condition = cursor.and_then(|cursor| self.dialect.skip_to("updatedAt", cursor));
        condition.map_or_else(String::new, |condition| format!(" AND {}", self.bound(condition)))
    }

    /// Counts jobs up to the limit: the database stops there.
    pub(super) fn count(&self, condition: &str, limit: Option<u64>) -> String {
        let limit = limit.map(|limit| self.dialect.limit(limit)).unwrap_or_default();
        let jobs = &self.schema.jobs;
        self.dialect
            .int(&format!("(SELECT count(*) FROM (SELECT 1 AS one FROM {jobs} WHERE {condition}{limit}) counted)"))
    }

    /// Counts the jobs of one state from the cursor on; the part's `n`.
    pub(super) fn counted(
        &mut self,
        state: &str,
        filter: &Filter,
        cursor: Option<Timestamp>,
        limit: Option<u64>,
    ) -> String {
        let condition = self.condition(&[state], filter) + &self.from(cursor) + in_order(cursor);
        let n = self.count(&condition, limit);
        // The limit keeps the database from putting the count wherever `n` stands.
        format!(" FROM (SELECT {n} AS n{}) counted", self.dialect.limit(1))
    }

    /// Whether there is a job before the cursor although none was counted from there on: 1 or 0.
    pub(super) fn before_cursor(&mut self, state: &str, filter: &Filter, cursor: Option<Timestamp>) -> Option<String> {
        cursor?;
        let condition = self.condition(&[state], filter);
        let jobs = &self.schema.jobs;
        let found = format!("CASE WHEN n = 0 AND EXISTS (SELECT 1 FROM {jobs} WHERE {condition}) THEN 1 ELSE 0 END");
        Some(self.dialect.int(&found))
    }

    pub(super) fn oldest(&mut self, state: &str, filter: &Filter, cursor: Option<Timestamp>, class: &str) -> String {
        let condition = self.condition(&[state], filter) + &self.from(cursor);
        let and = if class.is_empty() { "" } else { " AND " };
        let (jobs, micros) = (&self.schema.jobs, self.dialect.micros("oldest"));
        format!(
            "(SELECT {micros} FROM (SELECT min(updatedAt) AS oldest FROM {jobs} WHERE {condition}{and}{class}) head)"
        )
    }

    pub(super) fn enqueued(&mut self, index: usize, queue: &QueuePlan<'_>, limit: Option<u64>) {
        let cursor = queue.cursor.map(|cursor| cursor.enqueued);
        for (nth, class) in self.dialect.value_classes("updatedAt").iter().enumerate() {
            self.start_part(Kind::Enqueued, index);
            let oldest = self.oldest("ENQUEUED", queue.filter, cursor, class);
            if nth == 0 {
                let before_cursor = self.before_cursor("ENQUEUED", queue.filter, cursor);
                self.columns([Some("n"), Some(&oldest), before_cursor.as_deref(), None], None);
                let counted = self.counted("ENQUEUED", queue.filter, cursor, limit);
                self.statement.sql += &counted;
            } else {
                self.columns([None, Some(&oldest), None, None], None);
            }
        }
    }

    pub(super) fn processing(&mut self, index: usize, queue: &QueuePlan<'_>, plan: &ReadPlan<'_>) {
        const STATE: &str = "PROCESSING";
        self.start_part(Kind::Processing, index);
        let (filter, cursor) = (queue.filter, queue.cursor.map(|cursor| cursor.processing));
        let alive = self.condition(&[STATE], filter) + &self.from(cursor);
        let updated = self.dialect.micros("updatedAt");
        let oldest_alive = self.oldest_heartbeat(plan.now);
        let alive =
            self.count(&format!("{alive} AND {updated} >= {oldest_alive}{}", in_order(cursor)), plan.count_limit);
        // Only a cursor needs it.
        let has_cursors = self.dialect.skip_to("updatedAt", plan.now).is_some();
        let class = self.dialect.value_classes("updatedAt").into_iter().next().filter(|_| has_cursors);
        let oldest = class.map(|class| self.oldest(STATE, filter, cursor, &class));
        let before_cursor = self.before_cursor(STATE, filter, cursor);
        self.columns([Some("n"), Some(&alive), oldest.as_deref(), before_cursor.as_deref()], None);
        let counted = self.counted(STATE, filter, cursor, plan.count_limit);
        self.statement.sql += &counted;
    }

    /// The instant, in µs, from which on a job's heartbeat is fresh. The servers refresh their jobs every poll
    /// interval, and the row does not say which server runs a job: the slowest live server decides, else the one seen
    /// last, else JobRunr's default.
    pub(super) fn oldest_heartbeat(&mut self, now: Timestamp) -> String {
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
        let seen_last = format!(
            "SELECT {poll} FROM {servers} WHERE {heartbeat} IS NOT NULL AND {poll} IS NOT NULL ORDER BY lastHeartbeat DESC{}",
            self.dialect.limit(1)
        );
        format!(
            "{first} - {factor} * COALESCE(\
             (SELECT max({poll}) FROM {servers} WHERE {heartbeat} >= {second} - {factor} * {poll}), ({seen_last}), \
             {DEFAULT_POLL_INTERVAL_SECONDS})"
        )
    }

    pub(super) fn work(&mut self, next: Option<Timestamp>) {
        self.start_part(Kind::Work, 0);
        let mut conditions = vec!["state = 'ENQUEUED'".to_owned(), "state = 'PROCESSING'".to_owned()];
        let before = next.and_then(|next| next.checked_sub(SignedDuration::from_micros(1)).ok());
        let befores = before.map_or_else(
            || vec![Condition::new("scheduledAt IS NOT NULL", Vec::new())],
            |before| self.dialect.between("scheduledAt", None, before),
        );
        for before in befores {
            conditions.push(format!("state IN ('SCHEDULED', 'AWAITING') AND {}", self.bound(before)));
        }
        let jobs = &self.schema.jobs;
        let looks = conditions.iter().map(|condition| format!("EXISTS (SELECT 1 FROM {jobs} WHERE {condition})"));
        let found = format!("CASE WHEN {} THEN 1 ELSE 0 END", looks.collect::<Vec<_>>().join(" OR "));
        self.columns([Some(&self.dialect.int(&found)), None, None, None], None);
    }

    pub(super) fn servers(&mut self, limit: u64) {
        self.start_part(Kind::Server, 0);
        let (schema, dialect) = (self.schema, self.dialect);
        // A number that cannot be is moved as one that is only a little too large.
        let clamped = |column: &str, most: i64| {
            dialect.int(&format!("CASE WHEN {column} > {most} THEN {} ELSE {column} END", most.saturating_add(1)))
        };
        let has_occupied = schema.servers_have("occupiedWorkers");
        let occupied = if has_occupied { clamped("occupiedWorkers", MAX_WORKERS) } else { dialect.int("NULL") };
        let tags = schema
            .servers_have("serverTags")
            .then(|| dialect.first_characters(&dialect.text("serverTags"), MAX_TAGS_CHARACTERS));
        self.columns(
            [
                Some(&clamped("workerPoolSize", MAX_WORKERS)),
                Some(&clamped("pollIntervalInSeconds", MAX_POLL_INTERVAL_SECONDS)),
                Some(&dialect.micros("lastHeartbeat")),
                Some(&occupied),
            ],
            tags.as_deref(),
        );
        let (servers, limit) = (&schema.servers, dialect.limit(limit));
        self.statement.sql += &format!(" FROM (SELECT * FROM {servers} ORDER BY lastHeartbeat DESC{limit}) newest");
    }

    /// Counts damaged rows among the jobs that wait or run, where an index finds them.
    pub(super) fn invalid(&mut self) {
        let dialect = self.dialect;
        let ranges = [dialect.before_calendar("updatedAt"), dialect.after_calendar("updatedAt")].concat();
        if ranges.is_empty() || !self.schema.has_update_index {
            return;
        }
        self.start_part(Kind::Invalid, 0);
        let counts = ["ENQUEUED", "PROCESSING"]
            .iter()
            .flat_map(|state| ranges.iter().map(move |range| format!("state = '{state}' AND {range}")));
        let counts: Vec<String> = counts.map(|condition| self.count(&condition, Some(MAX_INVALID))).collect();
        self.columns([Some(&counts.join(" + ")), None, None, None], None);
    }

    /// Finds out which recurring jobs have a run, from a bounded look at each state in which a run is not done.
    pub(super) fn runs(&mut self, plan: &ReadPlan<'_>) {
        for (index, state) in RUN_STATES.iter().enumerate() {
            self.start_part(Kind::Run, index);
            self.columns([Some(&self.dialect.int("count(*)")), None, None, None], Some("recurringJobId"));
            let cursor = |part: fn(QueueCursor) -> Timestamp| plan.first_cursor.map(part);
            let cursor = match *state {
                "ENQUEUED" => cursor(|cursor| cursor.enqueued),
                "PROCESSING" => cursor(|cursor| cursor.processing),
                _ => None,
            };
            let from = self.from(cursor) + in_order(cursor);
            let (jobs, limit) = (&self.schema.jobs, self.dialect.limit(plan.bounds.runs));
            self.statement.sql += &format!(
                " FROM (SELECT recurringJobId FROM {jobs} WHERE state = '{state}'{from}{limit}) runs GROUP BY recurringJobId"
            );
        }
    }

    pub(super) fn recurring(&mut self) {
        let Some(recurring) = &self.schema.recurring else { return };
        self.start_part(Kind::Recurring, 0);
        let dialect = self.dialect;
        // The remainder, so that no sum is too large.
        let sum =
            if recurring.has_created_at { dialect.int("sum(createdAt % 1000000007)") } else { dialect.int("NULL") };
        self.columns([Some(&dialect.int("count(*)")), Some(&sum), None, None], None);
        self.statement.sql += &format!(" FROM {}", recurring.table);
    }
}

/// Makes the database begin at the cursor: by stale statistics it may take an index on the state alone for as good as the
/// one on the state and `updatedAt`, and walk all that has moved on. Only the latter gives this order without sorting.
fn in_order(cursor: Option<Timestamp>) -> &'static str {
    if cursor.is_some() { " ORDER BY updatedAt" } else { "" }
}
