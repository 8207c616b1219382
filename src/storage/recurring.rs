//! Reads the recurring jobs: their definitions only when they have changed, their active runs with every read.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::{Duration, Instant};

use super::StorageError;
use super::budget::TimedBackend;
use super::rows::{DefinitionRow, DefinitionsVersion, Rows};
use crate::config::StorageConfig;
use crate::jobrunr::{Definition, Recurring, RunScheduling, Snapshot};

/// Before JobRunr 5.1.3 nothing in the table shows that a definition has changed, so they are read again after this time.
const MAX_AGE_WITHOUT_SUM: Duration = Duration::from_secs(60);
/// Recurring jobs per statement when they are looked up by id.
const IDS_PER_STATEMENT: usize = 50;

/// The definitions of the recurring jobs that earlier reads of a session have found.
#[derive(Default)]
pub(super) struct RecurringCache {
    definitions: Option<Definitions>,
}

struct Definitions {
    all: Vec<Arc<Definition>>,
    version: DefinitionsVersion,
    scheduling: RunScheduling,
    note: Option<Arc<str>>,
    read_at: Instant,
}

impl Definitions {
    fn is_current(&self, version: DefinitionsVersion) -> bool {
        let shows_changes = version.sum.is_some() || version.n_definitions == 0;
        self.version == version && (shows_changes || self.read_at.elapsed() < MAX_AGE_WITHOUT_SUM)
    }
}

impl RecurringCache {
    /// Adds the recurring jobs to a snapshot, from the rows of its read and further queries where needed.
    pub(super) async fn add(
        &mut self,
        backend: &mut TimedBackend,
        config: &StorageConfig,
        rows: &Rows,
        snapshot: &mut Snapshot,
    ) -> Result<(), StorageError> {
        let Some(version) = rows.definitions_version else {
            let note = backend.as_ref().findings().recurring_unavailable.as_deref().map(Arc::from);
            snapshot.recurring = Some(Recurring { scheduling: RunScheduling::Ahead, jobs: Vec::new(), note });
            return Ok(());
        };
        let definitions = self.definitions(backend, config, version).await?;
        let mut active = rows.runs.ids.clone();
        if !rows.runs.truncated_states.is_empty() {
            let missing = definitions.all.iter().map(|definition| &*definition.id);
            let missing: Vec<&str> = missing.filter(|id| !active.contains(*id)).collect();
            active.extend(look_up(backend, &missing, &rows.runs.truncated_states).await?);
        }
        let slowest = snapshot.live_servers().map(|server| server.poll_interval).max();
        let (now, grace) = (snapshot.read_at, slowest.unwrap_or(SignedDuration::ZERO));
        let recurring = Recurring::new(definitions.scheduling, &definitions.all, &active, now, grace);
        snapshot.recurring = Some(Recurring { note: definitions.note.clone(), ..recurring });
        Ok(())
    }

    /// Returns whether the cached definitions are current. Definitions that cannot be read (`None`) do not change.
    pub(super) fn is_current(&self, version: Option<DefinitionsVersion>) -> bool {
        version.is_none_or(|version| self.definitions.as_ref().is_some_and(|cached| cached.is_current(version)))
    }

    async fn definitions(
        &mut self,
        backend: &mut TimedBackend,
        config: &StorageConfig,
        version: DefinitionsVersion,
    ) -> Result<&Definitions, StorageError> {
        let definitions = match self.definitions.take().filter(|cached| cached.is_current(version)) {
            Some(cached) => cached,
            None => read_definitions(backend, config, version).await?,
        };
        Ok(self.definitions.insert(definitions))
    }
}

async fn read_definitions(
    backend: &mut TimedBackend,
    config: &StorageConfig,
    version: DefinitionsVersion,
) -> Result<Definitions, StorageError> {
    let rows = backend.statement().await?.definitions(&config.bounds).await?;
    // A new version of the application defines its jobs when it starts, and may come with another version of JobRunr.
    let jobrunr_version = match config.jobrunr_version {
        Some(configured) => Some(configured),
        None => backend.statement().await?.major_version().await?,
    };
    let scheduling = jobrunr_version.map_or(RunScheduling::JustInTime, RunScheduling::of_version);
    let all: Vec<Arc<Definition>> = rows.into_iter().map(definition).map(Arc::new).collect();
    let note = match jobrunr_version {
        // Without a definition nothing depends on it.
        None if !all.is_empty() => Some(UNKNOWN_VERSION.to_owned()),
        _ => unread(version.n_definitions, all.len()),
    };
    Ok(Definitions { all, version, scheduling, note: note.map(Arc::from), read_at: Instant::now() })
}

const UNKNOWN_VERSION: &str =
    "JobRunr's version cannot be read from the database; assuming a version before 8: set jobrunrVersion";

fn definition(row: DefinitionRow) -> Definition {
    match row.json_end {
        None => Definition::parse(&row.id, &row.json, row.created_at_millis),
        Some(end) => Definition::parse_ends(&row.id, &row.json, &end, row.created_at_millis),
    }
}

/// Returns a warning if not all definitions were read.
fn unread(n_definitions: u64, n_read: usize) -> Option<String> {
    let n_unread = n_definitions.saturating_sub(n_read as u64);
    (0 < n_unread).then(|| {
        format!(
            "{n_unread} of {n_definitions} recurring jobs are not read, because there are too many: these are counted only while \
             a run of them exists"
        )
    })
}

/// Looks up by id which recurring jobs have an active run, for states with too many jobs to scan.
async fn look_up(
    backend: &mut TimedBackend,
    ids: &[&str],
    states: &[&'static str],
) -> Result<BTreeSet<String>, StorageError> {
    let mut found = BTreeSet::new();
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        found.extend(backend.statement().await?.active_runs_of(ids, states).await?);
    }
    Ok(found)
}
