//! Databases that notify of new jobs.

use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::super::*;
use super::fake::*;
use crate::jobrunr::Server;

fn live_server() -> Server {
    Server {
        worker_pool_size: 8,
        poll_interval: SignedDuration::from_hours(1),
        last_heartbeat: Timestamp::now(),
        ..Server::default()
    }
}

/// Notifies every millisecond for ten seconds. Returns the number of reads in that time.
async fn reads_under_notifications(fake: &Fake) -> u64 {
    let n_reads = fake.reads();
    for _ in 0..10_000 {
        fake.notification.notify_one();
        sleep(Duration::from_millis(1)).await;
    }
    fake.reads() - n_reads
}

#[tokio::test(start_paused = true)]
async fn listener_connects_only_if_the_database_notifies() {
    let (monitor, fake) = start();
    let listens = || fake.n_listens.load(Ordering::Relaxed);
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(600)).await;
    assert_eq!((listens(), fake.connects()), (0, 1));
    // A trigger that is installed later is detected.
    fake.notifies.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(61)).await;
    assert!(monitor.is_listening());
    assert_eq!((listens(), fake.connects()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn notification_brings_a_read_forward_only_while_an_activation_is_awaited() {
    let (monitor, fake) = start();
    fake.notifies.store(true, Ordering::Relaxed);
    *fake.n_jobs.lock().unwrap() = Some(0);
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(monitor.is_listening());
    next_read(&mut watcher).await;
    // No jobs and no server: a new job is seen at once.
    sleep(Duration::from_millis(300)).await;
    *fake.n_jobs.lock().unwrap() = Some(1);
    fake.notification.notify_one();
    let before = Instant::now();
    watcher.changed().await;
    assert_eq!(read_of(&watcher.latest(), &question(0)), 1);
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    // The trigger is active already.
    assert!((9..=11).contains(&reads_under_notifications(&fake).await));
    // A live server polls for jobs itself.
    *fake.n_jobs.lock().unwrap() = Some(0);
    *fake.servers.lock().unwrap() = vec![live_server()];
    sleep(Duration::from_secs(2)).await;
    assert!((9..=11).contains(&reads_under_notifications(&fake).await));
    // Notifications without new jobs.
    fake.servers.lock().unwrap().clear();
    sleep(Duration::from_secs(2)).await;
    let n = reads_under_notifications(&fake).await;
    assert!((9..=20).contains(&n), "{n} reads in ten seconds");
    // Afterwards they delay nothing.
    sleep(Duration::from_secs(3)).await;
    next_read(&mut watcher).await;
    sleep(Duration::from_millis(300)).await;
    fake.notification.notify_one();
    let before = Instant::now();
    watcher.changed().await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
}
