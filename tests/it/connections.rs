//! How a database is connected to, as the database sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::storage::{Storage, StorageError, notify_sql};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::database::{self, Database, Kind};
use crate::process::Process;
use crate::rows::{job, server};
use crate::scaler::{eventually, reference};

/// A PostgreSQL server that is starting: it answers to each login that it is not ready yet.
async fn starting_postgres() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, n_logins) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&n_logins);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = refuse(connection).await;
        }
    });
    (address, n_logins)
}

/// Reads the client's first message, and answers with an ErrorResponse.
async fn refuse(mut connection: TcpStream) -> std::io::Result<()> {
    let length = connection.read_u32().await?;
    let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
    connection.read_exact(&mut startup).await?;
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
    connection.write_u8(b'E').await?;
    connection.write_u32(u32::try_from(fields.len()).unwrap() + 4).await?;
    connection.write_all(fields).await
}

#[tokio::test]
async fn starting_database_is_asked_once_and_reported_as_starting() {
    let (address, n_logins) = starting_postgres().await;
    let config = database::config(&format!("postgres://jobrunr@{address}/jobrunr?sslmode=disable"), "");
    let config = StorageConfig { connect_timeout: Duration::from_secs(2), ..config };
    for error in [config.connect().await.err(), config.listen().await.err()] {
        let error = error.unwrap();
        assert!(matches!(error, StorageError::Starting(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("starting up") && text.contains(&address.to_string()), "{text}");
    }
    assert_eq!(n_logins.load(Ordering::Relaxed), 2, "one for the reader, one for the listener");
}

/// The driver's own log has statements whole, of many kilobytes.
#[tokio::test]
async fn slow_statements_are_not_logged_in_full() {
    for (kind, lock, unlock) in [
        (Kind::Postgres, "BEGIN; LOCK TABLE jobrunr_jobs IN ACCESS EXCLUSIVE MODE", "COMMIT"),
        (Kind::MariaDb, "LOCK TABLES jobrunr_jobs WRITE", "UNLOCK TABLES"),
    ] {
        let mut database = Database::new(kind).await.at_present();
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
        let mut client = process.client().await;
        let metadata = reference("metric=enqueued-count targetValue=1");
        let mut stream = client.stream_is_active(metadata).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().unwrap().result);
        database.execute(lock).await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        database.execute(unlock).await;
        eventually("an answer", async || process.metrics().contains("storage_up{storage=\"default\"} 1").then_some(()))
            .await;
        drop((stream, client));
        let log = process.stop();
        for line in log.lines() {
            assert!(line.len() < 1_000 && !line.contains("FROM"), "{kind:?} {line}");
        }
        assert!(log.contains("slow read") || log.contains("storage unavailable"), "{kind:?} {log}");
    }
}

/// Reads of the storage until now.
fn n_reads(process: &Process) -> f64 {
    let metrics = process.metrics();
    let (_, n) = metrics.split_once("reads_total{storage=\"default\",outcome=\"ok\"} ").unwrap();
    n.lines().next().unwrap().parse().unwrap()
}

/// Does something over and over for some seconds. Gives the reads of that time, and their number if there were nothing but
/// polling each second.
async fn reads_during(process: &Process, mut action: impl AsyncFnMut()) -> (f64, f64) {
    let (began, before) = (Instant::now(), n_reads(process));
    while began.elapsed() < Duration::from_secs(4) {
        action().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (n_reads(process) - before, began.elapsed().as_secs_f64())
}

#[tokio::test]
async fn notifications_cause_few_reads() {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.execute(&notify_sql(&database.config()).unwrap()).await;
    let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let mut client = process.client().await;
    let _stream = client.stream_is_active(reference("metric=demand targetValue=1")).await.unwrap().into_inner();
    process.until_exposed("jobrunr_scaler_listening{storage=\"default\"} 1").await;

    // Any user can notify without new jobs.
    let notify = "SELECT pg_notify('jobrunr_scaler', current_schema() || '.jobrunr_jobs')";
    let (reads, polling) = reads_during(&process, async || database.execute(notify).await).await;
    assert!(reads <= polling + 8.0, "{reads} reads in {polling} s");

    // A live server takes the jobs at once.
    database.insert_servers(&[server(8, 60, 0.0)]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (reads, polling) = reads_during(&process, async || {
        database.insert_jobs(&[job("ENQUEUED", 0.0)]).await;
        database.execute("DELETE FROM jobrunr_jobs").await;
    })
    .await;
    assert!(reads <= polling + 2.0, "{reads} reads in {polling} s");
}
