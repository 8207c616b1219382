//! The task behind a monitor: connects, reads, publishes, and backs off.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Failure, Kept, Shared, State};
use crate::jobrunr::{Questions, Snapshot};
use crate::storage::{Session, Storage, StorageError};

/// Waits between attempts to connect: doubled from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LAST_BACKOFF: Duration = Duration::from_secs(15);
/// The triggers of a ScaledObject are asked at once: their questions shall go into one read.
const GATHER: Duration = Duration::from_millis(5);
/// Reads that the database's telling brings are at least so far apart, where there is nothing to do and where there is.
const NUDGE_PAUSE_IDLE: Duration = Duration::from_millis(10);
const NUDGE_PAUSE_BUSY: Duration = Duration::from_millis(250);
/// Everything is read this often, also where a cheaper question finds that nothing has changed: it does not look at all.
const READ_EVERY: Duration = Duration::from_secs(30);
/// A connection that nobody has used for this long is given back to the database.
const IDLE_AFTER: Duration = Duration::from_secs(300);

pub(super) async fn run(
    name: String,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    publish: watch::Sender<State>,
    stop: CancellationToken,
) {
    let mut reader =
        Reader { name, storage, shared, publish, session: None, n_failures: 0, noted: Vec::new(), read_at: None };
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
    n_failures: u32,
    /// What was said of the storage, so that it is said once.
    noted: Vec<String>,
    /// When everything was last read.
    read_at: Option<Instant>,
}

impl Reader {
    async fn read_for_ever(&mut self) {
        let refresh = self.shared.clock.real(self.shared.settings.refresh);
        loop {
            self.wait_until_wanted().await;
            let began = Instant::now();
            let questions = self.shared.questions();
            if !questions.is_empty() {
                let outcome = self.read(&questions).await;
                self.tell(outcome);
            }
            if 0 < self.n_failures {
                sleep(backoff(self.n_failures)).await;
                continue;
            }
            // A new question need not wait for the others' refresh. The pause lets its siblings come along.
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = sleep_until(began + refresh) => {}
                () = until(self.next_change(&questions)) => {}
                () = nudged(&shared, began + self.nudge_pause(&questions)) => {}
                () = shared.unanswered() => sleep(GATHER).await,
            }
        }
    }

    /// How far apart reads are that the database's telling brings: hardly where there was nothing to do, for then somebody
    /// waits to be woken; further where there is work already.
    fn nudge_pause(&self, questions: &Questions) -> Duration {
        let is_idle = self.publish.borrow().kept.as_ref().is_some_and(|kept| kept.snapshot.is_idle(questions));
        if is_idle { NUDGE_PAUSE_IDLE } else { NUDGE_PAUSE_BUSY }
    }

    /// When time alone changes something, where somebody watches.
    fn next_change(&self, questions: &Questions) -> Option<Instant> {
        let kept = self.publish.borrow().kept.clone().filter(|_| self.shared.is_watched())?;
        let at = kept.snapshot.next_change(questions)?;
        let wait = at.duration_since(self.shared.clock.now()).max(SignedDuration::ZERO).unsigned_abs();
        // A little later, since clocks are coarse: a read that comes too early would be for nothing.
        Some(Instant::now() + self.shared.clock.real(wait) + GATHER)
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

    /// The snapshot, and when the database was asked. Connecting comes before that: a slow one makes nothing older.
    async fn read(&mut self, questions: &Questions) -> Result<(Snapshot, Instant), StorageError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.storage.connect().await?,
        };
        let limit = self.shared.settings.read_timeout;
        let asked_at = Instant::now();
        // Dropping the session on any failure closes its connection: nothing is left half read.
        let is_recent = self.read_at.is_some_and(|at| at.elapsed() < READ_EVERY);
        let kept = self.publish.borrow().kept.clone().filter(|_| is_recent);
        match timeout(limit, look(session.as_mut(), questions, kept, self.shared.clock.now())).await {
            Ok(look) => {
                let snapshot = match look? {
                    Look::Unchanged(snapshot) => snapshot,
                    Look::Read(snapshot) => {
                        self.read_at = Some(asked_at);
                        snapshot
                    }
                };
                self.session = Some(session);
                Ok((snapshot, asked_at))
            }
            Err(_) => Err(StorageError::TimedOut(format!("{limit:?}"))),
        }
    }

    fn tell(&mut self, outcome: Result<(Snapshot, Instant), StorageError>) {
        let storage = &self.name;
        match outcome {
            Ok((snapshot, asked_at)) => {
                self.shared.metrics.read(storage, Some(asked_at.elapsed()));
                if 0 < self.n_failures {
                    info!(storage, n_failures = self.n_failures, "the database answers again");
                }
                self.n_failures = 0;
                if self.noted != snapshot.notes {
                    snapshot.notes.iter().for_each(|note| warn!(storage, "{note}"));
                    self.noted.clone_from(&snapshot.notes);
                }
                let kept = Kept { snapshot: Arc::new(snapshot), at: asked_at };
                self.publish.send_modify(|state| {
                    *state = State { kept: Some(kept), failure: None, n_reads: state.n_reads + 1 };
                });
            }
            Err(error) => {
                self.shared.metrics.read(storage, None);
                // Once is enough: the same database may be away for hours.
                if self.n_failures == 0 {
                    warn!(storage, %error, "the database does not answer; the last snapshot serves until maxStaleness");
                }
                self.n_failures = self.n_failures.saturating_add(1);
                let no_tables = matches!(error, StorageError::Schema(_));
                let retry_at = Instant::now() + backoff(self.n_failures);
                let failure = Failure { cause: error.to_string(), no_tables, retry_at };
                self.publish.send_modify(|state| {
                    state.failure = Some(failure);
                    state.n_reads += 1;
                });
            }
        }
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

/// Returns when the database has told of new jobs, but not before `earliest`.
async fn nudged(shared: &Shared, earliest: Instant) {
    sleep_until(earliest).await;
    shared.nudged.notified().await;
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

/// How long to wait after the `n`-th failure in a row.
fn backoff(n_failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(n_failures.saturating_sub(1).min(10));
    FIRST_BACKOFF.saturating_mul(doubled).min(LAST_BACKOFF)
}
