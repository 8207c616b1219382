//! What a rejected value was likely intended to be, for the suggestion at the end of the error.

use jiff::SignedDuration;

use crate::duration;

/// The unit of a number in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Jobs, workers, or unknown.
    Count,
    /// Seconds.
    Seconds,
    /// A ratio, which people also write in percent.
    Ratio,
}

/// Guesses the number that `text` stands for: without quotes, with a decimal point, in `unit`.
pub(super) fn number(text: &str, unit: Unit) -> Option<f64> {
    let bare = bare(text);
    if unit == Unit::Ratio {
        let percent = bare.trim_end_matches('%').trim_end().parse::<f64>().ok()?;
        let is_percent = bare.ends_with('%') || (1.0 < percent && percent <= 100.0);
        return Some(if is_percent { percent / 100.0 } else { percent });
    }
    if let Ok(number) = bare.parse() {
        return Some(number);
    }
    // Before three digits, a comma may separate thousands.
    if let Some((whole, fraction)) = bare.split_once(',').filter(|(_, fraction)| fraction.len() != 3) {
        return format!("{whole}.{fraction}").parse().ok();
    }
    if unit == Unit::Seconds { duration::guess(bare).map(|length| length.as_secs_f64()) } else { None }
}

/// Guesses the duration that `text` stands for: `30s`, `2 min`, `120` or `P2M` in place of `PT30S` and `PT2M`.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    duration::guess(bare(text))
}

/// Returns a value without the quotes and blanks around it.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '“' | '”' | '„' | '’'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_guessed_in_its_unit() {
        for (text, unit, expected) in [
            ("\"8\"", Unit::Count, Some(8.0)),
            ("“8”", Unit::Count, Some(8.0)),
            ("0,8", Unit::Count, Some(0.8)),
            ("1,000", Unit::Count, None),
            ("80%", Unit::Count, None),
            ("30s", Unit::Count, None),
            ("many", Unit::Count, None),
            ("30s", Unit::Seconds, Some(30.0)),
            ("5 min", Unit::Seconds, Some(300.0)),
            ("PT2M", Unit::Seconds, Some(120.0)),
            ("1H", Unit::Seconds, Some(3600.0)),
            ("500ms", Unit::Seconds, Some(0.5)),
            ("soon", Unit::Seconds, None),
            ("80%", Unit::Ratio, Some(0.8)),
            ("80 %", Unit::Ratio, Some(0.8)),
            ("80", Unit::Ratio, Some(0.8)),
            ("0.8%", Unit::Ratio, Some(0.008)),
            ("\"0.8\"", Unit::Ratio, Some(0.8)),
            ("30s", Unit::Ratio, None),
        ] {
            assert_eq!(number(text, unit), expected, "{text} {unit:?}");
        }
    }

    #[test]
    fn duration_is_guessed() {
        for (text, expected) in [
            ("120", Some("PT2M")),
            ("30s", Some("PT30S")),
            ("2 min", Some("PT2M")),
            ("P2M", Some("PT2M")),
            ("\"PT2M\"", Some("PT2M")),
            ("soon", None),
            ("P1Y", None),
            ("", None),
        ] {
            assert_eq!(duration(text).map(duration::format).as_deref(), expected, "{text}");
        }
    }
}
