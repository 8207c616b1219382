//! Reads the recurring jobs: their definitions only when they have changed, their runs with each read.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::{Duration, Instant};

use super::StorageError;
use super::rows::{DefinitionRow, RecurringMark, Rows};
use super::session::Source;
use crate::config::ReadBounds;
use crate::jobrunr::{Definition, Planning, Recurring, Snapshot};

/// Before JobRunr 5.1.3 nothing in the table shows that a definition has changed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Recurring jobs looked up one by one in a statement, where very many jobs are in the way of a look at all of them.
const IDS_PER_STATEMENT: usize = 50;

/// What a session knows of the recurring jobs from earlier reads.
#[derive(Default)]
pub(super) struct RecurringCache {
    definitions: Option<Definitions>,
}

struct Definitions {
    all: Vec<Arc<Definition>>,
    mark: RecurringMark,
    planning: Planning,
    note: Option<Arc<str>>,
    read_at: Instant,
}

impl Definitions {
    fn is_current(&self, mark: RecurringMark) -> bool {
        let shows_changes = mark.sum.is_some() || mark.n_definitions == 0;
        self.mark == mark && (shows_changes || self.read_at.elapsed() < READ_AGAIN_AFTER)
    }
}

impl RecurringCache {
    /// Adds the recurring jobs to a snapshot, from the rows of its read and from what else has to be asked.
    pub(super) async fn add(
        &mut self,
        source: &mut dyn Source,
        bounds: &ReadBounds,
        jobrunr_version: Option<u32>,
        rows: &Rows,
        snapshot: &mut Snapshot,
    ) -> Result<(), StorageError> {
        let Some(mark) = rows.recurring else {
            let note = source.facts().no_recurring.as_deref().map(Arc::from);
            snapshot.recurring = Some(Recurring { planning: Planning::AheadOfTime, jobs: Vec::new(), note });
            return Ok(());
        };
        let definitions = self.definitions(source, bounds, jobrunr_version, mark).await?;
        let mut active = rows.runs.ids.clone();
        if !rows.runs.truncated_states.is_empty() {
            let missing = definitions.all.iter().map(|definition| &*definition.id);
            let missing: Vec<&str> = missing.filter(|id| !active.contains(*id)).collect();
            active.extend(look_up(source, &missing, &rows.runs.truncated_states).await?);
        }
        let slowest = snapshot.live_servers().map(|server| server.poll_interval).max();
        let (now, grace) = (snapshot.read_at, slowest.unwrap_or(SignedDuration::ZERO));
        let recurring = Recurring::new(definitions.planning, &definitions.all, &active, now, grace);
        snapshot.recurring = Some(Recurring { note: definitions.note.clone(), ..recurring });
        Ok(())
    }

    /// Whether the definitions are those that are known. Those that cannot be read do not change.
    pub(super) fn is_current(&self, mark: Option<RecurringMark>) -> bool {
        mark.is_none_or(|mark| self.definitions.as_ref().is_some_and(|known| known.is_current(mark)))
    }

    async fn definitions(
        &mut self,
        source: &mut dyn Source,
        bounds: &ReadBounds,
        jobrunr_version: Option<u32>,
        mark: RecurringMark,
    ) -> Result<&Definitions, StorageError> {
        let known = match self.definitions.take().filter(|known| known.is_current(mark)) {
            Some(known) => known,
            None => {
                let rows = source.definitions(bounds).await?;
                // A new version of the application defines its jobs again when it starts, and may bring a new JobRunr.
                let (planning, unknown_version) = planning(source, jobrunr_version).await?;
                let all: Vec<Arc<Definition>> = rows.into_iter().map(definition).map(Arc::new).collect();
                let note = unknown_version.or_else(|| unread(mark.n_definitions, all.len())).map(Arc::from);
                Definitions { all, mark, planning, note, read_at: Instant::now() }
            }
        };
        Ok(self.definitions.insert(known))
    }
}

fn definition(row: DefinitionRow) -> Definition {
    match row.json_end {
        None => Definition::parse(&row.id, &row.json, row.created_at_millis),
        Some(end) => Definition::parse_ends(&row.id, &row.json, &end, row.created_at_millis),
    }
}

fn unread(n_definitions: u64, n_read: usize) -> Option<String> {
    let n_unread = n_definitions.saturating_sub(n_read as u64);
    (0 < n_unread).then(|| {
        format!("{n_unread} of {n_definitions} recurring jobs are not read, since they are too many: these count only while a run of them is in the jobs table")
    })
}

/// A state with very many jobs hides which recurring jobs have a run in it: they are looked up one by one.
async fn look_up(
    source: &mut dyn Source,
    ids: &[&str],
    states: &[&'static str],
) -> Result<BTreeSet<String>, StorageError> {
    let mut found = BTreeSet::new();
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        found.extend(source.active_runs_of(ids, states).await?);
    }
    Ok(found)
}

/// Which JobRunr works on the tables, and what to say where that is a guess.
async fn planning(
    source: &mut dyn Source,
    configured: Option<u32>,
) -> Result<(Planning, Option<String>), StorageError> {
    let version = match configured {
        Some(version) => Some(version),
        None => source.major_version().await?,
    };
    Ok(match version {
        Some(version) => (Planning::of_version(version), None),
        None => {
            let note = "which JobRunr works here cannot be seen, since neither its migrations table nor its statistics \
                        view is readable: taken for a version before 8; set jobrunrVersion";
            (Planning::AtItsTime, Some(note.to_owned()))
        }
    })
}
