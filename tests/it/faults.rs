//! Databases that become unreachable, unresponsive, locked or different, behind a scaler that must keep answering. Every call
//! is checked to end within `LONGEST_CALL`.

use std::time::{Duration, Instant};

use jobrunr_scaler::config::{Address, StorageConfig};
use tonic::Code;

use crate::database::{Database, Kind, Layout, NETWORKED, SERVERS};
use crate::proxy::{Network, Proxy};
use crate::rows::{job, scheduled, server};
use crate::scaler::{RunningScaler, answered, cause, eventually, next_push, start};

const COUNT: &str = "metric=enqueued-count targetValue=5";
const MAX_STALENESS: Duration = Duration::from_secs(2);

/// Three enqueued jobs, and settings under which an outage is soon noticed.
async fn three_jobs(kind: Kind) -> (Database, StorageConfig) {
    let mut database = Database::new(kind).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 1.0), job("ENQUEUED", 2.0), job("ENQUEUED", 3.0)]).await;
    database.insert_servers(&[server(4, 5, 1.0)]).await;
    let config = quick(database.config());
    (database, config)
}

fn quick(config: StorageConfig) -> StorageConfig {
    StorageConfig {
        max_staleness: MAX_STALENESS,
        connect_timeout: Duration::from_millis(800),
        statement_timeout: Duration::from_secs(1),
        ..config
    }
}

/// Asks until it fails: first the latest snapshot is served, then comes an error, and never another number. Returns the error.
async fn until_it_fails(scaler: &RunningScaler) -> tonic::Status {
    let began = Instant::now();
    let error = eventually("an error", async || match scaler.value(COUNT).await {
        Ok(value) => {
            assert_eq!(value, 3.0, "after {:?}", began.elapsed());
            assert!(scaler.is_active(COUNT).await.unwrap_or(true));
            None
        }
        Err(status) => Some(status),
    });
    let error = error.await;
    let served_for = began.elapsed();
    let expected = MAX_STALENESS - Duration::from_millis(500)..MAX_STALENESS + Duration::from_millis(2500);
    assert!(expected.contains(&served_for), "the snapshot served for {served_for:?}");
    for _ in 0..3 {
        assert_eq!(scaler.value(COUNT).await.unwrap_err().code(), error.code());
        assert_eq!(scaler.is_active(COUNT).await.unwrap_err().code(), error.code());
        // KEDA's fallback depends on this.
        assert_eq!(scaler.spec(COUNT).await.unwrap().target_size, 5);
    }
    error
}

async fn until_it_answers_again(scaler: &RunningScaler) {
    let value = eventually("an answer", async || scaler.value(COUNT).await.ok()).await;
    assert_eq!(value, 3.0);
}

#[tokio::test]
async fn missing_database_is_unavailable_with_its_cause() {
    for kind in NETWORKED {
        let mut config = Database::empty(kind, Layout::default()).await.config();
        let address = match &mut config.address {
            Address::Postgres(address) | Address::Mysql(address) => address,
            Address::MongoDb(address) => &mut address.server,
            Address::Sqlite(_) => unreachable!(),
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        address.hosts = vec![("127.0.0.1".to_owned(), port)];
        // So long MongoDB's driver looks for another server.
        config.connect_timeout = Duration::from_secs(2);
        let scaler = start(config).await;
        let error = cause(&scaler, COUNT).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        for part in ["storage `default`", &format!("127.0.0.1:{port}"), "refused"] {
            assert!(error.message().contains(part), "{part}: {}", error.message());
        }
        assert_eq!(scaler.is_active(COUNT).await.unwrap_err().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn wrong_password_is_reported_and_not_printed() {
    for kind in SERVERS {
        let (database, _) = three_jobs(kind).await;
        let url = database.url.replace("jobrunr:jobrunr@", "jobrunr:hunter2@");
        let scaler = start(crate::database::config(&url, "")).await;
        let error = cause(&scaler, COUNT).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.message().contains("refuses access"), "{}", error.message());
        assert!(!error.message().contains("hunter2"), "{}", error.message());
    }
}

#[tokio::test]
async fn unknown_database_is_named() {
    for kind in SERVERS {
        let (database, _) = three_jobs(kind).await;
        let url = database.url.replace(&database.name, "nowhere");
        let scaler = start(crate::database::config(&url, "")).await;
        let error = cause(&scaler, COUNT).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.message().contains("nowhere"), "{}", error.message());
    }
}

/// Interrupts the network and restores it.
async fn outage(kind: Kind, network: Network) {
    let (_database, mut config) = three_jobs(kind).await;
    let proxy = Proxy::before(&mut config).await;
    let scaler = start(config).await;
    assert_eq!(answered(&scaler, COUNT).await, 3.0);
    proxy.set(network);
    let error = until_it_fails(&scaler).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("the last answer is"), "{}", error.message());
    if network == Network::Hangs {
        assert!(error.message().contains("within"), "{}", error.message());
    } else {
        assert!(error.message().contains(&proxy.place()), "{}", error.message());
    }
    proxy.set(Network::Works);
    until_it_answers_again(&scaler).await;
}

#[tokio::test]
async fn cut_connection_to_postgres_is_survived() {
    outage(Kind::Postgres, Network::Cut).await;
}

#[tokio::test]
async fn cut_connection_to_mariadb_is_survived() {
    outage(Kind::MariaDb, Network::Cut).await;
}

#[tokio::test]
async fn unresponsive_network_to_postgres_is_survived() {
    outage(Kind::Postgres, Network::Hangs).await;
}

#[tokio::test]
async fn unresponsive_network_to_mariadb_is_survived() {
    outage(Kind::MariaDb, Network::Hangs).await;
}

#[tokio::test]
async fn interrupted_network_to_mongodb_is_survived() {
    outage(Kind::MongoDb, Network::Cut).await;
}

#[tokio::test]
async fn unresponsive_network_to_mongodb_is_survived() {
    outage(Kind::MongoDb, Network::Hangs).await;
}

#[tokio::test]
async fn unresponsive_database_delays_no_call_at_the_start() {
    for kind in NETWORKED {
        let (_database, config) = three_jobs(kind).await;
        // With the default timeouts.
        let mut config = StorageConfig {
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            ..config
        };
        let proxy = Proxy::before(&mut config).await;
        proxy.set(Network::Hangs);
        let scaler = start(config).await;
        let calls = (0..20).map(|_| scaler.is_active(COUNT));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn lost_connection_is_replaced_unnoticed() {
    for kind in NETWORKED {
        let (_database, mut config) = three_jobs(kind).await;
        let proxy = Proxy::before(&mut config).await;
        let scaler = start(config).await;
        assert_eq!(answered(&scaler, COUNT).await, 3.0);
        proxy.set(Network::Cut);
        proxy.set(Network::Works);
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            assert_eq!(scaler.value(COUNT).await.unwrap(), 3.0, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn renamed_table_is_named_and_found_again() {
    for kind in SERVERS {
        let (mut database, config) = three_jobs(kind).await;
        let scaler = start(config).await;
        assert_eq!(answered(&scaler, COUNT).await, 3.0);
        database.execute("ALTER TABLE jobrunr_jobs RENAME TO put_aside").await;
        let error = until_it_fails(&scaler).await;
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("no table jobrunr_jobs"), "{}", error.message());
        database.execute("ALTER TABLE put_aside RENAME TO jobrunr_jobs").await;
        until_it_answers_again(&scaler).await;
    }
}

#[tokio::test]
async fn locked_table_delays_no_call() {
    let (mut database, config) = three_jobs(Kind::Postgres).await;
    let scaler = start(config).await;
    assert_eq!(answered(&scaler, COUNT).await, 3.0);
    database.execute("BEGIN; LOCK TABLE jobrunr_jobs IN ACCESS EXCLUSIVE MODE").await;
    let error = until_it_fails(&scaler).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("timeout"), "{}", error.message());
    database.execute("COMMIT").await;
    until_it_answers_again(&scaler).await;
}

#[tokio::test]
async fn stream_stays_open_and_silent_during_an_outage() {
    for kind in NETWORKED {
        let (mut database, mut config) = three_jobs(kind).await;
        database.clear().await;
        let proxy = Proxy::before(&mut config).await;
        let scaler = start(config).await;
        let mut quiet = scaler.watch(COUNT).await;
        let mut talkative = scaler.watch(&format!("{COUNT} pushInactive=true")).await;
        assert_eq!(next_push(&mut quiet, Duration::from_millis(300)).await, None);
        proxy.set(Network::Cut);
        let away = MAX_STALENESS + Duration::from_millis(500);
        let (a, b) = tokio::join!(next_push(&mut quiet, away), next_push(&mut talkative, away));
        assert_eq!((a, b), (None, None), "{kind:?}");
        proxy.set(Network::Works);
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        assert_eq!(next_push(&mut quiet, Duration::from_secs(20)).await, Some(true), "{kind:?}");
        assert_eq!(next_push(&mut talkative, Duration::from_secs(20)).await, Some(true), "{kind:?}");
    }
}

#[tokio::test]
async fn callers_share_one_connection() {
    // With the usual timeouts: on a busy machine a shorter one would end a connection and start a second.
    let (mut database, _) = three_jobs(Kind::Postgres).await;
    let scaler = start(database.config()).await;
    let name = database.name.clone();
    let connections = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobrunr-scaler' AND datname = '{name}'"
    );
    let calls = (0..50).map(async |n: u32| {
        let metadata = format!("metric=scheduled-count targetValue=1 scheduledIn=PT{}S", n % 10);
        for _ in 0..10 {
            answered(&scaler, &metadata).await;
        }
    });
    let mut calls = std::pin::pin!(futures::future::join_all(calls));
    let mut most = 0;
    loop {
        tokio::select! {
            _ = &mut calls => break,
            n = database.number(&connections) => most = most.max(n),
        }
    }
    assert!((1..=2).contains(&most), "{most} connections");
}

/// Jobs become due one after another without a write: each is counted when it is due.
#[tokio::test]
async fn jobs_that_become_due_are_counted_while_nobody_writes() {
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::new(kind).await.at_present();
        database.insert_jobs(&[scheduled(-1.0)]).await;
        let due: Vec<_> = (0..8).map(|n| scheduled(2.0 + f64::from(n) * 0.5)).collect();
        database.insert_jobs(&due).await;
        let scaler = start(database.config()).await;
        let seen = eventually("all jobs to be due", async || {
            let now = jiff::Timestamp::now().duration_since(database.now).as_secs_f64();
            let value = answered(&scaler, "metric=scheduled-count targetValue=1 scheduledIn=PT0S").await;
            // What was due a second ago is counted by now.
            let due = due.iter().filter(|job| job.scheduled_in.unwrap().as_secs_f64() + 1.0 < now).count();
            assert!(1.0 + due as f64 <= value, "{kind:?}: {value} of {due} after {now} s");
            (value == 9.0).then_some(now)
        });
        assert!(5.0 < seen.await);
    }
}

#[tokio::test]
async fn replaced_sqlite_file_is_noticed() {
    let (mut old, mut new) = (Database::new(Kind::Sqlite).await, Database::new(Kind::Sqlite).await);
    old.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    new.insert_jobs(&[job("ENQUEUED", 1.0), job("ENQUEUED", 2.0)]).await;
    let scaler = start(old.config()).await;
    assert_eq!(answered(&scaler, COUNT).await, 1.0);
    // Everything is in the file itself.
    new.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let (Address::Sqlite(from), Address::Sqlite(to)) = (new.config().address, old.config().address) else {
        unreachable!()
    };
    std::fs::rename(from, to).unwrap();
    eventually("the new file's jobs", async || scaler.value(COUNT).await.ok().filter(|value| *value == 2.0)).await;
}
