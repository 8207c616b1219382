//! One field of a cron expression. Facts from JobRunr's `CronFieldParser` and `CronFieldType`.

use crate::jobrunr::schedule::ScheduleError;
use crate::jobrunr::schedule::java_text;

/// A set of small numbers: bit n stands for the value n.
pub(super) type Bits = u64;

/// The bits 0 to `last`.
pub(super) const fn up_to(last: u32) -> Bits {
    Bits::MAX >> 63_u32.saturating_sub(last)
}

/// A field, which determines the allowed values and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

const MONTH_NAMES: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAY_NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Field {
    fn name(self) -> &'static str {
        match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day of month",
            Field::Month => "month",
            Field::DayOfWeek => "day of week",
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Field::Second | Field::Minute => "0-59",
            Field::Hour => "0-23",
            Field::DayOfMonth => "1-31 and L",
            Field::Month => "1-12 and jan-dec",
            Field::DayOfWeek => "0-6 and sun-sat, 0 is Sunday, and 0L-6L",
        }
    }

    fn min(self) -> u32 {
        u32::from(matches!(self, Field::DayOfMonth | Field::Month))
    }

    fn max(self) -> u32 {
        match self {
            Field::Second | Field::Minute => 59,
            Field::Hour => 23,
            Field::DayOfMonth => 31,
            Field::Month => 12,
            Field::DayOfWeek => 6,
        }
    }

    /// Parses a lower-case field and rejects a list without values, such as `,`.
    pub(super) fn parse_not_empty(self, token: &str) -> Result<Bits, ScheduleError> {
        match self.parse(token)? {
            0 => Err(ScheduleError::EmptyField { field: self.name(), token: token.to_owned() }),
            bits => Ok(bits),
        }
    }

    /// Parses a lower-case field. A list of commas only is the empty set.
    pub(super) fn parse(self, token: &str) -> Result<Bits, ScheduleError> {
        java_text::split(token, ',').try_fold(0, |bits, item| Ok(bits | self.parse_item(item)?))
    }

    fn parse_item(self, item: &str) -> Result<Bits, ScheduleError> {
        let parsed = match java_text::split_in_two(item, '/') {
            Some((base, step)) => self.parse_step(base, step),
            None if item.is_empty() => Err("it is empty"),
            None if item.contains('/') => Err("a step is written as `*/5`, `0-30/5` or `10/5`"),
            None => self.parse_range(item),
        };
        parsed.map_err(|reason| ScheduleError::Field {
            field: self.name(),
            item: item.to_owned(),
            reason,
            allowed: self.allowed(),
        })
    }

    /// Parses a step: every `step`th value of `base`, counted from its first. A number continues to the maximum (`10/5` is
    /// `10-59/5`), a name does not (`mon/2` is `mon`).
    fn parse_step(self, base: &str, step: &str) -> Result<Bits, &'static str> {
        let step = self.parse_value(step).filter(|&step| 0 < step).ok_or("its step is not a number above 0")?;
        let bits = match java_text::parse_int(base) {
            Some(_) if !base.contains('-') => self.range(self.parse_value(base), Some(self.max()))?,
            _ => self.parse_range(base)?,
        };
        let first = bits.trailing_zeros();
        // JobRunr counts past the maximum in 32 bits, days from zero, and fails if that overflows.
        let first_index = if self == Field::DayOfMonth { first.saturating_sub(1) } else { first };
        if i32::MAX.cast_unsigned().saturating_sub(first_index) < step {
            return Err("its step is too large");
        }
        let stepped = (first..=self.max()).step_by(step as usize).fold(0, |stepped, value| stepped | 1 << value);
        Ok(stepped & bits)
    }

    /// Parses a range or a single value: what a step applies to.
    fn parse_range(self, item: &str) -> Result<Bits, &'static str> {
        if item == "*" {
            return self.range(Some(self.min()), Some(self.max()));
        }
        if self == Field::DayOfMonth && item == "l" {
            return self.range(Some(28), Some(31));
        }
        if self == Field::DayOfWeek
            && let Some(weekday) = last_weekday(item)
        {
            return self.one(self.parse_value(weekday));
        }
        if !item.contains('-') {
            return self.one(self.parse_value(item));
        }
        let (from, to) = java_text::split_in_two(item, '-').ok_or("a range is written as `1-5`")?;
        self.range(self.parse_value(from), self.parse_value(to))
    }

    fn one(self, value: Option<u32>) -> Result<Bits, &'static str> {
        self.range(value, value)
    }

    fn range(self, from: Option<u32>, to: Option<u32>) -> Result<Bits, &'static str> {
        let (Some(from), Some(to)) = (from, to) else { return Err("it is not understood") };
        if from < self.min() || self.max() < to {
            return Err("it is out of range");
        }
        if to < from {
            return Err("its end is before its start");
        }
        Ok(up_to(to) & !(up_to(from) >> 1))
    }

    /// Parses a number, or the name of a month or weekday: the whole name or its first three letters.
    fn parse_value(self, text: &str) -> Option<u32> {
        if let Some(number) = java_text::parse_int(text) {
            return number.try_into().ok();
        }
        let names = match self {
            Field::Month => MONTH_NAMES.as_slice(),
            Field::DayOfWeek => WEEKDAY_NAMES.as_slice(),
            _ => return None,
        };
        let index = names.iter().position(|name| is_same_name(text, name) || is_same_name(text, &name[..3]))?;
        u32::try_from(index).ok().map(|index| index.saturating_add(self.min()))
    }
}

/// Returns the `5` of a day of week `5l`.
pub(super) fn last_weekday(token: &str) -> Option<&str> {
    token.strip_suffix('l').filter(|weekday| weekday.chars().count() == 1)
}

/// Java's case-insensitive comparison also treats the dotless i and the long s as their plain letters.
fn is_same_name(text: &str, name: &str) -> bool {
    let plain = text.chars().map(|c| match c {
        'ı' => 'i',
        'ſ' => 's',
        c => c,
    });
    plain.eq(name.chars())
}
