//! Durations of the configuration: ISO-8601, from hours to fractions of a second.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::temporal::SpanParser;

use super::problem::quoted;

/// Reads a duration such as `PT30S` that must be within a range.
pub(super) fn parse_duration(text: &str, allowed: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = quoted(text);
    let signed = SpanParser::new().parse_duration(text).map_err(|_| {
        // `30s` is not accepted, so that there is one way to write it, but it is understood.
        let likely = text.parse::<SignedDuration>().map_or_else(|_| "PT30S".to_owned(), |likely| likely.to_string());
        format!("{value} is not an ISO-8601 duration; use for example `{likely}`")
    })?;
    match Duration::try_from(signed) {
        Ok(duration) if allowed.contains(&duration) => Ok(duration),
        _ => {
            let [least, most] = [*allowed.start(), *allowed.end()].map(format_duration);
            Err(format!("{value} is not between `{least}` and `{most}`"))
        }
    }
}

/// Formats a duration as a person would write it in the file.
pub(super) fn format_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{duration:?}"), |signed| signed.to_string())
}
