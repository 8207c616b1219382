//! Finds the next run of a cron expression: the next local date and time of the zone, and the instant that it stands for.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::Cron;
use super::field::{Bits, up_to};

/// A time of day in hours, minutes and seconds.
type Time = (u32, u32, u32);

/// How often the search restarts after a clock change. Once is enough for every existing zone; the bound is for future ones.
const MAX_RESTARTS: usize = 8;

impl Cron {
    /// Returns the first run after `current`; `None` beyond the year 9999.
    ///
    /// A local time that a clock change skips runs as much later as the clock jumps. One that occurs twice runs the first time
    /// only: the search continues at the end of the second pass, so that an hour passes without a run, even for `* * * * *`.
    pub(in crate::jobrunr::schedule) fn next_after(&self, zone: &TimeZone, current: Timestamp) -> Option<Timestamp> {
        let mut from = current;
        for _ in 0..=MAX_RESTARTS {
            let local = self.next_local(zone.to_datetime(from))?;
            let candidates = zone.to_ambiguous_timestamp(local);
            let offset = candidates.offset();
            // Later in a gap and earlier in an overlap, as Java's `LocalDateTime.atZone`.
            let run = candidates.compatible().ok()?;
            if current < run {
                return Some(run);
            }
            from = match offset {
                AmbiguousOffset::Fold { before, .. } => last_instant_of_overlap(zone, run, before)?,
                _ => run,
            };
        }
        None
    }

    /// Returns the first matching local time after `base`, which is truncated to the second.
    fn next_local(&self, base: DateTime) -> Option<DateTime> {
        let date = base.date();
        let day = number(date.day());
        let days = self.days_of(date.first_of_month());
        let time = (number(base.hour()), number(base.minute()), number(base.second()));
        if self.months & 1 << number(date.month()) != 0
            && days & 1 << day != 0
            && let Some(time) = self.next_time(time)
        {
            return at(date, time);
        }
        at(self.next_date(date)?, self.first_time())
    }

    /// Returns the first matching date after `base`.
    fn next_date(&self, base: Date) -> Option<Date> {
        let mut first_of_month = base.first_of_month();
        let mut seen = up_to(number(base.day()));
        // The search ends with the calendar, at the end of year 9999.
        loop {
            if self.months & 1 << number(first_of_month.month()) != 0
                && let Some(day) = first(self.days_of(first_of_month) & !seen)
            {
                return first_of_month.with().day(i8::try_from(day).ok()?).build().ok();
            }
            first_of_month = first_of_month.last_of_month().tomorrow().ok()?;
            seen = 0;
        }
    }

    fn days_of(&self, first_of_month: Date) -> Bits {
        let weekday = first_of_month.weekday().since(Weekday::Sunday);
        self.days.in_month(number(weekday) as usize, number(first_of_month.days_in_month()))
    }

    fn first_time(&self) -> Time {
        (self.hours.trailing_zeros(), self.minutes.trailing_zeros(), self.seconds.trailing_zeros())
    }

    /// Returns the first matching time of the same day after `base`.
    fn next_time(&self, (hour, minute, second): Time) -> Option<Time> {
        let (_, first_minute, first_second) = self.first_time();
        if self.hours & 1 << hour != 0 {
            if self.minutes & 1 << minute != 0
                && let Some(second) = first(self.seconds & !up_to(second))
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = first(self.minutes & !up_to(minute)) {
                return Some((hour, minute, first_second));
            }
        }
        first(self.hours & !up_to(hour)).map(|hour| (hour, first_minute, first_second))
    }
}

/// Returns the last instant of an overlap, `during` being an instant of its first pass.
fn last_instant_of_overlap(zone: &TimeZone, during: Timestamp, before: Offset) -> Option<Timestamp> {
    let change = zone.following(during).find(|transition| transition.offset() != before)?;
    // The clock showed this time when it was set back; when it shows it again, the overlap ends.
    let local_end = before.to_datetime(change.timestamp());
    let end = zone.to_ambiguous_timestamp(local_end).compatible().ok()?;
    end.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()
}

/// The smallest number of a set.
fn first(bits: Bits) -> Option<u32> {
    (bits != 0).then(|| bits.trailing_zeros())
}

fn at(date: Date, (hour, minute, second): Time) -> Option<DateTime> {
    let part = |number: u32| i8::try_from(number).ok();
    DateTime::new(date.year(), date.month(), date.day(), part(hour)?, part(minute)?, part(second)?, 0).ok()
}

/// Converts a part of a date or time, which is never negative.
fn number(part: i8) -> u32 {
    part.unsigned_abs().into()
}
