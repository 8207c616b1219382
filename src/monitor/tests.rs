//! The monitor with a fake storage, in paused time.

mod fake;
mod notifications;
mod outages;

use std::sync::atomic::Ordering;

use futures::future::join_all;
use tokio::time::sleep;

use self::fake::*;
use super::*;

#[tokio::test(start_paused = true)]
async fn reads_stop_while_nobody_asks() {
    let (monitor, fake) = start();
    sleep(Duration::from_secs(600)).await;
    assert_eq!((fake.connects(), fake.reads()), (0, 0));
    monitor.ask(&question(0), "shop").await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((fake.connects(), fake.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn concurrent_questions_share_one_read() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_millis(200)));
    let questions: Vec<Question> = (0..200).map(|n| question(n % 7)).collect();
    let answers = join_all(questions.iter().map(|question| monitor.ask(question, "shop"))).await;
    for (answer, question) in answers.iter().zip(&questions) {
        assert_eq!(read_of(answer, question), 1);
    }
    assert_eq!((fake.connects(), fake.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn reads_are_at_most_one_per_refresh() {
    let (monitor, fake) = start();
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let (answer, took) = timed(&monitor, &question(0)).await;
        assert!(answer.is_ok() && took < ASK_TIMEOUT);
        sleep(Duration::from_millis(10)).await;
    }
    assert!((29..=31).contains(&fake.reads()), "{}", fake.reads());
}

#[tokio::test(start_paused = true)]
async fn new_question_does_not_wait_for_the_next_refresh() {
    let (monitor, fake) = start();
    monitor.ask(&question(0), "shop").await.unwrap();
    let (answer, took) = timed(&monitor, &question(1)).await;
    assert_eq!(read_of(&answer, &question(1)), 2);
    assert!(took < AT_ONCE, "{took:?}");
    // The same read answered the old question.
    assert_eq!(read_of(&monitor.ask(&question(0), "shop").await, &question(0)), 2);
    assert_eq!(fake.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn ask_times_out_on_a_slow_storage_whose_answer_serves_the_next_call() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_secs(3)));
    let (answer, took) = timed(&monitor, &question(0)).await;
    assert!(matches!(answer, Err(AskError::Unavailable { age: None, .. })), "{answer:?}");
    assert!(took <= ASK_TIMEOUT + AT_ONCE, "{took:?}");
    sleep(Duration::from_secs(3)).await;
    let (answer, took) = timed(&monitor, &question(0)).await;
    assert_eq!(read_of(&answer, &question(0)), 1);
    assert!(took <= ASK_TIMEOUT + AT_ONCE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn watcher_keeps_the_storage_read_and_is_notified_of_each_read() {
    let (monitor, fake) = start();
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    let mut second = monitor.watch(question(0), "shop").unwrap();
    for n in 1..=10 {
        watcher.changed().await;
        second.changed().await;
        assert_eq!(read_of(&watcher.latest(), &question(0)), n);
    }
    // Missed reads count as one.
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
async fn questions_are_limited_per_namespace_and_dropped_when_unused() {
    let (monitor, _fake) = start();
    let limit = i32::try_from(MAX_FILTERS.per_namespace).unwrap();
    let fill = join_all((0..limit).map(|n| {
        let monitor = monitor.clone();
        async move { monitor.ask(&question(n), "greedy").await }
    }));
    assert!(fill.await.iter().all(Result::is_ok));
    assert_eq!(monitor.ask(&question(limit), "greedy").await, Err(AskError::TooManyQuestions));
    assert!(monitor.watch(question(limit), "greedy").is_err());
    assert!(monitor.ask(&question(7), "greedy").await.is_ok(), "a known question is still answered");
    assert!(monitor.ask(&question(limit), "shop").await.is_ok(), "another namespace has its own");
    sleep(questions::UNUSED_TIMEOUT).await;
    assert!(monitor.ask(&question(limit + 1), "greedy").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn unchanged_storage_is_read_rarely_and_its_answer_stays_fresh() {
    let (monitor, fake) = start();
    fake.is_unchanged.store(true, Ordering::Relaxed);
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    let end = Instant::now() + Duration::from_secs(300);
    while Instant::now() < end {
        watcher.changed().await;
        assert!(timed(&monitor, &question(0)).await.1 < AT_ONCE);
    }
    assert!((9..=12).contains(&fake.reads()), "{}", fake.reads());
    // A change is seen with the next query.
    let n_reads = fake.reads();
    fake.is_unchanged.store(false, Ordering::Relaxed);
    watcher.changed().await;
    watcher.changed().await;
    assert!(n_reads < fake.reads());
}

#[tokio::test(start_paused = true)]
async fn read_that_began_after_the_call_is_fresh_regardless_of_its_duration() {
    let (monitor, fake) = start_with(Duration::from_millis(100));
    fake.set(Mood::Slow(Duration::from_millis(500)));
    let (answer, took) = timed(&monitor, &question(0)).await;
    assert_eq!(read_of(&answer, &question(0)), 1);
    assert!(took < Duration::from_millis(550), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn slow_read_is_followed_by_an_equal_pause_in_which_its_answer_is_served_at_once() {
    let (monitor, fake) = start();
    fake.set(Mood::Slow(Duration::from_secs(3)));
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    watcher.changed().await;
    let n_reads = fake.reads();
    for _ in 0..10 {
        let (answer, took) = timed(&monitor, &question(0)).await;
        assert!(answer.is_ok() && took < AT_ONCE, "{answer:?} after {took:?}");
        sleep(Duration::from_millis(280)).await;
    }
    // Neither a new question nor a notification shortens the pause.
    assert!(monitor.ask(&question(1), "shop").await.is_err());
    assert_eq!(fake.reads(), n_reads + 1);
    sleep(Duration::from_secs(60)).await;
    assert!(fake.reads() <= n_reads + 11, "{} reads in a minute", fake.reads() - n_reads);
}

#[tokio::test(start_paused = true)]
async fn new_question_is_answered_in_time_if_reads_take_longer_than_the_refresh() {
    let (monitor, fake) = start_with(Duration::from_millis(100));
    fake.set(Mood::Slow(Duration::from_millis(350)));
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(10)).await;
    // At any time.
    for n in 1..30 {
        sleep(Duration::from_millis(2_017)).await;
        let (answer, took) = timed(&monitor, &question(n)).await;
        assert!(answer.is_ok() && took < ASK_TIMEOUT, "question {n}: {answer:?} after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn new_questions_without_end_cause_few_reads() {
    let (monitor, fake) = start();
    let mut watchers = Vec::new();
    for n in 0..100 {
        watchers.push(monitor.watch(question(n), "greedy").unwrap());
        sleep(Duration::from_millis(100)).await;
    }
    assert!((20..=35).contains(&fake.reads()), "{} reads in ten seconds", fake.reads());
}
