//! The state of the storages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::{StorageLabels, lock};

/// The metrics of one storage, for its reader. A reader that has not ended yet cannot bring back a removed storage: what it records
/// is not exposed.
pub struct StorageMetrics {
    pub(super) state: Arc<Mutex<StorageState>>,
    pub(super) succeeded: Counter,
    pub(super) failed: Counter,
    pub(super) read_seconds: Histogram,
}

impl StorageMetrics {
    /// Records a read, and how long it took.
    pub fn record_read(&self, took: Duration) {
        self.read_seconds.observe(took.as_secs_f64());
        self.succeeded.inc();
        let mut state = lock(&self.state);
        (state.is_up, state.read_at) = (Some(true), Some(Instant::now()));
    }

    /// Records a read that has failed, and after how long.
    pub fn record_failed_read(&self, took: Duration) {
        self.read_seconds.observe(took.as_secs_f64());
        self.failed.inc();
        lock(&self.state).is_up = Some(false);
    }

    /// Records that nobody asks any more. What was last read is no longer exposed: with several replicas KEDA asks one of them, and
    /// the others must not keep exposing what they once saw.
    pub fn record_unused(&self) {
        *lock(&self.state) = StorageState::default();
    }

    /// Records the number of live servers.
    pub fn record_live_servers(&self, n_servers: usize) {
        lock(&self.state).n_live_servers = Some(n_servers);
    }

    /// Records whether the database notifies of new jobs.
    pub fn record_listening(&self, is_listening: bool) {
        lock(&self.state).is_listening = is_listening;
    }
}

/// The state of the configured storages.
#[derive(Clone, Debug, Default)]
pub(super) struct Storages(Arc<Mutex<BTreeMap<String, Arc<Mutex<StorageState>>>>>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StorageState {
    /// Whether the last read succeeded; `None` before the first, and when nobody asks any more.
    is_up: Option<bool>,
    is_listening: bool,
    read_at: Option<Instant>,
    n_live_servers: Option<usize>,
}

impl Storages {
    /// Adds a storage, in place of an earlier one of that name.
    pub(super) fn add(&self, storage: &str) -> Arc<Mutex<StorageState>> {
        let state = Arc::<Mutex<StorageState>>::default();
        lock(&self.0).insert(storage.to_owned(), Arc::clone(&state));
        state
    }

    /// Removes a storage that is no longer configured.
    pub(super) fn remove(&self, storage: &str) {
        lock(&self.0).remove(storage);
    }
}

impl Collector for Storages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all: Vec<(String, StorageState)> =
            lock(&self.0).iter().map(|(storage, state)| (storage.clone(), *lock(state))).collect();
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&StorageState) -> Option<f64>| {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (storage, state) in &all {
                let Some(value) = value(state) else { continue };
                let labels = StorageLabels { storage: storage.clone() };
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let one = |is_so: bool| f64::from(u8::from(is_so));
        gauge("storage_up", "Whether the last read of a storage succeeded", &|state| state.is_up.map(one))?;
        gauge("listening", "Whether the database notifies of new jobs", &|state| {
            state.is_up.map(|_| one(state.is_listening))
        })?;
        gauge("snapshot_age_seconds", "The age of the latest snapshot of a storage", &|state| {
            state.read_at.map(|at| at.elapsed().as_secs_f64())
        })?;
        gauge("live_servers", "JobRunr's live servers", &|state| {
            state.n_live_servers.map(|n| u32::try_from(n).unwrap_or(u32::MAX).into())
        })
    }
}
