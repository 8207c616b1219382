//! What is wrong with a configuration, and where.
use std::fmt;

use thiserror::Error;

/// Everything that is wrong with a configuration, found at once. Its `Display` is what a person reads before the
/// program ends with exit code 64. No text in it holds a secret.
#[derive(Debug, Error)]
#[error("{}", self.text())]
pub struct ConfigErrors(Vec<Mistake>);

impl ConfigErrors {
    /// The mistakes, those of the file first and in its order.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }

    fn text(&self) -> String {
        let heading = match self.0.len() {
            1 => "the configuration has a mistake:".to_owned(),
            n_mistakes => format!("the configuration has {n_mistakes} mistakes:"),
        };
        let mistakes = self.0.iter().map(|mistake| format!("\n\n{mistake}"));
        std::iter::once(heading).chain(mistakes).collect()
    }
}

/// One thing that is wrong: its place, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What was given, what is allowed, and what to do.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Anywhere => write!(f, "  {}", self.text),
            place => write!(f, "  {place}\n      {}", self.text),
        }
    }
}

/// Where a part of the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// No place in particular.
    Anywhere,
    /// The file as a whole.
    WholeFile {
        /// The file's name as given.
        file: String,
    },
    /// A place in the file.
    File {
        /// The file's name as given.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// The path of keys, as in `storages.orders.refresh`; empty where the file is no YAML.
        key: String,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Anywhere => Ok(()),
            Place::WholeFile { file } => f.write_str(file),
            Place::File { file, line, column, key } => {
                let separator = if key.is_empty() { "" } else { " " };
                write!(f, "{file}:{line}:{column}{separator}{key}")
            }
            Place::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Collects what is found, so that a person sees all of it at once.
#[derive(Default)]
pub(super) struct Report {
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Report {
    pub(super) fn mistake(&mut self, place: &Place, text: impl fmt::Display) {
        self.mistakes.push(Mistake { place: place.clone(), text: text.to_string() });
    }

    pub(super) fn warning(&mut self, text: String) {
        self.warnings.push(text);
    }

    pub(super) fn n_mistakes(&self) -> usize {
        self.mistakes.len()
    }

    /// The warnings, if there is no mistake.
    pub(super) fn finish(mut self) -> Result<Vec<String>, ConfigErrors> {
        if self.mistakes.is_empty() {
            return Ok(self.warnings);
        }
        self.mistakes.sort();
        Err(ConfigErrors(self.mistakes))
    }
}

/// A value as a mistake may quote it: on one line and not too long, and nothing of it where it looks as if an address
/// or a password had slipped into the wrong field.
pub(super) fn shown(value: &str) -> String {
    const MAX_CHARACTERS: usize = 60;
    let lower = value.to_ascii_lowercase();
    if ["@", "://", "jdbc:", "passw", "pwd", "secret", "token"].iter().any(|sign| lower.contains(sign)) {
        return "the value (not shown, because it may hold a password)".to_owned();
    }
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut short: String = value.chars().take(MAX_CHARACTERS).map(visible).collect();
    if MAX_CHARACTERS < value.chars().count() {
        short.push('…');
    }
    format!("`{short}`")
}

/// `; did you mean …?` when one of the candidates is close to the word, regardless of case, `_` and `-`.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, candidates) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// The candidate that is closest to the word, if one is close.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, a likeness is more often chance than a slip.
    const LEAST_LIKENESS: f64 = 0.6;
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| LEAST_LIKENESS <= *likeness)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// From 0, nothing in common, to 1, the same but for case, `_` and `-`.
pub(super) fn likeness(a: &str, b: &str) -> f64 {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    strsim::normalized_damerau_levenshtein(&plain(a), &plain(b))
}
