//! Text for a terminal: colours where they are wanted, and lines that fit.

use std::fmt::Write;
use std::io::IsTerminal;

/// Lines are broken to fit in here. Wider ones are hard to read on any terminal.
const WIDTH: usize = 100;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// For standard output: colours on a terminal, unless the environment says no (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: std::io::stdout().is_terminal() && !refused && !dumb }
    }

    pub(crate) fn paint(self, text: &str, colour: Colour) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.to_owned() }
    }
}

/// The numbers of ECMA-48.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Adds a text, broken between words; its second and further lines stand further in.
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
        line.push_str(&plain(word));
    }
    let _ = writeln!(text, "{indent}{}", paint(&line));
}

/// A text from outside without what a terminal would take for a command.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
