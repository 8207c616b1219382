//! The ScaledObject that a call is about.

use std::fmt;

use thiserror::Error;

use crate::text::printable;

/// The longest name in Kubernetes: a DNS subdomain of RFC 1123.
const MAX_LENGTH: usize = 253;

/// The namespace and the name of a ScaledObject. Both are ASCII and bounded, so they can be stored, logged and used as labels
/// unchanged. Either is empty if a call leaves it out, as a manual call may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScaledObjectKey {
    namespace: Box<str>,
    name: Box<str>,
}

/// A namespace or a name that is invalid in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the {part} of the ScaledObject is `{value}`; allowed are at most {MAX_LENGTH} characters of a-z, 0-9, `-` and `.`"
)]
pub struct KeyError {
    part: &'static str,
    value: String,
}

impl ScaledObjectKey {
    /// Parses the namespace and the name in a call.
    ///
    /// # Errors
    /// [`KeyError`] names the first invalid part.
    pub fn parse(namespace: &str, name: &str) -> Result<Self, KeyError> {
        Ok(Self { namespace: part("namespace", namespace)?, name: part("name", name)? })
    }

    /// The namespace, as the caller states it. Only TLS with client certificates makes it trustworthy.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ScaledObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn part(part: &'static str, text: &str) -> Result<Box<str>, KeyError> {
    let is_allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    if text.len() <= MAX_LENGTH && text.bytes().all(is_allowed) {
        return Ok(text.into());
    }
    Err(KeyError { part, value: printable(text, 80) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_accepts_names_of_kubernetes_only() {
        let check = |namespace: &str, name: &str, expected: Result<&str, &str>| match (
            ScaledObjectKey::parse(namespace, name),
            expected,
        ) {
            (Ok(key), Ok(expected)) => assert_eq!(key.to_string(), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
            (result, expected) => panic!("{namespace:?} {name:?}: {result:?}, not {expected:?}"),
        };
        check("shop", "worker-2.example", Ok("shop/worker-2.example"));
        check("", "", Ok("/"));
        check("Shop", "x", Err("the namespace of the ScaledObject is `Shop`; allowed are at most 253 characters"));
        check("shop", "a\nb", Err("the name of the ScaledObject is `a\u{fffd}b`; "));
        check("shop", "a/b", Err("the name"));
        assert!(ScaledObjectKey::parse(&"x".repeat(253), "").is_ok());
        assert!(ScaledObjectKey::parse(&"x".repeat(254), "").is_err());
    }
}
