//! The monitor with a storage that the test plays, on a clock that jumps to whatever is waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::*;
use crate::jobrunr::{Count, Filter, Queue};
use crate::storage::{SchemaError, Session, StorageError};

/// What the storage does when it is read.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Answers,
    Slow(Duration),
    Fails,
    HasNoTables,
}

/// A storage whose snapshots count its reads.
struct Fake {
    mood: Mutex<Mood>,
    n_connects: AtomicU64,
    n_reads: AtomicU64,
    /// Whether it says that nothing has changed.
    is_unchanged: std::sync::atomic::AtomicBool,
}

impl Fake {
    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn reads(&self) -> u64 {
        self.n_reads.load(Ordering::Relaxed)
    }

    fn connects(&self) -> u64 {
        self.n_connects.load(Ordering::Relaxed)
    }
}

struct FakeStorage(Arc<Fake>);

#[async_trait]
impl Storage for FakeStorage {
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError> {
        self.0.n_connects.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(FakeSession(Arc::clone(&self.0))))
    }
}

struct FakeSession(Arc<Fake>);

#[async_trait]
impl Session for FakeSession {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        let n_reads = self.0.n_reads.fetch_add(1, Ordering::Relaxed) + 1;
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::Answers => {}
            Mood::Slow(duration) => sleep(duration).await,
            Mood::Fails => return Err(StorageError::Unreachable("gone fishing".to_owned())),
            Mood::HasNoTables => {
                let (database, prefix) = ("the database x".to_owned(), String::new());
                Err(SchemaError::TablesMissing { database, tables: vec!["jobrunr_jobs".to_owned()], prefix })?;
            }
        }
        let queue = |look_aheads: &crate::jobrunr::LookAheads| Queue {
            enqueued: Count { n_jobs: n_reads, limited: false },
            scheduled: look_aheads.keys().map(|&ahead| (ahead, Count::default())).collect(),
            ..Queue::default()
        };
        let queues = questions.iter().map(|(filter, ahead)| (filter.clone(), Ok(queue(ahead)))).collect();
        Ok(Snapshot {
            read_at: now,
            heartbeat_multiplicand: 4,
            servers: Vec::new(),
            queues,
            recurring: None,
            notes: Vec::new(),
        })
    }

    async fn is_unchanged(&mut self, _: &Questions, _: &Snapshot) -> Result<bool, StorageError> {
        Ok(self.0.is_unchanged.load(Ordering::Relaxed))
    }

    async fn close(self: Box<Self>) {}
}

const REFRESH: Duration = Duration::from_secs(1);
const MAX_STALENESS: Duration = Duration::from_secs(60);

fn start() -> (Monitor, Arc<Fake>) {
    let fake = Arc::new(Fake {
        mood: Mutex::new(Mood::Answers),
        n_connects: AtomicU64::new(0),
        n_reads: AtomicU64::new(0),
        is_unchanged: false.into(),
    });
    let settings =
        MonitorSettings { refresh: REFRESH, max_staleness: MAX_STALENESS, read_timeout: Duration::from_secs(6) };
    let storage = Arc::new(FakeStorage(Arc::clone(&fake)));
    let monitor =
        Monitor::start("x".to_owned(), storage, settings, Clock::System, Metrics::default(), CancellationToken::new());
    (monitor, fake)
}

fn question(priority: i32) -> Question {
    let filter = Filter { priority: Some(priority), ..Filter::default() };
    Question { filter, look_ahead: SignedDuration::from_mins(1), demand: false }
}

/// Which read an answer comes from.
fn read_of(answer: &Result<Arc<Snapshot>, NoAnswer>, question: &Question) -> u64 {
    answer.as_ref().unwrap().queues[&question.filter].as_ref().unwrap().enqueued.n_jobs
}

/// The answer, and how long it took.
async fn timed(monitor: &Monitor, question: &Question) -> (Result<Arc<Snapshot>, NoAnswer>, Duration) {
    let began = Instant::now();
    (monitor.ask(question).await, began.elapsed())
}

const AT_ONCE: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_nobody_asks() {
    let (monitor, fake) = start();
    sleep(Duration::from_secs(600)).await;
    assert_eq!((fake.connects(), fake.reads()), (0, 0));
    monitor.ask(&question(0)).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((fake.connects(), fake.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_at_once_there_is_one_read() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_millis(200)));
    let questions: Vec<Question> = (0..200).map(|n| question(n % 7)).collect();
    let answers = join_all(questions.iter().map(|question| monitor.ask(question))).await;
    for (answer, question) in answers.iter().zip(&questions) {
        assert_eq!(read_of(answer, question), 1);
    }
    assert_eq!((fake.connects(), fake.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn there_is_at_most_one_read_a_refresh() {
    let (monitor, fake) = start();
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let (answer, took) = timed(&monitor, &question(0)).await;
        assert!(answer.is_ok() && took < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    assert!((29..=31).contains(&fake.reads()), "{}", fake.reads());
}

#[tokio::test(start_paused = true)]
async fn a_new_question_does_not_wait_for_the_next_refresh() {
    let (monitor, fake) = start();
    monitor.ask(&question(0)).await.unwrap();
    let (answer, took) = timed(&monitor, &question(1)).await;
    assert_eq!(read_of(&answer, &question(1)), 2);
    assert!(took < AT_ONCE, "{took:?}");
    // The old question came along.
    assert_eq!(read_of(&monitor.ask(&question(0)).await, &question(0)), 2);
    assert_eq!(fake.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_storage_holds_nobody_up_and_its_answer_serves_the_next() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_secs(3)));
    let (answer, took) = timed(&monitor, &question(0)).await;
    assert!(matches!(answer, Err(NoAnswer::Unavailable { age: None, .. })), "{answer:?}");
    assert!(took <= PATIENCE + AT_ONCE, "{took:?}");
    sleep(Duration::from_secs(3)).await;
    let (answer, took) = timed(&monitor, &question(0)).await;
    assert_eq!(read_of(&answer, &question(0)), 1);
    assert!(took <= PATIENCE + AT_ONCE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_does_not_end_is_given_up_with_its_connection() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_secs(100_000)));
    assert!(monitor.ask(&question(0)).await.is_err());
    sleep(Duration::from_secs(7)).await;
    fake.set(Mood::Answers);
    let error = monitor.newest(&question(0)).unwrap_err().to_string();
    assert!(error.contains("did not answer within 6s"), "{error}");
    sleep(Duration::from_secs(1)).await;
    assert!(monitor.ask(&question(0)).await.is_ok());
    assert_eq!(fake.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_storage_is_left_in_peace_and_callers_get_what_there_is_at_once() {
    let (monitor, fake) = start();
    monitor.ask(&question(0)).await.unwrap();
    fake.set(Mood::Fails);
    let outage = Instant::now();
    let mut n_slow = 0;
    loop {
        let (answer, took) = timed(&monitor, &question(0)).await;
        if MAX_STALENESS + REFRESH < outage.elapsed() {
            let Err(NoAnswer::Unavailable { cause, age }) = answer else { panic!("{answer:?}") };
            assert!(cause.contains("gone fishing"), "{cause}");
            assert!(MAX_STALENESS < age.unwrap());
            break;
        }
        if outage.elapsed() < MAX_STALENESS - REFRESH {
            assert_eq!(read_of(&answer, &question(0)), 1);
        }
        n_slow += u32::from(AT_ONCE < took);
        sleep(Duration::from_millis(100)).await;
    }
    // 250 ms, 500 ms, 1 s … 15 s: a dozen attempts in a minute rather than hundreds.
    assert!((5..=12).contains(&fake.reads()), "{}", fake.reads());
    assert!(n_slow <= 12, "{n_slow} callers waited");
    fake.set(Mood::Answers);
    sleep(Duration::from_secs(16)).await;
    assert!(monitor.ask(&question(0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_the_start_is_told_at_once() {
    let (monitor, fake) = start();
    fake.set(Mood::Fails);
    for _ in 0..5 {
        let (answer, took) = timed(&monitor, &question(0)).await;
        assert!(matches!(answer, Err(NoAnswer::Unavailable { age: None, .. })), "{answer:?}");
        assert!(took < AT_ONCE, "{took:?}");
    }
    fake.set(Mood::HasNoTables);
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(monitor.ask(&question(0)).await, Err(NoAnswer::NoTables(_))));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_keeps_the_storage_read_and_wakes_at_each_read() {
    let (monitor, fake) = start();
    let mut watcher = monitor.watch(question(0)).unwrap();
    let mut second = monitor.watch(question(0)).unwrap();
    for n in 1..=10 {
        watcher.changed().await;
        second.changed().await;
        assert_eq!(read_of(&watcher.newest(), &question(0)), n);
    }
    // Reads that were missed count as one.
    sleep(Duration::from_millis(10_500)).await;
    watcher.changed().await;
    let (n_reads, before) = (fake.reads(), Instant::now());
    watcher.changed().await;
    assert!(AT_ONCE < before.elapsed() && fake.reads() == n_reads + 1);
    drop((watcher, second));
    sleep(Duration::from_secs(2)).await;
    let n_reads = fake.reads();
    sleep(Duration::from_secs(600)).await;
    assert!(fake.reads() <= n_reads + 1, "{} reads for nobody", fake.reads() - n_reads);
}

#[tokio::test(start_paused = true)]
async fn questions_are_forgotten_after_a_while_and_limited_in_number() {
    let (monitor, _fake) = start();
    let limit = i32::try_from(MAX_QUESTIONS).unwrap();
    let fill = join_all((0..limit).map(|n| {
        let monitor = monitor.clone();
        async move { monitor.ask(&question(n)).await }
    }));
    assert!(fill.await.iter().all(Result::is_ok));
    assert_eq!(monitor.ask(&question(limit)).await, Err(NoAnswer::TooManyQuestions));
    assert!(monitor.ask(&question(7)).await.is_ok(), "a known question is still answered");
    sleep(FORGET_AFTER).await;
    assert!(monitor.ask(&question(limit)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_has_not_changed_is_read_rarely_and_its_answer_stays_fresh() {
    let (monitor, fake) = start();
    fake.is_unchanged.store(true, Ordering::Relaxed);
    let mut watcher = monitor.watch(question(0)).unwrap();
    let end = Instant::now() + Duration::from_secs(300);
    while Instant::now() < end {
        watcher.changed().await;
        assert!(timed(&monitor, &question(0)).await.1 < AT_ONCE);
    }
    assert!((9..=12).contains(&fake.reads()), "{}", fake.reads());
    // A change is seen with the next look.
    let n_reads = fake.reads();
    fake.is_unchanged.store(false, Ordering::Relaxed);
    watcher.changed().await;
    watcher.changed().await;
    assert!(n_reads < fake.reads());
}
