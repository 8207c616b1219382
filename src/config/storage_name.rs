//! The name of a storage.
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::problem::quoted;

/// The name by which triggers ask for a storage: 1 to 40 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageName(String);

impl StorageName {
    /// The storage that the environment configures without a name, and that a trigger without a name asks for.
    pub const DEFAULT: &str = "default";

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StorageName {
    fn default() -> Self {
        StorageName(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for StorageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Allows to look up a map of names with a `&str`.
impl Borrow<str> for StorageName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorageName {
    type Err = StorageNameError;

    fn from_str(text: &str) -> Result<Self, StorageNameError> {
        let is_valid = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if is_valid && (1..=40).contains(&text.len()) {
            return Ok(StorageName(text.to_owned()));
        }
        Err(StorageNameError(quoted(text)))
    }
}

/// A text that is not the name of a storage.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} is not the name of a storage; use 1 to 40 of the letters a-z, the digits 0-9 and `-`")]
pub struct StorageNameError(String);
