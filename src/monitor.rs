//! The one owner of a storage: it reads, keeps the newest snapshot, and wakes whoever waits for a change.
//!
//! Whoever wants to know something says which question, and gets a snapshot that is at most one refresh old. However
//! many ask, there is one connection, one statement at a time, and at most one read a refresh; while nobody asks there
//! is none.

mod listener;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::jobrunr::{Question, Questions, Snapshot};
use crate::metrics::Metrics;
use crate::storage::Storage;

/// A caller waits this long for a fresh answer: KEDA sets no deadline and holds a lock, so that every call has to end
/// within a second, whatever the database does.
const PATIENCE: Duration = Duration::from_millis(800);
/// A question that nobody has asked for this long is dropped: some polling intervals of KEDA's.
const FORGET_AFTER: Duration = Duration::from_secs(120);
/// More distinct questions than this are no configuration but an attack or a mistake.
const MAX_QUESTIONS: usize = 200;

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
        "more than {MAX_QUESTIONS} different combinations of filters and scheduledIn are asked of this storage; use fewer"
    )]
    TooManyQuestions,
}

/// The newest snapshot, and when the storage gave it.
#[derive(Clone, Debug)]
struct Kept {
    snapshot: Arc<Snapshot>,
    at: Instant,
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
}

/// Who is interested in a question.
#[derive(Clone, Copy, Debug)]
struct Interest {
    last_asked: Instant,
    n_watchers: usize,
}

/// The one owner of a storage. Clones share it.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

struct Shared {
    settings: MonitorSettings,
    clock: Clock,
    interests: Mutex<HashMap<Question, Interest>>,
    wanted: Notify,
    new_question: Notify,
    new_watcher: Notify,
    /// The database has told of new jobs.
    nudged: Notify,
    is_listening: AtomicBool,
    metrics: Metrics,
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
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let (publish, state) = watch::channel(State::default());
        let shared = Arc::new(Shared {
            settings,
            clock,
            interests: Mutex::default(),
            wanted: Notify::new(),
            new_question: Notify::new(),
            new_watcher: Notify::new(),
            nudged: Notify::new(),
            is_listening: AtomicBool::new(false),
            metrics,
            state,
        });
        tokio::spawn(listener::run(name.clone(), Arc::clone(&storage), Arc::clone(&shared), stop.clone()));
        tokio::spawn(reader::run(name, storage, Arc::clone(&shared), publish, stop));
        Self { shared }
    }

    /// A snapshot that answers the question: fresh where the storage answers in time, else the newest one while it is
    /// younger than `max_staleness`. Answers within [`PATIENCE`].
    ///
    /// # Errors
    /// [`NoAnswer`]: a failed read never becomes a number.
    pub async fn ask(&self, question: &Question) -> Result<Arc<Snapshot>, NoAnswer> {
        self.shared.note(question, 0)?;
        let refresh = self.shared.clock.real(self.shared.settings.refresh);
        let mut state = self.shared.state.clone();
        let n_reads = {
            let state = state.borrow_and_update();
            if let Some(kept) = fresh(&state, question, refresh) {
                return Ok(kept);
            }
            state.n_reads
        };
        self.shared.wanted.notify_one();
        let answered = state.wait_for(|state| {
            let failed = state.failure.as_ref();
            let failed = failed.is_some_and(|f| n_reads < state.n_reads || Instant::now() < f.retry_at);
            failed || fresh(state, question, refresh).is_some()
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
        let max_staleness = self.shared.clock.real(self.shared.settings.max_staleness);
        let kept = state.kept.as_ref();
        if let Some(kept) = kept.filter(|kept| kept.at.elapsed() <= max_staleness && kept.snapshot.answers(question)) {
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

    /// Whether the database tells of new jobs at once, so that nobody waits for the next read.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.shared.is_listening.load(Ordering::Relaxed)
    }

    /// Watches a question: as long as the watcher lives, the storage is read each refresh.
    ///
    /// # Errors
    /// [`NoAnswer::TooManyQuestions`]
    pub fn watch(&self, question: Question) -> Result<Watcher, NoAnswer> {
        self.shared.note(&question, 1)?;
        let mut state = self.shared.state.clone();
        state.mark_unchanged();
        self.shared.wanted.notify_one();
        self.shared.new_watcher.notify_one();
        Ok(Watcher { monitor: self.clone(), question, state })
    }
}

fn fresh(state: &State, question: &Question, refresh: Duration) -> Option<Arc<Snapshot>> {
    let kept = state.kept.as_ref()?;
    (kept.at.elapsed() <= refresh && kept.snapshot.answers(question)).then(|| Arc::clone(&kept.snapshot))
}

impl Shared {
    fn interests(&self) -> std::sync::MutexGuard<'_, HashMap<Question, Interest>> {
        // Nothing can panic while the map is locked, and a map of questions is right even if something did.
        self.interests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody wants to know, so that the next reads answer it along with the rest.
    fn note(&self, question: &Question, n_new_watchers: usize) -> Result<(), NoAnswer> {
        let mut interests = self.interests();
        let now = Instant::now();
        if let Some(interest) = interests.get_mut(question) {
            interest.last_asked = now;
            interest.n_watchers += n_new_watchers;
            return Ok(());
        }
        if MAX_QUESTIONS <= interests.len() {
            forget(&mut interests, now);
        }
        if MAX_QUESTIONS <= interests.len() {
            return Err(NoAnswer::TooManyQuestions);
        }
        interests.insert(question.clone(), Interest { last_asked: now, n_watchers: n_new_watchers });
        self.new_question.notify_one();
        Ok(())
    }

    /// What the next read has to answer.
    fn questions(&self) -> Questions {
        let mut interests = self.interests();
        forget(&mut interests, Instant::now());
        interests.keys().cloned().collect()
    }

    /// Returns as soon as there is a question that the newest snapshot does not answer.
    async fn unanswered(&self) {
        loop {
            self.new_question.notified().await;
            let kept = self.state.borrow().kept.clone();
            let unanswered = |question| !kept.as_ref().is_some_and(|kept| kept.snapshot.answers(question));
            if self.interests().keys().any(unanswered) {
                return;
            }
        }
    }

    fn set_listening(&self, storage: &str, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
        self.metrics.listening(storage, is_listening);
    }

    async fn until_watched(&self) {
        while !self.is_watched() {
            self.new_watcher.notified().await;
        }
    }

    fn is_watched(&self) -> bool {
        self.interests().values().any(|interest| 0 < interest.n_watchers)
    }
}

fn forget(interests: &mut HashMap<Question, Interest>, now: Instant) {
    interests.retain(|_, interest| 0 < interest.n_watchers || now.duration_since(interest.last_asked) < FORGET_AFTER);
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
            // The monitor has stopped, and with it the server. The end of whoever waits is near.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(interest) = self.monitor.shared.interests().get_mut(&self.question) {
            interest.n_watchers = interest.n_watchers.saturating_sub(1);
        }
    }
}
