//! What the statements assume of a database: nothing that is not in its dialect.

use jiff::SignedDuration;

use super::super::dialect::{Condition, LastState};
use super::super::schema::{Columns, Schema, Table};
use super::*;
use crate::config::Config;
use crate::storage::plan::{DuePlan, QueuePlan};
use crate::storage::rows::ExcerptKind;

/// A database in the manner of SQL Server: no `LIMIT`, no `||`, and no order in a subquery without a limit.
struct TopDialect;

fn wall_clock(instant: Timestamp) -> Vec<Bind> {
    vec![Bind::Text(instant.to_string())]
}

impl Dialect for TopDialect {
    fn placeholder(&self, n: usize) -> String {
        format!("@P{n}")
    }

    fn select(&self, select: &Select<'_>) -> String {
        let Select { columns, from, order_by, limit } = *select;
        let top = limit.map(|n| format!("TOP ({n}) ")).unwrap_or_default();
        let from = if from.is_empty() { String::new() } else { format!(" FROM {from}") };
        let order =
            if order_by.is_empty() || limit.is_none() { String::new() } else { format!(" ORDER BY {order_by}") };
        format!("SELECT {top}{columns}{from}{order}")
    }

    fn int(&self, expression: &str) -> String {
        format!("CAST({expression} AS bigint)")
    }

    fn text(&self, expression: &str) -> String {
        format!("CAST({expression} AS nvarchar(max))")
    }

    fn length(&self, expression: &str) -> String {
        format!("LEN({expression})")
    }

    fn first_characters(&self, expression: &str, n: usize) -> String {
        format!("LEFT({expression}, {n})")
    }

    fn last_characters(&self, expression: &str, n: usize) -> String {
        format!("RIGHT({expression}, {n})")
    }

    fn process_duration(&self, json: &str, max_bytes: usize, n: usize) -> String {
        let after = format!("RIGHT({json}, CHARINDEX(REVERSE('\"processDuration\":'), REVERSE({json})) - 1)");
        format!("CASE WHEN LEN({json}) <= {max_bytes} THEN LEFT({after}, {n}) END")
    }

    fn last_state(&self, column: &str, _column_type: &str) -> String {
        let (json, key): (String, String) = (self.text(column), LastState::KEY.chars().rev().collect());
        let end = format!("LEN({json}) - CHARINDEX('{key}', REVERSE({json}))");
        format!("SUBSTRING({json}, {end} - {}, {})", LastState::BEFORE, LastState::CHARACTERS)
    }

    fn concatenated(&self, texts: &[&str]) -> String {
        format!("CONCAT({})", texts.join(", "))
    }

    fn micros(&self, column: &str) -> String {
        format!("DATEDIFF_BIG(microsecond, '1970-01-01', {column})")
    }

    fn is_at_most(&self, column: &str, instant: Timestamp) -> Condition {
        Condition::new(format!("{column} <= ?"), wall_clock(instant))
    }

    fn in_range(&self, column: &str, _from: Option<Timestamp>, until: Timestamp) -> Vec<Condition> {
        vec![self.is_at_most(column, until)]
    }

    fn after(&self, column: &str, instant: Timestamp) -> Vec<Condition> {
        vec![Condition::new(format!("{column} > ?"), wall_clock(instant))]
    }

    fn since_cursor(&self, column: &str, cursor: Timestamp) -> Option<Condition> {
        Some(Condition::new(format!("{column} >= ?"), wall_clock(cursor)))
    }

    fn value_classes(&self, _column: &str) -> Vec<String> {
        vec![String::new()]
    }

    fn before_calendar(&self, _column: &str) -> Vec<String> {
        Vec::new()
    }

    fn after_calendar(&self, _column: &str) -> Vec<String> {
        Vec::new()
    }
}

fn schema() -> Schema {
    let env = [("JOBRUNR_SCALER_URL".to_owned(), "postgres://h/orders".to_owned())];
    let config = Config::load(None, env).unwrap().config.storages.into_values().next().unwrap();
    let columns = |names: &str| -> Columns { names.split(' ').map(|name| (name.to_owned(), "x".to_owned())).collect() };
    let tables = [
        columns(
            "id version jobAsJson jobSignature state updatedAt scheduledAt recurringJobId priority serverTag dynamicQueue",
        ),
        columns("id name firstHeartbeat workerPoolSize pollIntervalInSeconds lastHeartbeat occupiedWorkers serverTags"),
        columns("id jobAsJson createdAt"),
        columns("script"),
        Columns::new(),
    ];
    assert_eq!(tables.len(), Table::ALL.len());
    Schema::new(&config, "orders", tables, vec!["scheduledAt".to_owned(), "state,updatedAt".to_owned()]).unwrap()
}

/// Every statement, of plans that use everything.
fn statements(schema: &Schema) -> Vec<Statement> {
    let writer = || Writer::new(&TopDialect, schema, 4);
    let now = Timestamp::UNIX_EPOCH;
    let filter = Filter {
        priority: Some(1),
        server_tag: Some("gpu".into()),
        dynamic_queue: Some("a".into()),
        ..Filter::default()
    };
    let due = DuePlan { scan_by_time: true, earliest: Some(now) };
    let cursor = crate::storage::plan::QueueCursor { enqueued: now, processing: now };
    let until = vec![now, now + SignedDuration::from_mins(1)];
    let queue =
        QueuePlan { filter: &filter, cursor: Some(cursor), until, scheduled: due, awaiting: Some(due), work: true };
    let plan = |count_limit| ReadPlan {
        now,
        count_limit,
        enqueued_limit: count_limit,
        bounds: ReadBounds::default(),
        queues: vec![queue.clone()],
        recurring: true,
        first_cursor: Some(cursor),
    };
    let mut statements = [Some(10), None].into_iter().flat_map(|limit| writer().read(&plan(limit))).collect::<Vec<_>>();
    statements.extend([
        writer().probe(Some(now), true),
        writer().earliest_due(&filter, DueState::Awaiting, now),
        writer().definitions(&ReadBounds::default()),
        writer().migration("jobrunr_migrations"),
        writer().running(10, Some(now)),
        writer().excerpts(&["a", "b"], ExcerptKind::LastState),
        writer().excerpts(&["a"], ExcerptKind::Whole),
        writer().active_runs_of(&["a", "b"], &["ENQUEUED", "SCHEDULED"]),
    ]);
    statements
}

#[test]
fn statements_use_nothing_beyond_the_dialect() {
    let statements = statements(&schema());
    for Statement { sql, .. } in &statements {
        for foreign in ["LIMIT", "||", "::", "substr", "length(", "GREATEST", "LEAST"] {
            assert!(!sql.contains(foreign), "{foreign} in {sql}");
        }
        // Each order is that of a limited SELECT.
        assert!(sql.matches(" ORDER BY ").count() <= sql.matches("SELECT TOP (").count(), "{sql}");
    }
    assert!(statements.iter().any(|statement| statement.sql.contains("SELECT TOP (")));
}

#[test]
fn statements_bind_values_in_the_order_of_their_placeholders() {
    for Statement { sql, binds } in statements(&schema()) {
        let placeholders = sql.split("@P").skip(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap()
        });
        let placeholders: Vec<usize> = placeholders.collect();
        let n_binds = binds.len();
        assert_eq!(placeholders.len(), n_binds, "{sql}");
        // Where a database has no numbers, the order counts; two equal values may be swapped.
        let values = |numbers: &[usize]| numbers.iter().map(|n| binds[n - 1].clone()).collect::<Vec<_>>();
        assert_eq!(values(&placeholders), values(&(1..=n_binds).collect::<Vec<_>>()), "{sql}");
    }
}
