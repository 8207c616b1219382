//! KEDA's own part of scaling: between zero and the first pod, the cooldown, and the fallback.
//!
//! The rules are those of `RequestScale` in KEDA's `pkg/scaling/executor/scale_scaledobjects.go` and of `pkg/fallback/fallback.go`,
//! versions 2.19 and later. From the first pod on, the [`Hpa`](super::hpa::Hpa) decides.

mod address;
mod fallback;
mod trigger_types;

use jiff::{SignedDuration, Timestamp};

pub use address::{HTTP_PORT, ScalerAddressError, scaler_port};
use fallback::Failures;
pub use fallback::{Fallback, FallbackBehavior};
pub use trigger_types::TRIGGER_TYPES;

use super::hpa::{MetricReading, Replicas};

/// How many replicas a ScaledObject allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaBounds {
    /// `minReplicaCount`.
    pub min: u32,
    /// `maxReplicaCount`.
    pub max: u32,
    /// `idleReplicaCount`: the replicas while no trigger is active, in place of `min`.
    pub idle: Option<u32>,
}

impl Default for ReplicaBounds {
    fn default() -> Self {
        Self { min: 0, max: 100, idle: None }
    }
}

impl ReplicaBounds {
    /// The minimum that KEDA gives to the HPA, which cannot go to zero itself. Also the size that an activation starts with.
    #[must_use]
    pub fn hpa_min(&self) -> u32 {
        self.min.max(1)
    }
}

/// What a ScaledObject says about scaling, with KEDA's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaledObjectRules {
    /// How many replicas it allows.
    pub bounds: ReplicaBounds,
    /// `pollingInterval`: how often KEDA asks whether the triggers are active.
    pub polling_interval: SignedDuration,
    /// `cooldownPeriod`: how long after the last activity KEDA waits before it scales to zero or idle.
    pub cooldown: SignedDuration,
    /// `initialCooldownPeriod`: the same after the ScaledObject was created, as long as nothing has been active.
    pub initial_cooldown: SignedDuration,
    /// `fallback`: what to do if a metric cannot be read for long.
    pub fallback: Option<Fallback>,
}

impl Default for ScaledObjectRules {
    fn default() -> Self {
        Self {
            bounds: ReplicaBounds::default(),
            polling_interval: SignedDuration::from_secs(30),
            cooldown: SignedDuration::from_secs(300),
            initial_cooldown: SignedDuration::ZERO,
            fallback: None,
        }
    }
}

/// What a trigger answered when KEDA polled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerAnswer {
    /// Its metric is above the activation target.
    Active,
    /// It is not.
    Inactive,
    /// It could not be asked, or answered with an error.
    Failed,
}

impl<E> From<Result<bool, E>> for TriggerAnswer {
    fn from(answer: Result<bool, E>) -> Self {
        match answer {
            Ok(true) => Self::Active,
            Ok(false) => Self::Inactive,
            Err(_) => Self::Failed,
        }
    }
}

/// What KEDA does after a poll or a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KedaDecision {
    /// The workload's `spec.replicas` from now on. The same as before where KEDA changes nothing.
    pub replicas: u32,
    /// Why.
    pub reason: KedaReason,
}

/// Why KEDA came to its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KedaReason {
    /// A trigger is active, and the workload was at zero or idle.
    #[error("a trigger is active, the workload is started")]
    Activated,
    /// A trigger is active and pods are there: the cooldown begins anew, the HPA does the rest.
    #[error("a trigger is active, the HPA decides")]
    StaysActive,
    /// As above, but another trigger failed. KEDA does not begin the cooldown anew then.
    #[error("a trigger is active but another failed, the cooldown goes on")]
    ActiveWithFailures,
    /// No trigger is active and one failed: it might have been, so KEDA leaves the replicas alone.
    #[error("a trigger failed and none is active, the replicas stay")]
    Failed,
    /// No trigger is active, and the cooldown is not over.
    #[error("no trigger is active, cooling down")]
    CoolingDown,
    /// The cooldown is over.
    #[error("no trigger is active and the cooldown is over, scaled to zero")]
    ScaledToZero,
    /// The cooldown is over, and there is an `idleReplicaCount`.
    #[error("no trigger is active and the cooldown is over, scaled to idle")]
    ScaledToIdle,
    /// No trigger is active, and someone scaled the workload below its minimum.
    #[error("fewer replicas than minReplicaCount")]
    RaisedToMinimum,
    /// No trigger is active, and nothing is to be done.
    #[error("no trigger is active, nothing to do")]
    Inactive,
}

/// What KEDA remembers about one ScaledObject.
///
/// ```
/// use jobrunr_scaler::kubernetes::keda::{KedaReason, KedaState, ScaledObjectRules, TriggerAnswer};
///
/// let created = "2026-08-01T20:00:00Z".parse()?;
/// let mut keda = KedaState::new(ScaledObjectRules::default(), created);
/// let decision = keda.poll(created, 0, &[TriggerAnswer::Active]);
/// assert_eq!((decision.replicas, decision.reason), (1, KedaReason::Activated));
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KedaState {
    rules: ScaledObjectRules,
    created: Timestamp,
    last_active: Option<Timestamp>,
    failures: Failures,
}

impl KedaState {
    /// The state of a ScaledObject that was created at `created` and has not been polled yet.
    #[must_use]
    pub fn new(rules: ScaledObjectRules, created: Timestamp) -> Self {
        Self { rules, created: whole_seconds(created), last_active: None, failures: Failures::default() }
    }

    /// When a trigger was last seen active, in whole seconds; `None` if never.
    #[must_use]
    pub fn last_active(&self) -> Option<Timestamp> {
        self.last_active
    }

    /// KEDA polled the triggers, as it does every `pollingInterval`. `replicas` is the workload's `spec.replicas`, and `triggers`
    /// come in the order of the manifest.
    pub fn poll(&mut self, now: Timestamp, replicas: u32, triggers: &[TriggerAnswer]) -> KedaDecision {
        let mut active = false;
        let mut failed = false;
        for (trigger, answer) in triggers.iter().enumerate() {
            self.failures.count(trigger, *answer == TriggerAnswer::Failed);
            match answer {
                TriggerAnswer::Active => active = true,
                TriggerAnswer::Inactive => {}
                // A metric that KEDA replaces by the fallback's counts as active and not as failed.
                TriggerAnswer::Failed if self.falls_back(trigger) => active = true,
                TriggerAnswer::Failed => failed = true,
            }
        }
        if active { self.active(now, replicas, failed) } else { self.inactive(now, replicas, failed) }
    }

    /// A trigger of type `external-push` sent `true`. (KEDA from 2.18 on ignores a `false`.)
    pub fn push_true(&mut self, now: Timestamp, replicas: u32) -> KedaDecision {
        self.active(now, replicas, false)
    }

    /// What the HPA gets when it asks KEDA for the metric of trigger number `trigger`: the reading itself or the fallback's.
    ///
    /// A failed reading counts towards the fallback here as in a poll, which is why it comes sooner while there are pods.
    pub fn hpa_reading(&mut self, trigger: usize, reading: MetricReading, replicas: Replicas) -> MetricReading {
        self.failures.count(trigger, reading.value.is_none());
        match &self.rules.fallback {
            Some(fallback) if reading.value.is_none() && self.falls_back(trigger) => {
                MetricReading { value: fallback.value(&reading, replicas), ..reading }
            }
            _ => reading,
        }
    }

    fn falls_back(&self, trigger: usize) -> bool {
        self.rules.fallback.as_ref().is_some_and(|fallback| self.failures.exceed(trigger, fallback.failure_threshold))
    }

    fn active(&mut self, now: Timestamp, replicas: u32, failed: bool) -> KedaDecision {
        let bounds = self.rules.bounds;
        let below_idle_minimum = bounds.idle.is_some() && replicas < bounds.min;
        if replicas == 0 || below_idle_minimum {
            self.last_active = Some(whole_seconds(now));
            return KedaDecision { replicas: bounds.hpa_min(), reason: KedaReason::Activated };
        }
        if failed {
            return KedaDecision { replicas, reason: KedaReason::ActiveWithFailures };
        }
        self.last_active = Some(whole_seconds(now));
        KedaDecision { replicas, reason: KedaReason::StaysActive }
    }

    fn inactive(&self, now: Timestamp, replicas: u32, failed: bool) -> KedaDecision {
        let bounds = self.rules.bounds;
        // With `fallback.replicas: 0` KEDA goes on as if nothing had failed: that is an order to scale to zero.
        let fallback_is_zero = self.rules.fallback.as_ref().is_some_and(|fallback| fallback.replicas == 0);
        if failed && !fallback_is_zero {
            return KedaDecision { replicas, reason: KedaReason::Failed };
        }
        let above_idle = bounds.idle.is_some_and(|idle| idle < replicas);
        if above_idle || (0 < replicas && bounds.min == 0) {
            return self.cool_down(now, replicas);
        }
        if bounds.idle.is_none() && replicas < bounds.min {
            return KedaDecision { replicas: bounds.min, reason: KedaReason::RaisedToMinimum };
        }
        KedaDecision { replicas, reason: KedaReason::Inactive }
    }

    fn cool_down(&self, now: Timestamp, replicas: u32) -> KedaDecision {
        let (since, cooldown) = match self.last_active {
            Some(last_active) => (last_active, self.rules.cooldown),
            None => (self.created, self.rules.initial_cooldown),
        };
        if now.duration_since(since) <= cooldown {
            return KedaDecision { replicas, reason: KedaReason::CoolingDown };
        }
        match self.rules.bounds.idle {
            Some(idle) => KedaDecision { replicas: idle, reason: KedaReason::ScaledToIdle },
            None => KedaDecision { replicas: self.rules.bounds.min, reason: KedaReason::ScaledToZero },
        }
    }
}

/// Kubernetes keeps times of status fields and of creation in whole seconds, so a cooldown may end up to a second early.
fn whole_seconds(time: Timestamp) -> Timestamp {
    time.checked_sub(SignedDuration::from_nanos(time.subsec_nanosecond().into())).unwrap_or(time)
}

/// Where a ScaledObject leads a workload if everything stays as it is: within min and max, and to zero or idle once the cooldown is
/// over. The fallback is not considered. How fast it goes there is another question (see [`KedaState`] and [`Hpa`](super::hpa::Hpa)).
///
/// `replicas_now` is the workload's `spec.replicas`, `active` whether any trigger is, and `pods_wanted` what each trigger asks for
/// (see [`pods_wanted`](super::hpa::pods_wanted)), `None` for one that failed.
#[must_use]
pub fn wanted_replicas(bounds: ReplicaBounds, replicas_now: u32, active: bool, pods_wanted: &[Option<u32>]) -> u32 {
    let failed = pods_wanted.iter().any(Option::is_none);
    let may_stop = bounds.idle.is_some() || bounds.min == 0;
    if !active && failed {
        // KEDA leaves the replicas alone, as does the HPA unless the others ask for more. At zero it does nothing at all.
        return if replicas_now == 0 { 0 } else { hpa_replicas(bounds, replicas_now, pods_wanted) };
    }
    if !active && may_stop {
        return bounds.idle.unwrap_or(0);
    }
    hpa_replicas(bounds, replicas_now, pods_wanted)
}

fn hpa_replicas(bounds: ReplicaBounds, replicas_now: u32, pods_wanted: &[Option<u32>]) -> u32 {
    let failed = pods_wanted.iter().any(Option::is_none);
    let most = pods_wanted.iter().flatten().copied().max();
    let wanted = match most {
        Some(most) if !failed => most,
        // A metric that cannot be read might ask for more than the others do, so the HPA does not scale down.
        most => most.unwrap_or(0).max(replicas_now),
    };
    // Not `clamp`, which panics if a manifest has them the wrong way round.
    wanted.max(bounds.hpa_min()).min(bounds.max)
}

#[cfg(test)]
mod tests;
