//! Colours of the terminal.

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy)]
pub(in crate::demo) struct Paint {
    colours: bool,
}

impl Paint {
    /// Colours on a terminal, unless the environment says `NO_COLOR`.
    pub(in crate::demo) fn new(is_terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: is_terminal && !unwanted }
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
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
