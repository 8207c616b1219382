//! The last half hour of a trigger, in columns of equal width: a fixed amount of memory, however often it is asked.

use serde::Serialize;

/// The seconds of a column.
pub const COLUMN_SECONDS: u64 = 10;
/// The columns of half an hour.
pub const N_COLUMNS: usize = 180;

/// What happened to a trigger within one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Column {
    /// The largest value ÷ target of the answers; `None` without an answer.
    pub ratio: Option<f32>,
    /// Whether the trigger was active in an answer.
    pub active: bool,
    /// Whether a message was sent on an activity stream.
    pub pushed: bool,
    /// Whether a question failed.
    pub failed: bool,
}

/// The columns of a trigger, as a ring.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// The number of the newest column since the start of the process.
    newest: u64,
    columns: Box<[Column]>,
}

impl Course {
    pub(super) fn new(number: u64) -> Self {
        Self { newest: number, columns: vec![Column::default(); N_COLUMNS].into() }
    }

    /// Returns the column of that number to write to; the newest one if the number has left the ring.
    pub(super) fn at(&mut self, number: u64) -> &mut Column {
        if self.newest < number {
            let first = (self.newest + 1).max((number + 1).saturating_sub(N_COLUMNS as u64));
            for passed in first..=number {
                self.columns[place(passed)] = Column::default();
            }
            self.newest = number;
        }
        &mut self.columns[place(self.newest)]
    }

    /// Returns the columns up to that number, the oldest first. The last ones are empty if nothing happened since.
    pub(super) fn until(&self, number: u64) -> Vec<Column> {
        let mut course = self.clone();
        course.at(number);
        let first = place(course.newest + 1);
        let (newer, older) = course.columns.split_at(first);
        [older, newer].concat()
    }
}

impl Column {
    /// Records an answer.
    pub(super) fn answer(&mut self, ratio: f64, active: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "a line on a screen")]
        let ratio = ratio as f32;
        self.ratio = Some(self.ratio.map_or(ratio, |most| most.max(ratio)));
        self.active |= active;
    }
}

/// The place of a column in the ring.
#[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
fn place(number: u64) -> usize {
    (number % N_COLUMNS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(course: &Course, until: u64) -> Vec<(usize, f32)> {
        let columns = course.until(until);
        assert_eq!(columns.len(), N_COLUMNS);
        columns.into_iter().enumerate().filter_map(|(n, column)| Some((N_COLUMNS - 1 - n, column.ratio?))).collect()
    }

    #[test]
    fn course_keeps_half_an_hour() {
        let mut course = Course::new(7);
        course.at(7).answer(1.0, true);
        course.at(7).answer(0.5, false);
        course.at(9).answer(2.0, false);
        // Columns ago, and the largest ratio of each.
        assert_eq!(ratios(&course, 9), [(2, 1.0), (0, 2.0)]);
        assert!(course.until(9)[N_COLUMNS - 3].active);
        assert_eq!(ratios(&course, 20), [(13, 1.0), (11, 2.0)]);
        assert_eq!(ratios(&course, 7 + N_COLUMNS as u64), [(N_COLUMNS - 2, 2.0)]);
        assert_eq!(ratios(&course, 1_000_000), []);
        // What is old by now does not come back.
        course.at(9 + N_COLUMNS as u64).answer(3.0, false);
        assert_eq!(ratios(&course, 9 + N_COLUMNS as u64), [(0, 3.0)]);
        course.at(1_000_000).answer(4.0, false);
        assert_eq!(ratios(&course, 1_000_000), [(0, 4.0)]);
    }
}
