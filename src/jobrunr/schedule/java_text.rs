//! Java's `String` and `Integer` functions, where they differ from Rust's.

/// `String.trim`: removes control characters and blanks (up to U+0020), and no other Unicode spaces.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Splits the trimmed text at runs of `\s`, as `java.util.regex` defines it by default.
pub(super) fn words(text: &str) -> Vec<&str> {
    trim(text).split(is_regex_space).filter(|word| !word.is_empty()).collect()
}

fn is_regex_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0B' | '\x0C' | '\r')
}

/// `String.split(separator, 0)`: drops empty parts at the end, and only there, so that `1,` is one part, `,1` two and `,` none.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let kept = text.trim_end_matches(separator);
    // Java returns an empty text as one part, but a text of separators only as none.
    let n_parts = if kept.is_empty() && !text.is_empty() { 0 } else { usize::MAX };
    kept.split(separator).take(n_parts)
}

/// Splits at `separator` into exactly two parts, as [`split`] does.
pub(super) fn split_in_two(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut parts = split(text, separator);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(first), Some(second), None) => Some((first, second)),
        _ => None,
    }
}

/// `Integer.parseInt`: an optional sign and decimal digits of any script, full-width ones for example.
pub(super) fn parse_int(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_i32, |value, c| {
        let digit = i32::try_from(digit(c)?).ok()?;
        value.checked_mul(10)?.checked_add(digit.checked_mul(sign)?)
    })
}

/// The zeros of the scripts whose digits `Character.digit` accepts; each is followed by the other nine. Only those of the Basic
/// Multilingual Plane: `parseInt` works on `char`s, and a digit beyond that plane is two of them.
const ZEROS: [char; 37] = [
    '\u{0030}', '\u{0660}', '\u{06F0}', '\u{07C0}', '\u{0966}', '\u{09E6}', '\u{0A66}', '\u{0AE6}', '\u{0B66}',
    '\u{0BE6}', '\u{0C66}', '\u{0CE6}', '\u{0D66}', '\u{0DE6}', '\u{0E50}', '\u{0ED0}', '\u{0F20}', '\u{1040}',
    '\u{1090}', '\u{17E0}', '\u{1810}', '\u{1946}', '\u{19D0}', '\u{1A80}', '\u{1A90}', '\u{1B50}', '\u{1BB0}',
    '\u{1C40}', '\u{1C50}', '\u{A620}', '\u{A8D0}', '\u{A900}', '\u{A9D0}', '\u{A9F0}', '\u{AA50}', '\u{ABF0}',
    '\u{FF10}',
];

fn digit(c: char) -> Option<u32> {
    ZEROS.iter().map(|&zero| u32::from(c).wrapping_sub(u32::from(zero))).find(|&digit| digit < 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_drops_empty_parts_at_the_end_only() {
        let check =
            |text: &str, expected: &[&str]| assert_eq!(split(text, ',').collect::<Vec<_>>(), expected, "{text}");
        check("1", &["1"]);
        check("1,2", &["1", "2"]);
        check("1,", &["1"]);
        check("1,,,", &["1"]);
        check(",1", &["", "1"]);
        check("1,,2", &["1", "", "2"]);
        check(",", &[]);
        check(",,", &[]);
        check("", &[""]);
    }

    #[test]
    fn parse_int_reads_what_java_reads() {
        let check = |text: &str, expected: Option<i32>| assert_eq!(parse_int(text), expected, "{text}");
        check("5", Some(5));
        check("+5", Some(5));
        check("-5", Some(-5));
        check("005", Some(5));
        check("１２", Some(12));
        check("٣", Some(3));
        check("2147483647", Some(i32::MAX));
        check("-2147483648", Some(i32::MIN));
        check("2147483648", None);
        check("", None);
        check("+", None);
        check("+-5", None);
        check(" 5", None);
        check("0x5", None);
        check("𝟓", None);
    }
}
