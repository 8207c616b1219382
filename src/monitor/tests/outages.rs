//! Databases that go away and come back: what callers get, how often a connection is attempted, what is logged.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::super::*;
use super::fake::*;

#[tokio::test(start_paused = true)]
async fn read_timeout_drops_the_connection() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_secs(100_000)));
    assert!(monitor.ask(&question(0), "shop").await.is_err());
    sleep(Duration::from_secs(7)).await;
    fake.set(Mood::Answers);
    let error = monitor.latest(&question(0)).unwrap_err().to_string();
    assert!(error.contains("did not answer within 6s"), "{error}");
    sleep(Duration::from_secs(1)).await;
    assert!(monitor.ask(&question(0), "shop").await.is_ok());
    assert_eq!(fake.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn failing_storage_is_retried_rarely_and_the_cached_answer_served_at_once() {
    let (monitor, fake) = start();
    monitor.ask(&question(0), "shop").await.unwrap();
    fake.set(Mood::Fails);
    let outage = Instant::now();
    let mut n_slow = 0;
    loop {
        let (answer, took) = timed(&monitor, &question(0)).await;
        if MAX_STALENESS + REFRESH < outage.elapsed() {
            let Err(AskError::Unavailable { cause, age }) = answer else { panic!("{answer:?}") };
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
    // 250 ms, 500 ms, 1 s … 18 s: about ten attempts per minute instead of hundreds.
    assert!((5..=12).contains(&fake.reads()), "{}", fake.reads());
    assert!(n_slow <= 12, "{n_slow} callers waited");
    fake.set(Mood::Answers);
    sleep(Duration::from_secs(16)).await;
    assert!(monitor.ask(&question(0), "shop").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn outage_at_the_start_is_reported_at_once() {
    let (monitor, fake) = start();
    fake.set(Mood::Fails);
    for _ in 0..5 {
        let (answer, took) = timed(&monitor, &question(0)).await;
        assert!(matches!(answer, Err(AskError::Unavailable { age: None, .. })), "{answer:?}");
        assert!(took < AT_ONCE, "{took:?}");
    }
    fake.set(Mood::LacksTables);
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(monitor.ask(&question(0), "shop").await, Err(AskError::SchemaMissing(_))));
}

#[tokio::test(start_paused = true)]
async fn connection_attempts_are_at_most_six_per_minute_with_jitter() {
    let replicas = [start(), start()];
    let mut watchers = Vec::new();
    for (monitor, fake) in &replicas {
        fake.set(Mood::Refuses("connection refused"));
        watchers.push(monitor.watch(question(0), "shop").unwrap());
    }
    sleep(Duration::from_secs(60)).await;
    for (_, fake) in &replicas {
        assert!(fake.attempts_within(Duration::from_secs(2)) <= 1);
        assert!(fake.attempts_within(Duration::from_secs(60)) <= 10, "the first minute");
    }
    sleep(Duration::from_secs(600)).await;
    for (_, fake) in &replicas {
        let n = fake.attempts_within(Duration::from_secs(600));
        assert!((30..=60).contains(&n), "{n} attempts in ten minutes");
    }
    let [a, b] = replicas.map(|(_, fake)| fake.attempts.lock().unwrap().clone());
    let in_step = a.iter().rev().zip(b.iter().rev()).filter(|(a, b)| a == b).count();
    assert!(in_step < 3, "{in_step} attempts at the same instant");
}

#[tokio::test(start_paused = true)]
async fn connection_that_lasts_a_second_is_not_replaced_every_second() {
    let (monitor, fake) = start();
    fake.set(Mood::ShortLived);
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(1200)).await;
    let n = fake.attempts_within(Duration::from_secs(600));
    assert!((30..=60).contains(&n), "{n} attempts in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn starting_database_is_soon_found_ready() {
    let (monitor, fake) = start();
    fake.set(Mood::Refuses("connection refused"));
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(300)).await;
    fake.set(Mood::Starting);
    sleep(Duration::from_secs(40)).await;
    fake.set(Mood::Answers);
    let ready = Instant::now();
    while watcher.latest().is_err() {
        watcher.changed().await;
    }
    assert!(ready.elapsed() <= Duration::from_secs(2), "{:?}", ready.elapsed());
    // It may report that without end.
    fake.set(Mood::Fails);
    sleep(Duration::from_secs(5)).await;
    fake.set(Mood::Starting);
    sleep(Duration::from_secs(1200)).await;
    let n = fake.attempts_within(Duration::from_secs(600));
    assert!((30..=60).contains(&n), "{n} attempts in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn new_cause_restarts_the_backoff() {
    let (monitor, fake) = start();
    fake.set(Mood::Refuses("connection refused"));
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(300)).await;
    fake.set(Mood::Refuses("too many connections"));
    next_read(&mut watcher).await;
    fake.set(Mood::Answers);
    let before = Instant::now();
    watcher.changed().await;
    assert!(watcher.latest().is_ok() && before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn notification_brings_a_retry_forward() {
    let (monitor, fake) = start();
    fake.notifies.store(true, Ordering::Relaxed);
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(2)).await;
    // Reads fail, as where a table is locked, while the connection that listens stays.
    fake.set(Mood::Fails);
    sleep(Duration::from_secs(300)).await;
    assert!(watcher.latest().is_err());
    fake.set(Mood::Answers);
    let before = Instant::now();
    fake.notification.notify_one();
    while watcher.latest().is_err() {
        watcher.changed().await;
    }
    assert!(before.elapsed() <= Duration::from_secs(2), "{:?}", before.elapsed());
    // Notifications cannot cause a storm of connections.
    fake.set(Mood::Fails);
    sleep(Duration::from_secs(60)).await;
    for _ in 0..6_000 {
        fake.notification.notify_one();
        sleep(Duration::from_millis(100)).await;
    }
    let n = fake.attempts_within(Duration::from_secs(600));
    assert!((30..=60).contains(&n), "{n} attempts in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn panic_counts_as_a_failed_read() {
    let (monitor, fake) = start();
    monitor.ask(&question(0), "shop").await.unwrap();
    fake.set(Mood::Panics);
    sleep(MAX_STALENESS).await;
    let (answer, took) = timed(&monitor, &question(0)).await;
    let Err(AskError::Unavailable { cause, .. }) = answer else { panic!("{answer:?}") };
    assert!(cause.contains("no row like that") && cause.contains("bug"), "{cause}");
    assert!(took < ASK_TIMEOUT, "{took:?}");
    fake.set(Mood::Answers);
    sleep(Duration::from_secs(18)).await;
    assert!(monitor.ask(&question(0), "shop").await.is_ok());
}

/// The captured log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8(line.to_vec()).unwrap();
        self.0.lock().unwrap().push(line.trim().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn captured_log() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let format = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
    let subscriber = format.with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn outage_log_has_each_cause_once_and_when_answers_stop_and_return() {
    let (log, _guard) = captured_log();
    let (monitor, fake) = start();
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(log.take(), [""; 0]);
    fake.set(Mood::Fails);
    sleep(Duration::from_secs(20)).await;
    fake.set(Mood::Refuses("password authentication failed"));
    sleep(Duration::from_secs(600)).await;
    fake.set(Mood::Fails);
    sleep(Duration::from_secs(100)).await;
    fake.set(Mood::Answers);
    sleep(Duration::from_secs(20)).await;
    let lines = log.take().join("\n");
    let seconds = |name: &str| {
        let (_, number) = lines.rsplit_once(&format!("{name}=")).unwrap();
        number.split([' ', '\n']).next().unwrap().parse::<f64>().unwrap()
    };
    assert!((715.0..745.0).contains(&seconds("seconds")), "{lines}");
    assert!((655.0..685.0).contains(&seconds("seconds_without_answers")), "{lines}");
    let lines: Vec<&str> = lines.lines().map(|line| line.split(" storage=").next().unwrap()).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    WARN storage unavailable; serving the last answer until maxStaleness
    WARN storage still unavailable, for another cause
    WARN last answer is older than maxStaleness; KEDA gets errors
    INFO storage available again
    ");
}

#[tokio::test(start_paused = true)]
async fn outage_log_says_that_there_is_no_answer_to_serve() {
    let (log, _guard) = captured_log();
    let (monitor, fake) = start();
    fake.set(Mood::Refuses("connection refused"));
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(600)).await;
    insta::assert_snapshot!(log.take().join("\n"), @r#"WARN storage unavailable; no answer to serve, KEDA gets errors storage="orders" error=the database cannot be reached: connection refused"#);
}

#[tokio::test(start_paused = true)]
async fn slow_reads_are_logged_once_per_minute() {
    let (log, _guard) = captured_log();
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_secs(2)));
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(65)).await;
    insta::assert_snapshot!(log.take().join("\n"), @r#"
    WARN slow read storage="orders" seconds=2.0 n_not_logged=0
    WARN slow read storage="orders" seconds=2.0 n_not_logged=14
    "#);
}

#[tokio::test(start_paused = true)]
async fn session_is_kept_after_an_error_that_leaves_it_usable() {
    for (mood, n_connects) in [(Mood::TimesOut, 1), (Mood::Slow(Duration::from_secs(60)), 2), (Mood::Fails, 2)] {
        let (monitor, fake) = start();
        monitor.ask(&question(0), "shop").await.unwrap();
        fake.set(mood);
        sleep(2 * REFRESH).await;
        monitor.ask(&question(0), "shop").await.ok();
        sleep(Duration::from_secs(7)).await;
        fake.set(Mood::Answers);
        sleep(Duration::from_secs(20)).await;
        monitor.ask(&question(0), "shop").await.unwrap();
        let connects = fake.connects();
        assert!(if n_connects == 1 { connects == 1 } else { 2 <= connects }, "{mood:?}: {connects} connections");
    }
}

/// A session may have noted a change with the read that failed, and would then report that nothing has changed since.
#[tokio::test(start_paused = true)]
async fn failed_read_is_followed_by_a_whole_one() {
    let (monitor, fake) = start();
    monitor.ask(&question(0), "shop").await.unwrap();
    fake.set(Mood::TimesOut);
    let before = fake.reads();
    while fake.reads() == before {
        monitor.ask(&question(0), "shop").await.ok();
        sleep(REFRESH).await;
    }
    fake.is_unchanged.store(true, Ordering::Relaxed);
    fake.set(Mood::Answers);
    let failed = fake.reads();
    for _ in 0..5 {
        sleep(Duration::from_secs(1)).await;
        monitor.ask(&question(0), "shop").await.unwrap();
    }
    assert_eq!((fake.reads(), fake.connects()), (failed + 1, 1));
}
