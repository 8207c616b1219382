//! The ScaledObjects among which to choose.

use jiff::SignedDuration;
use serde::Serialize;

use super::RecommendOptions;
use crate::duration;
use crate::simulate::Settings;

/// The settings of a ScaledObject with one `demand` trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Candidate {
    /// `targetValue`: the jobs per pod.
    pub target: u32,
    /// `maxLatency`, in seconds; 0 for one worker per job.
    pub max_latency: u32,
    /// `scheduledIn`, in seconds.
    pub scheduled_in: u32,
    /// `cooldownPeriod`, in seconds.
    pub cooldown: u32,
    /// `scaleDown.stabilizationWindowSeconds`.
    pub stabilization: u32,
    /// The pods that may be removed per minute.
    pub removed_per_minute: u32,
    /// `minReplicaCount`.
    pub min: u32,
    /// `maxReplicaCount`.
    pub max: u32,
}

/// Jobs per pod, in quarters of its workers.
const TARGETS: [u32; 10] = [2, 3, 4, 5, 6, 8, 12, 16, 32, 64];
const MAX_LATENCIES: [u32; 7] = [60, 90, 120, 300, 600, 1800, 3600];
/// Until the HPA asks for a pod, in seconds. With less than that and the start of a pod, a promise cannot be kept at zero pods.
const HPA_SYNC: u32 = 15;
const LOOK_AHEADS: [u32; 5] = [30, 60, 90, 120, 300];
const COOLDOWNS: [u32; 5] = [60, 120, 300, 600, 1800];
const WINDOWS: [u32; 5] = [0, 60, 120, 300, 900];
const REMOVED: [u32; 3] = [1, 4, 1000];

impl Candidate {
    /// The number of settings.
    pub(super) const SETTINGS: usize = 8;

    /// Where the search starts: the recommended ScaledObject, and one that keeps a pod.
    pub(super) fn starts(max: u32, settings: &Settings) -> [Self; 2] {
        let target = settings.workers_per_pod;
        let zero = Self {
            target,
            max_latency: 0,
            scheduled_in: 60,
            cooldown: 300,
            stabilization: 300,
            removed_per_minute: 1,
            min: 0,
            max,
        };
        [zero, Self { min: 1, ..zero }]
    }

    /// Returns the candidates that differ in one setting, itself among them.
    pub(super) fn variants(self, setting: usize, max: u32, settings: &Settings) -> Vec<Self> {
        let targets = TARGETS.map(|quarters| (settings.workers_per_pod * quarters / 4).max(1));
        let mins = [0, 1, 2, max / 8, max / 4, max / 2];
        let maxes = [max / 4, max / 2, max / 4 * 3, max].map(|max| max.max(1));
        let least = pod_start(settings) + HPA_SYNC;
        let max_latencies = MAX_LATENCIES.into_iter().filter(|max_latency| least <= *max_latency);
        let mut variants: Vec<Self> = match setting {
            0 => targets.map(|target| Self { target, ..self }).to_vec(),
            1 => LOOK_AHEADS.map(|scheduled_in| Self { scheduled_in, ..self }).to_vec(),
            2 => COOLDOWNS.map(|cooldown| Self { cooldown, ..self }).to_vec(),
            3 => WINDOWS.map(|stabilization| Self { stabilization, ..self }).to_vec(),
            4 => REMOVED.map(|removed_per_minute| Self { removed_per_minute, ..self }).to_vec(),
            5 => max_latencies.chain([0]).map(|max_latency| Self { max_latency, ..self }).collect(),
            6 => mins.map(|min| Self { min, ..self }).to_vec(),
            _ => maxes.map(|max| Self { max, ..self }).to_vec(),
        };
        variants.push(self);
        variants.retain(|variant| variant.min <= variant.max);
        variants.sort_unstable();
        variants.dedup();
        variants
    }

    /// A push only starts the first pod.
    fn trigger_type(&self) -> &'static str {
        if self.min == 0 { "external-push" } else { "external" }
    }

    /// Returns the ScaledObject.
    pub(super) fn manifest(&self, options: &RecommendOptions, settings: &Settings) -> String {
        let Self { target, cooldown, stabilization, removed_per_minute, min, max, .. } = *self;
        let RecommendOptions { target: workload, namespace, scaler_address, slo, .. } = options;
        let namespace = namespace.as_ref().map(|name| format!("\n  namespace: {name}")).unwrap_or_default();
        let scheduled_in = duration::format(SignedDuration::from_secs(self.scheduled_in.into()));
        let kind = self.trigger_type();
        let storage = options.storage.as_ref().map(|name| format!("\n        storage: {name}")).unwrap_or_default();
        let text = |seconds: u32| duration::format(SignedDuration::from_secs(seconds.into()));
        let promise = match self.max_latency {
            0 => String::new(),
            seconds => {
                format!("        maxLatency: {}\n        podStart: {}\n", text(seconds), text(pod_start(settings)))
            }
        };
        let fallback = 2.min(max).max(min);
        format!(
            "# The cheapest candidate for {slo}. docs/scale-to-zero.md explains each line.
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {workload}{namespace}
spec:
  scaleTargetRef:
    name: {workload}
  minReplicaCount: {min}
  maxReplicaCount: {max}
  pollingInterval: 30
  cooldownPeriod: {cooldown}
  fallback:
    failureThreshold: 3
    replicas: {fallback}
    behavior: currentReplicasIfHigher
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          policies:
            - type: Pods
              value: {max}
              periodSeconds: 15
        scaleDown:
          stabilizationWindowSeconds: {stabilization}
          policies:
            - type: Pods
              value: {removed_per_minute}
              periodSeconds: 60
  triggers:
    - type: {kind}
      metricType: AverageValue
      metadata:
        scalerAddress: {scaler_address}{storage}
        metric: demand
        targetValue: \"{target}\"
        scheduledIn: {scheduled_in}
{promise}"
        )
    }
}

/// How long a pod takes to start, in whole seconds.
fn pod_start(settings: &Settings) -> u32 {
    u32::try_from(settings.pod_start.div_euclid(1000)).unwrap_or(u32::MAX).min(3600)
}
