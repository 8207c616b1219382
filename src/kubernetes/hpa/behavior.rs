//! How fast the HPA scales to what the metrics ask for: stabilization windows and scaling policies.
//!
//! A ScaledObject has them in `spec.advanced.horizontalPodAutoscalerConfig.behavior`, and KEDA passes them on. Without them, the
//! HPA follows older, different rules (the functions `…_by_default` here), which differ from a behavior with every default.

use jiff::{SignedDuration, Timestamp};

use super::formula::Tolerance;
use super::{DOWNSCALE_STABILIZATION, HpaReason};

/// The HPA's `spec.behavior`, with defaults for what the manifest omits.
#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    /// Rules for adding pods.
    pub scale_up: ScalingRules,
    /// Rules for removing pods.
    pub scale_down: ScalingRules,
}

/// The rules for one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingRules {
    /// How long recommendations count: the lowest of them delays scaling up, the highest delays scaling down.
    pub stabilization_window: SignedDuration,
    /// Which of the policies decides.
    pub select_policy: SelectPolicy,
    /// How much may change within which time.
    pub policies: Vec<ScalingPolicy>,
    /// The fraction of the target by which the value may differ before the HPA acts; `None` is the cluster's 0.1. In Kubernetes since
    /// 1.33.
    pub tolerance: Option<f64>,
}

/// Which of several policies decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The policy that allows the largest change.
    Max,
    /// The policy that allows the smallest change.
    Min,
    /// None: no scaling in this direction.
    Disabled,
}

/// How much may change within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// Pods or percent, greater than 0.
    pub value: u32,
    /// The period in which that much may change, 1 s to 30 min.
    pub period: SignedDuration,
}

/// The unit of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// A number of pods.
    Pods,
    /// A percentage of the pods at the beginning of the period.
    Percent,
}

impl Default for Behavior {
    /// What `behavior: {}` means: the defaults of Kubernetes' `pkg/apis/autoscaling/v2/defaults.go`.
    fn default() -> Self {
        Self { scale_up: ScalingRules::scale_up_default(), scale_down: ScalingRules::scale_down_default() }
    }
}

impl Behavior {
    /// Returns the tolerance in both directions, the cluster's default if the behavior has none.
    #[must_use]
    pub fn tolerance(&self) -> Tolerance {
        let default = Tolerance::default();
        Tolerance {
            up: self.scale_up.tolerance.unwrap_or(default.up),
            down: self.scale_down.tolerance.unwrap_or(default.down),
        }
    }
}

impl ScalingRules {
    /// Kubernetes' default for scaling up: without a window, by 4 pods or by 100 % every 15 s, by the larger number.
    #[must_use]
    pub fn scale_up_default() -> Self {
        Self {
            stabilization_window: SignedDuration::ZERO,
            select_policy: SelectPolicy::Max,
            policies: vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 100)],
            tolerance: None,
        }
    }

    /// Kubernetes' default for scaling down: pods that were not needed for five minutes are removed at once.
    #[must_use]
    pub fn scale_down_default() -> Self {
        Self {
            stabilization_window: DOWNSCALE_STABILIZATION,
            select_policy: SelectPolicy::Max,
            policies: vec![policy(PolicyKind::Percent, 100)],
            tolerance: None,
        }
    }

    fn longest_period(&self) -> SignedDuration {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or_default()
    }
}

fn policy(kind: PolicyKind, value: u32) -> ScalingPolicy {
    ScalingPolicy { kind, value, period: SignedDuration::from_secs(15) }
}

/// How the HPA scaled recently. Policies count what has changed within their period.
#[derive(Debug, Clone, Default)]
pub(super) struct ScaleEvents {
    added: Vec<ScaleEvent>,
    removed: Vec<ScaleEvent>,
}

#[derive(Debug, Clone, Copy)]
struct ScaleEvent {
    at: Timestamp,
    pods: u32,
}

impl ScaleEvents {
    /// Records a change from `before` to `after` replicas, and drops events that no policy needs any longer.
    pub(super) fn record(&mut self, now: Timestamp, behavior: &Behavior, before: u32, after: u32) {
        let longest = behavior.scale_up.longest_period().max(behavior.scale_down.longest_period());
        self.added.retain(|event| now.duration_since(event.at) < longest);
        self.removed.retain(|event| now.duration_since(event.at) < longest);
        if before < after {
            self.added.push(ScaleEvent { at: now, pods: after - before });
        }
        if after < before {
            self.removed.push(ScaleEvent { at: now, pods: before - after });
        }
    }

    /// Returns how many replicas there were when a policy's period began.
    fn replicas_before(&self, now: Timestamp, period: SignedDuration, spec: u32) -> i64 {
        let within = |events: &[ScaleEvent]| -> i64 {
            events.iter().filter(|event| now.duration_since(event.at) < period).map(|event| i64::from(event.pods)).sum()
        };
        i64::from(spec) - within(&self.added) + within(&self.removed)
    }
}

/// A number of replicas after it was compared with recent recommendations. `reason` is set if that changed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stabilized {
    pub(super) replicas: u32,
    pub(super) reason: Option<HpaReason>,
}

/// A number of replicas after the limits. `reason` is set if they changed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limited {
    pub(super) replicas: u32,
    pub(super) reason: Option<HpaReason>,
}

/// Without a behavior, the highest recommendation of the last five minutes wins, even while scaling up. This is why a workload that
/// KEDA scaled to zero and back grows to its old size for a single job.
pub(super) fn stabilize_by_default(wanted: u32, recent: impl Iterator<Item = u32>) -> Stabilized {
    let replicas = recent.max().unwrap_or(wanted).max(wanted);
    Stabilized { replicas, reason: (wanted < replicas).then_some(HpaReason::ScaleDownStabilized) }
}

/// With a behavior, the size changes only as far as all recommendations of the window agree on.
pub(super) fn stabilize(
    spec: u32,
    wanted: u32,
    recent_up: impl Iterator<Item = u32>,
    recent_down: impl Iterator<Item = u32>,
) -> Stabilized {
    let lowest = recent_up.min().unwrap_or(wanted).min(wanted);
    let highest = recent_down.max().unwrap_or(wanted).max(wanted);
    let replicas = spec.max(lowest).min(highest);
    let reason = if replicas == wanted {
        None
    } else if wanted < spec {
        Some(HpaReason::ScaleDownStabilized)
    } else {
        Some(HpaReason::ScaleUpStabilized)
    };
    Stabilized { replicas, reason }
}

/// Without a behavior: at most twice the current replicas, but always up to 4 (`convertDesiredReplicasWithRules`).
pub(super) fn limit_by_default(spec: u32, wanted: u32, min: u32, max: u32) -> Limited {
    let rate = spec.saturating_mul(2).max(4);
    if wanted < min {
        Limited { replicas: min, reason: Some(HpaReason::TooFewReplicas) }
    } else if rate < max && rate < wanted {
        Limited { replicas: rate, reason: Some(HpaReason::ScaleUpLimit) }
    } else if max < wanted {
        Limited { replicas: max, reason: Some(HpaReason::TooManyReplicas) }
    } else {
        Limited { replicas: wanted, reason: None }
    }
}

/// With a behavior: what its policies allow, within min and max (`convertDesiredReplicasWithBehaviorRate`).
pub(super) fn limit(
    now: Timestamp,
    behavior: &Behavior,
    events: &ScaleEvents,
    spec: u32,
    wanted: u32,
    min: u32,
    max: u32,
) -> Limited {
    if spec < wanted {
        let rate = up_limit(now, &behavior.scale_up, events, spec);
        let (highest, reason) =
            if rate < max { (rate, HpaReason::ScaleUpLimit) } else { (max, HpaReason::TooManyReplicas) };
        return Limited { replicas: wanted.min(highest), reason: (highest < wanted).then_some(reason) };
    }
    if wanted < spec {
        let rate = down_limit(now, &behavior.scale_down, events, spec);
        let (lowest, reason) =
            if min < rate { (rate, HpaReason::ScaleDownLimit) } else { (min, HpaReason::TooFewReplicas) };
        return Limited { replicas: wanted.max(lowest), reason: (wanted < lowest).then_some(reason) };
    }
    Limited { replicas: wanted, reason: None }
}

fn up_limit(now: Timestamp, rules: &ScalingRules, events: &ScaleEvents, spec: u32) -> u32 {
    let proposals = rules.policies.iter().map(|policy| {
        let before = events.replicas_before(now, policy.period, spec);
        match policy.kind {
            PolicyKind::Pods => before + i64::from(policy.value),
            // Rounded up, because a workload with one pod would otherwise never grow by a few percent.
            PolicyKind::Percent => (before as f64 * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i64,
        }
    });
    let limit = match rules.select_policy {
        SelectPolicy::Max => proposals.max(),
        SelectPolicy::Min => proposals.min(),
        SelectPolicy::Disabled => None,
    };
    // What was added within the period may exceed what a policy allows now. That is no reason to remove pods.
    replicas(limit, spec).max(spec)
}

fn down_limit(now: Timestamp, rules: &ScalingRules, events: &ScaleEvents, spec: u32) -> u32 {
    let proposals = rules.policies.iter().map(|policy| {
        let before = events.replicas_before(now, policy.period, spec);
        match policy.kind {
            PolicyKind::Pods => before - i64::from(policy.value),
            PolicyKind::Percent => (before as f64 * (1.0 - f64::from(policy.value) / 100.0)) as i64,
        }
    });
    let limit = match rules.select_policy {
        // The largest change leaves the fewest replicas.
        SelectPolicy::Max => proposals.min(),
        SelectPolicy::Min => proposals.max(),
        SelectPolicy::Disabled => None,
    };
    replicas(limit, spec).min(spec)
}

/// Returns a limit as a number of replicas; without one (`Disabled`, no policies), the current number.
fn replicas(limit: Option<i64>, spec: u32) -> u32 {
    limit.map_or(spec, |limit| u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
}
