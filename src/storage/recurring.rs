//! Reads the recurring jobs: their definitions only when they have changed, their runs with each read.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::{Duration, Instant};

use super::StorageError;
use super::query::Connection;
use super::sql::{Part, Reading, Row, Runs, of, runs};
use crate::jobrunr::{Definition, Planning, Recurring, Snapshot};

/// Before JobRunr 5.1.3 nothing in the table tells that a definition has changed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Recurring jobs looked up one by one in a statement, where very many jobs are in the way of a look at all of them.
const IDS_A_STATEMENT: usize = 50;

/// What a session knows of the recurring jobs from earlier reads.
#[derive(Default)]
pub(super) struct Known {
    definitions: Option<Definitions>,
}

struct Definitions {
    all: Vec<Arc<Definition>>,
    /// How many there are, and the sum of their `createdAt`: JobRunr's own way to see that one has changed.
    mark: (Option<i64>, Option<i64>),
    planning: Planning,
    note: Option<String>,
    read_at: Instant,
}

impl Definitions {
    fn is_current(&self, mark: (Option<i64>, Option<i64>)) -> bool {
        self.mark == mark && (mark.1.is_some() || mark.0 == Some(0) || self.read_at.elapsed() < READ_AGAIN_AFTER)
    }
}

impl Known {
    /// Adds the recurring jobs to a snapshot, from the rows of its read and from what else has to be asked.
    pub(super) async fn add(
        &mut self,
        connection: &mut dyn Connection,
        reading: &Reading<'_>,
        rows: &[Row],
        snapshot: &mut Snapshot,
    ) -> Result<(), StorageError> {
        let definitions = match of(rows, Part::Recurring).next() {
            Some(row) => self.definitions(connection, reading, (row.a, row.b)).await?,
            None => {
                snapshot.recurring = Some(unreadable(reading));
                return Ok(());
            }
        };
        let mut found = runs(rows);
        look_for_others(connection, reading, &definitions.all, &mut found).await?;
        let slowest = snapshot.live_servers().map(|server| server.poll_interval).max();
        let (now, hold) = (snapshot.read_at, slowest.unwrap_or(SignedDuration::ZERO));
        let recurring = Recurring::new(definitions.planning, &definitions.all, &found.of, now, hold);
        snapshot.recurring = Some(Recurring { note: definitions.note.clone(), ..recurring });
        Ok(())
    }

    /// Whether the definitions are those that are known.
    pub(super) fn has_same_mark(&self, rows: &[Row]) -> bool {
        let mark = of(rows, Part::Recurring).next().map(|row| (row.a, row.b));
        mark.is_none_or(|mark| self.definitions.as_ref().is_some_and(|known| known.is_current(mark)))
    }

    async fn definitions(
        &mut self,
        connection: &mut dyn Connection,
        reading: &Reading<'_>,
        mark: (Option<i64>, Option<i64>),
    ) -> Result<&Definitions, StorageError> {
        let known = match self.definitions.take().filter(|known| known.is_current(mark)) {
            Some(known) => known,
            None => {
                let rows = connection.rows(reading.definitions()).await?;
                // A new version of the application defines its jobs anew when it starts, and may bring a new JobRunr.
                let (planning, note) = planning(connection, reading).await?;
                let all = of(&rows, Part::Definition).filter_map(definition).map(Arc::new).collect();
                Definitions { all, mark, planning, note, read_at: Instant::now() }
            }
        };
        Ok(self.definitions.insert(known))
    }
}

fn definition(row: &Row) -> Option<Definition> {
    let (id, json) = row.text.as_deref()?.split_once('\n')?;
    Some(Definition::parse(id, json, row.a))
}

/// Whoever has a thousand enqueued jobs hides which recurring jobs are among them: these are looked up one by one.
async fn look_for_others(
    connection: &mut dyn Connection,
    reading: &Reading<'_>,
    definitions: &[Arc<Definition>],
    found: &mut Runs,
) -> Result<(), StorageError> {
    if found.unseen_states.is_empty() {
        return Ok(());
    }
    let missing: Vec<&str> = definitions.iter().map(|d| d.id.as_str()).filter(|id| !found.of.contains(*id)).collect();
    let mut others = Vec::new();
    for ids in missing.chunks(IDS_A_STATEMENT) {
        others.extend(runs(&connection.rows(reading.runs_of(ids, &found.unseen_states)).await?).of);
    }
    found.of.extend(others);
    Ok(())
}

/// Which JobRunr works on the tables, and what to say where that is a guess.
async fn planning(
    connection: &mut dyn Connection,
    reading: &Reading<'_>,
) -> Result<(Planning, Option<String>), StorageError> {
    let schema = reading.schema;
    if let Some(version) = schema.jobrunr_version {
        return Ok((Planning::of_version(version), None));
    }
    if let Some(migrations) = &schema.migrations {
        let rows = connection.rows(reading.migration(migrations)).await?;
        let is_there = of(&rows, Part::Migration).any(|row| row.a.is_some_and(|n| 0 < n));
        if is_there {
            return Ok((Planning::AheadOfTime, None));
        }
    }
    if schema.is_version_8 {
        return Ok((Planning::AheadOfTime, None));
    }
    if schema.migrations.is_some() || schema.has_stats {
        return Ok((Planning::AtItsTime, None));
    }
    let note = "which JobRunr works here cannot be seen, since neither its migrations table nor its statistics view is \
                readable: taken for a version before 8; set jobrunrVersion";
    Ok((Planning::AtItsTime, Some(note.to_owned())))
}

fn unreadable(reading: &Reading<'_>) -> Recurring {
    let note = format!(
        "recurring jobs are not read: the table {} is not there, or the user has no SELECT on it",
        reading.schema.recurring_table
    );
    Recurring { planning: Planning::AheadOfTime, jobs: Vec::new(), note: Some(note) }
}
