//! Computes when a recurring job runs next: JobRunr's schedule expressions, evaluated as JobRunr 8.7.1 does.
//!
//! JobRunr has its own dialect of cron, with the leniency of the Java library, and a wrong next run is a bug that is hard to
//! notice. So the quirks are kept, each with the JobRunr class it comes from, and `tests/next_run_vectors.rs` compares with
//! answers of JobRunr itself. What JobRunr cannot compute (it throws, or searches without end) is an error here.
//!
//! ```
//! use jobrunr_scaler::jobrunr::schedule::{Schedule, parse_zone};
//!
//! let brussels = parse_zone("Europe/Brussels")?;
//! let created_at = "2024-01-15T10:11:12Z".parse()?;
//! let nightly = Schedule::parse("0 3 * * *")?;
//! let next = nightly.next_after(&brussels, created_at, "2024-07-01T12:00:00Z".parse()?)?;
//! assert_eq!(next.to_string(), "2024-07-02T01:00:00Z");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cron;
mod error;
mod interval;
mod java_duration;
mod java_text;
mod margin;
mod zone;

pub use error::{NoNextRun, ScheduleError, ZoneError};
pub use zone::parse_zone;

use cron::Cron;
use interval::Interval;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The schedule of a recurring job, parsed.
///
/// Computing a next run takes a few operations on bit sets per month searched and no allocation, so that thousands of them per
/// refresh need no cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    expression: Expression,
}

/// The two types of JobRunr's `ScheduleExpressionType`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Cron(Cron),
    Interval(Interval),
}

impl Schedule {
    /// Parses a `scheduleExpression` as JobRunr stores it: a cron expression of five fields, or six with leading
    /// seconds, or an ISO-8601 interval; both with an optional carbon margin such as `[PT2H/PT4H]`, which is checked and
    /// otherwise ignored, as it does not change the instant the schedule names.
    ///
    /// Facts from JobRunr's `ScheduleExpressionType` and `Schedule`.
    ///
    /// # Errors
    /// If JobRunr rejects the expression, or accepts it but can never run it: an empty set of values, a day that no month has,
    /// an interval that is not positive.
    pub fn parse(expression: &str) -> Result<Schedule, ScheduleError> {
        if java_text::trim(expression).is_empty() {
            return Err(ScheduleError::Empty);
        }
        let expression = if expression.starts_with(['P', 'p']) {
            Expression::Interval(Interval::parse(margin::strip(expression)?)?)
        } else if looks_like_cron(expression) {
            Expression::Cron(Cron::parse(margin::strip(expression)?)?)
        } else {
            return Err(ScheduleError::Unknown(expression.to_owned()));
        };
        Ok(Schedule { expression })
    }

    /// Returns the first run strictly after `current`, of the recurring job created at `created_at` in `zone`.
    ///
    /// Cron uses `current` as the local time of `zone` and ignores `created_at`. An interval is counted from `created_at`, to
    /// the nanosecond, and ignores `zone`; before `created_at` the first run is one interval after it.
    ///
    /// Facts from JobRunr's `CronExpression.next` and `Interval.next`.
    ///
    /// # Errors
    /// [`NoNextRun`] if the run is beyond the year 9999, or for an interval more than 292 years away, where JobRunr's
    /// arithmetic on nanoseconds overflows.
    pub fn next_after(
        &self,
        zone: &TimeZone,
        created_at: Timestamp,
        current: Timestamp,
    ) -> Result<Timestamp, NoNextRun> {
        let next = match &self.expression {
            Expression::Cron(cron) => cron.next_after(zone, current),
            Expression::Interval(interval) => interval.next_after(created_at, current),
        };
        next.ok_or(NoNextRun)
    }
}

/// Returns whether `ScheduleExpressionType` treats an expression as cron: five or six words and an optional margin in brackets,
/// which is the sixth or seventh word or follows the fifth or sixth without a blank.
fn looks_like_cron(expression: &str) -> bool {
    let words = java_text::words(expression);
    match words.as_slice() {
        [_, _, _, _, _] | [_, _, _, _, _, _] => true,
        [_, _, _, _, _, _, last] => last
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inner| !inner.is_empty() && inner.chars().all(is_margin_character)),
        _ => false,
    }
}

fn is_margin_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '/'
}

#[cfg(test)]
mod tests;
