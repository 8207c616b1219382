//! Text for a terminal: colors, and lines that fit.
//!
//! Text is always painted. [`stdout`] removes the colors where nobody wants them.

use std::fmt::Write;
use std::io::{self, StdoutLock};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::text::printable;

/// Headings and what matters most.
pub(crate) const BOLD: Style = Style::new().bold();
/// What matters least.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Errors.
pub(crate) const RED: Style = AnsiColor::Red.on_default();
/// What is good.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// Warnings.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// What is printed for people fits into this many columns, those of the smallest usual terminal.
pub(crate) const WIDTH: usize = 80;

/// Returns the text in a style.
#[must_use]
pub(crate) fn painted(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints warnings to standard error, for a command without a log.
pub(crate) fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Whether a stream shows colors: it is a terminal, and neither `NO_COLOR`, `CLICOLOR` nor `TERM` says otherwise
/// (<https://no-color.org>, <https://bixense.com/clicolors>).
#[must_use]
pub(crate) fn shows_colors<S: RawStream>(stream: &S) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Standard output, which drops colors where it does not [show](shows_colors) them.
#[must_use]
pub(crate) fn stdout() -> AutoStream<StdoutLock<'static>> {
    AutoStream::auto(io::stdout().lock())
}

/// Appends a paragraph to a text, wrapped between words. Its second and further lines are indented by two more. Characters that
/// are not [printable](crate::text::is_printable) are replaced.
pub(crate) fn paragraph(text: &mut String, indent: &str, words: &str, paint: impl Fn(&str) -> String) {
    let further = format!("{indent}  ");
    let mut indent = indent;
    let mut line = String::new();
    for word in words.split_whitespace() {
        let width = indent.len() + line.chars().count() + 1 + word.chars().count();
        if WIDTH < width && !line.is_empty() {
            let _ = writeln!(text, "{indent}{}", paint(&line));
            indent = &further;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&printable(word, usize::MAX));
    }
    let _ = writeln!(text, "{indent}{}", paint(&line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn painted_text_ends_its_style() {
        assert_eq!(painted("ok", GREEN), "\x1b[32mok\x1b[0m");
        assert_eq!(painted("ok", Style::new()), "ok");
    }

    #[test]
    fn paragraph_wraps_and_indents() {
        let mut text = String::new();
        paragraph(&mut text, " ", &"word\u{1b} ".repeat(20), |line| format!("<{line}>"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with(" <word\u{fffd} word") && lines[1].starts_with("   <word"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH + 2), "{text}");
    }
}
