//! Errors in schedules and time zones, for the person who wrote them.

/// Why an expression is not a schedule that can run. The texts read well after "the schedule is invalid: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Nothing but blanks.
    #[error("the expression is empty; write a cron expression such as `0 3 * * *` or an interval such as `PT1H`")]
    Empty,
    /// Neither an interval nor five or six words.
    #[error(
        "`{0}` is neither a cron expression of 5 or 6 fields nor an interval such as `PT1H` \
         (JobRunr has no macros such as `@daily`)"
    )]
    Unknown(String),
    /// The carbon margin in brackets is not two durations.
    #[error("the carbon margin `[{0}]` must be two non-negative durations, such as `[PT2H/PT4H]`")]
    Margin(String),
    /// Something that starts like an interval but is not one.
    #[error("`{0}` is not an interval; write days, hours, minutes and seconds, such as `P1DT2H` or `PT1M30S`")]
    Interval(String),
    /// An interval of zero or less, which JobRunr cannot handle.
    #[error("the interval `{0}` must be longer than zero")]
    IntervalNotPositive(String),
    /// The wrong number of fields, the margin not counted.
    #[error("a cron expression has 5 fields, or 6 with leading seconds, but this one has {0}")]
    FieldCount(usize),
    /// An invalid item of a cron field.
    #[error("`{item}` in the {field} field is invalid: {reason}; allowed are {allowed}")]
    Field {
        /// The field, as `day of week`.
        field: &'static str,
        /// The invalid item, of a list only that item, in lower case.
        item: String,
        /// What is wrong with it.
        reason: &'static str,
        /// The values that the field takes.
        allowed: &'static str,
    },
    /// A list without values, for which JobRunr fails or searches without end.
    #[error("the {field} field `{token}` holds no value")]
    EmptyField {
        /// The field, as `day of week`.
        field: &'static str,
        /// The whole field, in lower case.
        token: String,
    },
    /// `<weekday>L` beside a day of month.
    #[error("the day of week `{day_of_week}` requires `*` as day of month, not `{day_of_month}`")]
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

/// The schedule is valid but has no further run in the range that can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no next run that can be computed: it would be beyond the year 9999, or more than 292 years of an interval away"
)]
pub struct NoNextRun;

/// A zone id that Java rejects, or a region that is not in the bundled time zone data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone; write a region such as `Europe/Brussels`, `UTC`, `Z` or an offset such as `+05:45`")]
pub struct ZoneError(pub String);
