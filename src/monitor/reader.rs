//! The task that reads a storage: connects, reads, publishes, and waits for the next read.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::outage::{Outages, SlowReads};
use super::pace::{EarlyReads, is_activation_awaited};
use super::{ASK_TIMEOUT, CachedSnapshot, Failure, Shared, State, later};
use crate::jobrunr::{LastSeenServers, Questions, Snapshot};
use crate::storage::{Notifications, Session, Storage, StorageError, within};
use crate::tasks::catch_panic;

/// How long to wait for more questions before a read. KEDA asks the triggers of a ScaledObject at the same time.
const BATCH_WINDOW: Duration = Duration::from_millis(5);
/// How often everything is read even if a cheaper query finds nothing changed, because that query does not see everything.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(30);
/// The interval of reads while new questions arrive without end. The caller of a new question waits up to twice as long.
const NEW_QUESTION_READ_INTERVAL: Duration = Duration::from_millis(400);
/// How often to check whether the database notifies of new jobs.
const NOTIFICATIONS_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// While reads fail, a notification brings the next attempt forward: this long after the last one at the earliest.
const EARLY_RETRY_DELAY: Duration = Duration::from_secs(2);
/// The shortest interval between two attempts that notifications have brought forward.
const EARLY_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// A connection that is unused for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long closing a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the reader of a storage until `stop`.
pub(super) async fn run(
    name: String,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    publisher: watch::Sender<State>,
    stop: CancellationToken,
) {
    let mut reader = StorageReader::new(name, storage, shared, publisher);
    stop.run_until_cancelled(reader.run()).await;
    reader.close().await;
}

struct StorageReader {
    name: String,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    publisher: watch::Sender<State>,
    session: Option<Box<dyn Session>>,
    /// How long a snapshot is fresh.
    refresh: Duration,
    outages: Outages,
    slow_reads: SlowReads,
    /// Limits the reads that notifications bring forward, and those that new questions do.
    notified_reads: EarlyReads,
    asked_reads: EarlyReads,
    /// From when on a notification can bring the next attempt forward while reads fail.
    early_retry_from: Instant,
    last_seen_servers: LastSeenServers,
    /// The notes that were logged last, so that each is logged once.
    logged_notes: Vec<String>,
    /// When everything was last read.
    full_read_at: Option<Instant>,
    /// When the session was last asked whether the database notifies.
    notifications_checked_at: Option<Instant>,
}

/// An attempt to read.
struct Attempt {
    /// When the database was asked. Connecting is not included: a slow connection does not age the answer.
    asked_at: Instant,
    outcome: Result<Snapshot, StorageError>,
}

impl StorageReader {
    fn new(name: String, storage: Arc<dyn Storage>, shared: Arc<Shared>, publisher: watch::Sender<State>) -> Self {
        let refresh = shared.settings.refresh;
        Self {
            storage,
            publisher,
            session: None,
            refresh,
            outages: Outages::new(name.clone()),
            slow_reads: SlowReads::default(),
            notified_reads: EarlyReads::new(refresh),
            asked_reads: EarlyReads::new(refresh.min(NEW_QUESTION_READ_INTERVAL)),
            early_retry_from: Instant::now(),
            last_seen_servers: LastSeenServers::default(),
            logged_notes: Vec::new(),
            full_read_at: None,
            notifications_checked_at: None,
            name,
            shared,
        }
    }

    /// Reads on demand, without end. A panic counts as a failed read: the rows of one storage must neither end its reader nor
    /// affect other storages.
    async fn run(&mut self) {
        loop {
            let Err(cause) = catch_panic(self.read_on_demand()).await else { continue };
            self.session = None;
            let now = Instant::now();
            let retry_at = self.publish_failure(&StorageError::Panicked(cause), now, now);
            self.wait_to_retry(retry_at, retry_at).await;
        }
    }

    /// Waits for a caller, reads once, publishes, and waits until the next read is due.
    async fn read_on_demand(&mut self) {
        self.wait_for_demand().await;
        // This read covers earlier requests; later ones need another read.
        self.notified_reads.record(self.shared.notified.take());
        self.asked_reads.record(self.shared.new_question.take());
        let questions = self.shared.questions();
        if questions.is_empty() {
            return;
        }
        let began = Instant::now();
        let Attempt { asked_at, outcome } = self.read(&questions).await;
        let rest = self.rest_after(asked_at.elapsed());
        let ended = Instant::now();
        let earliest = later(ended, rest);
        match outcome {
            Ok(snapshot) => {
                self.publish(snapshot, asked_at, earliest);
                self.check_notifications().await;
                // For a new question the rest is shorter if that allows an answer in time, unless new questions arrive
                // without end.
                let short_rest = if rest < ASK_TIMEOUT { rest.min(self.asked_reads.pause()) } else { rest };
                self.wait_for_next_read(&questions, began, earliest, later(ended, short_rest)).await;
            }
            Err(error) => {
                let retry_at = self.publish_failure(&error, began, earliest);
                self.wait_to_retry(retry_at, earliest).await;
            }
        }
    }

    /// Returns the pause after a read, at least as long as the read if that took long. A read that timed out here needs none:
    /// the database limits its statements itself, so it did not receive that one.
    fn rest_after(&self, took: Duration) -> Duration {
        let is_long = self.refresh < took && took < self.shared.settings.read_timeout;
        if is_long { took } else { Duration::ZERO }
    }

    /// Waits until the next read is due: not before `earliest`, and for a new question not before `earliest_if_asked`.
    async fn wait_for_next_read(
        &mut self,
        questions: &Questions,
        began: Instant,
        earliest: Instant,
        earliest_if_asked: Instant,
    ) {
        let shared = Arc::clone(&self.shared);
        let not_before = |pause: Duration| later(began, pause).max(earliest);
        let due_at = not_before(self.refresh);
        let changes_at = self.next_change(questions).map(|at| at.max(earliest));
        let notified_at = not_before(self.pause_before_notified_read(questions));
        let asked_at = later(began, self.asked_reads.pause()).max(earliest_if_asked);
        let notified = async {
            sleep_until(notified_at).await;
            shared.notified.received().await;
        };
        // A new question does not wait for the refresh of the others.
        let asked = async {
            shared.unanswered().await;
            sleep_until(later(Instant::now(), BATCH_WINDOW).max(asked_at)).await;
        };
        tokio::select! {
            () = sleep_until(due_at) => {}
            () = until(changes_at) => {}
            () = notified => {}
            () = asked => {}
        }
    }

    /// Notifications bring a read forward only while an activation is awaited.
    fn pause_before_notified_read(&self, questions: &Questions) -> Duration {
        let state = self.publisher.borrow();
        let is_awaited = |cached: &CachedSnapshot| is_activation_awaited(&cached.snapshot, questions);
        if state.cached.as_ref().is_some_and(is_awaited) { self.notified_reads.pause() } else { self.refresh }
    }

    /// Waits for the next attempt after a failure, and logs if the cached answer expires meanwhile. A notification shows that
    /// the database is up, so it brings the attempt forward, but not before `earliest` and not often.
    async fn wait_to_retry(&mut self, retry_at: Instant, earliest: Instant) {
        let shared = Arc::clone(&self.shared);
        let notified_at = later(Instant::now(), EARLY_RETRY_DELAY).max(earliest).max(self.early_retry_from);
        let notified = async {
            sleep_until(notified_at).await;
            shared.notified.received().await;
        };
        tokio::pin!(notified);
        loop {
            tokio::select! {
                () = sleep_until(retry_at) => return,
                () = &mut notified => {
                    self.early_retry_from = later(Instant::now(), EARLY_RETRY_INTERVAL);
                    return;
                }
                () = until(self.answer_expires_at()) => self.outages.record_expired_answer(),
            }
        }
    }

    /// Returns when the cached answer becomes too old to be served, while it is served in spite of failures.
    fn answer_expires_at(&self) -> Option<Instant> {
        let state = self.publisher.borrow();
        let cached = state.cached.as_ref().filter(|_| self.outages.is_serving_cached_answer())?;
        Some(later(cached.asked_at, self.shared.settings.max_staleness))
    }

    /// Returns when time alone changes an answer, if somebody watches.
    fn next_change(&self, questions: &Questions) -> Option<Instant> {
        let cached = self.publisher.borrow().cached.clone().filter(|_| self.shared.is_watched())?;
        let at = cached.snapshot.next_change(questions)?;
        // A little later, because clocks are coarse and a read that comes too early is useless.
        Some(later(later(Instant::now(), self.shared.clock.until(at)), BATCH_WINDOW))
    }

    /// Returns when somebody asks, or at once if somebody watches. Closes the connection if it is unused for too long.
    async fn wait_for_demand(&mut self) {
        if self.shared.is_watched() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if timeout(IDLE_TIMEOUT, shared.read_requested.notified()).await.is_ok() {
            sleep(BATCH_WINDOW).await;
            return;
        }
        self.close().await;
        self.shared.metrics.record_unused();
        shared.read_requested.notified().await;
    }

    /// Connects if needed, and reads. Any failure drops the session and with it the connection, so that no answer is half read.
    async fn read(&mut self, questions: &Questions) -> Attempt {
        let session = match self.session.take() {
            Some(session) => Ok(session),
            None => {
                self.notifications_checked_at = None;
                self.storage.connect().await
            }
        };
        let asked_at = Instant::now();
        let outcome = match session {
            Ok(session) => self.read_session(session, questions, asked_at).await,
            Err(error) => Err(error),
        };
        Attempt { asked_at, outcome }
    }

    async fn read_session(
        &mut self,
        mut session: Box<dyn Session>,
        questions: &Questions,
        asked_at: Instant,
    ) -> Result<Snapshot, StorageError> {
        // What the session has noted of changes belongs to a read that fails.
        let full_read_at = self.full_read_at.take();
        let is_recent = full_read_at.is_some_and(|at| at.elapsed() < FULL_READ_INTERVAL);
        let cached = self.publisher.borrow().cached.clone().filter(|_| is_recent);
        let answering = read_or_confirm(session.as_mut(), questions, cached, self.shared.clock.now());
        // A read that is given up here leaves the connection in the middle of a statement.
        let answer = match within(self.shared.settings.read_timeout, async { Ok(answering.await) }).await? {
            Ok(answer) => answer,
            Err(error) => {
                self.session = Some(session).filter(|session| session.is_usable_after(&error));
                return Err(error);
            }
        };
        let (snapshot, full_read_at) = match answer {
            Answer::Unchanged(snapshot) => (snapshot, full_read_at),
            Answer::Read(snapshot) => (snapshot, Some(asked_at)),
        };
        self.full_read_at = full_read_at;
        self.session = Some(session);
        Ok(snapshot)
    }

    /// Publishes a snapshot. It is fresh for one refresh, and at least until the next read can begin.
    fn publish(&mut self, mut snapshot: Snapshot, asked_at: Instant, next_at: Instant) {
        let took = asked_at.elapsed();
        self.shared.metrics.record_read(took);
        self.shared.metrics.record_live_servers(snapshot.live_servers().count());
        self.slow_reads.record(&self.name, took);
        self.outages.record_success();
        if self.logged_notes != snapshot.notes {
            snapshot.notes.iter().for_each(|note| warn!(storage = self.name, "{note}"));
            self.logged_notes.clone_from(&snapshot.notes);
        }
        self.last_seen_servers.update(&snapshot);
        snapshot.last_seen_servers = self.last_seen_servers.clone();
        let fresh_until = later(asked_at, self.refresh).max(next_at);
        let cached = CachedSnapshot { snapshot: Arc::new(snapshot), asked_at, took, fresh_until };
        self.publisher.send_modify(|state| {
            state.cached = Some(cached);
            state.failure = None;
            state.n_reads = state.n_reads.wrapping_add(1);
        });
    }

    /// Publishes that a read which began at `began`, perhaps with connecting, has failed. Returns when the storage is asked again,
    /// which is not before `earliest`.
    fn publish_failure(&mut self, error: &StorageError, began: Instant, earliest: Instant) -> Instant {
        self.shared.metrics.record_failed_read(began.elapsed());
        let is_answering = self.publisher.borrow().cached.as_ref().is_some_and(|cached| self.shared.can_serve(cached));
        let wait = self.outages.record_failure(error, is_answering);
        if !is_answering {
            self.outages.record_expired_answer();
        }
        let retry_at = later(Instant::now(), wait).max(earliest);
        let is_schema_missing = matches!(error, StorageError::Schema(_));
        let failure = Failure { cause: error.to_string(), is_schema_missing, retry_at };
        self.publisher.send_modify(|state| {
            state.failure = Some(failure);
            state.n_reads = state.n_reads.wrapping_add(1);
        });
        retry_at
    }

    /// Checks from time to time whether the database notifies of new jobs, for the listener.
    async fn check_notifications(&mut self) {
        let is_recent = self.notifications_checked_at.is_some_and(|at| at.elapsed() < NOTIFICATIONS_CHECK_INTERVAL);
        if is_recent || !self.shared.is_watched() {
            return;
        }
        let Some(mut session) = self.session.take() else { return };
        self.notifications_checked_at = Some(Instant::now());
        // After an error the session is unusable. The next read connects again, and reports what is wrong.
        let answer = within(self.shared.settings.read_timeout, session.notifications()).await;
        let Ok(notifications) = answer else { return };
        self.session = Some(session);
        let notifies = notifications == Notifications::Installed;
        self.publisher.send_if_modified(|state| std::mem::replace(&mut state.notifies, notifies) != notifies);
    }

    /// Closes the session. A database that does not respond must not delay this.
    async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = timeout(CLOSE_TIMEOUT, session.close()).await;
        }
    }
}

/// What a session answered.
enum Answer {
    /// The cached snapshot still holds; here it is, as of now.
    Unchanged(Snapshot),
    /// Everything was read.
    Read(Snapshot),
}

/// Reads, or confirms that the cached snapshot still holds, if a cheaper query shows that.
async fn read_or_confirm(
    session: &mut dyn Session,
    questions: &Questions,
    cached: Option<CachedSnapshot>,
    now: Timestamp,
) -> Result<Answer, StorageError> {
    if let Some(unchanged) = cached.and_then(|cached| cached.snapshot.unchanged_at(questions, now))
        && session.is_unchanged(questions, &unchanged).await?
    {
        return Ok(Answer::Unchanged(unchanged));
    }
    session.read(questions, now).await.map(Answer::Read)
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
