//! A fake storage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::super::*;
use crate::jobrunr::{Count, Filter, LastSeenServers, Queue, Server};
use crate::storage::{Listener, Notifications, SchemaError, Session, StorageError};

/// What the storage does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    Answers,
    Slow(Duration),
    Fails,
    /// Refuses connections, for this reason.
    Refuses(&'static str),
    /// Reports that it is starting.
    Starting,
    /// A connection lasts for half a second.
    ShortLived,
    LacksTables,
    Panics,
    /// The database ends its statements.
    TimesOut,
}

/// A storage whose snapshots contain the number of its reads.
pub(super) struct Fake {
    mood: Mutex<Mood>,
    pub(super) n_connects: AtomicU64,
    pub(super) n_listens: AtomicU64,
    pub(super) n_reads: AtomicU64,
    /// Whether it reports that nothing has changed.
    pub(super) is_unchanged: AtomicBool,
    /// Whether it notifies of new jobs.
    pub(super) notifies: AtomicBool,
    pub(super) notification: Notify,
    /// The number of enqueued jobs; `None` for the number of the read.
    pub(super) n_jobs: Mutex<Option<u64>>,
    pub(super) servers: Mutex<Vec<Server>>,
    /// When connections were attempted.
    pub(super) attempts: Mutex<Vec<Instant>>,
}

impl Fake {
    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(super) fn reads(&self) -> u64 {
        self.n_reads.load(Ordering::Relaxed)
    }

    pub(super) fn connects(&self) -> u64 {
        self.n_connects.load(Ordering::Relaxed)
    }

    fn attempt(&self) -> Result<(), StorageError> {
        self.attempts.lock().unwrap().push(Instant::now());
        match *self.mood.lock().unwrap() {
            Mood::Refuses(cause) => Err(StorageError::Unreachable(cause.to_owned())),
            Mood::Starting => Err(StorageError::Starting("wait a moment".to_owned())),
            _ => Ok(()),
        }
    }

    /// The number of connections attempted within the last `duration`, by reader and listener.
    pub(super) fn attempts_within(&self, duration: Duration) -> usize {
        self.attempts.lock().unwrap().iter().filter(|at| at.elapsed() <= duration).count()
    }
}

struct FakeStorage(Arc<Fake>);

#[async_trait]
impl Storage for FakeStorage {
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError> {
        self.0.n_connects.fetch_add(1, Ordering::Relaxed);
        self.0.attempt()?;
        Ok(Box::new(FakeSession(Arc::clone(&self.0), Instant::now())))
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StorageError> {
        self.0.n_listens.fetch_add(1, Ordering::Relaxed);
        self.0.attempt()?;
        let listener = || Box::new(FakeListener(Arc::clone(&self.0))) as Box<dyn Listener>;
        Ok(self.0.notifies.load(Ordering::Relaxed).then(listener))
    }
}

struct FakeListener(Arc<Fake>);

#[async_trait]
impl Listener for FakeListener {
    async fn changed(&mut self) -> Result<(), StorageError> {
        self.0.notification.notified().await;
        Ok(())
    }
}

/// A session, and when it was opened.
struct FakeSession(Arc<Fake>, Instant);

#[async_trait]
impl Session for FakeSession {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        let n_reads = self.0.n_reads.fetch_add(1, Ordering::Relaxed) + 1;
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::ShortLived if Duration::from_millis(500) < self.1.elapsed() => {
                return Err(StorageError::Unreachable("the connection is gone".to_owned()));
            }
            Mood::TimesOut => return Err(StorageError::TimedOut("the statement timeout".to_owned())),
            Mood::Panics => panic!("no row like that"),
            Mood::Answers | Mood::Refuses(_) | Mood::Starting | Mood::ShortLived => {}
            Mood::Slow(duration) => sleep(duration).await,
            Mood::Fails => return Err(StorageError::Unreachable("gone fishing".to_owned())),
            Mood::LacksTables => {
                let (database, prefix) = ("the database x".to_owned(), String::new());
                Err(SchemaError::TablesMissing { database, tables: vec!["jobrunr_jobs".to_owned()], prefix })?;
            }
        }
        let queue = |look_aheads: &crate::jobrunr::LookAheads| Queue {
            enqueued: Count { n_jobs: self.0.n_jobs.lock().unwrap().unwrap_or(n_reads), limited: false },
            scheduled: look_aheads.keys().map(|&ahead| (ahead, Count::default())).collect(),
            ..Queue::default()
        };
        let queues = questions.iter().map(|(filter, ahead)| (filter.clone(), Ok(queue(ahead)))).collect();
        Ok(Snapshot {
            read_at: now,
            heartbeat_multiplicand: 4,
            servers: self.0.servers.lock().unwrap().clone(),
            last_seen_servers: LastSeenServers::default(),
            queues,
            recurring: None,
            service_times: None,
            running: questions.want_running().then(Default::default),
            notes: Vec::new(),
        })
    }

    fn is_usable_after(&self, error: &StorageError) -> bool {
        matches!(error, StorageError::TimedOut(_))
    }

    async fn is_unchanged(&mut self, _: &Questions, _: &Snapshot) -> Result<bool, StorageError> {
        Ok(self.0.is_unchanged.load(Ordering::Relaxed))
    }

    async fn notifications(&mut self) -> Result<Notifications, StorageError> {
        let is_installed = self.0.notifies.load(Ordering::Relaxed);
        Ok(if is_installed { Notifications::Installed } else { Notifications::NotInstalled })
    }

    async fn close(self: Box<Self>) {}
}

pub(super) const REFRESH: Duration = Duration::from_secs(1);
pub(super) const MAX_STALENESS: Duration = Duration::from_secs(60);

pub(super) fn start() -> (Monitor, Arc<Fake>) {
    start_with(REFRESH)
}

pub(super) fn start_with(refresh: Duration) -> (Monitor, Arc<Fake>) {
    let fake = Arc::new(Fake {
        mood: Mutex::new(Mood::Answers),
        n_connects: AtomicU64::new(0),
        n_listens: AtomicU64::new(0),
        n_reads: AtomicU64::new(0),
        is_unchanged: false.into(),
        notifies: false.into(),
        notification: Notify::new(),
        n_jobs: Mutex::default(),
        servers: Mutex::default(),
        attempts: Mutex::default(),
    });
    let settings = MonitorSettings { refresh, max_staleness: MAX_STALENESS, read_timeout: Duration::from_secs(6) };
    let storage = Arc::new(FakeStorage(Arc::clone(&fake)));
    let (clock, metrics, tasks, stop) = (Clock::System, Metrics::default(), Tasks::default(), CancellationToken::new());
    let monitor = Monitor::start("orders".to_owned(), storage, settings, clock, &metrics, &tasks, stop);
    (monitor, fake)
}

pub(super) fn question(priority: i32) -> Question {
    let filter = Filter { priority: Some(priority), ..Filter::default() };
    Question { filter, look_ahead: SignedDuration::from_mins(1), ..Question::default() }
}

/// The number of the read that an answer comes from.
pub(super) fn read_of(answer: &Result<Arc<Snapshot>, AskError>, question: &Question) -> u64 {
    answer.as_ref().unwrap().queues[&question.filter].as_ref().unwrap().enqueued.n_jobs
}

/// Asks, and returns the answer and how long it took.
pub(super) async fn timed(monitor: &Monitor, question: &Question) -> (Result<Arc<Snapshot>, AskError>, Duration) {
    let began = Instant::now();
    (monitor.ask(question, "shop").await, began.elapsed())
}

/// Waits for the next read to end.
pub(super) async fn next_read(watcher: &mut Watcher) {
    while watcher.changed().now_or_never().is_some() {}
    watcher.changed().await;
}

pub(super) const AT_ONCE: Duration = Duration::from_millis(50);
