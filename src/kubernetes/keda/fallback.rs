//! What KEDA gives the HPA while a metric cannot be read: `pkg/fallback/fallback.go`.

use crate::kubernetes::hpa::{MetricReading, MetricType, Replicas};

/// `spec.fallback` of a ScaledObject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// `failureThreshold`: the fallback takes effect with the failure after that many.
    pub failure_threshold: u32,
    /// `replicas`: what the workload should have meanwhile.
    pub replicas: u32,
    /// `behavior`: how `replicas` and the current number are combined.
    pub behavior: FallbackBehavior,
}

/// `spec.fallback.behavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FallbackBehavior {
    /// `static`: the replicas of the fallback.
    #[default]
    Static,
    /// `currentReplicas`: the current number.
    CurrentReplicas,
    /// `currentReplicasIfHigher`: the larger number of both.
    CurrentReplicasIfHigher,
    /// `currentReplicasIfLower`: the smaller number of both.
    CurrentReplicasIfLower,
    /// `scalingModifiers`: the formula handles the missing value. Its result is not computed here.
    ScalingModifiers,
}

impl Fallback {
    /// Returns the value that makes the HPA ask for the replicas of the fallback, in the metric's unit. `None` for a `Value` metric
    /// without ready pods, for which KEDA has none either, and for `scalingModifiers`.
    pub(super) fn value(&self, reading: &MetricReading, replicas: Replicas) -> Option<f64> {
        let wanted = match self.behavior {
            FallbackBehavior::Static => self.replicas,
            FallbackBehavior::CurrentReplicas => replicas.spec,
            FallbackBehavior::CurrentReplicasIfHigher => self.replicas.max(replicas.spec),
            FallbackBehavior::CurrentReplicasIfLower => self.replicas.min(replicas.spec),
            FallbackBehavior::ScalingModifiers => return None,
        };
        let whole = reading.target * f64::from(wanted);
        match reading.metric_type {
            MetricType::AverageValue => Some(whole),
            MetricType::Value if replicas.ready == 0 => None,
            // The HPA multiplies a Value metric by the ready pods.
            MetricType::Value => Some(whole / f64::from(replicas.ready)),
        }
    }
}

/// How many times in a row each trigger failed, by its index in the manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    in_a_row: Vec<u32>,
}

impl Failures {
    /// Counts an answer of a trigger. A success resets its count.
    pub(super) fn count(&mut self, trigger: usize, failed: bool) {
        if self.in_a_row.len() <= trigger {
            self.in_a_row.resize(trigger + 1, 0);
        }
        let count = &mut self.in_a_row[trigger];
        *count = if failed { count.saturating_add(1) } else { 0 };
    }

    /// Whether a trigger has failed more than `threshold` times in a row.
    pub(super) fn exceed(&self, trigger: usize, threshold: u32) -> bool {
        self.in_a_row.get(trigger).is_some_and(|count| threshold < *count)
    }
}
