//! Text for people: untrusted text made printable, numbers, nouns, lists, and suggestions for misspelled words.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub(crate) mod suggest;

/// Whether a character can be shown without harm: it does not control the terminal, end the line, or change the direction in which
/// its neighbors are read (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069).
#[must_use]
pub(crate) fn is_printable(c: char) -> bool {
    let changes_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !changes_direction
}

/// Returns untrusted text as an error or a log may show it: at most `max_chars` characters and then `…`, with U+FFFD in place of
/// every character that is not [printable](is_printable).
#[must_use]
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    let mut chars = text.chars();
    let shown = chars.by_ref().take(max_chars);
    let mut shown: String = shown.map(|c| if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Returns a number with its noun: `1 job`, `2 jobs`.
#[must_use]
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", plural(n))
}

/// Returns the ending of a noun after a number: nothing after 1, else `s`.
#[must_use]
pub(crate) fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Returns a number as people write it: with at most `max_decimals` decimals and no trailing zeros.
#[must_use]
pub(crate) fn number(value: f64, max_decimals: usize) -> String {
    let text = format!("{value:.max_decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    // A small negative number is rounded to -0.
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Returns the texts of all items with a separator between them.
#[must_use]
pub(crate) fn joined<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}

/// Returns a parser of whole numbers within a range, for options.
pub(crate) fn whole_number<T>(allowed: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| format!("use a whole number from {} to {}", allowed.start(), allowed.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_number_says_what_is_allowed() {
        let parse = whole_number(1..=10_u32);
        assert_eq!([parse("1"), parse("10")], [Ok(1), Ok(10)]);
        for text in ["0", "11", "-1", "1.5", "", "many", "99999999999"] {
            assert_eq!(parse(text), Err("use a whole number from 1 to 10".to_owned()), "{text}");
        }
    }

    #[test]
    fn number_has_no_trailing_zeros() {
        let check = |value: f64, max_decimals: usize, expected: &str| {
            assert_eq!(number(value, max_decimals), expected, "{value} {max_decimals}");
        };
        check(0.0, 3, "0");
        check(100.0, 3, "100");
        check(100.0, 0, "100");
        check(0.375, 3, "0.375");
        check(0.375, 2, "0.38");
        check(1.2999, 3, "1.3");
        check(34.25, 1, "34.2");
        check(0.0004, 3, "0");
        check(-0.0004, 3, "0");
        check(-1.5, 3, "-1.5");
    }

    #[test]
    fn counted_noun_has_its_ending() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "job")), ["0 jobs", "1 job", "2 jobs"]);
        assert_eq!(joined([1, 2], ", "), "1, 2");
    }

    #[test]
    fn printable_cuts_and_replaces() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text, 5), expected, "{text:?}");
        check("", "");
        check("abcde", "abcde");
        check("abcdef", "abcde…");
        check("ééééé", "ééééé");
        check("a\nb\0c", "a\u{fffd}b\u{fffd}c");
        check("\u{1b}[2J", "\u{fffd}[2J");
        check("\u{9b}\u{7f}\u{202e}\u{2028}\u{2066}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        // A family is one picture of three, with joiners between them.
        check("👨‍👩‍👧", "👨‍👩‍👧");
    }
}
