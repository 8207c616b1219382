//! The only reader of a storage: reads it, caches the latest snapshot, and notifies those who wait for a change.
//!
//! A caller asks a question and gets a snapshot that is at most one refresh old. Regardless of the number of callers there is
//! one connection, one statement at a time, and at most one read per refresh; without callers there is none.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod handles;
mod listener;
mod outage;
mod pace;
mod questions;
mod reader;
mod signal;
mod status;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use handles::{AnswerError, Findings, StorageHandle, StorageHandles};
pub use status::{FailedRead, MonitorStatus};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::questions::{AskedQuestions, MAX_FILTERS, MAX_QUESTIONS};
use self::signal::Signal;
use crate::clock::Clock;
use crate::jobrunr::{Question, Questions, Snapshot};
use crate::metrics::{Metrics, StorageMetrics};
use crate::storage::Storage;
use crate::tasks::Tasks;

/// How long a caller waits for a fresh answer. KEDA sets no deadline and holds a lock, so every call must end within a second,
/// whatever the database does.
const ASK_TIMEOUT: Duration = Duration::from_millis(800);

/// How a monitor reads.
#[derive(Clone, Copy, Debug)]
pub struct MonitorSettings {
    /// A snapshot younger than this is fresh.
    pub refresh: Duration,
    /// A snapshot older than this is not served.
    pub max_staleness: Duration,
    /// A read that takes longer than this is given up together with its connection.
    pub read_timeout: Duration,
}

/// Why a question has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AskError {
    /// The storage has not answered for too long, or never.
    #[error("{cause}{}", .age.map(|age| format!("; the last answer is {} s old", age.as_secs())).unwrap_or_default())]
    Unavailable {
        /// Why, in words.
        cause: String,
        /// The age of the latest snapshot, if there is one.
        age: Option<Duration>,
    },
    /// The database does not have JobRunr's tables.
    #[error("{0}")]
    SchemaMissing(String),
    /// Too many different questions are asked.
    #[error(
        "too many different combinations of filters and scheduledIn for this storage: at most {} filters and {} combinations \
         per namespace are allowed",
        MAX_FILTERS.per_namespace,
        MAX_QUESTIONS.per_namespace
    )]
    TooManyQuestions,
}

/// The latest snapshot.
#[derive(Clone, Debug)]
struct CachedSnapshot {
    snapshot: Arc<Snapshot>,
    /// When the storage was asked for it.
    asked_at: Instant,
    /// How long the read took.
    took: Duration,
    /// Until when no newer snapshot is possible.
    fresh_until: Instant,
}

impl CachedSnapshot {
    /// Returns whether it is fresh for a caller who came at that instant.
    fn is_fresh(&self, came_at: Instant) -> bool {
        came_at <= self.asked_at || Instant::now() <= self.fresh_until
    }
}

/// Why the last read failed.
#[derive(Clone, Debug)]
struct Failure {
    cause: String,
    is_schema_missing: bool,
    /// When the storage is asked again. There is nothing to wait for until then.
    retry_at: Instant,
}

/// What the reader publishes.
#[derive(Clone, Debug, Default)]
struct State {
    cached: Option<CachedSnapshot>,
    /// The failure of the last read; `None` after a success.
    failure: Option<Failure>,
    /// The number of reads that have ended, in success or failure.
    n_reads: u64,
    /// Whether the reader has found that the database notifies of new jobs.
    notifies: bool,
}

/// The only reader of a storage. Clones share it.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

struct Shared {
    settings: MonitorSettings,
    clock: Clock,
    questions: Mutex<AskedQuestions>,
    /// A caller waits for an answer.
    read_requested: Notify,
    new_question: Signal,
    new_watcher: Notify,
    /// The database has notified of new jobs.
    notified: Signal,
    is_listening: AtomicBool,
    metrics: StorageMetrics,
    state: watch::Receiver<State>,
}

impl Monitor {
    /// Starts the monitor of a storage, until `stop`. It does not connect before the first question.
    #[must_use]
    pub fn start(
        name: String,
        storage: Arc<dyn Storage>,
        settings: MonitorSettings,
        clock: Clock,
        metrics: &Metrics,
        tasks: &Tasks,
        stop: CancellationToken,
    ) -> Self {
        let (publisher, state) = watch::channel(State::default());
        let shared = Arc::new(Shared {
            settings,
            clock,
            questions: Mutex::default(),
            read_requested: Notify::new(),
            new_question: Signal::default(),
            new_watcher: Notify::new(),
            notified: Signal::default(),
            is_listening: AtomicBool::new(false),
            metrics: metrics.storage(&name),
            state,
        });
        let listening = listener::run(name.clone(), Arc::clone(&storage), Arc::clone(&shared), stop.clone());
        tasks.spawn(format!("listener of {name}"), listening);
        let reading = reader::run(name.clone(), storage, Arc::clone(&shared), publisher, stop);
        tasks.spawn(format!("reader of {name}"), reading);
        Self { shared }
    }

    /// Returns a snapshot that answers the question: a fresh one if the storage answers within `ASK_TIMEOUT`, else the
    /// latest one if it is younger than `max_staleness`.
    ///
    /// # Errors
    /// [`AskError`]: a failed read never becomes a number.
    pub async fn ask(&self, question: &Question, namespace: &str) -> Result<Arc<Snapshot>, AskError> {
        self.shared.register(question, namespace, 0)?;
        let came_at = Instant::now();
        let fresh = |state: &State| {
            let is_fresh = |cached: &&CachedSnapshot| cached.is_fresh(came_at) && cached.snapshot.answers(question);
            state.cached.as_ref().filter(is_fresh).map(|cached| Arc::clone(&cached.snapshot))
        };
        let mut state = self.shared.state.clone();
        let n_reads = {
            let state = state.borrow_and_update();
            if let Some(snapshot) = fresh(&state) {
                return Ok(snapshot);
            }
            state.n_reads
        };
        self.shared.read_requested.notify_one();
        let answered = state.wait_for(|state| {
            let failure = state.failure.as_ref();
            let has_failed = failure.is_some_and(|f| n_reads != state.n_reads || Instant::now() < f.retry_at);
            has_failed || fresh(state).is_some()
        });
        // On success, failure and timeout alike, the latest snapshot is the answer.
        let _ = tokio::time::timeout(ASK_TIMEOUT, answered).await;
        self.latest(question)
    }

    /// Returns the latest snapshot that answers the question and is younger than `max_staleness`, without a read.
    ///
    /// # Errors
    /// [`AskError`]
    pub fn latest(&self, question: &Question) -> Result<Arc<Snapshot>, AskError> {
        let state = self.shared.state.borrow();
        let cached = state.cached.as_ref();
        let can_serve = |cached: &&CachedSnapshot| self.shared.can_serve(cached) && cached.snapshot.answers(question);
        if let Some(cached) = cached.filter(can_serve) {
            return Ok(Arc::clone(&cached.snapshot));
        }
        let age = cached.map(|cached| cached.asked_at.elapsed());
        Err(match &state.failure {
            Some(failure) if failure.is_schema_missing => AskError::SchemaMissing(failure.cause.clone()),
            Some(failure) => AskError::Unavailable { cause: failure.cause.clone(), age },
            None => AskError::Unavailable { cause: "the database has not answered yet".to_owned(), age },
        })
    }

    /// Returns the latest snapshot regardless of its age and of the questions it answers, for callers that prefer stale data
    /// to none.
    #[must_use]
    pub fn last_known(&self) -> Option<Arc<Snapshot>> {
        self.shared.state.borrow().cached.as_ref().map(|cached| Arc::clone(&cached.snapshot))
    }

    /// Returns whether the database notifies of new jobs, so that nobody has to wait for the next read.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.shared.is_listening.load(Ordering::Relaxed)
    }

    /// Watches a question: while the watcher exists, the storage is read once per refresh.
    ///
    /// # Errors
    /// [`AskError::TooManyQuestions`]
    pub fn watch(&self, question: Question, namespace: &str) -> Result<Watcher, AskError> {
        self.shared.register(&question, namespace, 1)?;
        let mut state = self.shared.state.clone();
        state.mark_unchanged();
        self.shared.read_requested.notify_one();
        self.shared.new_watcher.notify_one();
        let question = self.shared.asked().share(question);
        Ok(Watcher { monitor: self.clone(), question, state })
    }
}

impl Shared {
    fn asked(&self) -> std::sync::MutexGuard<'_, AskedQuestions> {
        // Nothing panics while the lock is held, and the set of questions would still be consistent.
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a question, so that the next reads answer it together with the others.
    fn register(&self, question: &Question, namespace: &str, n_new_watchers: usize) -> Result<(), AskError> {
        let is_new = self.asked().register(question, namespace, n_new_watchers)?;
        if is_new {
            self.new_question.send();
        }
        Ok(())
    }

    /// The questions that the next read has to answer.
    fn questions(&self) -> Questions {
        self.asked().current()
    }

    /// Returns once there is a question that the latest snapshot does not answer.
    async fn unanswered(&self) {
        loop {
            self.new_question.received().await;
            let cached = self.state.borrow().cached.clone();
            let is_answered = |question| cached.as_ref().is_some_and(|cached| cached.snapshot.answers(question));
            if !self.asked().iter().all(is_answered) {
                return;
            }
        }
    }

    /// Returns whether a snapshot is young enough to be served.
    fn can_serve(&self, cached: &CachedSnapshot) -> bool {
        cached.asked_at.elapsed() <= self.settings.max_staleness
    }

    fn set_listening(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
        self.metrics.record_listening(is_listening);
    }

    async fn until_watched(&self) {
        while !self.is_watched() {
            self.new_watcher.notified().await;
        }
    }

    fn is_watched(&self) -> bool {
        self.asked().is_watched()
    }
}

/// The instant `wait` after another, or one in the distant future if the clock cannot represent it.
fn later(at: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    at.checked_add(wait).or_else(|| at.checked_add(CENTURY)).unwrap_or(at)
}

/// Keeps a storage being read, and notifies of each new snapshot.
pub struct Watcher {
    monitor: Monitor,
    question: Arc<Question>,
    state: watch::Receiver<State>,
}

impl Watcher {
    /// Returns the latest snapshot that is younger than `max_staleness`.
    ///
    /// # Errors
    /// [`AskError`] while the storage does not answer and the latest snapshot is too old.
    pub fn latest(&self) -> Result<Arc<Snapshot>, AskError> {
        self.monitor.latest(&self.question)
    }

    /// Waits for the next read to end, in success or failure. Several that have ended since the last call count as one.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // The monitor has stopped, because its storage is removed or the server is shutting down: wait to be dropped.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.monitor.shared.asked().release(&self.question);
    }
}
