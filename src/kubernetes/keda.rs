//! KEDA's own part of scaling: between zero and the first pod, the cooldown, and the fallback.
//!
//! The rules are those of `RequestScale` in KEDA's `pkg/scaling/executor/scale_scaledobjects.go` and of `pkg/fallback/fallback.go`,
//! versions 2.19 and later. Above zero, the [`Hpa`](super::hpa::Hpa) decides.

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
    /// `idleReplicaCount`: the replicas while no trigger is active, instead of `min`.
    pub idle: Option<u32>,
}

impl Default for ReplicaBounds {
    fn default() -> Self {
        Self { min: 0, max: 100, idle: None }
    }
}

impl ReplicaBounds {
    /// Returns the minimum that KEDA gives the HPA, which cannot scale to zero itself. An activation starts with that number.
    #[must_use]
    pub fn hpa_min(&self) -> u32 {
        self.min.max(1)
    }

    /// Returns the number that the HPA corrects a number of replicas to.
    #[must_use]
    pub fn hpa_replicas(&self, replicas: u32) -> u32 {
        // Not `clamp`, which panics if min is above max.
        replicas.max(self.hpa_min()).min(self.max)
    }

    /// Returns whether KEDA itself scales the workload to zero or idle while no trigger is active.
    #[must_use]
    pub fn may_stop(&self) -> bool {
        self.min == 0 || self.idle.is_some()
    }
}

/// How a ScaledObject scales, with KEDA's defaults for what it omits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaledObjectRules {
    /// The number of replicas that it allows.
    pub bounds: ReplicaBounds,
    /// `pollingInterval`: how often KEDA polls the triggers.
    pub polling_interval: SignedDuration,
    /// `cooldownPeriod`: how long KEDA waits after the last activity before it scales to zero or idle.
    pub cooldown: SignedDuration,
    /// `initialCooldownPeriod`: the same after the creation of the ScaledObject, until a trigger has been active.
    pub initial_cooldown: SignedDuration,
    /// `fallback`: what to do if a metric repeatedly cannot be read.
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
    /// Its metric is not above the activation target.
    Inactive,
    /// It could not be reached, or answered with an error.
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
    /// The workload's `spec.replicas` from now on, unchanged if KEDA changes nothing.
    pub replicas: u32,
    /// Why.
    pub reason: KedaReason,
}

/// Why KEDA chose its number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KedaReason {
    /// A trigger is active, and the workload was at zero or idle.
    #[error("a trigger is active, so the workload is started")]
    Activated,
    /// A trigger is active, and there are pods: the cooldown restarts, and the HPA decides.
    #[error("a trigger is active, so the HPA decides")]
    StaysActive,
    /// The same, but another trigger failed. KEDA then does not restart the cooldown.
    #[error("a trigger is active but another failed, so the cooldown continues")]
    ActiveWithFailures,
    /// No trigger is active, but one failed and might be, so KEDA leaves the replicas as they are.
    #[error("a trigger failed and none is active, so the replicas stay as they are")]
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
    /// No trigger is active, and the workload was scaled below its minimum.
    #[error("fewer replicas than minReplicaCount")]
    RaisedToMinimum,
    /// No trigger is active, and there is nothing to do.
    #[error("no trigger is active, nothing to do")]
    Inactive,
}

/// What KEDA knows about a ScaledObject from earlier polls and pushes.
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
    /// Returns the state of a ScaledObject that was created at `created` and has not been polled yet.
    #[must_use]
    pub fn new(rules: ScaledObjectRules, created: Timestamp) -> Self {
        Self { rules, created: whole_seconds(created), last_active: None, failures: Failures::default() }
    }

    /// Returns when a trigger was last active, in whole seconds; `None` if never.
    #[must_use]
    pub fn last_active(&self) -> Option<Timestamp> {
        self.last_active
    }

    /// Handles a poll of the triggers, as KEDA does one every `pollingInterval`. `replicas` is the workload's `spec.replicas`, and
    /// `triggers` are in the order of the manifest.
    pub fn poll(&mut self, now: Timestamp, replicas: u32, triggers: &[TriggerAnswer]) -> KedaDecision {
        let mut active = false;
        let mut failed = false;
        for (trigger, answer) in triggers.iter().enumerate() {
            self.failures.count(trigger, *answer == TriggerAnswer::Failed);
            match answer {
                TriggerAnswer::Active => active = true,
                TriggerAnswer::Inactive => {}
                // A metric that the fallback replaces counts as active, not as failed.
                TriggerAnswer::Failed if self.falls_back(trigger) => active = true,
                TriggerAnswer::Failed => failed = true,
            }
        }
        if active { self.active(now, replicas, failed) } else { self.inactive(now, replicas, failed) }
    }

    /// Handles a `true` from a trigger of type `external-push`. (KEDA 2.18 and later ignore a `false`.)
    pub fn push_true(&mut self, now: Timestamp, replicas: u32) -> KedaDecision {
        self.active(now, replicas, false)
    }

    /// Returns what the HPA gets when it asks KEDA for the metric of trigger number `trigger`: the reading, or that of the fallback.
    ///
    /// A failed reading counts towards the fallback as in a poll, so that the fallback comes sooner while there are pods.
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
        // With `fallback.replicas: 0`, KEDA continues as if nothing had failed: it is an order to scale to zero.
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

/// Kubernetes stores instants in whole seconds, so a cooldown may end up to a second early.
fn whole_seconds(time: Timestamp) -> Timestamp {
    time.checked_sub(SignedDuration::from_nanos(time.subsec_nanosecond().into())).unwrap_or(time)
}

/// Returns the replicas that KEDA and the HPA settle on if everything stays as it is: within min and max, and zero or idle once the
/// cooldown is over. Without the fallback, and regardless of how fast it goes (see [`KedaState`] and [`Hpa`](super::hpa::Hpa)).
///
/// `replicas_now` is the workload's `spec.replicas`, `active` whether any trigger is active, and `pods_wanted` what each trigger asks for
/// (see [`pods_wanted`](super::hpa::pods_wanted)), `None` for one that failed.
#[must_use]
pub fn wanted_replicas(bounds: ReplicaBounds, replicas_now: u32, active: bool, pods_wanted: &[Option<u32>]) -> u32 {
    let failed = pods_wanted.iter().any(Option::is_none);
    if !active && failed {
        // KEDA leaves the replicas as they are, and so does the HPA unless other metrics ask for more. At zero it does nothing.
        return if replicas_now == 0 { 0 } else { hpa_replicas(bounds, replicas_now, pods_wanted) };
    }
    if !active && bounds.may_stop() {
        // It never scales up to idle.
        return bounds.idle.unwrap_or(0).min(replicas_now);
    }
    hpa_replicas(bounds, replicas_now, pods_wanted)
}

fn hpa_replicas(bounds: ReplicaBounds, replicas_now: u32, pods_wanted: &[Option<u32>]) -> u32 {
    let failed = pods_wanted.iter().any(Option::is_none);
    let most = pods_wanted.iter().flatten().copied().max();
    let wanted = match most {
        Some(most) if !failed => most,
        // A metric that cannot be read might ask for more than the others, so the HPA does not scale down.
        most => most.unwrap_or(0).max(replicas_now),
    };
    bounds.hpa_replicas(wanted)
}

#[cfg(test)]
mod tests;
