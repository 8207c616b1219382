//! Scans of jobs by due time. One scan answers all look-aheads of a filter.

use jiff::Timestamp;

use super::super::dialect::Select;
use super::decode::{AFTER_CALENDAR, BEFORE_CALENDAR, NO_TIME, OTHER, RowKind, ScanKind};
use super::{Part, Writer};
use crate::jobrunr::Filter;
use crate::storage::plan::DueState;
use crate::storage::plan::{DuePlan, QueuePlan, ReadPlan};

/// A scan by due time: from where to where, in which order, and how far.
struct TimeScan {
    kind: ScanKind,
    from: Option<Timestamp>,
    last: Timestamp,
    limit: Option<u64>,
}

impl Writer<'_> {
    /// Counts the jobs of a state by intervals of their due times.
    pub(super) fn due(
        &mut self,
        index: usize,
        queue: &QueuePlan<'_>,
        state: DueState,
        due: &DuePlan,
        plan: &ReadPlan<'_>,
    ) {
        let limit = plan.scan_limit();
        self.scan_state(index, queue, state, limit);
        let by_time = due.scan_by_time && self.schema.has_time_index;
        let Some(last) = queue.last_until().filter(|_| by_time) else { return };
        if let Some(earliest) = due.earliest {
            let scan = TimeScan { kind: ScanKind::Ascending, from: Some(earliest), last, limit };
            self.scan_by_time(index, queue, state, &scan);
        }
        let descending = TimeScan { kind: ScanKind::Descending, from: None, last, limit };
        self.scan_by_time(index, queue, state, &descending);
        let later = TimeScan { kind: ScanKind::Later, from: None, last, limit: Some(plan.bounds.later_jobs) };
        self.scan_by_time(index, queue, state, &later);
    }

    fn scan_state(&mut self, index: usize, queue: &QueuePlan<'_>, state: DueState, limit: Option<u64>) {
        let nth = self.interval(&queue.until);
        let condition = self.condition(state.name(), queue.filter);
        // An index on both gives the jobs in the order of their due times. Without any index on the due time no other scan
        // finds them, so that this one has no limit.
        let has_both = self.schema.has_state_time_index;
        let (and, order_by) = if has_both { (" AND scheduledAt IS NOT NULL", "scheduledAt") } else { ("", "") };
        let jobs = format!("{} WHERE {condition}{and}", self.schema.jobs);
        let limit = limit.filter(|_| self.schema.bounds_state_scan());
        let columns = format!("scheduledAt, {} AS comparable", self.dialect.comparable("scheduledAt"));
        let jobs = Select { columns: &columns, from: &jobs, order_by, limit };
        let from = format!(
            "(SELECT {nth} AS nth, scheduledAt FROM ({}) scanned) sorted GROUP BY nth",
            self.dialect.select(&jobs)
        );
        self.scan_part(index, state, ScanKind::State, &from);
    }

    fn scan_by_time(&mut self, index: usize, queue: &QueuePlan<'_>, state: DueState, scan: &TimeScan) {
        let condition = self.condition(state.name(), queue.filter);
        let nth = self.interval(&queue.until);
        let (ranges, order_by) = match scan.kind {
            ScanKind::Later => (self.dialect.after("scheduledAt", scan.last), "scheduledAt"),
            ScanKind::Descending => (self.dialect.in_range("scheduledAt", scan.from, scan.last), "scheduledAt DESC"),
            ScanKind::State | ScanKind::Ascending => {
                (self.dialect.in_range("scheduledAt", scan.from, scan.last), "scheduledAt")
            }
        };
        let mut scanned = Vec::new();
        for (n, range) in ranges.into_iter().enumerate() {
            let jobs = format!("{} WHERE {}", self.schema.jobs, self.bound(range));
            let comparable = self.dialect.comparable("scheduledAt");
            let columns = format!("{}, {comparable} AS comparable", columns(queue.filter));
            let jobs = Select { columns: &columns, from: &jobs, order_by, limit: scan.limit };
            scanned.push(format!("SELECT * FROM ({}) scanned{n}", self.dialect.select(&jobs)));
        }
        let from = format!(
            "(SELECT CASE WHEN {condition} THEN {nth} ELSE {OTHER} END AS nth, scheduledAt FROM ({}) scanned) sorted \
             GROUP BY nth",
            scanned.join(" UNION ALL ")
        );
        self.scan_part(index, state, scan.kind, &from);
    }

    /// Adds the part of a scan. Its columns have no values to bind.
    fn scan_part(&mut self, queue: usize, state: DueState, kind: ScanKind, from: &str) {
        let dialect = self.dialect;
        let (n_jobs, nth, earliest) =
            (dialect.int("count(*)"), dialect.int("nth"), dialect.earliest_micros("scheduledAt"));
        let code = dialect.int(&kind.code(state).to_string());
        let numbers = [Some(&*n_jobs), Some(&*nth), Some(&*earliest), Some(&*code)];
        self.part(RowKind::Due, &Part { queue, numbers, from, ..Part::default() });
    }

    /// The interval in which a job is due: how many of the instants are before its due time.
    fn interval(&mut self, until: &[Timestamp]) -> String {
        let dialect = self.dialect;
        let mut text = format!("CASE WHEN scheduledAt IS NULL THEN {NO_TIME}");
        for range in dialect.before_calendar("scheduledAt") {
            text += &format!(" WHEN {range} THEN {BEFORE_CALENDAR}");
        }
        for range in dialect.after_calendar("scheduledAt") {
            text += &format!(" WHEN {range} THEN {AFTER_CALENDAR}");
        }
        format!("{text} ELSE {} END", self.binary_search(until, 0))
    }

    /// A binary search in the instants, so that a job is compared with few of them. `n_before` instants are before these.
    fn binary_search(&mut self, until: &[Timestamp], n_before: usize) -> String {
        let (earlier, rest) = until.split_at(until.len() / 2);
        let Some((at, later)) = rest.split_first() else { return n_before.to_string() };
        let n_later = later.len();
        let condition = self.dialect.is_at_most("comparable", *at);
        let condition = self.bound(condition);
        let earlier = self.binary_search(earlier, n_before);
        let later = self.binary_search(later, until.len().saturating_sub(n_later).saturating_add(n_before));
        format!("CASE WHEN {condition} THEN {earlier} ELSE {later} END")
    }
}

/// The columns that state and filter need. Others are not read, because a job can be large.
fn columns(filter: &Filter) -> String {
    let mut columns = "state, scheduledAt".to_owned();
    for column in filter.keys() {
        columns += ", ";
        columns += column;
    }
    columns
}
