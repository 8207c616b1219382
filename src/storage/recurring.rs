//! Reads the recurring jobs: their definitions only when they have changed, their active runs with every read. Runs that are hidden
//! behind other jobs have to be looked up by the id of the recurring job, where a database passes all runs that it keeps, also those
//! that ended: the results of that are used for a while.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::{Duration, Instant};

use super::StorageError;
use super::budget::TimedBackend;
use super::last_run::LastRun;
use super::rows::{DefinitionRow, DefinitionsVersion, Rows};
use crate::config::{ReadBounds, StorageConfig};
use crate::jobrunr::{Definition, MissingRuns, Recurring, RunScheduling, Snapshot};

/// Before JobRunr 5.1.3 nothing in the table shows that a definition has changed, so they are read again after this time.
const MAX_AGE_WITHOUT_SUM: Duration = Duration::from_secs(60);
/// Recurring jobs per statement when they are looked up by id.
const IDS_PER_STATEMENT: usize = 50;
/// How long at most it may go unnoticed that a run has ended, so that another one has to be created. A worker may have to be woken.
const MAX_AGE_OF_RUN: Duration = Duration::from_secs(10);
/// How long what was last found counts while look-ups fail. Then a run may be missing.
const MAX_AGE_WITHOUT_ANSWER: Duration = Duration::from_secs(60);
/// The same of what is not looked up again because there are so many others: a round takes that long at most.
const MAX_AGE_OF_ROUND: Duration = Duration::from_secs(600);
/// How long at most a run may go unnoticed that has been created meanwhile. The HPA looks every 15 s, and adds pods for runs that are
/// missing.
const MAX_AGE_OF_NO_RUN: Duration = Duration::from_secs(5);

/// The definitions of the recurring jobs that earlier reads of a session have found.
#[derive(Default)]
pub(super) struct RecurringCache {
    definitions: Option<Definitions>,
    look_ups: HashMap<Arc<str>, LookUp>,
    /// Whether the last read used earlier look-ups, or had one without an answer.
    has_repeated: bool,
    missing: MissingRuns,
}

/// Whether a recurring job had an active run when it was last looked up.
#[derive(Clone, Copy)]
struct LookUp {
    found_run: bool,
    /// When that was found.
    found_at: Instant,
    /// The last look-up, also one that failed.
    run: LastRun,
    has_failed: bool,
}

impl LookUp {
    fn has_run(self) -> bool {
        let longest = if self.has_failed { MAX_AGE_WITHOUT_ANSWER } else { MAX_AGE_OF_ROUND };
        self.found_run && self.found_at.elapsed() < longest
    }

    /// Whether the result can still be used: until its share of the time is used up, but not for long.
    fn is_current(self, bounds: &ReadBounds) -> bool {
        let longest = if self.has_run() { MAX_AGE_OF_RUN } else { MAX_AGE_OF_NO_RUN };
        !self.run.can_repeat_after(bounds, longest)
    }
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
        let definitions = match self.definitions.take().filter(|cached| cached.is_current(version)) {
            Some(cached) => cached,
            None => {
                self.missing = MissingRuns::default();
                read_definitions(backend, config, version).await?
            }
        };
        let active = self.active(backend, config, &definitions.all, rows, snapshot).await;
        let slowest = snapshot.live_servers().map(|server| server.poll_interval).max();
        let (now, grace) = (snapshot.read_at, slowest.unwrap_or(SignedDuration::ZERO));
        let (scheduling, note) = (definitions.scheduling, definitions.note.clone());
        let mut recurring = Recurring::new(scheduling, &definitions.all, &active?, now, grace);
        self.definitions = Some(definitions);
        self.missing.excuse(&mut recurring, slowest, now);
        snapshot.recurring = Some(Recurring { note, ..recurring });
        Ok(())
    }

    /// Returns which recurring jobs have an active run.
    async fn active(
        &mut self,
        backend: &mut TimedBackend,
        config: &StorageConfig,
        definitions: &[Arc<Definition>],
        rows: &Rows,
        snapshot: &mut Snapshot,
    ) -> Result<BTreeSet<String>, StorageError> {
        let mut active = rows.runs.ids.clone();
        self.has_repeated = false;
        let mut known = std::mem::take(&mut self.look_ups);
        if rows.runs.truncated_states.is_empty() {
            return Ok(active);
        }
        let mut expired = Vec::new();
        for id in definitions.iter().map(|definition| &definition.id).filter(|id| !active.contains(&***id)) {
            let last = known.remove(id);
            match last.filter(|last| last.is_current(&config.bounds)) {
                Some(last) => {
                    self.has_repeated = true;
                    self.look_ups.insert(Arc::clone(id), last);
                }
                None => expired.push((id, last)),
            }
        }
        // Those come first that were not reached last time.
        expired.sort_by_key(|(_, last)| last.map(|last| last.run.began()));
        self.look_up(backend, &expired, &rows.runs.truncated_states, snapshot).await?;
        active.extend(self.look_ups.iter().filter(|(_, last)| last.has_run()).map(|(id, _)| id.to_string()));
        Ok(active)
    }

    /// Looks up which recurring jobs have an active run in one of these states. Those for which there is no time keep for a while what
    /// was known before; none, if that is nothing, because a run that is missing must not be missed.
    async fn look_up(
        &mut self,
        backend: &mut TimedBackend,
        ids: &[(&Arc<str>, Option<LookUp>)],
        states: &[&'static str],
        snapshot: &mut Snapshot,
    ) -> Result<(), StorageError> {
        let (began, mut found) = (Instant::now(), BTreeSet::new());
        let (mut n_tried, mut n_found) = (0_usize, 0_usize);
        for chunk in ids.chunks(IDS_PER_STATEMENT) {
            let names: Vec<&str> = chunk.iter().map(|(id, _)| &***id).collect();
            let answer = match backend.has_time() {
                true => {
                    n_tried = n_tried.saturating_add(chunk.len());
                    backend.statement().await?.active_runs_of(&names, states).await
                }
                false => Err(StorageError::TimedOut(String::new())),
            };
            match answer {
                Ok(answer) => found.extend(answer),
                Err(StorageError::TimedOut(_) | StorageError::Busy(_)) => {
                    snapshot.notes.push(UNKNOWN_RUNS.to_owned());
                    self.has_repeated = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            n_found = n_found.saturating_add(chunk.len());
        }
        let (run, now) = (LastRun::since(began), Instant::now());
        for (nth, (id, last)) in ids.iter().enumerate() {
            let look_up = if nth < n_found {
                LookUp { found_run: found.contains(&***id), found_at: now, run, has_failed: false }
            } else if n_tried <= nth {
                // Not reached: the next read begins with it.
                let Some(last) = *last else { continue };
                last
            } else {
                let last = last.unwrap_or(LookUp { found_run: false, found_at: now, run, has_failed: true });
                LookUp { run, has_failed: true, ..last }
            };
            self.look_ups.insert(Arc::clone(id), look_up);
        }
        Ok(())
    }

    /// Returns whether the last read repeated what earlier ones have found, which may be wrong even if nothing changes any more.
    pub(super) fn has_repeated(&self) -> bool {
        self.has_repeated
    }

    /// Returns whether the cached definitions are current. Definitions that cannot be read (`None`) do not change.
    pub(super) fn is_current(&self, version: Option<DefinitionsVersion>) -> bool {
        version.is_none_or(|version| self.definitions.as_ref().is_some_and(|cached| cached.is_current(version)))
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

const UNKNOWN_RUNS: &str = "looking up which recurring jobs have a run exceeded the statement timeout; assuming that those have none of \
     which nothing is known";

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
