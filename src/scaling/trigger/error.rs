//! What can be wrong with a trigger's metadata.

use std::fmt;

use thiserror::Error;

use super::metadata::{MAX_CHARS, MAX_KEYS};

/// One mistake in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A key that has to be there is not.
    #[error("`{key}` is missing; allowed is {allowed}{hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What is allowed.
        allowed: String,
        /// Where a key of nearly that name is given: the question whether that was meant.
        hint: String,
    },
    /// A value that cannot be.
    #[error("`{key}` is `{value}`; allowed is {allowed}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// The value as given, shortened where it is very long.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// More keys than anybody writes.
    #[error("there are {n_keys} keys; allowed are at most {MAX_KEYS}")]
    TooManyKeys {
        /// How many there are.
        n_keys: usize,
    },
    /// A key that is longer than any.
    #[error("the key `{key}` has {n_chars} characters; allowed are at most {MAX_CHARS}")]
    LongKey {
        /// The key, shortened.
        key: String,
        /// How long it is.
        n_chars: usize,
    },
}

impl MetadataError {
    /// The key of ours that is wrong, if it is one.
    pub(super) fn key(&self) -> Option<&'static str> {
        match self {
            Self::Missing { key, .. } | Self::Invalid { key, .. } => Some(key),
            Self::TooManyKeys { .. } | Self::LongKey { .. } => None,
        }
    }
}

/// All mistakes in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MetadataErrors(pub Vec<MetadataError>);

impl fmt::Display for MetadataErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "trigger metadata: {}", texts.join("; "))
    }
}
