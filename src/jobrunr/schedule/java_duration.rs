//! Durations as `java.time.Duration.parse` reads them in schedules: not quite ISO-8601, with days as the largest unit, any
//! case, and signs everywhere. What people write in our own texts is parsed by `crate::duration`.

use jiff::SignedDuration;

use super::java_text;

/// Parses days, hours, minutes and seconds with up to nine decimals, such as `P1DT2H`, `pt-1m`, `-PT1,5S`.
///
/// None for anything else, weeks, months and years for example, and beyond 64 bits of seconds.
pub(super) fn parse(text: &str) -> Option<SignedDuration> {
    let (is_negated, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.strip_prefix(['P', 'p'])?;
    // A `T` must be followed by a time, but Java accepts a lower-case one without.
    if rest.ends_with('T') || rest.is_empty() || rest == "t" {
        return None;
    }
    let (date, time) = rest.split_once(['T', 't']).unwrap_or((rest, ""));
    let (days, date) = take(date, 'D')?;
    let (hours, time) = take(time, 'H')?;
    let (minutes, time) = take(time, 'M')?;
    let (seconds, nanoseconds) = parse_seconds(time)?;
    if !date.is_empty() {
        return None;
    }
    let seconds = seconds
        .checked_add(minutes.checked_mul(60)?)?
        .checked_add(hours.checked_mul(3_600)?)?
        .checked_add(days.checked_mul(86_400)?)?;
    let duration = SignedDuration::from_secs(seconds).checked_add(SignedDuration::new(0, nanoseconds))?;
    if is_negated { duration.checked_neg() } else { Some(duration) }
}

/// Takes a number and its unit off the front: `("2H3M", 'H')` is `(2, "3M")`. Zero when another unit or nothing is there.
fn take(text: &str, unit: char) -> Option<(i64, &str)> {
    match text.split_once(|c: char| c.eq_ignore_ascii_case(&unit)) {
        Some((number, rest)) => Some((parse_number(number)?, rest)),
        None => Some((0, text)),
    }
}

/// Parses the seconds and nanoseconds at the end, such as `4.5S`. The fraction has the sign of the seconds.
fn parse_seconds(text: &str) -> Option<(i64, i32)> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let number = text.strip_suffix(['S', 's'])?;
    let Some((whole, fraction)) = number.split_once(['.', ',']) else { return Some((parse_number(number)?, 0)) };
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().ok()?;
    let nanoseconds = if whole.starts_with('-') { nanoseconds.checked_neg()? } else { nanoseconds };
    Some((parse_number(whole)?, nanoseconds))
}

/// Parses a sign and ASCII digits: the pattern of `Duration` is stricter than `parseLong`.
fn parse_number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Parses after trimming blanks, as `CarbonAwareScheduleMargin` does with each of its two durations.
pub(super) fn parse_trimmed(text: &str) -> Option<SignedDuration> {
    parse(java_text::trim(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_what_java_reads() {
        let check = |text: &str, seconds: i64, nanoseconds: i32| {
            assert_eq!(parse(text), Some(SignedDuration::new(seconds, nanoseconds)), "{text}");
        };
        check("PT15S", 15, 0);
        check("pt1m", 60, 0);
        check("PT90S", 90, 0);
        check("P1DT2H3M4.5S", 93_784, 500_000_000);
        check("PT0.25S", 0, 250_000_000);
        check("PT0,000000001S", 0, 1);
        check("PT5.S", 5, 0);
        check("PT-0.5S", 0, -500_000_000);
        check("-PT1M", -60, 0);
        check("-PT-1M", 60, 0);
        check("+PT+1M", 60, 0);
        check("PT1H-1M", 3_540, 0);
        check("P000D", 0, 0);
        check("p1dt", 86_400, 0);
    }

    #[test]
    fn parse_rejects_what_java_rejects() {
        for text in [
            "",
            "P",
            "p",
            "PT",
            "pt",
            "P1DT",
            "P1W",
            "P1M",
            "P1Y",
            "1H",
            "PT1",
            "PT1M1H",
            "PT1.5M",
            "PT.5S",
            "PT1.1234567890S",
            "PT 1M",
            " PT1M",
            "PT1M ",
            "P1D2H",
            "PT１M",
            "--PT1M",
            "PT9223372036854775807H",
            "P1DT1D",
            "PT1H1H",
            "PT1S1S",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
