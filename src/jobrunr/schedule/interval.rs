//! Intervals such as `PT1H`, counted from the instant the recurring job was created.

use jiff::{SignedDuration, Timestamp};

use super::ScheduleError;
use super::java_duration;

/// A positive interval. Facts from JobRunr's `Interval`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    length: SignedDuration,
}

impl Interval {
    /// Parses an interval without margin.
    ///
    /// JobRunr accepts zero and less as well, and then divides by zero or returns instants in the past. Such a job never runs
    /// as intended, so it is rejected.
    pub(super) fn parse(expression: &str) -> Result<Interval, ScheduleError> {
        let length = java_duration::parse(expression).ok_or_else(|| ScheduleError::Interval(expression.to_owned()))?;
        if !length.is_positive() {
            return Err(ScheduleError::IntervalNotPositive(expression.to_owned()));
        }
        Ok(Interval { length })
    }

    /// Returns the first whole number of intervals after `created_at` that is after `current`, and never `created_at` itself.
    pub(super) fn next_after(&self, created_at: Timestamp, current: Timestamp) -> Option<Timestamp> {
        if current <= created_at {
            return created_at.checked_add(self.length).ok();
        }
        // JobRunr counts nanoseconds in 64 bits, which is 292 years; beyond that it fails, or wraps into the past.
        let length = i64::try_from(self.length.as_nanos()).ok()?;
        let elapsed = i64::try_from(current.duration_since(created_at).as_nanos()).ok()?;
        let since_created = elapsed.checked_div(length)?.checked_add(1)?.checked_mul(length)?;
        created_at.checked_add(SignedDuration::from_nanos(since_created)).ok()
    }
}
