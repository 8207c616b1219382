//! Colors of the terminal.

use crate::terminal::shows_colors;

/// Colors text, or leaves it as it is.
#[derive(Clone, Copy)]
pub(in crate::demo) struct Paint {
    colors: bool,
}

impl Paint {
    /// For standard output, if it [shows colors](shows_colors).
    pub(in crate::demo) fn stdout() -> Self {
        Self { colors: shows_colors(&std::io::stdout()) }
    }

    pub(in crate::demo) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(in crate::demo) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(in crate::demo) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(in crate::demo) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(in crate::demo) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(in crate::demo) fn blue(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colors { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
