//! The task behind a monitor: connects, reads, publishes, and waits for the next read.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::outage::{Outages, SlowReads};
use super::pace::{EarlyReads, is_anybody_asleep};
use super::{Failure, Kept, PATIENCE, Shared, State, later};
use crate::jobrunr::{LastSeenServers, Questions, Snapshot};
use crate::storage::{Session, Storage, StorageError};
use crate::tasks::catch_panic;

/// The triggers of a ScaledObject are asked at once: their questions shall go into one read.
const GATHER: Duration = Duration::from_millis(5);
/// Everything is read this often, also where a cheaper question finds that nothing has changed: it does not look at all.
const READ_EVERY: Duration = Duration::from_secs(30);
/// New questions that come without end bring a read this often. Whoever asks one waits twice as long.
const READ_FOR_QUESTIONS_EVERY: Duration = Duration::from_millis(400);
/// How often to look whether the database has the trigger that notifies of new jobs.
const LOOK_FOR_TRIGGER_EVERY: Duration = Duration::from_secs(60);
/// While reads fail, a notification brings the next attempt forward: so long after the last one, and so often.
const HURRY_AFTER: Duration = Duration::from_secs(2);
const HURRY_EVERY: Duration = Duration::from_secs(60);
/// A connection that nobody has used for this long is given back to the database.
const IDLE_AFTER: Duration = Duration::from_secs(300);

pub(super) async fn run(
    name: String,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    publish: watch::Sender<State>,
    stop: CancellationToken,
) {
    let mut reader = Reader::new(name, storage, shared, publish);
    stop.run_until_cancelled(reader.read_for_ever()).await;
    if let Some(session) = reader.session.take() {
        say_goodbye(session).await;
    }
}

struct Reader {
    name: String,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    publish: watch::Sender<State>,
    session: Option<Box<dyn Session>>,
    /// How long a snapshot is fresh.
    refresh: Duration,
    outages: Outages,
    slow_reads: SlowReads,
    /// Reads that notifications bring, and those that new questions bring.
    notified_reads: EarlyReads,
    asked_reads: EarlyReads,
    /// From when on a notification may bring the next attempt forward, while reads fail.
    may_hurry_at: Instant,
    last_seen_servers: LastSeenServers,
    /// What was said of the storage, so that it is said once.
    noted: Vec<String>,
    /// When everything was last read.
    read_at: Option<Instant>,
    /// When the session was last asked whether the database notifies.
    looked_for_trigger_at: Option<Instant>,
}

/// A read, or the attempt at one.
struct Attempt {
    /// When the database was asked. Connecting comes before that: a slow one makes nothing older.
    asked_at: Instant,
    outcome: Result<Snapshot, StorageError>,
}

impl Reader {
    fn new(name: String, storage: Arc<dyn Storage>, shared: Arc<Shared>, publish: watch::Sender<State>) -> Self {
        let refresh = shared.settings.refresh;
        Self {
            storage,
            publish,
            session: None,
            refresh,
            outages: Outages::new(name.clone()),
            slow_reads: SlowReads::default(),
            notified_reads: EarlyReads::new(refresh),
            asked_reads: EarlyReads::new(refresh.min(READ_FOR_QUESTIONS_EVERY)),
            may_hurry_at: Instant::now(),
            last_seen_servers: LastSeenServers::default(),
            noted: Vec::new(),
            read_at: None,
            looked_for_trigger_at: None,
            name,
            shared,
        }
    }

    /// Reads whenever that is wanted. A panic counts as a failed read: the rows of one storage must neither end its reader
    /// nor take the other storages with them.
    async fn read_for_ever(&mut self) {
        loop {
            let Err(cause) = catch_panic(self.read_when_wanted()).await else { continue };
            self.session = None;
            let retry_at = self.fail(&StorageError::Panicked(cause), Instant::now());
            self.wait_to_retry(retry_at, retry_at).await;
        }
    }

    async fn read_when_wanted(&mut self) {
        self.wait_until_wanted().await;
        // This read covers what came before it; what comes from here on needs another one.
        self.notified_reads.read(self.shared.notified.take());
        self.asked_reads.read(self.shared.new_question.take());
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
                self.succeed(snapshot, asked_at, earliest);
                self.look_for_trigger().await;
                // Whoever asks something new can be answered in time where reads are not too long: that rest is shorter,
                // unless new questions come without end.
                let short_rest = if rest < PATIENCE { rest.min(self.asked_reads.pause()) } else { rest };
                self.wait_for_next(&questions, began, earliest, later(ended, short_rest)).await;
            }
            Err(error) => {
                let retry_at = self.fail(&error, earliest);
                self.wait_to_retry(retry_at, earliest).await;
            }
        }
    }

    /// The database gets a rest from what takes it long. It limits its statements itself: where a read had to be given up,
    /// nothing arrived there.
    fn rest_after(&self, took: Duration) -> Duration {
        let is_long = self.refresh < took && took < self.shared.settings.read_timeout;
        if is_long { took } else { Duration::ZERO }
    }

    /// Returns when the next read is due, not before `earliest`; for a new question not before `earliest_if_asked`.
    async fn wait_for_next(
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
        // A new question need not wait for the others' refresh. The pause lets its siblings come along.
        let asked = async {
            shared.unanswered().await;
            sleep_until(later(Instant::now(), GATHER).max(asked_at)).await;
        };
        tokio::select! {
            () = sleep_until(due_at) => {}
            () = until(changes_at) => {}
            () = notified => {}
            () = asked => {}
        }
    }

    /// Notifications hurry reads only while somebody waits to be woken.
    fn pause_before_notified_read(&self, questions: &Questions) -> Duration {
        let state = self.publish.borrow();
        let is_anybody_asleep = state.kept.as_ref().is_some_and(|kept| is_anybody_asleep(&kept.snapshot, questions));
        if is_anybody_asleep { self.notified_reads.pause() } else { self.refresh }
    }

    /// Waits for the next attempt after a failure; says so if the last answer becomes too old meanwhile. A notification
    /// shows that the database is there: it brings the attempt forward, though not before `earliest` and not often.
    async fn wait_to_retry(&mut self, retry_at: Instant, earliest: Instant) {
        let shared = Arc::clone(&self.shared);
        let hurry_at = later(Instant::now(), HURRY_AFTER).max(earliest).max(self.may_hurry_at);
        let notified = async {
            sleep_until(hurry_at).await;
            shared.notified.received().await;
        };
        tokio::pin!(notified);
        loop {
            tokio::select! {
                () = sleep_until(retry_at) => return,
                () = &mut notified => {
                    self.may_hurry_at = later(Instant::now(), HURRY_EVERY);
                    return;
                }
                () = until(self.answers_stop_at()) => self.outages.answers_stopped(),
            }
        }
    }

    /// When the last answer becomes too old to be served, where that is still to come.
    fn answers_stop_at(&self) -> Option<Instant> {
        let state = self.publish.borrow();
        let kept = state.kept.as_ref().filter(|_| self.outages.is_serving_last_answer())?;
        Some(later(kept.at, self.shared.settings.max_staleness))
    }

    /// When time alone changes something, where somebody watches.
    fn next_change(&self, questions: &Questions) -> Option<Instant> {
        let kept = self.publish.borrow().kept.clone().filter(|_| self.shared.is_watched())?;
        let at = kept.snapshot.next_change(questions)?;
        // A little later, since clocks are coarse: a read that comes too early would be for nothing.
        Some(later(later(Instant::now(), self.shared.clock.until(at)), GATHER))
    }

    /// Returns when somebody asks, or at once while somebody watches.
    async fn wait_until_wanted(&mut self) {
        if self.shared.is_watched() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if timeout(IDLE_AFTER, shared.wanted.notified()).await.is_ok() {
            sleep(GATHER).await;
            return;
        }
        if let Some(session) = self.session.take() {
            say_goodbye(session).await;
        }
        shared.wanted.notified().await;
    }

    /// Connects where needed, and reads. Any failure drops the session, and with it the connection: nothing is left half
    /// read.
    async fn read(&mut self, questions: &Questions) -> Attempt {
        let session = match self.session.take() {
            Some(session) => Ok(session),
            None => {
                self.looked_for_trigger_at = None;
                self.storage.connect().await
            }
        };
        let asked_at = Instant::now();
        let outcome = match session {
            Ok(session) => self.ask(session, questions, asked_at).await,
            Err(error) => Err(error),
        };
        Attempt { asked_at, outcome }
    }

    async fn ask(
        &mut self,
        mut session: Box<dyn Session>,
        questions: &Questions,
        asked_at: Instant,
    ) -> Result<Snapshot, StorageError> {
        let is_recent = self.read_at.is_some_and(|at| at.elapsed() < READ_EVERY);
        let kept = self.publish.borrow().kept.clone().filter(|_| is_recent);
        let looking = look(session.as_mut(), questions, kept, self.shared.clock.now());
        let limit = self.shared.settings.read_timeout;
        let snapshot = match within(limit, looking).await? {
            Look::Unchanged(snapshot) => snapshot,
            Look::Read(snapshot) => {
                self.read_at = Some(asked_at);
                snapshot
            }
        };
        self.session = Some(session);
        Ok(snapshot)
    }

    /// Publishes a snapshot. It is fresh for a refresh, and at least until the next read may begin.
    fn succeed(&mut self, mut snapshot: Snapshot, asked_at: Instant, next_at: Instant) {
        let took = asked_at.elapsed();
        self.shared.metrics.read(Some(took));
        self.shared.metrics.live_servers(snapshot.live_servers().count());
        self.slow_reads.read(&self.name, took);
        self.outages.succeeded();
        if self.noted != snapshot.notes {
            snapshot.notes.iter().for_each(|note| warn!(storage = self.name, "{note}"));
            self.noted.clone_from(&snapshot.notes);
        }
        self.last_seen_servers.update(&snapshot);
        snapshot.last_seen_servers = self.last_seen_servers.clone();
        let fresh_until = later(asked_at, self.refresh).max(next_at);
        let kept = Kept { snapshot: Arc::new(snapshot), at: asked_at, fresh_until };
        self.publish.send_modify(|state| {
            state.kept = Some(kept);
            state.failure = None;
            state.n_reads = state.n_reads.wrapping_add(1);
        });
    }

    /// Publishes a failure. Returns when the storage is asked again, which is not before `earliest`.
    fn fail(&mut self, error: &StorageError, earliest: Instant) -> Instant {
        self.shared.metrics.read(None);
        let is_answering = self.publish.borrow().kept.as_ref().is_some_and(|kept| self.shared.may_be_served(kept));
        let wait = self.outages.failed(error, is_answering);
        if !is_answering {
            self.outages.answers_stopped();
        }
        let retry_at = later(Instant::now(), wait).max(earliest);
        let no_tables = matches!(error, StorageError::Schema(_));
        let failure = Failure { cause: error.to_string(), no_tables, retry_at };
        self.publish.send_modify(|state| {
            state.failure = Some(failure);
            state.n_reads = state.n_reads.wrapping_add(1);
        });
        retry_at
    }

    /// Looks now and then whether the database has the trigger that notifies of new jobs, for the listener.
    async fn look_for_trigger(&mut self) {
        let is_recent = self.looked_for_trigger_at.is_some_and(|at| at.elapsed() < LOOK_FOR_TRIGGER_EVERY);
        if is_recent || !self.shared.is_watched() {
            return;
        }
        let Some(mut session) = self.session.take() else { return };
        self.looked_for_trigger_at = Some(Instant::now());
        // After an error the session is of no use. The next read connects again, and says what is wrong.
        let Ok(notifies) = within(self.shared.settings.read_timeout, session.notifies()).await else { return };
        self.session = Some(session);
        self.publish.send_if_modified(|state| std::mem::replace(&mut state.notifies, notifies) != notifies);
    }
}

/// What a look at a storage gave.
enum Look {
    Unchanged(Snapshot),
    Read(Snapshot),
}

/// Reads; or finds that nothing has changed, where a cheaper question tells that and time changes nothing either.
async fn look(
    session: &mut dyn Session,
    questions: &Questions,
    kept: Option<Kept>,
    now: Timestamp,
) -> Result<Look, StorageError> {
    if let Some(unchanged) = kept.and_then(|kept| kept.snapshot.unchanged_at(questions, now))
        && session.is_unchanged(questions, &unchanged).await?
    {
        return Ok(Look::Unchanged(unchanged));
    }
    session.read(questions, now).await.map(Look::Read)
}

/// Waits for an answer, at most `limit`.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(StorageError::TimedOut(format!("{limit:?}"))),
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Closes a session. A database that does not even take a goodbye must not hold us up.
async fn say_goodbye(session: Box<dyn Session>) {
    let _ = timeout(Duration::from_secs(1), session.close()).await;
}
