//! Times in words.

use std::time::Duration;

use jiff::Timestamp;

/// Returns a duration as people say it: `3 s`, `4 min`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let [minutes, hours, days] = [60, 3_600, 86_400].map(|unit| seconds / unit);
    let and = |rest: u64, unit: &str| if rest == 0 { String::new() } else { format!(" {rest} {unit}") };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h{}", and(minutes % 60, "min")),
        _ => format!("{days} d{}", and(hours % 24, "h")),
    }
}

/// Returns an instant as people say it, in UTC: without the date if it is near.
pub(super) fn instant(at: Timestamp, now: Timestamp) -> String {
    let is_near = at.duration_since(now).abs() < jiff::SignedDuration::from_hours(12);
    let format = if is_near { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M UTC" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_has_two_units_at_most() {
        let check = |seconds: u64, expected: &str| assert_eq!(span(Duration::from_secs(seconds)), expected);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3_599, "59 min");
        check(3_600, "1 h");
        check(7_500, "2 h 5 min");
        check(86_400, "1 d");
        check(277_200, "3 d 5 h");
    }

    #[test]
    fn instant_has_a_date_if_it_is_far() {
        let check = |at: &str, expected: &str| {
            assert_eq!(instant(at.parse().unwrap(), "2026-11-28T22:00:00Z".parse().unwrap()), expected);
        };
        check("2026-11-29T03:00:00Z", "03:00:00 UTC");
        check("2026-11-30T03:00:00Z", "2026-11-30 03:00 UTC");
    }
}
