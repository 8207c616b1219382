//! The parts about JobRunr Pro's mutexes: which enqueued jobs wait for others.

use super::super::dialect::Select;
use super::decode::RowKind;
use super::parts::cursor_order;
use super::{Part, Writer};
use crate::storage::plan::QueuePlan;

impl Writer<'_> {
    /// Counts the enqueued jobs that wait for another one in the queue, and finds the oldest of those that are free: they have no
    /// mutex, or one that no running job holds. Looks at as many jobs as are counted.
    pub(super) fn mutexes(&mut self, index: usize, queue: &QueuePlan<'_>, limit: Option<u64>) {
        const STATE: &str = "ENQUEUED";
        let (filter, cursor) = (queue.filter, queue.cursor.map(|cursor| cursor.enqueued));
        let blocked = self.dialect.int("sum(jobs - 1)");
        let jobs = &self.schema.jobs;
        // JobRunr sets it while the job runs.
        let is_free = if self.schema.jobs_have("mutexInUse") {
            format!(
                "mutex NOT IN (SELECT mutexInUse FROM {jobs} WHERE state = 'PROCESSING' AND mutexInUse IS NOT NULL)"
            )
        } else {
            "1 = 1".to_owned()
        };
        let oldest = self.dialect.int(&format!("min(CASE WHEN {is_free} THEN oldest END)"));
        let condition = self.condition(STATE, filter) + &self.since_cursor(cursor);
        let with_mutex = format!("{jobs} WHERE {condition}");
        let columns = format!("mutex, {} AS micros", self.dialect.micros("updatedAt"));
        let order_by = if self.schema.has_update_index { "updatedAt" } else { cursor_order(cursor) };
        let sample = Select { columns: &columns, from: &with_mutex, order_by, limit };
        let from = format!(
            "(SELECT mutex, count(*) AS jobs, min(micros) AS oldest FROM ({}) sample WHERE mutex IS NOT NULL \
             GROUP BY mutex) held",
            self.dialect.select(&sample)
        );
        let numbers = [Some(&*blocked), Some(&*oldest), None, None];
        self.part(RowKind::Mutex, &Part { queue: index, numbers, from: &from, ..Part::default() });
        for class in self.dialect.value_classes("updatedAt") {
            let and = if class.is_empty() { "" } else { " AND " };
            let oldest = self.oldest(STATE, filter, cursor, &format!("mutex IS NULL{and}{class}"));
            let numbers = [None, Some(&*oldest), None, None];
            self.part(RowKind::Mutex, &Part { queue: index, numbers, ..Part::default() });
        }
    }
}
