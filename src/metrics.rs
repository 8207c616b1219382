//! The scaler's own metrics, for Prometheus.
//!
//! The series of triggers are bounded: their names come from outside, and any number of them must fit into memory.

mod certificate;
mod protect;
mod storages;
#[cfg(test)]
mod tests;
mod triggers;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use certificate::Certificate;
pub use protect::{ProtectFigures, ProtectMetrics};
pub use storages::StorageMetrics;
use storages::Storages;
pub use triggers::TriggerId;
use triggers::Triggers;

use crate::scaling::{Decision, ScaledObjectKey, Trigger};

/// Upper bounds of the histograms in seconds: from a call that is answered from memory to the longest one.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The first part of every metric's name.
const PREFIX: &str = "jobrunr_scaler";

/// The names of all metrics, without [`PREFIX`].
const NAMES: [&str; 27] = [
    "build_info",
    "call_duration_seconds",
    "calls_total",
    "certificate_expiry_timestamp_seconds",
    "certificate_last_reload_ok",
    "config_last_reload_ok",
    "config_reloads_total",
    "listening",
    "live_servers",
    "log_lines_dropped_total",
    "protect_jobs_without_server",
    "protect_pending",
    "protect_pods",
    "protect_servers_without_pod",
    "protect_unlisted_namespaces",
    "protect_writes_total",
    "pushes_total",
    "read_duration_seconds",
    "reads_total",
    "snapshot_age_seconds",
    "storage_up",
    "streams",
    "trigger_active",
    "trigger_target",
    "trigger_truncated",
    "trigger_value",
    "triggers_dropped_total",
];

/// The scaler's own metrics. Clones share them.
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
    certificate: Certificate,
    protect: ProtectMetrics,
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
    code: &'static str,
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
    /// The repeat after a second: KEDA drops a push that comes before it has written its own status.
    Second,
    /// The trigger is still active.
    Repeat,
    /// The trigger has become inactive. Sent only on request.
    Inactive,
}

/// Why a log line was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineDropped {
    /// Its source has used up its bytes per minute.
    Budget,
    /// Standard error is not read, or fails.
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

/// An open stream, counted until it is dropped.
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
            registry: Registry::with_prefix(PREFIX),
            triggers: Triggers::default(),
            storages: Storages::default(),
            reads: Family::default(),
            read_seconds: Family::new_with_constructor(histogram),
            streams: Family::default(),
            pushes: Family::default(),
            certificate: Certificate::default(),
            protect: ProtectMetrics::default(),
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
        registry.register("build_info", "The version of the scaler", build);
        registry.register("reads", "Reads of a storage by outcome", self.reads.clone());
        let help = "The duration of reads of a storage";
        registry.register_with_unit("read_duration", help, Unit::Seconds, self.read_seconds.clone());
        registry.register("streams", "Open streams", self.streams.clone());
        registry.register("pushes", "Messages sent on activity streams by reason", self.pushes.clone());
        registry.register("config_reloads", "Changed configurations while serving by outcome", self.reloads.clone());
        self.last_reload_ok.set(1);
        let help = "Whether the latest configuration is in use";
        registry.register("config_last_reload_ok", help, self.last_reload_ok.clone());
        registry.register_collector(Box::new(self.certificate.clone()));
        registry.register("calls", "Calls by method and gRPC status code", self.calls.clone());
        registry.register_with_unit("call_duration", "The duration of calls", Unit::Seconds, self.call_seconds.clone());
        registry.register("log_lines_dropped", "Log lines that were not written", self.lines_dropped.clone());
        registry.register(
            "triggers_dropped",
            "Decisions about triggers without series, because there are too many triggers",
            self.triggers.dropped(),
        );
        registry.register_collector(Box::new(self.triggers.clone()));
        registry.register_collector(Box::new(self.storages.clone()));
        registry.register_collector(Box::new(self.protect.clone()));
    }
}

impl Metrics {
    /// Returns the names of all metrics, those of histograms without their suffixes. Some are exposed only once there is something
    /// to report.
    #[must_use]
    pub fn names() -> [String; 27] {
        NAMES.map(|name| format!("{PREFIX}_{name}"))
    }

    /// Returns all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// None in practice, because it writes to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// Returns what identifies a trigger here.
    #[must_use]
    pub fn trigger_id(&self, key: &ScaledObjectKey, trigger: &Trigger) -> TriggerId {
        self.0.triggers.id(key, trigger)
    }

    /// Records what was decided for a trigger, whose id is given so that it is computed once and not with every decision.
    pub fn record_decision(&self, id: TriggerId, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) {
        self.0.triggers.record(id, key, trigger, decision);
    }

    /// Returns the counter of log lines that were dropped for a reason.
    #[must_use]
    pub fn lines_dropped(&self, reason: LineDropped) -> Counter {
        let reason = match reason {
            LineDropped::Budget => "budget",
            LineDropped::Unread => "unread",
        };
        self.0.lines_dropped.get_or_create_owned(&LineDroppedLabels { reason })
    }

    /// Returns the metrics of a storage. They replace those of an earlier storage of that name.
    #[must_use]
    pub fn storage(&self, name: &str) -> StorageMetrics {
        let labels = StorageLabels { storage: name.to_owned() };
        let reads = |outcome| self.0.reads.get_or_create_owned(&ReadLabels { storage: name.to_owned(), outcome });
        StorageMetrics {
            state: self.0.storages.add(name),
            succeeded: reads("ok"),
            failed: reads("failed"),
            read_seconds: self.0.read_seconds.get_or_create_owned(&labels),
        }
    }

    /// Removes a storage that is no longer configured. What its reader still records is not exposed.
    pub fn remove_storage(&self, storage: &str) {
        self.0.storages.remove(storage);
        let labels = StorageLabels { storage: storage.to_owned() };
        self.0.read_seconds.remove(&labels);
        for outcome in ["ok", "failed"] {
            self.0.reads.remove(&ReadLabels { storage: storage.to_owned(), outcome });
        }
    }

    /// Returns the metrics of `protect`.
    #[must_use]
    pub fn protect(&self) -> ProtectMetrics {
        self.0.protect.clone()
    }

    /// Records that a changed configuration was found while serving, and whether it was applied.
    pub fn record_reload(&self, is_applied: bool) {
        let outcome = if is_applied { "ok" } else { "failed" };
        self.0.reloads.get_or_create(&ReloadLabels { outcome }).inc();
        self.0.last_reload_ok.set(i64::from(is_applied));
    }

    /// Exposes the state of the certificate. `state` returns when the certificate in use expires, and whether it is the one in the
    /// files.
    pub fn watch_certificate(&self, state: impl Fn() -> (Timestamp, bool) + Send + Sync + 'static) {
        self.0.certificate.watch(Box::new(state));
    }

    /// Counts a stream until the returned value is dropped.
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

    /// Records a message on an activity stream.
    pub fn record_push(&self, push: Push) {
        let reason = match push {
            Push::Edge => "edge",
            Push::Second => "second",
            Push::Repeat => "repeat",
            Push::Inactive => "inactive",
        };
        self.0.pushes.get_or_create(&PushLabels { reason }).inc();
    }

    /// Returns the metrics of the calls of a method.
    #[must_use]
    pub fn calls(&self, method: &'static str) -> CallMetrics {
        CallMetrics {
            method,
            all: self.0.calls.clone(),
            succeeded: OnceLock::new(),
            seconds: self.0.call_seconds.get_or_create_owned(&MethodLabels { method }),
        }
    }
}

/// The metrics of one method's calls.
pub struct CallMetrics {
    method: &'static str,
    all: Family<CallLabels, Counter>,
    /// Nearly all calls succeed: their counter is looked up once.
    succeeded: OnceLock<Counter>,
    seconds: Histogram,
}

impl CallMetrics {
    /// Records a call: the name of its gRPC status code, `Ok` if it succeeded, and how long it took.
    pub fn record(&self, code: &'static str, took: Duration) {
        let counter = || self.all.get_or_create_owned(&CallLabels { method: self.method, code });
        if code == "Ok" {
            self.succeeded.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
