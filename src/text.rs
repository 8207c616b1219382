//! Text from outside, made fit to be shown.

/// Whether a character can be shown without harm: it does not control the terminal, end the line, or turn the direction
/// in which its neighbors are read (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069).
#[must_use]
pub fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// The text as it may stand in an error or a log: at most `max_chars` characters and then `…`, with U+FFFD in place of
/// what is not [printable](is_printable).
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    let mut chars = text.chars();
    let shown = chars.by_ref().take(max_chars);
    let mut shown: String = shown.map(|c| if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A number with its noun: `1 job`, `2 jobs`.
#[must_use]
pub fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

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
