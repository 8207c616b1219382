//! YAML as a tree in which every value knows its position in the text.
//!
//! A tree of our own, not structs with derived readers: those stop at the first problem, their messages may quote a secret, and
//! they do not tell a number from a text that looks like one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Error, Localizer, Location, Spanned, UserMessageFormatter};

/// A position in the text. Line and column are counted from 1; 0 means unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A value and its position.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
    /// The bytes of the text that define the value; empty if the parser does not say.
    bytes: Range<usize>,
}

/// A YAML value.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One key of a mapping, and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) node: Node,
}

/// Why a text is not YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// The position; `None` if the parser does not say.
    pub(crate) at: Option<Position>,
    /// The parser's message, without the position. It may quote the text.
    pub(crate) message: String,
    pub(crate) kind: SyntaxErrorKind,
}

/// What [`SyntaxError`] is about, without any part of the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SyntaxErrorKind {
    /// A key is in its mapping twice.
    DuplicateKey,
    /// There is a second document.
    MultipleDocuments,
    /// A message that never quotes the text.
    Fixed(String),
    /// Anything else.
    Other,
}

/// Reads a text of one document. `None` if it is empty.
pub(crate) fn document(text: &str) -> Result<Option<Node>, SyntaxError> {
    Ok(serde_saphyr::from_str_with_options(text, options())?)
}

/// Reads all documents of a text. Empty ones are left out.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, SyntaxError> {
    Ok(serde_saphyr::from_multiple_with_options(text, options())?)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // A snippet of the text could hold a password.
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

impl Node {
    /// Returns the value as it is written in `text`, from which the node was read: `0123` and `1e5` are numbers to YAML, but may
    /// be passwords. `None` if the parser does not say where it is.
    pub(crate) fn written<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.get(self.bytes.clone()).filter(|written| !written.is_empty())
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl From<Error> for SyntaxError {
    fn from(error: Error) -> Self {
        let kind = match error.without_snippet() {
            Error::DuplicateMappingKey { .. } => SyntaxErrorKind::DuplicateKey,
            Error::MultipleDocuments { .. } => SyntaxErrorKind::MultipleDocuments,
            // The parser's messages are fixed, except for this one.
            Error::ExternalMessage { msg, .. } if !msg.contains("unexpected character") => {
                SyntaxErrorKind::Fixed(msg.clone())
            }
            _ => SyntaxErrorKind::Other,
        };
        let formatter = UserMessageFormatter.with_localizer(&WithoutPosition);
        let message = error.render_with_formatter(&formatter);
        Self { at: error.location().map(Position::from), message, kind }
    }
}

/// Keeps the parser from repeating the position in its message.
struct WithoutPosition;

impl Localizer for WithoutPosition {
    fn attach_location<'a>(&self, message: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        message
    }
}

impl fmt::Display for Value {
    /// Names a value as a message does: `"text"`, `the number 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("empty"),
            Self::Flag(flag) => write!(f, "the boolean {flag}"),
            Self::Whole(number) => write!(f, "the number {number}"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let bytes = bytes(spanned.defined).unwrap_or_default();
        Ok(Self { at: spanned.referenced.into(), value: spanned.value, bytes })
    }
}

fn bytes(location: Location) -> Option<Range<usize>> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    Some(start..start.checked_add(length)?)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Number(number as f64), Value::Whole))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Number(number as f64), Value::Whole))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Number(number as f64), Value::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let node = map.next_value()?;
            entries.push(Entry { key: key.value, at: key.referenced.into(), node });
        }
        Ok(Value::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_position_and_how_they_are_written() {
        let text = "a: &x 0123 # comment\nb: [1e5, *x]\nc: {d: 'it''s'}\n";
        let node = document(text).unwrap().unwrap();
        let Value::Mapping(entries) = &node.value else { panic!("{node:?}") };
        let check = |node: &Node, line, column, written: &str| {
            assert_eq!(node.at, Position { line, column });
            assert_eq!(node.written(text), Some(written));
        };
        check(&entries[0].node, 1, 7, "0123");
        let Value::List(list) = &entries[1].node.value else { panic!("{node:?}") };
        check(&list[0], 2, 5, "1e5");
        // Where the alias stands, and what it stands for.
        check(&list[1], 2, 10, "0123");
        assert_eq!((entries[2].key.as_str(), entries[2].at), ("c", Position { line: 3, column: 1 }));
        let Value::Mapping(inner) = &entries[2].node.value else { panic!("{node:?}") };
        assert_eq!(inner[0].node.value.to_string(), "\"it's\"");
    }

    #[test]
    fn numbers_of_any_size_are_numbers() {
        let check = |text: &str, expected: &str| {
            assert_eq!(document(text).unwrap().unwrap().value.to_string(), expected, "{text}");
        };
        check("9223372036854775807", "the number 9223372036854775807");
        check("9223372036854775808", "the number 9223372036854776000");
        check("-1", "the number -1");
        check("99999999999999999999", "the number 100000000000000000000");
        check(".inf", "the number inf");
        check("1e999", "the number inf");
        check("true", "the boolean true");
    }

    #[test]
    fn documents_leave_out_empty_ones() {
        assert!(document("").unwrap().is_none() && document("# nothing\n").unwrap().is_none());
        assert_eq!(documents("---\na: 1\n---\n---\nb: 2\n").unwrap().len(), 2);
    }

    #[test]
    fn syntax_errors_have_a_kind_that_quotes_nothing() {
        let kind = |text: &str| document(text).unwrap_err().kind;
        assert_eq!(kind("a: 1\na: 2"), SyntaxErrorKind::DuplicateKey);
        assert_eq!(kind("a: 1\n---\nb: 2"), SyntaxErrorKind::MultipleDocuments);
        assert_eq!(kind("a: 1\n---\n"), SyntaxErrorKind::MultipleDocuments);
        assert_eq!(kind("a: \"secret"), SyntaxErrorKind::Fixed("unclosed quote".to_owned()));
        assert_eq!(kind("a: @secret"), SyntaxErrorKind::Other);
        let error = documents("a: 1\na: 2").unwrap_err();
        assert_eq!(
            (error.at, error.message.contains("line")),
            (Some(Position { line: 2, column: 1 }), false),
            "{error:?}"
        );
    }
}
