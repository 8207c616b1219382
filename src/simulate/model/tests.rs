//! The model against theory, against laws, and against courses of the real KEDA and HPA.

mod autoscaler;
mod laws;
mod queues;
mod servers;
mod traces;

use super::*;
use crate::kubernetes::manifest;
use crate::simulate::policy::PolicyKind;
use crate::simulate::{Job, Phases};

/// What a model went through, for laws that must hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Integrals {
    /// Jobs in the queue × time.
    pub(super) queue: Millis,
    /// Existing pods × time.
    pub(super) pods: Millis,
}

impl<'a> Model<'a> {
    /// The model of a policy.
    pub(super) fn of(workload: &'a Workload, policy: &Policy, settings: &'a Settings) -> Self {
        match &policy.kind {
            PolicyKind::Scaled(scaled) => Self::new(workload, Some(scaled), scaled.resting_replicas(), settings),
            PolicyKind::Fixed(n_pods) => Self::new(workload, None, *n_pods, settings),
            PolicyKind::Clairvoyant => panic!("the lower bound is not played"),
        }
    }

    /// Called before the time moves on.
    pub(super) fn integrate(&mut self, next: Millis) {
        let step = next - self.now;
        self.integrals.queue += step * self.jobs.n_enqueued() as Millis;
        self.integrals.pods += step * Millis::from(self.pods.n_existing());
    }

    /// Plays until an instant.
    pub(super) fn run_until(&mut self, until: Millis) {
        let next = |model: &Self| [model.jobs.next_arrival(), model.events.next_at()].into_iter().flatten().min();
        while next(self).is_some_and(|next| next <= until) {
            self.step();
        }
        self.now = until;
    }
}

/// Settings without anything random, for a plain queue: workers fetch at once.
pub(super) fn plain_queue() -> Settings {
    Settings {
        poll_interval: 0,
        pod_start_spread: 0.0,
        phases: Phases::Fixed { poll: 0, sync: 0 },
        ..Settings::default()
    }
}

/// A job that is enqueued at once; in milliseconds.
pub(super) fn job(arrival: Millis, duration: u32) -> Job {
    Job { arrival, due: arrival, duration, kind: 0 }
}

pub(super) fn workload(jobs: Vec<Job>) -> Workload {
    Workload::new("test", jobs, vec!["job".to_owned()])
}

/// A ScaledObject with these lines below `spec` and these triggers, each as `type metricType metadata…`.
pub(super) fn scaled(spec: &str, triggers: &[&str]) -> Policy {
    let triggers: String = triggers
        .iter()
        .map(|trigger| {
            let mut words = trigger.split(' ');
            let (kind, metric_type) = (words.next().unwrap(), words.next().unwrap());
            let metadata: Vec<String> = words
                .filter_map(|word| word.split_once('='))
                .map(|(key, value)| format!("{key}: \"{value}\""))
                .collect();
            format!(
                "  - type: {kind}\n    metricType: {metric_type}\n    metadata: {{scalerAddress: 'a:1', {}}}\n",
                metadata.join(", ")
            )
        })
        .collect();
    let text = format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: workers}}\nspec:\n  \
         scaleTargetRef: {{name: workers}}\n{spec}\n  triggers:\n{triggers}"
    );
    let object = manifest::read("test.yaml", &text).unwrap_or_else(|error| panic!("{text}\n{error}")).scaled_objects;
    Policy::scaled(&object[0]).unwrap()
}
