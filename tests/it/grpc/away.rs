//! Streams while the database is away, on a clock that jumps to whatever is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::poll_fn;
use jiff::Timestamp;
use jobrunr_scaler::clock::Clock;
use jobrunr_scaler::grpc::Scaler;
use jobrunr_scaler::grpc::proto::external_scaler_server::ExternalScaler;
use jobrunr_scaler::jobrunr::{Count, LastSeenServers, Questions, Queue, Snapshot};
use jobrunr_scaler::metrics::Metrics;
use jobrunr_scaler::monitor::{Monitor, MonitorSettings, StorageHandle, StorageHandles};
use jobrunr_scaler::recent::Recent;
use jobrunr_scaler::storage::{Session, Storage, StorageError};
use jobrunr_scaler::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::scaler::reference;

/// A storage with one enqueued job, as long as it is there.
#[derive(Clone)]
struct OneJob {
    is_away: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl Storage for OneJob {
    async fn connect(&self) -> Result<Box<dyn Session>, StorageError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl Session for OneJob {
    async fn read(&mut self, questions: &Questions, now: Timestamp) -> Result<Snapshot, StorageError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StorageError::Unreachable("away".to_owned()));
        }
        let queues = questions.iter().map(|(filter, look_aheads)| {
            let scheduled = look_aheads.keys().map(|look_ahead| (*look_ahead, Count::default())).collect();
            let enqueued = Count { n_jobs: 1, limited: false };
            (filter.clone(), Ok(Queue { enqueued, scheduled, ..Queue::default() }))
        });
        Ok(Snapshot {
            read_at: now,
            heartbeat_multiplicand: 4,
            servers: Vec::new(),
            last_seen_servers: LastSeenServers::default(),
            queues: queues.collect(),
            recurring: None,
            service_times: None,
            running: None,
            notes: Vec::new(),
        })
    }

    async fn close(self: Box<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn stream_sleeps_during_an_outage() {
    let is_away = Arc::new(AtomicBool::new(false));
    let storage = Arc::new(OneJob { is_away: Arc::clone(&is_away) });
    let (refresh, max_staleness) = (Duration::from_secs(1), Duration::from_secs(60));
    let settings = MonitorSettings { refresh, max_staleness, read_timeout: Duration::from_secs(6) };
    let (metrics, stop) = (Metrics::default(), CancellationToken::new());
    let (clock, tasks) = (Clock::System, Tasks::default());
    let monitor = Monitor::start("default".to_owned(), storage, settings, clock, &metrics, &tasks, stop.clone());
    let handle = StorageHandle { monitor, namespaces: None, end: stop, findings: Arc::default() };
    let handles = StorageHandles::from_iter([("default".to_owned(), handle)]);
    let (_sender, handles) = watch::channel(handles);
    let scaler = Scaler::new(handles, clock, metrics, Recent::off());
    let request = Request::new(reference("metric=enqueued-count targetValue=1"));
    let mut stream = scaler.stream_is_active(request).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().unwrap().result);

    is_away.store(true, Ordering::Relaxed);
    let drained = async { while stream.next().await.is_some() {} };
    // The last answer serves for a minute, and so does what it says.
    assert!(timeout(max_staleness * 2, drained).await.is_err());
    let mut n_polls = 0;
    let next = poll_fn(|context| {
        n_polls += 1;
        stream.poll_next_unpin(context)
    });
    assert!(timeout(Duration::from_secs(600), next).await.is_err());
    // Once with each attempt to read.
    assert!((30..=70).contains(&n_polls), "{n_polls} times in ten minutes");
}
