//! KEDA and the HPA: asks the scaler as KEDA does, and applies the rules of both to the answers.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::fast_clock::FastClock;
use super::hpa_text::hpa_reason;
use super::scaled_object::{PlayedObject, PlayedTrigger};
use super::scaler_client::{ScalerClient, TargetAndValue};
use super::state::{Actor, DemoState};
use crate::clock::TimeSource;
use crate::kubernetes::hpa::{Hpa, MetricReading, SYNC_PERIOD};
use crate::kubernetes::keda::{KedaReason, KedaState, TriggerAnswer};

/// KEDA opens a stream that ended again after this time.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

/// KEDA and the HPA, for one ScaledObject.
pub(super) struct Keda {
    client: ScalerClient,
    played: PlayedObject,
    clock: &'static FastClock,
    state: Arc<DemoState>,
    keda: KedaState,
    hpa: Hpa,
    /// The last reason of KEDA's that was recorded: each is recorded once.
    last_reason: Option<KedaReason>,
}

impl Keda {
    pub(super) fn new(
        client: ScalerClient,
        played: PlayedObject,
        clock: &'static FastClock,
        state: Arc<DemoState>,
    ) -> Self {
        let rules = played.object.rules.clone();
        let bounds = rules.bounds;
        Self {
            client,
            clock,
            state,
            hpa: Hpa::new(bounds.hpa_min(), bounds.max, played.object.behavior.clone()),
            keda: KedaState::new(rules, clock.now()),
            played,
            last_reason: None,
        }
    }

    /// Scales until dropped. KEDA polls and the HPA syncs at their own pace; pushes come in between.
    pub(super) async fn run(mut self) {
        let mut polls = interval(self.clock.real(unsigned(self.played.object.rules.polling_interval)));
        let mut syncs = interval(self.clock.real(unsigned(SYNC_PERIOD)));
        for pace in [&mut polls, &mut syncs] {
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (sender, mut pushes) = mpsc::channel(self.played.triggers.len());
        let mut streams = JoinSet::new();
        let pause = self.clock.real(REOPEN_AFTER);
        for (index, trigger) in self.played.triggers.iter().enumerate() {
            streams.spawn(self.client.forward_pushes(trigger.reference.clone(), index, pause, sender.clone()));
        }
        loop {
            tokio::select! {
                Some(trigger) = pushes.recv() => self.pushed(trigger),
                _ = polls.tick() => self.poll().await,
                _ = syncs.tick() => self.sync().await,
            }
        }
    }

    fn pushed(&mut self, trigger: usize) {
        let now = self.clock.now();
        let replicas = self.state.replicas().spec;
        let decision = self.keda.push_true(now, replicas);
        let cause = format!("{} was pushed as active", self.played.triggers[trigger].metric);
        self.apply(now, replicas, decision.replicas, decision.reason, &cause);
    }

    /// What KEDA does every `pollingInterval`: asks every trigger for its metric, and whether it is active.
    async fn poll(&mut self) {
        let mut answers = Vec::new();
        let mut active = Vec::new();
        for trigger in &self.played.triggers {
            let answer = match self.client.target_and_value(trigger).await {
                Ok(_) => self.client.is_active(trigger).await,
                Err(status) => Err(status),
            };
            if let Ok(true) = answer {
                active.push(trigger.metric.as_str());
            }
            answers.push(TriggerAnswer::from(answer));
        }
        let now = self.clock.now();
        let replicas = self.state.replicas().spec;
        let decision = self.keda.poll(now, replicas, &answers);
        let cause = format!("{} was active at the poll", active.join(", "));
        self.apply(now, replicas, decision.replicas, decision.reason, &cause);
    }

    /// Carries out what KEDA decided, and records it if it is new.
    fn apply(&mut self, now: Timestamp, from: u32, to: u32, reason: KedaReason, cause: &str) {
        let is_new = self.last_reason != Some(reason);
        self.last_reason = Some(reason);
        if from != to {
            self.state.scale(now, to);
        }
        let cooldown = self.played.object.rules.cooldown;
        let text = match reason {
            KedaReason::Activated => format!("{from} → {to}: {cause}"),
            KedaReason::ScaledToZero => format!("{from} → {to}: no trigger was active for {} s", cooldown.as_secs()),
            KedaReason::CoolingDown if is_new => {
                format!("no trigger is active any longer: zero in {} s", self.cooldown_left(now))
            }
            KedaReason::Failed | KedaReason::ActiveWithFailures if is_new => reason.to_string(),
            _ => return,
        };
        self.state.record(now, Actor::Keda, text);
    }

    fn cooldown_left(&self, now: Timestamp) -> i64 {
        let inactive_for = self.keda.last_active().map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        (self.played.object.rules.cooldown - inactive_for).as_secs().max(0)
    }

    /// What the HPA does every 15 seconds: reads all metrics through KEDA and follows them. At zero it only sees the workload.
    async fn sync(&mut self) {
        let replicas = self.state.replicas();
        if replicas.spec == 0 {
            self.hpa.sync(self.clock.now(), replicas, &[]);
            return;
        }
        let mut readings = Vec::new();
        for (index, trigger) in self.played.triggers.iter().enumerate() {
            let reading = read(&mut self.client, trigger, &self.state, self.clock.now()).await;
            readings.push(self.keda.hpa_reading(index, reading, self.state.replicas()));
        }
        let now = self.clock.now();
        let replicas = self.state.replicas();
        let outcome = self.hpa.sync(now, replicas, &readings);
        if outcome.replicas != replicas.spec {
            self.state.scale(now, outcome.replicas);
            let reason = hpa_reason(&self.played, &readings, replicas, outcome);
            self.state.record(now, Actor::Hpa, format!("{} → {}: {reason}", replicas.spec, outcome.replicas));
        }
    }
}

/// Reads a metric. A failure is recorded.
async fn read(client: &mut ScalerClient, trigger: &PlayedTrigger, state: &DemoState, now: Timestamp) -> MetricReading {
    let metric_type = trigger.metric_type;
    match client.target_and_value(trigger).await {
        Ok(TargetAndValue { target, value }) => MetricReading { metric_type, target, value: Some(value) },
        Err(status) => {
            state.record(now, Actor::Keda, format!("{} cannot be read: {}", trigger.metric, status.message()));
            MetricReading { metric_type, target: f64::NAN, value: None }
        }
    }
}

fn unsigned(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}
