//! Durations as people write them in metadata and configuration: ISO-8601, as JobRunr and Java's `Duration` do.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use thiserror::Error;

/// Why a text is no duration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{given}` is no ISO-8601 duration such as PT30S, PT2M or P1D")]
pub struct DurationError {
    given: String,
}

/// 10,000 years: no two instants are further apart, and what is longer [`format`] could write and [`parse`] not read again.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366 * 10_000);

/// Reads `PT30S`, `PT1M30S`, `P1D`. A day is 24 hours, as in Java; months and years have no fixed length and are refused.
///
/// # Errors
/// [`DurationError`] names the text and shows the form.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let error = || DurationError { given: text.to_owned() };
    let trimmed = text.trim();
    // jiff also reads "2 minutes". One form in all our texts is worth more than two accepted ones.
    if !trimmed.starts_with(['P', 'p', '-']) {
        return Err(error());
    }
    let span: Span = trimmed.parse().map_err(|_| error())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
    if duration.abs() <= LONGEST { Ok(duration) } else { Err(error()) }
}

/// Writes a duration the way [`parse`] reads it: `PT2M`, `PT0S`.
#[must_use]
pub fn format(duration: SignedDuration) -> String {
    format!("{duration}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_iso_durations_and_nothing_else() {
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(parse(text).ok().map(|d| d.as_secs_f64()), seconds, "{text:?}");
        };
        check("PT30S", Some(30.0));
        check("pt2m", Some(120.0));
        check(" PT1H1M ", Some(3660.0));
        check("P1D", Some(86_400.0));
        check("PT0.5S", Some(0.5));
        check("-PT5S", Some(-5.0));
        check("P1M", None);
        check("PT87840000H", Some(316_224_000_000.0));
        check("PT87840000H1S", None);
        check("-PT87840001H", None);
        check("P290002DT877720520H", None);
        check("30s", None);
        check("120", None);
        check("2 minutes", None);
        check("", None);
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["PT30S", "PT2M", "PT1H30M", "PT0S"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
