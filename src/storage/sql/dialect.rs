//! What differs between SQL databases in the statements of a read.
//!
//! Beyond a dialect, statements use only what all of them share: `SELECT … FROM … WHERE … GROUP BY`, `UNION ALL`, derived
//! tables, scalar subqueries, `EXISTS`, `CASE`, `COALESCE`, `count`, `min`, `max`, `sum` and `%`.

use jiff::Timestamp;

/// A value bound to a statement. No value is ever written into the SQL text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    Text(String),
    Int(i64),
    Real(f64),
}

/// A condition in SQL, with a `?` for each of its values.
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

/// A `SELECT` whose rows may be ordered and limited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Select<'a> {
    /// What follows `SELECT`.
    pub(super) columns: &'a str,
    /// What follows `FROM`: tables, `WHERE`, `GROUP BY`. Empty for a row without a table.
    pub(super) from: &'a str,
    /// What follows `ORDER BY`; empty for no order.
    pub(super) order_by: &'a str,
    /// The number of rows.
    pub(super) limit: Option<u64>,
}

/// Where the state PROCESSING is in a job's JSON: around the last key `serverId`.
pub(super) struct LastState;

impl LastState {
    /// Characters that are read before the key: those of the state's other members, in the order of any JSON mapper.
    pub(super) const BEFORE: usize = 400;
    /// Characters that are read in all. The name of the server has at most 128.
    pub(super) const CHARACTERS: usize = 1_000;
    /// The key, with its quotes.
    pub(super) const KEY: &str = crate::jobrunr::SERVER_ID_KEY;
}

/// What differs between SQL databases.
pub(super) trait Dialect: Send + Sync {
    /// The placeholder of the `n`-th value, from 1.
    fn placeholder(&self, n: usize) -> String;

    /// A `SELECT`, whole or as a subquery. In a subquery an order without a limit only suggests an index; a dialect that does
    /// not allow it there can drop it.
    fn select(&self, select: &Select<'_>) -> String {
        let Select { columns, from, order_by, limit } = *select;
        let clause =
            |keyword: &str, text: &str| if text.is_empty() { String::new() } else { format!(" {keyword} {text}") };
        let limit = limit.map(|n| n.to_string()).unwrap_or_default();
        let (from, order_by, limit) = (clause("FROM", from), clause("ORDER BY", order_by), clause("LIMIT", &limit));
        format!("SELECT {columns}{from}{order_by}{limit}")
    }

    /// Casts an expression to a 64-bit integer.
    fn int(&self, expression: &str) -> String;

    /// Casts an expression to text; `NULL` stays `NULL`.
    fn text(&self, expression: &str) -> String;

    /// The length of a text, in bytes or characters.
    fn length(&self, expression: &str) -> String {
        format!("length({expression})")
    }

    /// The first characters of a text.
    fn first_characters(&self, expression: &str, n: usize) -> String {
        format!("substr({expression}, 1, {n})")
    }

    /// The last characters of a text that is longer.
    fn last_characters(&self, expression: &str, n: usize) -> String;

    /// A condition that the text in a column is at most so long, told without reading it; `None` where a long one costs nothing if
    /// only other columns are read.
    fn is_short(&self, column: &str, max_bytes: usize) -> Option<String> {
        let _ = (column, max_bytes);
        None
    }

    /// The beginning of what a finished job's JSON has as its `processDuration`, in `n` characters; something else if it has none,
    /// and `NULL` if it is longer than `max_bytes`. Where the database cannot look into JSON that may be invalid, the last one in
    /// the text counts: a text in JSON cannot contain the pattern unescaped, and most mappers write `jobHistory` after the job's
    /// parameters. Gson writes them after it, so that there a parameter with a field of that name counts instead.
    fn process_duration(&self, json: &str, max_bytes: usize, n: usize) -> String;

    /// The part of a job's JSON that contains the last element of `jobHistory`, which is a state PROCESSING: at most
    /// [`LastState::CHARACTERS`] characters. `column` has a type of the database's.
    fn last_state(&self, column: &str, column_type: &str) -> String;

    /// An id as text.
    fn id_text(&self, column: &str, column_type: &str) -> String {
        let _ = column_type;
        self.text(column)
    }

    /// An id from the placeholder of its text, so that it is compared through the index.
    fn id_value(&self, placeholder: &str, column_type: &str) -> String {
        let _ = column_type;
        placeholder.to_owned()
    }

    /// Concatenates texts.
    fn concatenated(&self, texts: &[&str]) -> String {
        texts.join(" || ")
    }

    /// A UTC wall-clock column as microseconds since 1970, regardless of the session's time zone; `NULL` outside the years 1 to
    /// 9999.
    fn micros(&self, column: &str) -> String;

    /// The earliest time of a group of rows, as [`micros`](Self::micros).
    fn earliest_micros(&self, column: &str) -> String {
        self.micros(&format!("min({column})"))
    }

    /// A column in a form in which all values can be compared with one another and with [`is_at_most`](Self::is_at_most).
    fn comparable(&self, column: &str) -> String {
        column.to_owned()
    }

    /// A condition for the rows whose [comparable](Self::comparable) column is at or before `instant`. One expression, which
    /// need not use an index.
    fn is_at_most(&self, comparable: &str, instant: Timestamp) -> Condition;

    /// Conditions for the rows whose column is at or after `from` and at or before `until`, each answered by an index on the
    /// column. Several if the database stores times in several forms; no row satisfies two of them.
    fn in_range(&self, column: &str, from: Option<Timestamp>, until: Timestamp) -> Vec<Condition>;

    /// Conditions for the rows whose column is after `instant`, as [`in_range`](Self::in_range).
    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition>;

    /// A condition for the rows whose column is at or after `cursor`, answered by an index. `None` if the database keeps no
    /// index entries of jobs that have moved on, so that there is nothing to skip.
    fn since_cursor(&self, column: &str, cursor: Timestamp) -> Option<Condition>;

    /// Conditions for the rows whose column is in the years 1 to 9999, each such that its values can be compared with one
    /// another. A single empty condition if all values can.
    fn value_classes(&self, column: &str) -> Vec<String>;

    /// Conditions for the rows whose column is before year 1.
    fn before_calendar(&self, column: &str) -> Vec<String>;

    /// Conditions for the rows whose column is after year 9999.
    fn after_calendar(&self, column: &str) -> Vec<String>;
}
