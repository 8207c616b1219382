//! Durations as people write them, in metadata and in the configuration: one set of accepted forms, ISO-8601.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use thiserror::Error;

/// A text that is not a duration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not an ISO-8601 duration such as PT30S, PT2M or P1D")]
pub struct DurationError {
    text: String,
}

/// 10,000 years. No two instants are further apart, and [`parse`] could not read a longer duration as [`format()`] writes it.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366 * 10_000);

/// Parses weeks, days, hours, minutes and seconds, the last of them with decimals: `PT30S`, `PT1M30S`, `PT0.5S`, `P1D`. Case
/// and surrounding blanks do not matter; a minus sign may come first. A day is 24 hours, as in Java. Years and months have no
/// fixed length and are rejected.
///
/// # Errors
/// [`DurationError`] names the text and shows the form.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let trimmed = text.trim();
    // jiff also reads "2 minutes". One form in all our texts is worth more than two accepted ones.
    if !trimmed.trim_start_matches('-').starts_with(['P', 'p']) {
        return Err(error());
    }
    let span: Span = trimmed.parse().map_err(|_| error())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
    if duration.abs() <= LONGEST { Ok(duration) } else { Err(error()) }
}

/// Formats a duration so that [`parse`] reads it: `PT2M`, `PT0S`.
#[must_use]
pub fn format(duration: SignedDuration) -> String {
    duration.to_string()
}

/// Formats a duration without a sign, as [`format()`].
#[must_use]
pub fn format_unsigned(duration: std::time::Duration) -> String {
    format(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// Guesses the duration that a text stands for which [`parse`] rejects, for an error's "did you mean": `30s`, `2 min`, `120` or
/// `P2M`.
#[must_use]
pub fn guess(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(SignedDuration::from_secs(seconds));
    }
    let friendly = text.to_lowercase().parse().ok();
    let with_time = || parse(&format!("PT{}", text.strip_prefix(['P', 'p'])?)).ok();
    friendly.or_else(|| parse(text).ok()).or_else(with_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_iso_durations_and_nothing_else() {
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(parse(text).ok().map(|d| d.as_secs_f64()), seconds, "{text:?}");
        };
        check("PT30S", Some(30.0));
        check("pt2m", Some(120.0));
        check(" PT1H1M ", Some(3660.0));
        check("P1D", Some(86_400.0));
        check("P1DT1H", Some(90_000.0));
        check("P2W", Some(1_209_600.0));
        check("PT0.5S", Some(0.5));
        check("PT0,5S", Some(0.5));
        check("PT1.5H", Some(5_400.0));
        check("-PT5S", Some(-5.0));
        check("+PT5S", None);
        check("P1M", None);
        check("P1Y", None);
        check("PT87840000H", Some(316_224_000_000.0));
        check("PT87840000H1S", None);
        check("-PT87840001H", None);
        check("P290002DT877720520H", None);
        check("30s", None);
        check("120", None);
        check("-30s", None);
        check("2 minutes", None);
        check("PT", None);
        check("", None);
    }

    #[test]
    fn format_writes_what_parse_reads() {
        for text in ["PT30S", "PT2M", "PT1H30M", "PT0S", "-PT5S", "PT0.1S"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format_unsigned(std::time::Duration::from_millis(100)), "PT0.1S");
    }

    #[test]
    fn guess_reads_what_people_write_instead() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(guess(text).map(format).as_deref(), expected, "{text:?}");
        };
        check("120", Some("PT2M"));
        check("30s", Some("PT30S"));
        check("2 min", Some("PT2M"));
        check("1H", Some("PT1H"));
        check("P2M", Some("PT2M"));
        check("PT2M", Some("PT2M"));
        check("soon", None);
        check("P1Y", None);
        check("", None);
    }
}
