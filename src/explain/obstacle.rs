//! What keeps a workload from the size that its triggers ask for.

use crate::kubernetes::hpa::{ScalingRules, SelectPolicy};
use crate::kubernetes::manifest::{Override, ScaledObject};

/// What keeps a workload from being scaled.
pub(super) struct Obstacle {
    /// The setting.
    pub(super) cause: &'static str,
    /// The replicas that the workload has in the end.
    pub(super) replicas: u32,
}

/// Returns what prevents a change from `now` to `wanted` replicas, if anything does. The HPA corrects what is outside of its bounds in
/// any case.
pub(super) fn find(object: &ScaledObject, now: u32, wanted: u32, active: bool) -> Option<Obstacle> {
    let bounds = object.rules.bounds;
    let overrides = |force: Override| object.overrides.contains(&force).then(|| force.annotation());
    let behavior = object.behavior.as_ref();
    let disabled = |rules: Option<&ScalingRules>, cause| {
        rules.is_some_and(|rules| rules.select_policy == SelectPolicy::Disabled).then_some(cause)
    };
    if wanted < now {
        // The step to zero or idle is KEDA's.
        let is_hpa = active || !bounds.may_stop();
        let rules = behavior.map(|behavior| &behavior.scale_down).filter(|_| is_hpa);
        let cause = overrides(Override::NoScaleIn).or(disabled(rules, "scaleDown.selectPolicy: Disabled"))?;
        return Some(Obstacle { cause, replicas: wanted.max(now.min(bounds.max)) });
    }
    let first = if now == 0 { 0 } else { now.max(bounds.hpa_min()) };
    if let Some(cause) = overrides(Override::NoScaleOut).filter(|_| first < wanted) {
        return Some(Obstacle { cause, replicas: first });
    }
    // The step from zero or idle is KEDA's.
    let first = now.max(bounds.hpa_min());
    let rules = behavior.map(|behavior| &behavior.scale_up).filter(|_| first < wanted);
    let cause = disabled(rules, "scaleUp.selectPolicy: Disabled")?;
    Some(Obstacle { cause, replicas: first })
}
