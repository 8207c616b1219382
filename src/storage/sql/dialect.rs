//! What differs between SQL databases.

use jiff::Timestamp;

use super::statement::Bind;

/// A condition in SQL, each `?` in it standing for one of the values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) binds: Vec<Bind>,
}

impl Condition {
    pub(super) fn new(sql: impl Into<String>, binds: Vec<Bind>) -> Self {
        Self { sql: sql.into(), binds }
    }
}

/// What differs between SQL databases.
pub(super) trait Dialect: Send + Sync {
    /// The placeholder of the `n`-th value, from 1.
    fn placeholder(&self, n: usize) -> String;

    /// Casts an expression to a 64-bit integer.
    fn int(&self, expression: &str) -> String;

    /// An expression as text; `NULL` where it is missing.
    fn text(&self, expression: &str) -> String;

    /// The length of a text, in bytes or characters.
    fn length(&self, expression: &str) -> String {
        format!("length({expression})")
    }

    /// The first characters of a text.
    fn first_characters(&self, expression: &str, n: usize) -> String {
        format!("substr({expression}, 1, {n})")
    }

    /// The last characters of a text that has more.
    fn last_characters(&self, expression: &str, n: usize) -> String;

    /// Texts one after the other.
    fn concatenated(&self, texts: &[&str]) -> String {
        texts.join(" || ")
    }

    /// Limits the rows of a statement.
    fn limit(&self, n: u64) -> String {
        format!(" LIMIT {n}")
    }

    /// A UTC wall-clock column as microseconds since 1970, whatever the time zone of the session; `NULL` outside the years
    /// 1 to 9999.
    fn micros(&self, column: &str) -> String;

    /// The earliest instant of a group of rows, as [`micros`](Self::micros).
    fn earliest_micros(&self, column: &str) -> String {
        self.micros(&format!("min({column})"))
    }

    /// A column in a form of which all values can be compared with one another, and with [`is_at_most`](Self::is_at_most).
    fn comparable(&self, column: &str) -> String {
        column.to_owned()
    }

    /// A condition for the rows whose [comparable](Self::comparable) column is at or before `instant`, which need not use an
    /// index.
    fn is_at_most(&self, comparable: &str, instant: Timestamp) -> Condition;

    /// Conditions for the rows whose column is at or after `from` and at or before `until`, each answered by an index on the
    /// column. Several where the database keeps instants in several forms; no row meets two of them.
    fn between(&self, column: &str, from: Option<Timestamp>, until: Timestamp) -> Vec<Condition>;

    /// The same as [`between`](Self::between) for the rows whose column is after `instant`.
    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition>;

    /// A condition for the rows whose column is at or after `instant`, answered by an index. `None` where the database keeps
    /// no entries of what has moved on, so that there is nothing to skip.
    fn skip_to(&self, column: &str, instant: Timestamp) -> Option<Condition>;

    /// Conditions for the rows whose column is an instant of the years 1 to 9999, each such that its values can be compared
    /// with one another. The empty condition where that is all.
    fn value_classes(&self, column: &str) -> Vec<String>;

    /// Conditions for the rows whose column lies before year 1.
    fn before_calendar(&self, column: &str) -> Vec<String>;

    /// Conditions for the rows whose column lies after year 9999.
    fn after_calendar(&self, column: &str) -> Vec<String>;
}
