//! JobRunr's table prefix, the only external text that becomes part of SQL.
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest identifier of PostgreSQL. MySQL takes one more, SQLite any length.
const MAX_IDENTIFIER: usize = 63;

/// What JobRunr puts before `jobrunr_jobs` and its other tables, by plain concatenation: empty, `tbl_`, `myschema.` or
/// `myschema.tbl_`. Checked to consist of plain identifiers, so that it is safe in SQL without quotes, as JobRunr writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablePrefix(String);

impl TablePrefix {
    /// Returns the prefix as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the schema (in MySQL: the database) before the dot, if there is one.
    pub fn schema(&self) -> Option<&str> {
        self.0.split_once('.').map(|(schema, _)| schema)
    }

    /// Returns the name of one of JobRunr's tables: `table("jobs")` is `myschema.tbl_jobrunr_jobs`.
    pub fn table(&self, name: &str) -> String {
        format!("{}jobrunr_{name}", self.0)
    }

    /// Returns what JobRunr puts before the names of its indexes: the part after the dot.
    pub fn index_prefix(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, tables)| tables)
    }
}

impl fmt::Display for TablePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TablePrefix {
    type Err = TablePrefixError;

    fn from_str(text: &str) -> Result<Self, TablePrefixError> {
        let (schema, tables) = match text.split_once('.') {
            Some((schema, tables)) => (Some(schema), tables),
            None => (None, text),
        };
        if tables.contains('.') {
            return Err(TablePrefixError::Dots);
        }
        if let Some(schema) = schema {
            check_identifier(schema)?;
        }
        if !tables.is_empty() {
            check_identifier(tables)?;
        }
        Ok(TablePrefix(text.to_owned()))
    }
}

fn check_identifier(text: &str) -> Result<(), TablePrefixError> {
    let mut characters = text.chars();
    match characters.next() {
        None => return Err(TablePrefixError::NoSchema),
        Some('A'..='Z' | 'a'..='z' | '_') => {}
        Some(_) => return Err(TablePrefixError::Start),
    }
    if let Some(bad) = characters.find(|c| !matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '$')) {
        return Err(TablePrefixError::Character(bad));
    }
    if MAX_IDENTIFIER < text.len() {
        return Err(TablePrefixError::Length);
    }
    Ok(())
}

/// Why a text is not a table prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TablePrefixError {
    /// More than one dot.
    #[error("has more than one dot; use the form `tbl_`, `myschema.` or `myschema.tbl_`")]
    Dots,
    /// A dot with nothing before it.
    #[error("has no schema before the dot; use the form `tbl_`, `myschema.` or `myschema.tbl_`")]
    NoSchema,
    /// A part that starts with a digit, `$` or an invalid character.
    #[error("has a part that does not start with a letter A-Z or a-z, or `_`; quotes and spaces are not allowed")]
    Start,
    /// Anything that would need quotes in SQL.
    #[error(
        "has the character {0:?}; allowed are letters A-Z and a-z, digits, `_` and `$`, and one dot after a schema; JobRunr \
         writes the prefix into SQL without quotes, so give it without"
    )]
    Character(char),
    /// Longer than the databases allow.
    #[error("has a part of more than 63 characters, the longest name that databases allow")]
    Length,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_prefix_has_a_schema_tables_and_indexes() {
        for (prefix, schema, jobs, index) in [
            ("", None, "jobrunr_jobs", ""),
            ("tbl_", None, "tbl_jobrunr_jobs", "tbl_"),
            ("myschema.", Some("myschema"), "myschema.jobrunr_jobs", ""),
            ("myschema.tbl_", Some("myschema"), "myschema.tbl_jobrunr_jobs", "tbl_"),
            ("_A9$.b", Some("_A9$"), "_A9$.bjobrunr_jobs", "b"),
        ] {
            let parsed: TablePrefix = prefix.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.schema()), (prefix, schema));
            assert_eq!((parsed.table("jobs").as_str(), parsed.index_prefix()), (jobs, index));
        }
    }

    #[test]
    fn table_prefix_that_would_need_quotes_is_rejected() {
        use TablePrefixError::*;
        let long = "a".repeat(64);
        for (prefix, expected) in [
            ("a.b.c", Dots),
            (".tbl_", NoSchema),
            (".", NoSchema),
            ("9lives_", Start),
            ("$x", Start),
            ("\"my schema\".", Start),
            ("tbl_; drop table x --", Character(';')),
            ("my-schema.", Character('-')),
            ("a'b", Character('\'')),
            ("täbelle_", Character('ä')),
            ("a\0", Character('\0')),
            (" tbl_", Start),
            ("tbl_ ", Character(' ')),
            (&long, Length),
        ] {
            assert_eq!(prefix.parse::<TablePrefix>(), Err(expected), "{prefix:?}");
        }
        assert!(long[1..].parse::<TablePrefix>().is_ok());
    }
}
