//! What is wrong with a configuration, and where.
use std::fmt;

use thiserror::Error;

use crate::text::{counted, printable};

/// Everything that is wrong with a configuration. Its `Display` is what a person reads before the program exits with code 64.
/// No text in it contains a secret.
#[derive(Debug, Error)]
#[error("{}", self.text())]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// The problems: those of the file first, in its order.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    fn text(&self) -> String {
        let heading = format!("the configuration has {}:", counted(self.0.len() as u64, "problem"));
        let problems = self.0.iter().map(|problem| format!("\n\n{problem}"));
        std::iter::once(heading).chain(problems).collect()
    }
}

/// One thing that is wrong: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where the value comes from.
    pub origin: Origin,
    /// What was given, what is allowed, and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Unknown => write!(f, "  {}", self.text),
            origin => write!(f, "  {origin}\n      {}", self.text),
        }
    }
}

/// Where a part of the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No particular place.
    Unknown,
    /// The file as a whole.
    WholeFile {
        /// The file's name as given.
        file: String,
    },
    /// A position in the file.
    File {
        /// The file's name as given.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// The path of keys, such as `storages.orders.refresh`; empty if the file is not YAML.
        key: String,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Unknown => Ok(()),
            Origin::WholeFile { file } => f.write_str(file),
            Origin::File { file, line, column, key } => {
                let separator = if key.is_empty() { "" } else { " " };
                write!(f, "{file}:{line}:{column}{separator}{key}")
            }
            Origin::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Collects problems and warnings, so that a person sees all of them at once.
#[derive(Default)]
pub(super) struct Diagnostics {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Diagnostics {
    pub(super) fn problem(&mut self, origin: &Origin, text: impl fmt::Display) {
        self.problems.push(Problem { origin: origin.clone(), text: text.to_string() });
    }

    pub(super) fn warning(&mut self, text: String) {
        self.warnings.push(text);
    }

    pub(super) fn n_problems(&self) -> usize {
        self.problems.len()
    }

    /// Returns the warnings, if there is no problem.
    pub(super) fn finish(mut self) -> Result<Vec<String>, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(self.warnings);
        }
        self.problems.sort();
        Err(ConfigErrors(self.problems))
    }
}

/// Returns a value as a problem may quote it: on one line, short, and not at all if it looks as if an address or a password
/// is in the wrong field.
pub(super) fn quoted(value: &str) -> String {
    const MAX_CHARS: usize = 60;
    let lower = value.to_ascii_lowercase();
    if ["@", "://", "jdbc:", "passw", "pwd", "secret", "token"].iter().any(|sign| lower.contains(sign)) {
        return "the value (not shown, because it may contain a password)".to_owned();
    }
    format!("`{}`", printable(value, MAX_CHARS))
}
