//! What the scaler tells of itself, for Prometheus.
//!
//! Series about triggers are bounded: their names come from outside, and a hostile or huge number of them must not grow the
//! memory without end.

mod triggers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tonic::Code;

pub use triggers::Change;
use triggers::Triggers;

use crate::scaling::{Decision, ScaledObjectKey, Trigger};

/// Upper bounds of the histograms, seconds: from a call that finds its answer in memory to one that waits as long as any.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The scaler's own numbers. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    triggers: Triggers,
    storages: Storages,
    reads: Family<ReadLabels, Counter>,
    read_seconds: Family<StorageLabels, Histogram, fn() -> Histogram>,
    streams: Family<StreamLabels, Gauge>,
    pushes: Family<PushLabels, Counter>,
    /// Tells when the certificate in use expires, and whether the newest is in use. Only where there is TLS.
    certificate: Certificate,
    reloads: Family<ReloadLabels, Counter>,
    last_reload_ok: Gauge,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    lines_dropped: Family<LineDroppedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StorageLabels {
    storage: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabels {
    storage: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LineDroppedLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Why something was pushed to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// The trigger has become active.
    Edge,
    /// Once more after a second: KEDA drops a push that comes before it has written its own status.
    Second,
    /// It still is.
    Repeat,
    /// It is no more, for clients that want to know.
    Inactive,
}

/// Why a line of the log was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineDropped {
    /// Its source had used up its bytes per minute.
    Budget,
    /// Standard error was not read, or failed.
    Unread,
}

/// The two calls that stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// StreamIsActive
    Activity,
    /// StreamMetricSpec
    Spec,
}

/// Counts a stream for as long as it lives.
pub struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let mut inner = Inner {
            registry: Registry::with_prefix("jobrunr_scaler"),
            triggers: Triggers::default(),
            storages: Storages::default(),
            reads: Family::default(),
            read_seconds: Family::new_with_constructor(histogram),
            streams: Family::default(),
            pushes: Family::default(),
            certificate: Certificate::default(),
            reloads: Family::default(),
            last_reload_ok: Gauge::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            lines_dropped: Family::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The version that runs", build);
        registry.register("reads", "Reads of a storage, by how they ended", self.reads.clone());
        let help = "How long reads of a storage took that ended well";
        registry.register_with_unit("read_duration", help, Unit::Seconds, self.read_seconds.clone());
        registry.register("streams", "Open streams", self.streams.clone());
        registry.register("pushes", "What was sent on activity streams, and why", self.pushes.clone());
        registry.register("config_reloads", "Configurations seen while serving", self.reloads.clone());
        self.last_reload_ok.set(1);
        let help = "Whether the newest configuration is in use";
        registry.register("config_last_reload_ok", help, self.last_reload_ok.clone());
        registry.register_collector(Box::new(self.certificate.clone()));
        registry.register("calls", "Calls by method and gRPC status code", self.calls.clone());
        registry.register_with_unit("call_duration", "How long calls took", Unit::Seconds, self.call_seconds.clone());
        registry.register("log_lines_dropped", "Lines of the log not written", self.lines_dropped.clone());
        registry.register("triggers_dropped", "Triggers not shown since there are too many", self.triggers.dropped());
        registry.register_collector(Box::new(self.triggers.clone()));
        registry.register_collector(Box::new(self.storages.clone()));
    }
}

impl Metrics {
    /// All of it in Prometheus' text format.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// Notes what a trigger came to, and gives what has changed since it was told last.
    pub fn decided(&self, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) -> Option<Change> {
        self.0.triggers.decided(key, trigger, decision)
    }

    /// Counts the lines of the log that were not written for this reason.
    #[must_use]
    pub fn lines_dropped(&self, reason: LineDropped) -> Counter {
        let reason = match reason {
            LineDropped::Budget => "budget",
            LineDropped::Unread => "unread",
        };
        self.0.lines_dropped.get_or_create_owned(&LineDroppedLabels { reason })
    }

    /// The numbers of a storage, which replace those of an earlier one of that name.
    #[must_use]
    pub fn storage(&self, name: &str) -> StorageMetrics {
        let labels = StorageLabels { storage: name.to_owned() };
        let reads = |outcome| self.0.reads.get_or_create_owned(&ReadLabels { storage: name.to_owned(), outcome });
        StorageMetrics {
            state: self.0.storages.begin(name),
            read_well: reads("ok"),
            failed: reads("failed"),
            read_seconds: self.0.read_seconds.get_or_create_owned(&labels),
        }
    }

    /// Forgets a storage that is no longer configured. What its reader still reports is not shown.
    pub fn forget_storage(&self, storage: &str) {
        lock(&self.0.storages.0).remove(storage);
        let labels = StorageLabels { storage: storage.to_owned() };
        self.0.read_seconds.remove(&labels);
        for outcome in ["ok", "failed"] {
            self.0.reads.remove(&ReadLabels { storage: storage.to_owned(), outcome });
        }
    }

    /// Notes that a configuration was seen while serving, and whether it was taken up.
    pub fn reloaded(&self, is_taken_up: bool) {
        let outcome = if is_taken_up { "ok" } else { "failed" };
        self.0.reloads.get_or_create(&ReloadLabels { outcome }).inc();
        self.0.last_reload_ok.set(i64::from(is_taken_up));
    }

    /// Shows the certificate's state, as `state` tells it: when the one in use expires, and whether the newest is in use.
    pub fn watch_certificate(&self, state: impl Fn() -> (Timestamp, bool) + Send + Sync + 'static) {
        *self.0.certificate.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(state));
    }

    /// Counts a stream until what it gives is dropped.
    #[must_use]
    pub fn stream(&self, kind: StreamKind) -> OpenStream {
        let kind = match kind {
            StreamKind::Activity => "activity",
            StreamKind::Spec => "spec",
        };
        let gauge = self.0.streams.get_or_create_owned(&StreamLabels { kind });
        gauge.inc();
        OpenStream(gauge)
    }

    /// Counts what was sent on an activity stream.
    pub fn pushed(&self, push: Push) {
        let reason = match push {
            Push::Edge => "edge",
            Push::Second => "second",
            Push::Repeat => "repeat",
            Push::Inactive => "inactive",
        };
        self.0.pushes.get_or_create(&PushLabels { reason }).inc();
    }

    /// Counts a call.
    pub fn called(&self, method: &'static str, code: Code, took: Duration) {
        self.0.calls.get_or_create(&CallLabels { method, code: format!("{code:?}") }).inc();
        self.0.call_seconds.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
    }
}

/// The numbers of one storage, for whoever reads it. They outlive the storage's place in [`Metrics`]: a reader that has not
/// ended yet cannot bring a removed storage back.
pub struct StorageMetrics {
    state: Arc<Mutex<StorageState>>,
    read_well: Counter,
    failed: Counter,
    read_seconds: Histogram,
}

impl StorageMetrics {
    /// Notes a read: how long it took where it ended well.
    pub fn read(&self, took: Option<Duration>) {
        let mut state = lock(&self.state);
        state.is_up = Some(took.is_some());
        match took {
            Some(took) => {
                state.read_at = Some(Instant::now());
                self.read_well.inc();
                self.read_seconds.observe(took.as_secs_f64());
            }
            None => {
                self.failed.inc();
            }
        }
    }

    /// Notes how many servers live.
    pub fn live_servers(&self, n_servers: usize) {
        lock(&self.state).n_live_servers = Some(n_servers);
    }

    /// Notes whether the database notifies of new jobs.
    pub fn listening(&self, is_listening: bool) {
        lock(&self.state).is_listening = is_listening;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of the storages; their number is that of the configuration.
#[derive(Clone, Debug, Default)]
struct Storages(Arc<Mutex<BTreeMap<String, Arc<Mutex<StorageState>>>>>);

#[derive(Clone, Copy, Debug, Default)]
struct StorageState {
    /// Whether the last read ended well; `None` before the first.
    is_up: Option<bool>,
    is_listening: bool,
    read_at: Option<Instant>,
    n_live_servers: Option<usize>,
}

impl Storages {
    fn begin(&self, storage: &str) -> Arc<Mutex<StorageState>> {
        let state = Arc::<Mutex<StorageState>>::default();
        lock(&self.0).insert(storage.to_owned(), Arc::clone(&state));
        state
    }
}

type TellCertificate = Box<dyn Fn() -> (Timestamp, bool) + Send + Sync>;

/// What is known of the certificate.
#[derive(Clone, Default)]
struct Certificate(Arc<Mutex<Option<TellCertificate>>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl Collector for Certificate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|tell| tell());
        let Some((expires, is_newest)) = state else { return Ok(()) };
        let kind = ConstGauge::new(0.0).metric_type();
        let help = "When the certificate in use expires, seconds since 1970";
        let encoder_of = encoder.encode_descriptor("certificate_expiry_timestamp_seconds", help, None, kind)?;
        ConstGauge::new(expires.as_second()).encode(encoder_of)?;
        let help = "Whether what the certificate's files hold now is in use";
        let encoder_of = encoder.encode_descriptor("certificate_last_reload_ok", help, None, kind)?;
        ConstGauge::new(i64::from(is_newest)).encode(encoder_of)
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
        gauge("storage_up", "Whether the last read of a storage ended well", &|state| state.is_up.map(one))?;
        gauge("listening", "Whether the database notifies of new jobs", &|state| {
            state.is_up.map(|_| one(state.is_listening))
        })?;
        gauge("snapshot_age_seconds", "How old the newest answer of a storage is", &|state| {
            state.read_at.map(|at| at.elapsed().as_secs_f64())
        })?;
        gauge("live_servers", "JobRunr's servers with a fresh heartbeat", &|state| {
            state.n_live_servers.map(|n| u32::try_from(n).unwrap_or(u32::MAX).into())
        })
    }
}

#[cfg(test)]
mod tests;
