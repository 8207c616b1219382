//! Cron in JobRunr's dialect, from JobRunr's `CronExpression`, which descends from asahaf/javacron.

mod field;
mod search;

use super::ScheduleError;
use super::java_text;
use field::{Bits, Field};

/// A cron expression, as sets of the values that each field allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    /// Only 0 when the expression has five fields.
    seconds: Bits,
    minutes: Bits,
    hours: Bits,
    months: Bits,
    days: Days,
}

impl Cron {
    /// Parses a cron expression without margin.
    pub(super) fn parse(expression: &str) -> Result<Cron, ScheduleError> {
        let expression = expression.to_lowercase();
        let fields = java_text::words(&expression);
        let (seconds, minutes, hours, days, months, weekdays) = match *fields.as_slice() {
            [minutes, hours, days, months, weekdays] => ("0", minutes, hours, days, months, weekdays),
            [seconds, minutes, hours, days, months, weekdays] => (seconds, minutes, hours, days, months, weekdays),
            _ => return Err(ScheduleError::FieldCount(fields.len())),
        };
        let cron = Cron {
            seconds: Field::Second.parse_not_empty(seconds)?,
            minutes: Field::Minute.parse_not_empty(minutes)?,
            hours: Field::Hour.parse_not_empty(hours)?,
            months: Field::Month.parse_not_empty(months)?,
            days: Days::parse(days, weekdays)?,
        };
        if !cron.days.can_occur_in(cron.months) {
            return Err(ScheduleError::NeverOccurs {
                day_of_month: days.to_owned(),
                month: months.to_owned(),
                day_of_week: weekdays.to_owned(),
            });
        }
        Ok(cron)
    }
}

/// The days that the fields for day of month and day of week allow together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Days {
    /// The days 1 to 31 of a month that starts on Sunday, Monday, … Saturday.
    by_first_weekday: [Bits; 7],
    end: End,
}

/// What an `L` means for the end of the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is no `L` by itself.
    Ordinary,
    /// Day of month `L`: the last day, regardless of the day of week.
    LastDay,
    /// Day of week `5L`: only the last seven days count.
    LastWeek,
}

impl Days {
    /// Combines the two fields. When either starts with an asterisk (`*/2` does too) a day must satisfy both; otherwise
    /// one is enough.
    fn parse(days_of_month: &str, weekdays: &str) -> Result<Days, ScheduleError> {
        let of_month = Field::DayOfMonth.parse(days_of_month)?;
        let of_week = Field::DayOfWeek.parse(weekdays)?;
        let end = Self::parse_end(days_of_month, weekdays)?;
        let is_intersection = days_of_month.starts_with('*') || weekdays.starts_with('*');
        let by_first_weekday = std::array::from_fn(|first| {
            let matching_weekday = days_on(of_week, first);
            if is_intersection { of_month & matching_weekday } else { of_month | matching_weekday }
        });
        Ok(Days { by_first_weekday, end })
    }

    /// Only an `L` that is the whole field, or the whole field beside one weekday, has its special meaning. In a list
    /// `L` stands for the days 28 to 31, and `5L` for every Friday.
    fn parse_end(days_of_month: &str, weekdays: &str) -> Result<End, ScheduleError> {
        let is_last_weekday = field::last_weekday(weekdays).is_some();
        if is_last_weekday && days_of_month != "*" {
            return Err(ScheduleError::LastWeekdayWithDay {
                day_of_week: weekdays.to_owned(),
                day_of_month: days_of_month.to_owned(),
            });
        }
        Ok(match () {
            () if is_last_weekday => End::LastWeek,
            () if days_of_month == "l" => End::LastDay,
            () => End::Ordinary,
        })
    }

    /// Returns whether any date has such a day. JobRunr searches without end for some that have not.
    fn can_occur_in(&self, months: Bits) -> bool {
        // Over the years every month starts on every weekday, February of 29 days too.
        let longest_month = match months {
            months if months & LONG_MONTHS != 0 => 31,
            months if months & !FEBRUARY != 0 => 30,
            _ => 29,
        };
        self.end != End::Ordinary || self.by_first_weekday.iter().any(|days| days & field::up_to(longest_month) != 0)
    }

    /// The days allowed in a month of `length` days, the first of them being `first_weekday` (0 is Sunday).
    fn in_month(&self, first_weekday: usize, length: u32) -> Bits {
        match self.end {
            End::Ordinary => self.by_first_weekday[first_weekday] & field::up_to(length),
            End::LastDay => 1 << length,
            End::LastWeek => {
                self.by_first_weekday[first_weekday] & field::up_to(length) & !field::up_to(length.saturating_sub(7))
            }
        }
    }
}

const LONG_MONTHS: Bits = 1 << 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 12;
const FEBRUARY: Bits = 1 << 2;

/// The days 1 to 31 that fall on one of the weekdays, in a month that starts on `first`.
#[expect(clippy::arithmetic_side_effects, reason = "days of a month and of a week")]
fn days_on(weekdays: Bits, first: usize) -> Bits {
    (1..=31).filter(|day| weekdays & 1 << ((first + day - 1) % 7) != 0).fold(0, |days, day| days | 1 << day)
}
