//! What distinguishes triggers of a ScaledObject that measure the same.

use std::fmt;

use jiff::SignedDuration;

use super::Trigger;
use super::metadata::{
    ACTIVATION_TARGET, AUTO, DEFAULT_LOOK_AHEAD, INCLUDE_BLOCKED, KEEP_BUSY_PODS, KEEP_WHILE_PROCESSING, MAX_LATENCY,
    POD_START, PUSH_INACTIVE, SCHEDULED_IN, SERVICE_TIME, TARGET, TARGET_USAGE, WORKERS_PER_POD,
};
use crate::duration;
use crate::scaling::{Promise, Target};

/// A trigger's target and everything else that its answer depends on, except storage, metric and filter. KEDA does not say which
/// trigger of a ScaledObject it asks for. Two triggers with equal settings have the same answer.
///
/// `Display` writes `key=value` as in the metadata, without defaults. Equal settings have equal texts, different settings have
/// different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    target: TargetSetting,
    look_ahead: Option<SignedDuration>,
    activation_target: Number,
    promise: Promise,
    include_blocked: bool,
    keep_while_processing: bool,
    keep_busy_pods: bool,
    push_inactive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TargetSetting {
    Fixed(Number),
    Auto { usage: Number, workers_per_pod: Option<u32> },
}

/// A number as its bits. It is finite and not -0, so equal numbers have equal bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Number(u64);

impl Number {
    fn new(number: f64) -> Self {
        // The sum is 0 for -0, otherwise the number itself.
        Self((number + 0.0).to_bits())
    }

    fn is(self, number: f64) -> bool {
        self == Self::new(number)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from_bits(self.0).fmt(f)
    }
}

impl Settings {
    pub(super) fn of(trigger: &Trigger) -> Self {
        let target = match trigger.target {
            Target::Fixed(target) => TargetSetting::Fixed(Number::new(target)),
            Target::Auto { usage, workers_per_pod } => {
                TargetSetting::Auto { usage: Number::new(usage), workers_per_pod }
            }
        };
        let look_ahead = trigger.metric.looks_ahead().then_some(trigger.question.look_ahead);
        Self {
            target,
            look_ahead: look_ahead.filter(|look_ahead| *look_ahead != DEFAULT_LOOK_AHEAD),
            activation_target: Number::new(trigger.activation_target),
            promise: if trigger.question.work { trigger.promise } else { Promise::default() },
            include_blocked: trigger.include_blocked,
            keep_while_processing: trigger.keep_while_processing,
            keep_busy_pods: trigger.keep_busy_pods,
            push_inactive: trigger.push_inactive,
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            TargetSetting::Fixed(target) => write!(f, "{TARGET}={target}")?,
            TargetSetting::Auto { usage, workers_per_pod } => {
                write!(f, "{TARGET}={AUTO}")?;
                if !usage.is(1.0) {
                    write!(f, " {TARGET_USAGE}={usage}")?;
                }
                if let Some(workers) = workers_per_pod {
                    write!(f, " {WORKERS_PER_POD}={workers}")?;
                }
            }
        }
        if let Some(look_ahead) = self.look_ahead {
            write!(f, " {SCHEDULED_IN}={}", duration::format(look_ahead))?;
        }
        if !self.activation_target.is(0.0) {
            write!(f, " {ACTIVATION_TARGET}={}", self.activation_target)?;
        }
        let Promise { max_latency, pod_start, service_time } = self.promise;
        let pod_start = Some(pod_start).filter(|pod_start| *pod_start != Promise::default().pod_start);
        for (key, length) in [(MAX_LATENCY, max_latency), (POD_START, pod_start), (SERVICE_TIME, service_time)] {
            if let Some(length) = length {
                write!(f, " {key}={}", duration::format(length))?;
            }
        }
        if self.include_blocked {
            write!(f, " {INCLUDE_BLOCKED}=true")?;
        }
        if !self.keep_while_processing {
            write!(f, " {KEEP_WHILE_PROCESSING}=false")?;
        }
        if self.keep_busy_pods {
            write!(f, " {KEEP_BUSY_PODS}=true")?;
        }
        if self.push_inactive {
            write!(f, " {PUSH_INACTIVE}=true")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(metadata: &str) -> Settings {
        Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap().settings()
    }

    #[test]
    fn settings_are_the_target_and_what_differs_from_the_default() {
        let check = |metadata: &str, expected: &str| assert_eq!(settings(metadata).to_string(), expected, "{metadata}");
        check("metric=demand targetValue=8", "targetValue=8");
        check("metric=demand targetValue=8.0 scheduledIn=PT60S activationTargetValue=-0 priority=1", "targetValue=8");
        check("metric=demand targetValue=auto targetUsage=1", "targetValue=auto");
        check(
            "metric=demand targetValue=auto targetUsage=0.8 workersPerPod=4",
            "targetValue=auto targetUsage=0.8 workersPerPod=4",
        );
        check("metric=demand targetValue=8 scheduledIn=PT5M", "targetValue=8 scheduledIn=PT5M");
        // It has no effect there.
        check("metric=worker-usage targetValue=0.8 scheduledIn=PT5M", "targetValue=0.8");
        check(
            "metric=demand targetValue=1e3 activationTargetValue=2.5 keepWhileProcessing=false pushInactive=true",
            "targetValue=1000 activationTargetValue=2.5 keepWhileProcessing=false pushInactive=true",
        );
    }

    #[test]
    fn settings_are_equal_if_and_only_if_their_texts_are() {
        let mut all = Vec::new();
        for target in ["8", "8.0", "8.000000000000002", "auto", "auto workersPerPod=8", "auto targetUsage=0.5"] {
            for look_ahead in ["", "scheduledIn=PT1M", "scheduledIn=PT60.5S", "scheduledIn=PT1H", "scheduledIn=PT60M"] {
                for more in [
                    "",
                    "activationTargetValue=0",
                    "activationTargetValue=1",
                    "keepWhileProcessing=false",
                    "keepBusyPods=true",
                    "includeBlocked=true",
                ] {
                    let metadata = format!("metric=demand targetValue={target} {look_ahead} {more}");
                    all.push((settings(&metadata), metadata));
                }
            }
        }
        for (a, metadata) in &all {
            for (b, other) in &all {
                assert_eq!(a == b, a.to_string() == b.to_string(), "{metadata}, {other}");
            }
        }
    }
}
