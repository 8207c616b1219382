//! Kubernetes' HorizontalPodAutoscaler, as far as KEDA uses it: external metrics and scaling behavior.
//!
//! KEDA moves a workload between zero and its first pod (see [`keda`](super::keda)); above that, the HPA decides. Its rules are those
//! of `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go` in Kubernetes 1.36:
//!
//! - [`formula`]: how many pods a metric asks for, and all metrics together.
//! - [`behavior`]: how fast the workload may scale to that number.
//! - [`Hpa`]: both, with the history that the second one needs.

pub mod behavior;
pub mod formula;

use jiff::{SignedDuration, Timestamp};

pub use behavior::{Behavior, PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy};
pub use formula::{FormulaError, MetricReading, MetricType, Replicas, Tolerance, pods_wanted};

use behavior::{Limited, ScaleEvents, Stabilized};

/// How often the HPA evaluates a workload: `--horizontal-pod-autoscaler-sync-period` of kube-controller-manager, its default.
pub const SYNC_PERIOD: SignedDuration = SignedDuration::from_secs(15);

/// How long a recommendation keeps pods alive: `--horizontal-pod-autoscaler-downscale-stabilization`, its default.
pub const DOWNSCALE_STABILIZATION: SignedDuration = SignedDuration::from_secs(300);

/// An HPA with its recent history: what it recommended, and how it scaled.
///
/// ```
/// use jobrunr_scaler::kubernetes::hpa::{Hpa, HpaReason, MetricReading, MetricType, Replicas};
///
/// let mut hpa = Hpa::new(1, 30, None);
/// let demand = MetricReading { metric_type: MetricType::AverageValue, target: 10.0, value: Some(195.0) };
/// let now = "2026-08-01T20:01:32Z".parse()?;
/// let outcome = hpa.sync(now, Replicas { spec: 1, status: 1, ready: 0 }, &[demand]);
/// assert_eq!((outcome.replicas, outcome.reason), (4, HpaReason::ScaleUpLimit));
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hpa {
    min: u32,
    max: u32,
    behavior: Option<Behavior>,
    recommendations: Vec<Recommendation>,
    seen: bool,
    events: ScaleEvents,
}

/// What the metrics asked for at one instant, before it was stabilized and limited.
#[derive(Debug, Clone, Copy)]
struct Recommendation {
    at: Timestamp,
    replicas: u32,
}

/// The result of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpaOutcome {
    /// The workload's `spec.replicas` from now on, unchanged if the HPA changes nothing.
    pub replicas: u32,
    /// Why.
    pub reason: HpaReason,
}

/// Why the HPA chose its number of replicas. The names are those of its conditions (`kubectl describe hpa`) if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpaReason {
    /// The workload has zero replicas: only KEDA can start it.
    #[error("the HPA does nothing at zero replicas")]
    ScalingDisabled,
    /// There were more replicas than allowed: down to the maximum, regardless of the metrics.
    #[error("more replicas than the maximum")]
    AboveMaximum,
    /// There were fewer replicas than allowed: up to the minimum, regardless of the metrics.
    #[error("fewer replicas than the minimum")]
    BelowMinimum,
    /// No metric could be read, or one could not be read and the others would scale down.
    #[error("the metrics could not be read, so the replicas stay as they are")]
    MetricsInvalid,
    /// The metrics get what they ask for.
    #[error("what the metrics ask for")]
    DesiredWithinRange,
    /// A recent, higher recommendation still counts.
    #[error("recent recommendations were higher than the current one")]
    ScaleDownStabilized,
    /// A recent, lower recommendation still counts.
    #[error("recent recommendations were lower than the current one")]
    ScaleUpStabilized,
    /// The metrics ask for more pods than may be added at once.
    #[error("limited by the rate of scaling up")]
    ScaleUpLimit,
    /// The metrics ask to remove more pods than may be removed at once.
    #[error("limited by the rate of scaling down")]
    ScaleDownLimit,
    /// The metrics ask for more than the maximum.
    #[error("limited by the maximum")]
    TooManyReplicas,
    /// The metrics ask for fewer than the minimum.
    #[error("limited by the minimum")]
    TooFewReplicas,
}

impl Hpa {
    /// Creates an HPA without a history.
    ///
    /// `min` is the HPA's own minimum, at least 1 (KEDA passes `max(1, minReplicaCount)`: `GetHPAMinReplicas` in its
    /// `scaledobject_types.go`). `behavior` is that of the manifest; KEDA omits it by default.
    #[must_use]
    pub fn new(min: u32, max: u32, behavior: Option<Behavior>) -> Self {
        Self { min, max, behavior, recommendations: Vec::new(), seen: false, events: ScaleEvents::default() }
    }

    /// Evaluates the workload, as the HPA does every [`SYNC_PERIOD`], at zero replicas too: what it sees first counts as a
    /// recommendation. `now` must not decrease between calls.
    ///
    /// Follows `reconcileAutoscaler` in Kubernetes' `horizontal.go`.
    pub fn sync(&mut self, now: Timestamp, replicas: Replicas, metrics: &[MetricReading]) -> HpaOutcome {
        self.record_first_sight(now, replicas.spec);
        let outcome = self.decide(now, replicas, metrics);
        if let Some(behavior) = &self.behavior {
            self.events.record(now, behavior, replicas.spec, outcome.replicas);
        }
        outcome
    }

    /// A new HPA must not shrink a workload at once, so the size that it finds is a recommendation too.
    fn record_first_sight(&mut self, now: Timestamp, spec: u32) {
        if !self.seen {
            self.seen = true;
            self.recommendations.push(Recommendation { at: now, replicas: spec });
        }
    }

    fn decide(&mut self, now: Timestamp, replicas: Replicas, metrics: &[MetricReading]) -> HpaOutcome {
        let spec = replicas.spec;
        if spec == 0 {
            return HpaOutcome { replicas: 0, reason: HpaReason::ScalingDisabled };
        }
        if self.max < spec {
            return HpaOutcome { replicas: self.max, reason: HpaReason::AboveMaximum };
        }
        if spec < self.min {
            return HpaOutcome { replicas: self.min, reason: HpaReason::BelowMinimum };
        }
        let tolerance = self.behavior.as_ref().map(Behavior::tolerance).unwrap_or_default();
        let Some(wanted) = formula::combine(metrics, replicas, tolerance) else {
            return HpaOutcome { replicas: spec, reason: HpaReason::MetricsInvalid };
        };
        let stabilized = self.stabilize(now, spec, wanted);
        let limited = match &self.behavior {
            None => behavior::limit_by_default(spec, stabilized.replicas, self.min, self.max),
            Some(behavior) => {
                behavior::limit(now, behavior, &self.events, spec, stabilized.replicas, self.min, self.max)
            }
        };
        HpaOutcome { replicas: limited.replicas, reason: reason(&stabilized, &limited) }
    }

    /// Compares what the metrics ask for with recent recommendations, then records it.
    fn stabilize(&mut self, now: Timestamp, spec: u32, wanted: u32) -> Stabilized {
        let (up, down) = match &self.behavior {
            None => (SignedDuration::ZERO, DOWNSCALE_STABILIZATION),
            Some(behavior) => (behavior.scale_up.stabilization_window, behavior.scale_down.stabilization_window),
        };
        let longest = up.max(down);
        self.recommendations.retain(|recommendation| now.duration_since(recommendation.at) <= longest);

        let recent = |window: SignedDuration| {
            let young = move |at| now.duration_since(at) < window;
            self.recommendations.iter().filter(move |r| young(r.at)).map(|r| r.replicas)
        };
        let stabilized = match &self.behavior {
            // Without a behavior, Kubernetes counts a recommendation that is exactly five minutes old. With one, it does not.
            None => behavior::stabilize_by_default(wanted, self.recommendations.iter().map(|r| r.replicas)),
            Some(_) => behavior::stabilize(spec, wanted, recent(up), recent(down)),
        };
        self.recommendations.push(Recommendation { at: now, replicas: wanted });
        stabilized
    }
}

/// Returns the more important reason. A limit only slows scaling down, a stabilization changes its result.
fn reason(stabilized: &Stabilized, limited: &Limited) -> HpaReason {
    stabilized.reason.or(limited.reason).unwrap_or(HpaReason::DesiredWithinRange)
}

#[cfg(test)]
mod tests;
