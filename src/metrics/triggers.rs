//! The triggers last asked for, a bounded number of them: their series, and what has changed of them.

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

/// Triggers remembered at most.
const MAX_TRIGGERS: usize = 1_000;
/// A trigger that nobody has asked for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How often to look for such triggers while there are too many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A change of the pods alone is told this often at most.
const TELL_PODS_EVERY: Duration = Duration::from_secs(10);

/// What has changed of a trigger, worth a line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The pods that it asks for, were it an AverageValue.
    pub pods: u64,
}

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

#[derive(Clone, Debug)]
struct Seen {
    labels: Labels,
    value: f64,
    target: f64,
    active: bool,
    truncated: bool,
    asked_at: Instant,
    /// What was told, and when.
    told: Option<(bool, u64, Instant)>,
}

/// The triggers last asked for. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Triggers {
    /// By a hash of what names a trigger: its labels are made once, and not with every call.
    seen: Arc<Mutex<HashMap<u64, Seen>>>,
    hasher: RandomState,
    dropped: Counter,
    /// When it was last looked for triggers to forget.
    swept: Arc<Mutex<Option<Instant>>>,
}

impl Triggers {
    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    pub(super) fn decided(&self, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) -> Option<Change> {
        // The same as the labels say, before they are made.
        let identity = (key, &trigger.storage, trigger.metric, &trigger.question.filter, trigger.settings());
        let identity = self.hasher.hash_one(identity);
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if MAX_TRIGGERS <= seen.len() && !seen.contains_key(&identity) {
            if self.is_sweep_due(now) {
                seen.retain(|_, seen| now.duration_since(seen.asked_at) < FORGET_AFTER);
            }
            if MAX_TRIGGERS <= seen.len() {
                self.dropped.inc();
                return None;
            }
        }
        let Decision { value, target, active, truncated, reasons: _ } = *decision;
        let new = || Seen { labels: labels(key, trigger), value, target, active, truncated, asked_at: now, told: None };
        let seen = seen.entry(identity).or_insert_with(new);
        (seen.value, seen.target, seen.active, seen.truncated, seen.asked_at) = (value, target, active, truncated, now);
        let pods = pods(decision);
        let is_worth_telling = seen.told.is_none_or(|(was_active, had_pods, at)| {
            was_active != active || (had_pods != pods && TELL_PODS_EVERY <= now.duration_since(at))
        });
        if !is_worth_telling {
            return None;
        }
        seen.told = Some((active, pods, now));
        Some(Change { pods })
    }

    /// Thousands of triggers more than are remembered must not look through all of them each time.
    fn is_sweep_due(&self, now: Instant) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = swept.is_none_or(|swept| SWEEP_EVERY <= now.duration_since(swept));
        if is_due {
            *swept = Some(now);
        }
        is_due
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

/// The pods that a decision asks for, were it an AverageValue: the scaler is not told which it is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is never negative")]
fn pods(decision: &Decision) -> u64 {
    (decision.value / decision.target).ceil() as u64
}

impl Collector for Triggers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Instant::now();
        let mut all: Vec<Seen> = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.retain(|_, seen| now.duration_since(seen.asked_at) < FORGET_AFTER);
            seen.values().cloned().collect()
        };
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Seen) -> f64| {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for seen in &all {
                ConstGauge::new(value(seen)).encode(metric.encode_family(&seen.labels)?)?;
            }
            Ok(())
        };
        gauge("trigger_value", "The value of a trigger, in its metric's unit", &|seen| seen.value)?;
        gauge("trigger_target", "What the HPA steers for, in the metric's unit", &|seen| seen.target)?;
        let one = |is_so: bool| f64::from(u8::from(is_so));
        gauge("trigger_active", "Whether a trigger keeps pods", &|seen| one(seen.active))?;
        let help = "Whether the value comes from a count that ended at its limit, so that there may be more";
        gauge("trigger_truncated", help, &|seen| one(seen.truncated))
    }
}
