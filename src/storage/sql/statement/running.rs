//! The statements that read which jobs run, and on which server.

use jiff::Timestamp;

use super::decode::RowKind;
use super::{Bind, Part, Statement, Writer};
use crate::storage::rows::{ExcerptKind, MAX_KIND_CHARACTERS, MAX_WHOLE_CHARACTERS};

/// The lengths of a list of ids. A list is filled up with its last id, so that there are few different statements.
const LIST_LENGTHS: [usize; 4] = [1, 8, 50, 200];

impl Writer<'_> {
    /// Lists the jobs in state PROCESSING, from the cursor on.
    pub(in super::super) fn running(mut self, limit: u64, since: Option<Timestamp>) -> Statement {
        if !self.schema.jobs_have("id") {
            return self.statement;
        }
        let since_cursor = self.since_cursor(since);
        let from = format!("{} WHERE state = 'PROCESSING'{since_cursor}", self.schema.jobs);
        let id = self.dialect.id_text("id", self.schema.jobs_type("id"));
        let version = self.schema.jobs_have("version").then(|| self.dialect.int("version"));
        let part = Part {
            numbers: [version.as_deref(), None, None, None],
            text: Some(&id),
            from: &from,
            order_by: super::parts::cursor_order(since),
            limit: Some(limit),
            ..Part::default()
        };
        self.part(RowKind::Running, &part);
        self.statement
    }

    /// Reads parts of the records of jobs that still run: those that have ended since they were listed are on no server.
    pub(in super::super) fn excerpts(mut self, ids: &[&str], kind: ExcerptKind) -> Statement {
        let (dialect, schema) = (self.dialect, self.schema);
        let Some(last) = ids.last().filter(|_| schema.jobs_have("jobAsJson")) else { return self.statement };
        let id_type = schema.jobs_type("id");
        let json = match kind {
            ExcerptKind::LastState => dialect.last_state("jobAsJson", schema.jobs_type("jobAsJson")),
            ExcerptKind::Whole => {
                let json = dialect.text("jobAsJson");
                format!("CASE WHEN {} <= {MAX_WHOLE_CHARACTERS} THEN {json} END", dialect.length(&json))
            }
        };
        let kind = schema
            .jobs_have("jobSignature")
            .then(|| dialect.first_characters(&dialect.text("jobSignature"), MAX_KIND_CHARACTERS));
        let or_empty = |text: &str| format!("COALESCE({text}, '')");
        let (id, kind) = (dialect.id_text("id", id_type), or_empty(kind.as_deref().unwrap_or("NULL")));
        let text = dialect.concatenated(&[&id, "'\n'", &kind, "'\n'", &or_empty(&json)]);
        let length = LIST_LENGTHS.into_iter().find(|length| ids.len() <= *length).unwrap_or(ids.len());
        let filled = ids.iter().chain(std::iter::repeat(last)).take(length);
        let values: Vec<String> = filled
            .map(|id| {
                let placeholder = self.bind(Bind::Text((*id).to_owned()));
                dialect.id_value(&placeholder, id_type)
            })
            .collect();
        let from = format!("{} WHERE id IN ({}) AND state = 'PROCESSING'", schema.jobs, values.join(", "));
        self.part(RowKind::Excerpt, &Part { text: Some(&text), from: &from, ..Part::default() });
        self.statement
    }
}
