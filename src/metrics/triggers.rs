//! The series of triggers, a bounded number of them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use crate::scaling::{Decision, ScaledObjectKey, Trigger};

/// Triggers with series. Further ones are counted.
const MAX_TRIGGERS: usize = 1_000;
/// The series of a trigger that was not asked for this long are dropped.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(600);
/// How often to search for unused series while there are too many triggers.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Identifies a trigger within this process: equal for triggers whose series have equal labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TriggerId(u64);

/// The labels of a trigger's series, unique to it. They are bounded, because keys and triggers are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Labels {
    namespace: String,
    scaled_object: String,
    storage: String,
    metric: &'static str,
    filter: String,
    trigger: String,
}

/// A trigger's latest decision.
#[derive(Clone, Debug)]
struct Series {
    labels: Arc<Labels>,
    value: f64,
    target: f64,
    active: bool,
    truncated: bool,
    recorded_at: Instant,
}

/// The series of triggers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Triggers {
    series: Arc<Mutex<HashMap<TriggerId, Series>>>,
    hasher: RandomState,
    dropped: Counter,
    /// When unused series were last searched for.
    swept_at: Arc<Mutex<Option<Instant>>>,
}

impl Triggers {
    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    pub(super) fn id(&self, key: &ScaledObjectKey, trigger: &Trigger) -> TriggerId {
        // What the labels are made of.
        let identity = (key, &trigger.storage, trigger.metric, &trigger.question.filter, trigger.settings());
        TriggerId(self.hasher.hash_one(identity))
    }

    pub(super) fn record(&self, id: TriggerId, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) {
        let recorded_at = Instant::now();
        let Decision { value, target, active, truncated, reasons: _ } = *decision;
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(&id) {
            *known = Series { labels: Arc::clone(&known.labels), value, target, active, truncated, recorded_at };
            return;
        }
        if MAX_TRIGGERS <= all.len() && self.is_sweep_due(recorded_at) {
            all.retain(|_, series| !series.is_unused(recorded_at));
        }
        if MAX_TRIGGERS <= all.len() {
            self.dropped.inc();
            return;
        }
        let labels = Arc::new(labels(key, trigger));
        all.insert(id, Series { labels, value, target, active, truncated, recorded_at });
    }

    /// Whether to search for unused series: while there are too many triggers, not with every decision.
    fn is_sweep_due(&self, now: Instant) -> bool {
        let mut swept_at = self.swept_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = swept_at.is_none_or(|at| SWEEP_INTERVAL <= now.duration_since(at));
        if is_due {
            *swept_at = Some(now);
        }
        is_due
    }
}

impl Series {
    fn is_unused(&self, now: Instant) -> bool {
        UNUSED_TIMEOUT <= now.duration_since(self.recorded_at)
    }
}

fn labels(key: &ScaledObjectKey, trigger: &Trigger) -> Labels {
    Labels {
        namespace: key.namespace().to_owned(),
        scaled_object: key.name().to_owned(),
        storage: trigger.storage.clone(),
        metric: trigger.metric.name(),
        filter: trigger.question.filter.to_string().trim_start_matches(" with ").to_owned(),
        trigger: trigger.settings().to_string(),
    }
}

impl Collector for Triggers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Instant::now();
        let mut all: Vec<Series> = {
            let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, series| !series.is_unused(now));
            all.values().cloned().collect()
        };
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Series) -> f64| {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for series in &all {
                ConstGauge::new(value(series)).encode(metric.encode_family(&*series.labels)?)?;
            }
            Ok(())
        };
        gauge("trigger_value", "The value of a trigger, in its metric's unit", &|series| series.value)?;
        gauge("trigger_target", "The HPA's target, in the metric's unit", &|series| series.target)?;
        let one = |is_so: bool| f64::from(u8::from(is_so));
        gauge("trigger_active", "Whether a trigger is active", &|series| one(series.active))?;
        let help = "Whether the value comes from a truncated count, so that there may be more jobs";
        gauge("trigger_truncated", help, &|series| one(series.truncated))
    }
}
