//! Makes one printable line of an event.

use std::borrow::Cow;
use std::fmt::Write;

use crate::text::is_printable;

/// The escape character, with which a terminal's colors begin.
const ESC: char = '\u{1b}';

/// An event's text as one line. What is not printable is escaped as JSON does it, so that a line of JSON stays one.
/// With `colors` ESC stays too; tracing-subscriber has then escaped those that are not its own.
pub(super) fn one_line(event: &[u8], colors: bool) -> Cow<'_, [u8]> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    let is_plain = |b: &u8| matches!(b, b' '..=b'~') || (colors && char::from(*b) == ESC);
    if text.len() < event.len() && text.iter().all(is_plain) {
        return Cow::Borrowed(event);
    }
    let mut line = String::with_capacity(event.len() + 8);
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '\n' => line.push_str("\\n"),
            c if is_printable(c) || (colors && c == ESC) => line.push(c),
            // Those that are not printable are all below U+FFFF. Writing to a text cannot fail.
            c => drop(write!(line, "\\u{:04x}", u32::from(c))),
        }
    }
    line.push('\n');
    Cow::Owned(line.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_escapes_what_is_not_printable() {
        let check = |text: &str, colors: bool, expected: &str| {
            let line = one_line(text.as_bytes(), colors);
            assert_eq!(String::from_utf8_lossy(&line), expected, "{text:?} {colors}");
        };
        check("plain\n", false, "plain\n");
        check("no end", false, "no end\n");
        check("", false, "\n");
        check("a\nb\r\tc\0\n", false, "a\\nb\\u000d\\u0009c\\u0000\n");
        check("\u{1b}[2J ä…\n", false, "\\u001b[2J ä…\n");
        check("\u{1b}[2J \u{9b}2J\n", true, "\u{1b}[2J \\u009b2J\n");
        check("\u{202e}\u{2028}\u{7f}\n", false, "\\u202e\\u2028\\u007f\n");
    }

    #[test]
    fn one_line_keeps_json() {
        let text = format!("{}\n", serde_json::json!({ "text": "a\nb\u{9b}\u{202e}\u{2028}\u{7f}\"\\" }));
        let line = one_line(text.as_bytes(), false);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&line).unwrap(),
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        );
        assert!(line.is_ascii());
    }

    #[test]
    fn one_line_takes_what_is_no_utf8() {
        assert_eq!(&*one_line(b"a\xffb\n", false), "a\u{fffd}b\n".as_bytes());
    }
}
