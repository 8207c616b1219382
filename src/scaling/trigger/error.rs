//! Problems in a trigger's metadata.

use std::fmt;

use thiserror::Error;

use crate::text::joined;

/// Far more than the keys that there are.
pub(super) const MAX_KEYS: usize = 100;
/// The longest key and the longest value: longer filter values do not fit JobRunr's columns.
pub(super) const MAX_CHARS: usize = 128;

/// A problem in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataProblem {
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

impl MetadataProblem {
    /// Returns the key of ours that the problem is about, if it is about one.
    pub(super) fn key(&self) -> Option<&'static str> {
        match self {
            Self::Missing { key, .. } | Self::Invalid { key, .. } => Some(key),
            Self::TooManyKeys { .. } | Self::LongKey { .. } => None,
        }
    }
}

/// All problems in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MetadataErrors(pub Vec<MetadataProblem>);

impl fmt::Display for MetadataErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trigger metadata: {}", joined(&self.0, "; "))
    }
}
