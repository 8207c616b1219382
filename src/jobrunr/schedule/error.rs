//! What can be wrong with a schedule or a zone, in words for the person who wrote it.

/// Why an expression is no schedule that can run. The texts are fragments that read well after "the schedule is invalid: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Nothing but blanks.
    #[error("the expression is empty; write a cron expression such as `0 3 * * *` or an interval such as `PT1H`")]
    Empty,
    /// Neither an interval nor five or six words.
    #[error(
        "`{0}` is neither a cron expression of 5 or 6 fields nor an interval such as `PT1H` \
         (JobRunr knows no macros such as `@daily`)"
    )]
    Unknown(String),
    /// The carbon margin in brackets is not two durations.
    #[error("the carbon margin `[{0}]` must be two non-negative durations, such as `[PT2H/PT4H]`")]
    Margin(String),
    /// Something that starts like an interval and is none.
    #[error("`{0}` is no interval; write days, hours, minutes and seconds, such as `P1DT2H` or `PT1M30S`")]
    Interval(String),
    /// An interval of zero or less, which JobRunr cannot count with.
    #[error("the interval `{0}` must be longer than zero")]
    IntervalNotPositive(String),
    /// The wrong number of fields after the margin was taken off.
    #[error("a cron expression has 5 fields, or 6 with leading seconds, but this one has {0}")]
    FieldCount(usize),
    /// One item of a cron field.
    #[error("`{item}` in the {field} field is invalid: {reason}; allowed are {allowed}")]
    Field {
        /// The field, as `day of week`.
        field: &'static str,
        /// The item that is wrong, of a list only that item, in lower case.
        item: String,
        /// What is wrong with it.
        reason: &'static str,
        /// The values that the field takes.
        allowed: &'static str,
    },
    /// A list without any value, with which JobRunr would fail or search for ever.
    #[error("the {field} field `{token}` holds no value")]
    EmptyField {
        /// The field, as `day of week`.
        field: &'static str,
        /// The whole field, in lower case.
        token: String,
    },
    /// `<weekday>L` beside a day of month.
    #[error("the day of week `{day_of_week}` asks for `*` as day of month, not `{day_of_month}`")]
    LastWeekdayWithDay {
        /// The day-of-week field, in lower case.
        day_of_week: String,
        /// The day-of-month field, in lower case.
        day_of_month: String,
    },
    /// No date matches, as in `0 0 30 2 *`.
    #[error(
        "it never occurs: no date has the day of month `{day_of_month}`, month `{month}` and day of week `{day_of_week}`"
    )]
    NeverOccurs {
        /// The day-of-month field, in lower case.
        day_of_month: String,
        /// The month field, in lower case.
        month: String,
        /// The day-of-week field, in lower case.
        day_of_week: String,
    },
}

/// A schedule that is valid, but has no further run within the time that we can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no next run that can be counted to: it would be beyond the year 9999, or 292 years of an interval")]
pub struct NoNextRun;

/// A zone id that Java would not accept, or a region that the bundled time zone data does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone; write a region such as `Europe/Brussels`, `UTC`, `Z` or an offset such as `+05:45`")]
pub struct ZoneError(pub String);
