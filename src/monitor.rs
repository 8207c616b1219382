//! The one owner of a storage: it reads, keeps the newest snapshot, and wakes whoever waits for a change.
//!
//! Whoever wants to know something says which question, and gets a snapshot that is at most one refresh old. However
//! many ask, there is one connection, one statement at a time, and at most one read a refresh; while nobody asks there
//! is none.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod listener;
mod outage;
mod pace;
mod questions;
mod reader;
mod signal;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::questions::{AskedQuestions, MAX_PER_NAMESPACE, MAX_QUESTIONS};
use self::signal::Signal;
use crate::clock::Clock;
use crate::jobrunr::{Question, Questions, Snapshot};
use crate::metrics::{Metrics, StorageMetrics};
use crate::storage::Storage;
use crate::tasks::Tasks;

/// A caller waits this long for a fresh answer: KEDA sets no deadline and holds a lock, so that every call has to end
/// within a second, whatever the database does.
const PATIENCE: Duration = Duration::from_millis(800);

/// How a monitor reads.
#[derive(Clone, Copy, Debug)]
pub struct MonitorSettings {
    /// A snapshot younger than this is fresh.
    pub refresh: Duration,
    /// A snapshot older than this is not served.
    pub max_staleness: Duration,
    /// A read that takes longer than this is given up, and its connection with it.
    pub read_timeout: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoAnswer {
    /// The storage has not answered for too long, or never.
    #[error("{cause}{}", .age.map(|age| format!("; the last answer is {} s old", age.as_secs())).unwrap_or_default())]
    Unavailable {
        /// Why, in words.
        cause: String,
        /// How old the newest snapshot is.
        age: Option<Duration>,
    },
    /// JobRunr's tables are not there.
    #[error("{0}")]
    NoTables(String),
    /// Too many different questions are open.
    #[error(
        "too many different combinations of filters and scheduledIn are asked of this storage; allowed are \
         {MAX_PER_NAMESPACE} for a namespace and {MAX_QUESTIONS} in all; use fewer"
    )]
    TooManyQuestions,
}

/// The newest snapshot.
#[derive(Clone, Debug)]
struct Kept {
    snapshot: Arc<Snapshot>,
    /// When the storage was asked for it.
    at: Instant,
    /// Until then a newer one cannot be had.
    fresh_until: Instant,
}

impl Kept {
    /// Whether it serves a caller who came at that instant.
    fn is_fresh(&self, came_at: Instant) -> bool {
        came_at <= self.at || Instant::now() <= self.fresh_until
    }
}

/// Why the last read failed.
#[derive(Clone, Debug)]
struct Failure {
    cause: String,
    no_tables: bool,
    /// When the storage is asked again. Until then there is nothing to wait for.
    retry_at: Instant,
}

/// What the reader publishes.
#[derive(Clone, Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// The last read's failure; `None` after a success.
    failure: Option<Failure>,
    /// Reads that have ended, well or not.
    n_reads: u64,
    /// Whether the database notifies of new jobs, as the reader has found.
    notifies: bool,
}

/// The one owner of a storage. Clones share it.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

struct Shared {
    settings: MonitorSettings,
    clock: Clock,
    questions: Mutex<AskedQuestions>,
    wanted: Notify,
    new_question: Signal,
    new_watcher: Notify,
    /// The database has notified of new jobs.
    notified: Signal,
    is_listening: AtomicBool,
    metrics: StorageMetrics,
    state: watch::Receiver<State>,
}

impl Monitor {
    /// Starts the monitor of a storage; it ends with `stop`. Nothing is connected before somebody asks.
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
        let (publish, state) = watch::channel(State::default());
        let shared = Arc::new(Shared {
            settings,
            clock,
            questions: Mutex::default(),
            wanted: Notify::new(),
            new_question: Signal::default(),
            new_watcher: Notify::new(),
            notified: Signal::default(),
            is_listening: AtomicBool::new(false),
            metrics: metrics.storage(&name),
            state,
        });
        let listening = listener::run(name.clone(), Arc::clone(&storage), Arc::clone(&shared), stop.clone());
        tasks.spawn(format!("listener of {name}"), listening);
        let reading = reader::run(name.clone(), storage, Arc::clone(&shared), publish, stop);
        tasks.spawn(format!("reader of {name}"), reading);
        Self { shared }
    }

    /// A snapshot that answers the question: fresh where the storage answers in time, else the newest one while it is
    /// younger than `max_staleness`. Answers within [`PATIENCE`].
    ///
    /// # Errors
    /// [`NoAnswer`]: a failed read never becomes a number.
    pub async fn ask(&self, question: &Question, namespace: &str) -> Result<Arc<Snapshot>, NoAnswer> {
        self.shared.register(question, namespace, 0)?;
        let came_at = Instant::now();
        let fresh = |state: &State| {
            let kept = state.kept.as_ref().filter(|kept| kept.is_fresh(came_at) && kept.snapshot.answers(question));
            kept.map(|kept| Arc::clone(&kept.snapshot))
        };
        let mut state = self.shared.state.clone();
        let n_reads = {
            let state = state.borrow_and_update();
            if let Some(snapshot) = fresh(&state) {
                return Ok(snapshot);
            }
            state.n_reads
        };
        self.shared.wanted.notify_one();
        let answered = state.wait_for(|state| {
            let failed = state.failure.as_ref();
            let failed = failed.is_some_and(|f| n_reads != state.n_reads || Instant::now() < f.retry_at);
            failed || fresh(state).is_some()
        });
        // Whether it came, failed or took too long: what there is now is the answer.
        let _ = tokio::time::timeout(PATIENCE, answered).await;
        self.newest(question)
    }

    /// The newest snapshot that may be served, without a read.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub fn newest(&self, question: &Question) -> Result<Arc<Snapshot>, NoAnswer> {
        let state = self.shared.state.borrow();
        let kept = state.kept.as_ref();
        if let Some(kept) = kept.filter(|kept| self.shared.may_be_served(kept) && kept.snapshot.answers(question)) {
            return Ok(Arc::clone(&kept.snapshot));
        }
        let age = kept.map(|kept| kept.at.elapsed());
        Err(match &state.failure {
            Some(failure) if failure.no_tables => NoAnswer::NoTables(failure.cause.clone()),
            Some(failure) => NoAnswer::Unavailable { cause: failure.cause.clone(), age },
            None => NoAnswer::Unavailable { cause: "the database has not answered yet".to_owned(), age },
        })
    }

    /// The newest snapshot, however old and whatever it answers: for what had better be old than not be.
    #[must_use]
    pub fn last_known(&self) -> Option<Arc<Snapshot>> {
        self.shared.state.borrow().kept.as_ref().map(|kept| Arc::clone(&kept.snapshot))
    }

    /// Whether the database notifies of new jobs, so that nobody waits for the next read.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.shared.is_listening.load(Ordering::Relaxed)
    }

    /// Watches a question: as long as the watcher lives, the storage is read each refresh.
    ///
    /// # Errors
    /// [`NoAnswer::TooManyQuestions`]
    pub fn watch(&self, question: Question, namespace: &str) -> Result<Watcher, NoAnswer> {
        self.shared.register(&question, namespace, 1)?;
        let mut state = self.shared.state.clone();
        state.mark_unchanged();
        self.shared.wanted.notify_one();
        self.shared.new_watcher.notify_one();
        Ok(Watcher { monitor: self.clone(), question, state })
    }
}

impl Shared {
    fn asked(&self) -> std::sync::MutexGuard<'_, AskedQuestions> {
        // Nothing can panic while it is locked, and a set of questions is right even if something did.
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody wants to know, so that the next reads answer it along with the rest.
    fn register(&self, question: &Question, namespace: &str, n_new_watchers: usize) -> Result<(), NoAnswer> {
        let is_new = self.asked().register(question, namespace, n_new_watchers)?;
        if is_new {
            self.new_question.send();
        }
        Ok(())
    }

    /// What the next read has to answer.
    fn questions(&self) -> Questions {
        self.asked().current()
    }

    /// Returns as soon as there is a question that the newest snapshot does not answer.
    async fn unanswered(&self) {
        loop {
            self.new_question.received().await;
            let kept = self.state.borrow().kept.clone();
            let is_answered = |question| kept.as_ref().is_some_and(|kept| kept.snapshot.answers(question));
            if !self.asked().iter().all(is_answered) {
                return;
            }
        }
    }

    /// Whether a snapshot is young enough.
    fn may_be_served(&self, kept: &Kept) -> bool {
        kept.at.elapsed() <= self.settings.max_staleness
    }

    fn set_listening(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
        self.metrics.listening(is_listening);
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

/// The instant `wait` after another; where the clock has none, one that nobody lives to see.
fn later(at: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    at.checked_add(wait).or_else(|| at.checked_add(CENTURY)).unwrap_or(at)
}

/// Keeps a storage being read, and tells of each new snapshot.
pub struct Watcher {
    monitor: Monitor,
    question: Question,
    state: watch::Receiver<State>,
}

impl Watcher {
    /// The newest snapshot that may be served.
    ///
    /// # Errors
    /// [`NoAnswer`] while the storage does not answer and the newest snapshot is too old.
    pub fn newest(&self) -> Result<Arc<Snapshot>, NoAnswer> {
        self.monitor.newest(&self.question)
    }

    /// Waits for the next read to end, well or not. However many have ended since the last call count as one.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // The monitor has stopped, because its storage is gone or the server stops: the caller is about to be dropped.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.monitor.shared.asked().release(&self.question);
    }
}
