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
        occupied_workers: None,
        server_tags: None,
    }
}

/// Notifies every millisecond for ten seconds, and gives the reads of that time.
async fn reads_under_notifications(fake: &Fake) -> u64 {
    let n_reads = fake.reads();
    for _ in 0..10_000 {
        fake.notification.notify_one();
        sleep(Duration::from_millis(1)).await;
    }
    fake.reads() - n_reads
}

#[tokio::test(start_paused = true)]
async fn nothing_listens_where_the_database_does_not_notify_or_reads_fail() {
    let (monitor, fake) = start();
    let listens = || fake.n_listens.load(Ordering::Relaxed);
    let _watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(600)).await;
    assert_eq!((listens(), fake.connects()), (0, 1));
    // A trigger that is installed is found.
    fake.notifies.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(61)).await;
    assert!(monitor.is_listening());
    assert_eq!((listens(), fake.connects()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn notifications_hurry_reads_only_while_somebody_waits_to_be_woken() {
    let (monitor, fake) = start();
    fake.notifies.store(true, Ordering::Relaxed);
    *fake.n_jobs.lock().unwrap() = Some(0);
    let mut watcher = monitor.watch(question(0), "shop").unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(monitor.is_listening());
    next_read(&mut watcher).await;
    // Nothing to do and no server: a new job is seen at once.
    sleep(Duration::from_millis(300)).await;
    *fake.n_jobs.lock().unwrap() = Some(1);
    fake.notification.notify_one();
    let before = Instant::now();
    watcher.changed().await;
    assert_eq!(read_of(&watcher.newest(), &question(0)), 1);
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    // It has been woken.
    assert!((9..=11).contains(&reads_under_notifications(&fake).await));
    // A server lives that looks for jobs itself.
    *fake.n_jobs.lock().unwrap() = Some(0);
    *fake.servers.lock().unwrap() = vec![live_server()];
    sleep(Duration::from_secs(2)).await;
    assert!((9..=11).contains(&reads_under_notifications(&fake).await));
    // Notifications that are about nothing: somebody only wants reads.
    fake.servers.lock().unwrap().clear();
    sleep(Duration::from_secs(2)).await;
    let n = reads_under_notifications(&fake).await;
    assert!((9..=20).contains(&n), "{n} reads in ten seconds");
    // They slow nothing down afterwards.
    sleep(Duration::from_secs(3)).await;
    next_read(&mut watcher).await;
    sleep(Duration::from_millis(300)).await;
    fake.notification.notify_one();
    let before = Instant::now();
    watcher.changed().await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
}
