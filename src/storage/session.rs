//! JobRunr's reading protocol, written once: what is asked when, and how the answers become a snapshot. A database only
//! answers typed questions ([`Source`]).

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{Duration, Instant};

use super::cursors::{DueState, EarliestDue, QueueCursors};
use super::plan::{QueuePlan, ReadPlan};
use super::recurring::RecurringCache;
use super::rows::{DefinitionRow, RecurringMark, Rows};
use super::{Inspection, Session, StorageError, assemble};
use crate::config::{ReadBounds, StorageConfig};
use crate::jobrunr::{Filter, LookAheads, MissingColumn, QuestionError, Questions, Snapshot};

/// A question that the database has rejected is asked again after this time.
const RETRY_REJECTED_AFTER: Duration = Duration::from_secs(60);
/// Reads of one refresh: the first may find that a state has more jobs than one look passes, or that a cursor is wrong; the
/// next may find the earliest due job, from which the last counts.
const MAX_ATTEMPTS: usize = 3;

/// What is known of a storage's tables, once per session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What is odd about the tables and costs something.
    pub(crate) notes: Vec<String>,
    /// Why recurring jobs cannot be read; `None` where they can.
    pub(crate) no_recurring: Option<String>,
}

/// What a database answers. One connection; every error makes it useless, unless it is said otherwise.
#[async_trait]
pub(crate) trait Source: Send {
    /// What is known of the tables.
    fn facts(&self) -> &Facts;

    /// The column that a filter needs and that the storage does not have.
    fn missing_column(&self, filter: &Filter) -> Option<MissingColumn>;

    /// Answers a plan, as of one instant of the storage. After [`StorageError::Refused`] the connection can still be used.
    async fn read(&mut self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError>;

    /// Searches all jobs of a state for the earliest that is due at `until`, however many there are. After
    /// [`StorageError::TimedOut`] the connection can still be used.
    async fn earliest_due(
        &mut self,
        filter: &Filter,
        state: DueState,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError>;

    /// Whether the storage holds what it held at the last read, where the database knows that by itself.
    async fn is_unchanged(&mut self) -> Result<Option<bool>, StorageError> {
        Ok(None)
    }

    /// Whether there is any work: a job ENQUEUED or PROCESSING, or one SCHEDULED or AWAITING before `next`; whether there
    /// is any server; and the recurring jobs' mark where that is asked for.
    async fn probe(&mut self, next: Option<Timestamp>, recurring: bool) -> Result<Probe, StorageError>;

    /// The definitions of the recurring jobs, in the order of their ids, within the bounds.
    async fn definitions(&mut self, bounds: &ReadBounds) -> Result<Vec<DefinitionRow>, StorageError>;

    /// Those of these recurring jobs that have a run in one of the states.
    async fn active_runs_of(&mut self, ids: &[&str], states: &[&str]) -> Result<BTreeSet<String>, StorageError>;

    /// JobRunr's major version as the tables show it, 7 standing for all before 8; `None` where nothing shows it.
    async fn major_version(&mut self) -> Result<Option<u32>, StorageError>;

    /// Whether the database notifies of new jobs by itself.
    async fn notifies(&mut self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Looks at what a connection shows besides JobRunr's rows; version, notes and recurring jobs are known otherwise.
    async fn inspect(&mut self) -> Result<Inspection, StorageError>;

    /// Closes the connection.
    async fn close(self: Box<Self>);
}

/// The answer to [`Source::probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) has_work: bool,
    pub(crate) has_server: bool,
    pub(crate) recurring: Option<RecurringMark>,
}

/// A session on any database.
pub(crate) struct JobRunrSession {
    source: Box<dyn Source>,
    config: StorageConfig,
    cursors: QueueCursors,
    recurring: RecurringCache,
    rejected: HashMap<Filter, (String, Instant)>,
}

impl JobRunrSession {
    pub(crate) fn new(source: Box<dyn Source>, config: &StorageConfig) -> Self {
        Self {
            source,
            config: config.clone(),
            cursors: QueueCursors::default(),
            recurring: RecurringCache::default(),
            rejected: HashMap::new(),
        }
    }

    /// The plan of a read, and the questions that have no answer.
    fn plan<'q>(
        &self,
        questions: &'q Questions,
        now: Timestamp,
        from_cursors: bool,
    ) -> (ReadPlan<'q>, Vec<(&'q Filter, QuestionError)>) {
        let (mut queues, mut unanswered) = (Vec::new(), Vec::new());
        for (filter, look_aheads) in questions.iter() {
            match self.question_error(filter) {
                Some(error) => unanswered.push((filter, error)),
                None => queues.push(self.queue_plan(filter, look_aheads, now, from_cursors)),
            }
        }
        let plan = ReadPlan {
            now,
            count_limit: self.config.count_limit,
            bounds: self.config.bounds,
            queues,
            recurring: questions.want_demand() && self.source.facts().no_recurring.is_none(),
            first_cursor: self.cursors.first().filter(|_| from_cursors),
        };
        (plan, unanswered)
    }

    fn question_error(&self, filter: &Filter) -> Option<QuestionError> {
        if let Some(missing) = self.source.missing_column(filter) {
            return Some(missing.into());
        }
        let (cause, _) = self.rejected.get(filter)?;
        Some(QuestionError::Rejected { filter: filter.clone(), cause: cause.clone() })
    }

    fn queue_plan<'q>(
        &self,
        filter: &'q Filter,
        look_aheads: &LookAheads,
        now: Timestamp,
        from_cursors: bool,
    ) -> QueuePlan<'q> {
        let until = look_aheads.keys().map(|ahead| now.checked_add(*ahead).unwrap_or(Timestamp::MAX)).collect();
        let wants_demand = look_aheads.values().any(|demand| *demand);
        QueuePlan {
            filter,
            cursor: self.cursors.get(filter).filter(|_| from_cursors),
            until,
            scheduled: self.cursors.due_plan(filter, DueState::Scheduled),
            awaiting: wants_demand.then(|| self.cursors.due_plan(filter, DueState::Awaiting)),
        }
    }

    /// Reads once. Returns whether another read is needed, since something turned out that this one did not know.
    async fn read_once(
        &mut self,
        questions: &Questions,
        now: Timestamp,
    ) -> Result<(Snapshot, Rows, bool), StorageError> {
        let bounds = self.config.bounds;
        let from_cursors = self.cursors.cover(questions.iter().map(|(filter, _)| filter), &bounds);
        let (plan, unanswered) = self.plan(questions, now, from_cursors);
        let began = Instant::now();
        let rows = match self.source.read(&plan).await {
            Err(StorageError::Refused(cause)) => return self.isolate(&plan, questions, now, cause).await,
            rows => rows?,
        };
        let mut again = false;
        for (queue, row) in plan.queues.iter().zip(&rows.queues) {
            again |= row.is_before_cursor;
            for (state, due) in [(DueState::Scheduled, &row.scheduled), (DueState::Awaiting, &row.awaiting)] {
                let is_large = due.by_state.is_truncated && !due.by_state.is_in_order;
                again |= self.cursors.set_large(queue.filter, state, is_large);
            }
        }
        let snapshot = assemble::snapshot(&plan, &rows, unanswered, questions, &self.config, self.source.facts());
        if rows.queues.iter().any(|row| row.is_before_cursor) {
            self.cursors.invalidate();
        } else if from_cursors {
            self.cursors.advance(&snapshot);
        } else {
            self.cursors.reset(&snapshot, began);
        }
        Ok((snapshot, rows, again))
    }

    /// Reads once, and searches for due jobs where the read may have missed them. Returns whether another read is needed.
    async fn read_and_search(
        &mut self,
        questions: &Questions,
        now: Timestamp,
    ) -> Result<(Snapshot, Rows, bool), StorageError> {
        let (mut snapshot, rows, mut again) = self.read_once(questions, now).await?;
        if !again && self.cursors.any_large() {
            again = self.search(&mut snapshot).await?;
        }
        Ok((snapshot, rows, again))
    }

    /// Finds the questions that the database rejects, so that the rest can be answered without them.
    async fn isolate(
        &mut self,
        plan: &ReadPlan<'_>,
        questions: &Questions,
        now: Timestamp,
        cause: String,
    ) -> Result<(Snapshot, Rows, bool), StorageError> {
        let mut found = false;
        for queue in plan.queues.iter().filter(|queue| *queue.filter != Filter::default()) {
            let alone = ReadPlan { queues: vec![queue.clone()], recurring: false, ..plan.clone() };
            match self.source.read(&alone).await {
                Err(StorageError::Refused(cause)) => {
                    self.rejected.insert(queue.filter.clone(), (cause, Instant::now()));
                    found = true;
                }
                answer => drop(answer?),
            }
        }
        if !found {
            return Err(StorageError::Refused(cause));
        }
        Box::pin(self.read_once(questions, now)).await
    }

    /// Makes sure that no count of due jobs is 0 while one is due: where bounded looks found none, all jobs of the state are
    /// searched, as often as that may be. Returns whether it found the earliest, from which another read counts more.
    async fn search(&mut self, snapshot: &mut Snapshot) -> Result<bool, StorageError> {
        let bounds = self.config.bounds;
        let mut found = false;
        for (filter, state, look_ahead) in assemble::unseen(snapshot, &self.cursors) {
            let result = match self.cursors.last_search(&filter, state, look_ahead, &bounds) {
                Some(known) => known,
                None => {
                    let began = Instant::now();
                    let until = assemble::until(snapshot.read_at, look_ahead);
                    let result = match self.source.earliest_due(&filter, state, until).await {
                        Ok(Some(earliest)) => EarliestDue::At(earliest),
                        Ok(None) => EarliestDue::None,
                        Err(StorageError::TimedOut(_)) => EarliestDue::Unknown,
                        Err(error) => return Err(error),
                    };
                    self.cursors.searched(&filter, state, look_ahead, began, result);
                    result
                }
            };
            found |= matches!(result, EarliestDue::At(_));
            assemble::add_search(snapshot, &filter, state, result);
        }
        Ok(found)
    }
}

#[async_trait]
impl Session for JobRunrSession {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        self.rejected.retain(|_, (_, at)| at.elapsed() < RETRY_REJECTED_AFTER);
        let (mut snapshot, mut rows, mut again) = self.read_and_search(questions, now).await?;
        for _ in 1..MAX_ATTEMPTS {
            if !again {
                break;
            }
            (snapshot, rows, again) = self.read_and_search(questions, now).await?;
        }
        if questions.want_demand() {
            let jobrunr_version = self.config.jobrunr_version;
            self.recurring
                .add(self.source.as_mut(), &self.config.bounds, jobrunr_version, &rows, &mut snapshot)
                .await?;
        }
        Ok(snapshot)
    }

    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        if let Some(is_unchanged) = self.source.is_unchanged().await? {
            return Ok(is_unchanged);
        }
        // A server's heartbeats have to be read; of several next instants a new one may lie between; and where a state has
        // very many jobs, the probe would walk them.
        let nexts: BTreeSet<_> = questions.all().map(|question| since.next_scheduled_at(&question)).collect();
        let next = nexts.first().copied().flatten();
        if !since.is_idle(questions) || !since.servers.is_empty() || 1 < nexts.len() || self.cursors.any_large() {
            return Ok(false);
        }
        let demand = questions.want_demand();
        let probe = self.source.probe(next, demand).await?;
        let same_definitions = !demand || self.recurring.is_current(probe.recurring);
        Ok(!probe.has_work && !probe.has_server && same_definitions)
    }

    async fn notifies(&mut self) -> Result<bool, StorageError> {
        self.source.notifies().await
    }

    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        let inspection = self.source.inspect().await?;
        let jobrunr_version = match self.config.jobrunr_version {
            Some(version) => Some(version),
            None => self.source.major_version().await?,
        };
        let Facts { notes, no_recurring } = self.source.facts().clone();
        Ok(Inspection { jobrunr_version, notes, no_recurring, ..inspection })
    }

    async fn close(self: Box<Self>) {
        self.source.close().await;
    }
}
