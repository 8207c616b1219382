//! Errors in a trigger's metadata.

use std::fmt;

use thiserror::Error;

use super::metadata::{MAX_CHARS, MAX_KEYS};
use crate::text::joined;

/// One error in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A required key is missing.
    #[error("`{key}` is missing; allowed is {allowed}{hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What is allowed.
        allowed: String,
        /// A suggestion, if there is an unknown key with a similar name.
        hint: String,
    },
    /// A value is invalid.
    #[error("`{key}` is `{value}`; allowed is {allowed}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// The value, shortened if it is very long.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// There are too many keys.
    #[error("there are {n_keys} keys; allowed are at most {MAX_KEYS}")]
    TooManyKeys {
        /// How many.
        n_keys: usize,
    },
    /// A key is too long.
    #[error("the key `{key}` has {n_chars} characters; allowed are at most {MAX_CHARS}")]
    LongKey {
        /// The key, shortened.
        key: String,
        /// Its length in characters.
        n_chars: usize,
    },
}

impl MetadataError {
    /// Returns the key of ours that the error is about, if it is about one.
    pub(super) fn key(&self) -> Option<&'static str> {
        match self {
            Self::Missing { key, .. } | Self::Invalid { key, .. } => Some(key),
            Self::TooManyKeys { .. } | Self::LongKey { .. } => None,
        }
    }
}

/// All errors in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MetadataErrors(pub Vec<MetadataError>);

impl fmt::Display for MetadataErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trigger metadata: {}", joined(&self.0, "; "))
    }
}
