//! Looks at jobs by their instant: all look-aheads of a filter are answered by one pass.

use jiff::Timestamp;

use super::Writer;
use super::decode::{AFTER_CALENDAR, BEFORE_CALENDAR, Direction, Kind, NO_INSTANT, OTHER, look_code};
use crate::jobrunr::Filter;
use crate::storage::cursors::DueState;
use crate::storage::plan::{DuePlan, QueuePlan, ReadPlan};

impl Writer<'_> {
    /// Counts the jobs of a state by intervals of their instants.
    pub(super) fn due(
        &mut self,
        index: usize,
        queue: &QueuePlan<'_>,
        state: DueState,
        due: &DuePlan,
        plan: &ReadPlan<'_>,
    ) {
        let most = most_passed(plan);
        self.by_state(index, queue, state, most);
        let Some(last) = queue.last_until().filter(|_| due.by_instant && self.schema.has_instant_index) else { return };
        if let Some(earliest) = due.earliest {
            self.by_instant(index, queue, state, Direction::Ascending, (Some(earliest), last), most);
        }
        self.by_instant(index, queue, state, Direction::Descending, (None, last), most);
        self.by_instant(index, queue, state, Direction::Later, (None, last), Some(plan.bounds.later_jobs));
    }

    fn by_state(&mut self, index: usize, queue: &QueuePlan<'_>, state: DueState, most: Option<u64>) {
        self.start_look(index, state, Direction::ByState);
        let nth = self.interval(&queue.until);
        let condition = self.condition(&[state.name()], queue.filter);
        // With an index on both, the jobs come in the order of their instants; without one on the instant nothing else
        // finds them.
        let order =
            if self.schema.has_state_instant_index { " AND scheduledAt IS NOT NULL ORDER BY scheduledAt" } else { "" };
        let is_bounded = self.schema.has_state_instant_index || self.schema.has_instant_index;
        let limit = most.filter(|_| is_bounded).map(|most| self.dialect.limit(most)).unwrap_or_default();
        let (jobs, comparable) = (&self.schema.jobs, self.dialect.comparable("scheduledAt"));
        self.statement.sql += &format!(
            " FROM (SELECT {nth} AS nth, scheduledAt FROM \
             (SELECT scheduledAt, {comparable} AS comparable FROM {jobs} WHERE {condition}{order}{limit}) passed) sorted \
             GROUP BY nth"
        );
    }

    fn by_instant(
        &mut self,
        index: usize,
        queue: &QueuePlan<'_>,
        state: DueState,
        direction: Direction,
        (from, last): (Option<Timestamp>, Timestamp),
        most: Option<u64>,
    ) {
        self.start_look(index, state, direction);
        let condition = self.condition(&[state.name()], queue.filter);
        let nth = self.interval(&queue.until);
        let (ranges, order) = match direction {
            Direction::Later => (self.dialect.after("scheduledAt", last), ""),
            Direction::Descending => (self.dialect.between("scheduledAt", from, last), " DESC"),
            Direction::ByState | Direction::Ascending => (self.dialect.between("scheduledAt", from, last), ""),
        };
        let limit = most.map(|most| self.dialect.limit(most)).unwrap_or_default();
        let mut passed = Vec::new();
        for (n, range) in ranges.into_iter().enumerate() {
            let range = self.bound(range);
            let (jobs, columns) = (&self.schema.jobs, columns(queue.filter));
            let comparable = self.dialect.comparable("scheduledAt");
            passed.push(format!(
                "SELECT * FROM (SELECT {columns}, {comparable} AS comparable FROM {jobs} WHERE {range} ORDER BY scheduledAt{order}{limit}) passed{n}"
            ));
        }
        self.statement.sql += &format!(
            " FROM (SELECT CASE WHEN {condition} THEN {nth} ELSE {OTHER} END AS nth, scheduledAt FROM ({}) passed) sorted \
             GROUP BY nth",
            passed.join(" UNION ALL ")
        );
    }

    fn start_look(&mut self, index: usize, state: DueState, direction: Direction) {
        self.start_part(Kind::Due, index);
        let dialect = self.dialect;
        let (n_jobs, nth, look) =
            (dialect.int("count(*)"), dialect.int("nth"), dialect.int(&look_code(state, direction).to_string()));
        self.columns([Some(&n_jobs), Some(&nth), Some(&dialect.earliest_micros("scheduledAt")), Some(&look)], None);
    }

    /// The interval in which a job's instant lies: how many of the instants are before it.
    fn interval(&mut self, until: &[Timestamp]) -> String {
        let dialect = self.dialect;
        let mut text = format!("CASE WHEN scheduledAt IS NULL THEN {NO_INSTANT}");
        for range in dialect.before_calendar("scheduledAt") {
            text += &format!(" WHEN {range} THEN {BEFORE_CALENDAR}");
        }
        for range in dialect.after_calendar("scheduledAt") {
            text += &format!(" WHEN {range} THEN {AFTER_CALENDAR}");
        }
        format!("{text} ELSE {} END", self.among(until, 0))
    }

    /// Halves the instants again and again, so that a job is compared with few of them. `first` are before these.
    fn among(&mut self, until: &[Timestamp], first: usize) -> String {
        let (earlier, rest) = until.split_at(until.len() / 2);
        let Some((at, later)) = rest.split_first() else { return first.to_string() };
        let n_later = later.len();
        let condition = self.dialect.is_at_most("comparable", *at);
        let condition = self.bound(condition);
        let earlier = self.among(earlier, first);
        let later = self.among(later, until.len().saturating_sub(n_later).saturating_add(first));
        format!("CASE WHEN {condition} THEN {earlier} ELSE {later} END")
    }
}

/// How many jobs a look passes; never fewer than are counted, or the limit would lie.
pub(super) fn most_passed(plan: &ReadPlan<'_>) -> Option<u64> {
    plan.count_limit.map(|limit| limit.max(plan.bounds.due_jobs))
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
