//! JobRunr's reading protocol, written once for all databases: what is asked when, and how the answers become a snapshot.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant};

use super::backend::{Backend, SchemaFindings};
use super::budget::TimedBackend;
use super::cursors::{Costly, EarliestDue, QueueCursors};
use super::finished::FinishedCache;
use super::plan::DueState;
use super::plan::{QueueCursor, QueuePlan, ReadPlan};
use super::recurring::RecurringCache;
use super::rows::Rows;
use super::running::RunningCache;
use super::{HistoryPage, HistoryRow, Inspection, Notifications, Session, StorageError, assemble};
use crate::config::StorageConfig;
use crate::jobrunr::{Filter, LookAheads, QuestionError, Questions, Snapshot};

/// A filter that the database has rejected is tried again after this time.
const RETRY_REJECTED_AFTER: Duration = Duration::from_secs(60);
/// Attempts per read before the search for due jobs. The first may find that a queue is long, that a cursor is wrong, or that a state
/// has more jobs than one scan covers.
const MAX_ATTEMPTS: usize = 4;
/// The first attempt leaves out what last took longer than this part of the statement timeout.
const FIRST_ATTEMPT_PART: f64 = 0.2;

/// A session on any database.
pub(crate) struct JobRunrSession {
    backend: TimedBackend,
    config: StorageConfig,
    cursors: QueueCursors,
    recurring: RecurringCache,
    finished: FinishedCache,
    running: RunningCache,
    /// The filters that the database has rejected, with its words and when that was.
    rejected: HashMap<Filter, (String, Instant)>,
    /// The filters that the database has accepted alone since the last read that had an answer.
    accepted: HashSet<Filter>,
    /// Whether the time of the next read has begun with the question whether anything has changed.
    has_begun: bool,
    /// Whether the last read had an attempt that failed, after which nothing is known to be unchanged.
    is_partial: bool,
}

/// One attempt at a read.
struct Attempt {
    snapshot: Snapshot,
    rows: Rows,
    /// Whether a state is large that was not scanned by due time.
    found_large_state: bool,
    /// Whether there are jobs before a cursor.
    has_wrong_cursor: bool,
}

impl JobRunrSession {
    pub(crate) fn new(backend: Box<dyn Backend>, config: &StorageConfig) -> Self {
        Self {
            backend: TimedBackend::new(backend, config.statement_timeout),
            config: config.clone(),
            cursors: QueueCursors::default(),
            is_partial: false,
            recurring: RecurringCache::default(),
            finished: FinishedCache::default(),
            running: RunningCache::default(),
            rejected: HashMap::new(),
            accepted: HashSet::new(),
            has_begun: false,
        }
    }

    /// Plans a read. Returns also the filters that have no answer.
    fn plan<'q>(
        &self,
        questions: &'q Questions,
        now: Timestamp,
        costly: Costly,
    ) -> (ReadPlan<'q>, Vec<(&'q Filter, QuestionError)>) {
        let (mut queues, mut unanswered) = (Vec::new(), Vec::new());
        let cursor = |filter: &Filter| self.cursors.get(filter).filter(|_| !costly.full_scan);
        let assumed = self.cursors.assumed().filter(|_| !costly.full_scan);
        for (filter, look_aheads) in questions.iter() {
            match self.question_error(filter) {
                Some(error) => unanswered.push((filter, error)),
                None => queues.push(self.queue_plan(filter, look_aheads, now, cursor(filter).or(assumed))),
            }
        }
        let plan = ReadPlan {
            now,
            count_limit: self.config.count_limit,
            enqueued_limit: QueueCursors::enqueued_limit(self.config.count_limit, costly),
            bounds: self.config.bounds,
            queues,
            recurring: questions.want_demand() && self.backend.as_ref().findings().recurring_unavailable.is_none(),
            first_cursor: cursor(&Filter::default()),
        };
        (plan, unanswered)
    }

    fn question_error(&self, filter: &Filter) -> Option<QuestionError> {
        if let Some(unsupported) = self.backend.as_ref().unsupported_filter(filter) {
            return Some(unsupported.into());
        }
        let (cause, _) = self.rejected.get(filter)?;
        Some(QuestionError::Rejected { filter: filter.clone(), cause: cause.clone() })
    }

    fn queue_plan<'q>(
        &self,
        filter: &'q Filter,
        look_aheads: &LookAheads,
        now: Timestamp,
        cursor: Option<QueueCursor>,
    ) -> QueuePlan<'q> {
        let wants_demand = look_aheads.values().any(|details| details.demand);
        QueuePlan {
            filter,
            cursor,
            until: look_aheads.keys().map(|look_ahead| assemble::until(now, *look_ahead)).collect(),
            scheduled: self.cursors.due_plan(filter, DueState::Scheduled),
            awaiting: wants_demand.then(|| self.cursors.due_plan(filter, DueState::Awaiting)),
            work: look_aheads.values().any(|details| details.work),
        }
    }

    /// Reads in as many attempts as are needed and as there is time for. One that times out adds nothing to those before.
    async fn attempts(&mut self, questions: &Questions, now: Timestamp) -> Result<Attempt, StorageError> {
        self.is_partial = false;
        let limit = self.config.statement_timeout.mul_f64(FIRST_ATTEMPT_PART);
        let mut tried = self.cursors.cheap(&self.answered(questions), &self.config.bounds, limit);
        let mut last = self.attempt(questions, now, tried).await?;
        for _ in 1..MAX_ATTEMPTS {
            let pending = self.cursors.pending(&self.answered(questions), &self.config.bounds, tried);
            if pending.is_none() && !last.found_large_state {
                break;
            }
            let costly = pending.unwrap_or_default();
            tried = tried.and(costly);
            // What may take all of the time comes after quick searches.
            if !last.found_large_state && self.cursors.are_searches_cheap(limit) {
                self.search_due_jobs(&mut last.snapshot).await?;
            }
            if !self.try_again(questions, now, costly, &mut last).await? {
                break;
            }
        }
        // From the earliest due job on, another attempt counts more.
        if self.search_due_jobs(&mut last.snapshot).await?
            && self.try_again(questions, now, Costly::default(), &mut last).await?
        {
            self.search_due_jobs(&mut last.snapshot).await?;
        }
        Ok(last)
    }

    /// Makes another attempt, if there is time. Returns whether it replaces the last one.
    async fn try_again(
        &mut self,
        questions: &Questions,
        now: Timestamp,
        costly: Costly,
        last: &mut Attempt,
    ) -> Result<bool, StorageError> {
        let attempt = match self.backend.has_time() {
            true => self.attempt(questions, now, costly).await,
            false => Err(StorageError::TimedOut(String::new())),
        };
        match attempt {
            Ok(attempt) => {
                *last = attempt;
                Ok(true)
            }
            Err(StorageError::TimedOut(_) | StorageError::Busy(_)) => {
                self.is_partial = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The filters that the storage supports and the database accepts.
    fn answered<'q>(&self, questions: &'q Questions) -> Vec<&'q Filter> {
        let filters = questions.iter().map(|(filter, _)| filter);
        filters.filter(|filter| self.question_error(filter).is_none()).collect()
    }

    async fn attempt(
        &mut self,
        questions: &Questions,
        now: Timestamp,
        costly: Costly,
    ) -> Result<Attempt, StorageError> {
        let (plan, unanswered) = self.plan(questions, now, costly);
        let backend = self.backend.statement().await?;
        let began = Instant::now();
        let mut rows = match backend.read(&plan).await {
            Err(StorageError::Rejected(cause)) => {
                self.isolate_rejected(&plan, cause).await?;
                return Box::pin(self.attempt(questions, now, costly)).await;
            }
            Err(error @ (StorageError::TimedOut(_) | StorageError::Busy(_))) => {
                self.cursors.record_time_out(costly, began);
                return Err(error);
            }
            rows => rows?,
        };
        self.accepted.clear();
        if costly.full_scan {
            self.cursors.record_full_scan(began);
        }
        self.cursors.complete_counts(&plan, &mut rows, costly, began);
        let has_wrong_cursor = self.cursors.correct_wrong(&plan, &mut rows);
        let findings = self.backend.as_ref().findings();
        let snapshot = assemble::snapshot(&plan, &rows, unanswered, questions, &self.config, findings);
        self.cursors.advance(&plan, &rows);
        let found_large_state = self.update_large_states(&plan, &rows);
        Ok(Attempt { snapshot, rows, found_large_state, has_wrong_cursor })
    }

    /// Records which states have more jobs than one scan covers. Returns whether that is new for any of them.
    fn update_large_states(&mut self, plan: &ReadPlan<'_>, rows: &Rows) -> bool {
        let mut found = false;
        for (queue, row) in plan.queues.iter().zip(&rows.queues) {
            for (state, due) in [(DueState::Scheduled, &row.scheduled), (DueState::Awaiting, &row.awaiting)] {
                let is_large = due.of_state.is_truncated && !due.of_state.is_in_order;
                found |= self.cursors.set_large(queue.filter, state, is_large);
            }
        }
        found
    }

    /// Finds the filters that the database rejects, so that the others can be answered without them: first among those that had no
    /// answer yet. If there are too many for the time of a read, the next one goes on.
    async fn isolate_rejected(&mut self, plan: &ReadPlan<'_>, cause: String) -> Result<(), StorageError> {
        let filtered = plan.queues.iter().filter(|queue| *queue.filter != Filter::default());
        let (read, new): (Vec<_>, Vec<_>) = filtered.partition(|queue| self.cursors.has_read(queue.filter));
        for group in [new, read] {
            let mut found = false;
            for queue in group {
                if self.accepted.contains(queue.filter) {
                    continue;
                }
                let alone = ReadPlan { queues: vec![queue.clone()], recurring: false, ..plan.clone() };
                match self.backend.statement().await?.read(&alone).await {
                    Err(StorageError::Rejected(cause)) => {
                        self.rejected.insert(queue.filter.clone(), (cause, Instant::now()));
                        found = true;
                    }
                    Ok(_) | Err(StorageError::TimedOut(_) | StorageError::Busy(_)) => {
                        self.accepted.insert(queue.filter.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
            if found {
                return Ok(());
            }
        }
        self.accepted.clear();
        Err(StorageError::Rejected(cause))
    }

    /// Ensures that no count of due jobs is 0 while one is due: where bounded scans found none, all jobs of the state are
    /// searched, as often as the bounds allow, until one search times out. Returns whether the earliest was found, from which another
    /// read counts more.
    async fn search_due_jobs(&mut self, snapshot: &mut Snapshot) -> Result<bool, StorageError> {
        let (mut found, mut has_timed_out) = (false, false);
        let mut missed = assemble::possibly_missed(snapshot, &self.cursors);
        missed.sort_by_key(|(filter, state, _)| self.cursors.has_search_timed_out(filter, *state));
        for (filter, state, look_ahead) in missed {
            let known = self.cursors.last_search(&filter, state, look_ahead, &self.config.bounds);
            let result = match known {
                Some(known) => known,
                None if has_timed_out || !self.backend.has_time() => {
                    self.cursors.assumed_search(&filter, state, look_ahead)
                }
                None => self.earliest_due(&filter, state, look_ahead, snapshot.read_at).await?,
            };
            found |= matches!(result, EarliestDue::At(_));
            has_timed_out |= known.is_none() && result == EarliestDue::Unknown;
            assemble::add_search(snapshot, &filter, state, result);
        }
        Ok(found)
    }

    /// Returns the backend for a statement that belongs to no read.
    async fn fresh(&mut self) -> Result<&mut dyn Backend, StorageError> {
        self.backend.begin();
        self.backend.statement().await
    }

    /// Searches for the earliest due job.
    async fn earliest_due(
        &mut self,
        filter: &Filter,
        state: DueState,
        look_ahead: SignedDuration,
        read_at: Timestamp,
    ) -> Result<EarliestDue, StorageError> {
        let backend = self.backend.statement().await?;
        let began = Instant::now();
        let result = match backend.earliest_due(filter, state, assemble::until(read_at, look_ahead)).await {
            Ok(Some(earliest)) => EarliestDue::At(earliest),
            Ok(None) => EarliestDue::None,
            Err(StorageError::TimedOut(_) | StorageError::Busy(_)) => EarliestDue::Unknown,
            Err(error) => return Err(error),
        };
        self.cursors.set_last_search(filter, state, look_ahead, began, result);
        Ok(result)
    }
}

#[async_trait]
impl Session for JobRunrSession {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        if !std::mem::take(&mut self.has_begun) {
            self.backend.begin();
        }
        self.rejected.retain(|_, (_, at)| at.elapsed() < RETRY_REJECTED_AFTER);
        let attempt = self.attempts(questions, now).await?;
        let Attempt { mut snapshot, rows, has_wrong_cursor, .. } = attempt;
        if questions.want_demand() {
            self.recurring.add(&mut self.backend, &self.config, &rows, &mut snapshot).await?;
        }
        if questions.want_work() {
            self.finished.add(&mut self.backend, &mut snapshot).await?;
        }
        if questions.want_running() {
            // The read has just checked the cursor, or set it. The clock of a server may be further behind than its margin.
            let cursor = self.cursors.get(&Filter::default()).filter(|_| !has_wrong_cursor);
            let cursor = cursor.map(|cursor| cursor.processing);
            let since = cursor.and_then(|cursor| cursor.checked_sub(snapshot.longest_server_timeout()).ok());
            self.running.add(&mut self.backend, &self.config, since, &mut snapshot).await?;
        }
        Ok(snapshot)
    }

    fn is_usable_after(&self, error: &StorageError) -> bool {
        // The database ended its statement.
        matches!(error, StorageError::TimedOut(_))
    }

    async fn is_unchanged(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        self.backend.begin();
        let is_unchanged = self.confirm(questions, since).await?;
        // The read that follows has the time that is left.
        self.has_begun = !is_unchanged;
        Ok(is_unchanged)
    }

    async fn notifications(&mut self) -> Result<Notifications, StorageError> {
        self.fresh().await?.notifications().await
    }

    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        let inspection = self.fresh().await?.inspect().await?;
        let jobrunr_version = match self.config.jobrunr_version {
            Some(version) => Some(version),
            None => self.backend.statement().await?.major_version().await?,
        };
        let SchemaFindings { notes, recurring_unavailable } = self.backend.as_ref().findings().clone();
        Ok(Inspection { jobrunr_version, notes, recurring_unavailable, ..inspection })
    }

    async fn history(&mut self, page: &HistoryPage) -> Result<Vec<HistoryRow>, StorageError> {
        self.fresh().await?.history(page).await
    }

    async fn close(self: Box<Self>) {
        self.backend.close().await;
    }
}

impl JobRunrSession {
    /// Returns whether a cheaper query shows that nothing has changed.
    async fn confirm(&mut self, questions: &Questions, since: &Snapshot) -> Result<bool, StorageError> {
        if let Some(is_unchanged) = self.backend.statement().await?.is_unchanged().await? {
            let has_repeated = self.cursors.has_repeated_counts() || self.recurring.has_repeated();
            return Ok(is_unchanged && !has_repeated && !self.is_partial);
        }
        // The probe does not help if heartbeats of servers have to be read, if a new due time may lie between several next
        // ones, or if it would walk the many jobs of a state.
        let nexts: BTreeSet<_> = questions.all().map(|question| since.next_scheduled_at(&question)).collect();
        let next = nexts.first().copied().flatten();
        let has_servers = !since.servers.is_empty();
        if !since.is_idle(questions) || has_servers || 1 < nexts.len() || self.cursors.has_large_states() {
            return Ok(false);
        }
        let demand = questions.want_demand();
        let probe = self.backend.statement().await?.probe(next, demand).await?;
        let same_definitions = !demand || self.recurring.is_current(probe.definitions_version);
        Ok(!probe.has_work && !probe.has_server && same_definitions)
    }
}

#[cfg(test)]
mod tests;
