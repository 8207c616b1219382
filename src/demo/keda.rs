//! The other side: calls the scaler over gRPC as KEDA does, and applies KEDA's and the HPA's rules to the answers.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Status;
use tonic::transport::Channel;

use super::board::{Board, Who};
use super::explained::{hpa_reason, number};
use super::scaled_object::{TRIGGERS, TriggerSpec, cooldown, max_replicas, rules};
use crate::clock::Clock;
use crate::grpc::proto::external_scaler_client::ExternalScalerClient;
use crate::grpc::proto::{GetMetricsRequest, ScaledObjectRef};
use crate::kubernetes::hpa::{Hpa, MetricReading, Replicas, SYNC_PERIOD, pods_wanted};
use crate::kubernetes::keda::{KedaReason, KedaState, TriggerAnswer};

/// KEDA opens a stream that ended anew after this time.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

type Client = ExternalScalerClient<Channel>;

/// KEDA and the HPA, for one ScaledObject.
pub(super) struct Keda {
    client: Client,
    references: Vec<ScaledObjectRef>,
    clock: Clock,
    board: Arc<Board>,
    state: KedaState,
    hpa: Hpa,
    /// The last reason of KEDA's that was told, to tell each only once.
    told: Option<KedaReason>,
}

impl Keda {
    pub(super) fn new(channel: Channel, address: &str, clock: Clock, board: Arc<Board>) -> Self {
        let rules = rules();
        Self {
            client: Client::new(channel),
            references: TRIGGERS.iter().map(|trigger| trigger.reference(address)).collect(),
            clock,
            board,
            hpa: Hpa::new(rules.bounds.hpa_min(), rules.bounds.max, None),
            state: KedaState::new(rules, clock.now()),
            told: None,
        }
    }

    /// Scales until dropped. KEDA's polls and the HPA's syncs have their own pace, and a push comes in between.
    pub(super) async fn run(mut self) {
        let mut polls = interval(self.clock.real(unsigned(rules().polling_interval)));
        let mut syncs = interval(self.clock.real(unsigned(SYNC_PERIOD)));
        for pace in [&mut polls, &mut syncs] {
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (sender, mut pushes) = mpsc::channel(TRIGGERS.len());
        let mut streams = JoinSet::new();
        for trigger in 0..self.references.len() {
            streams.spawn(self.listen(trigger, sender.clone()));
        }
        loop {
            tokio::select! {
                Some(trigger) = pushes.recv() => self.pushed(trigger),
                _ = polls.tick() => self.poll().await,
                _ = syncs.tick() => self.sync().await,
            }
        }
    }

    /// Holds the stream of a trigger open, and passes each `true` on.
    fn listen(&self, trigger: usize, sender: mpsc::Sender<usize>) -> impl Future<Output = ()> + Send + 'static {
        let mut client = self.client.clone();
        let reference = self.references[trigger].clone();
        let pause = self.clock.real(REOPEN_AFTER);
        async move {
            loop {
                if let Ok(stream) = client.stream_is_active(reference.clone()).await {
                    let mut stream = stream.into_inner();
                    while let Ok(Some(push)) = stream.message().await {
                        if push.result && sender.send(trigger).await.is_err() {
                            return;
                        }
                    }
                }
                sleep(pause).await;
            }
        }
    }

    fn pushed(&mut self, trigger: usize) {
        let now = self.clock.now();
        let replicas = self.board.replicas().spec;
        self.board.answer(trigger, |answer| answer.active = Some(true));
        let decision = self.state.push_true(now, replicas);
        let cause = format!("{} pushed active", TRIGGERS[trigger].metric);
        self.follow(now, replicas, decision.replicas, decision.reason, &cause);
    }

    /// What KEDA does each `pollingInterval`: asks every trigger whether it is active.
    async fn poll(&mut self) {
        let mut answers = Vec::new();
        let mut active = Vec::new();
        for (place, trigger) in TRIGGERS.iter().enumerate() {
            self.read(place, trigger).await;
            let answer = self.client.is_active(self.references[place].clone()).await;
            let answer = answer.map(|response| response.into_inner().result);
            self.board.answer(place, |shown| shown.active = answer.as_ref().ok().copied());
            if answer.as_ref().is_ok_and(|active| *active) {
                active.push(trigger.metric);
            }
            answers.push(TriggerAnswer::from(answer));
        }
        let now = self.clock.now();
        let replicas = self.board.replicas().spec;
        let decision = self.state.poll(now, replicas, &answers);
        let cause = format!("{} active at the poll", active.join(", "));
        self.follow(now, replicas, decision.replicas, decision.reason, &cause);
    }

    /// Carries out what KEDA decided, and tells it where it is news.
    fn follow(&mut self, now: Timestamp, from: u32, to: u32, reason: KedaReason, cause: &str) {
        let is_news = self.told != Some(reason);
        self.told = Some(reason);
        if from != to {
            self.board.scale(now, to);
        }
        let text = match reason {
            KedaReason::Activated => format!("{from} → {to}: {cause}"),
            KedaReason::ScaledToZero => {
                format!("{from} → {to}: no trigger was active for {} s", cooldown().as_secs())
            }
            KedaReason::CoolingDown if is_news => {
                format!("no trigger is active any more: zero in {} s", self.cooldown_left(now))
            }
            KedaReason::Failed | KedaReason::ActiveWithFailures if is_news => reason.to_string(),
            _ => return,
        };
        self.board.tell(now, Who::Keda, text);
    }

    fn cooldown_left(&self, now: Timestamp) -> i64 {
        let quiet_for = self.state.last_active().map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        (cooldown() - quiet_for).as_secs().max(0)
    }

    /// What the HPA does every 15 seconds: reads all metrics through KEDA and follows them. At zero it does nothing.
    async fn sync(&mut self) {
        if self.board.replicas().spec == 0 {
            return;
        }
        let mut readings = Vec::new();
        for (place, trigger) in TRIGGERS.iter().enumerate() {
            let reading = self.read(place, trigger).await;
            readings.push(self.state.hpa_reading(place, reading, self.board.replicas()));
        }
        let now = self.clock.now();
        let replicas = self.board.replicas();
        let outcome = self.hpa.sync(now, replicas, &readings);
        if outcome.replicas != replicas.spec {
            self.board.scale(now, outcome.replicas);
            let reason = hpa_reason(&readings, replicas, outcome, max_replicas());
            self.board.tell(now, Who::Hpa, format!("{} → {}: {reason}", replicas.spec, outcome.replicas));
        }
    }

    /// Target and value of a trigger, as KEDA reads them for itself and for the HPA.
    async fn read(&mut self, place: usize, trigger: &TriggerSpec) -> MetricReading {
        let (target, value) = match self.target_and_value(place).await {
            Ok((target, value)) => (target, value),
            Err(status) => {
                let text = format!("{} cannot be read: {}", trigger.metric, status.message());
                self.board.tell(self.clock.now(), Who::Keda, text);
                (f64::NAN, None)
            }
        };
        let Replicas { status, ready, .. } = self.board.replicas();
        let pods = value.and_then(|value| pods_wanted(trigger.metric_type, value, target, status, ready).ok());
        self.board.answer(place, |answer| {
            answer.value = value;
            answer.target = Some(target).filter(|target| !target.is_nan());
            answer.pods = pods;
        });
        MetricReading { metric_type: trigger.metric_type, target, value }
    }

    async fn target_and_value(&mut self, place: usize) -> Result<(f64, Option<f64>), Status> {
        let reference = self.references[place].clone();
        let specs = self.client.get_metric_spec(reference.clone()).await?.into_inner().metric_specs;
        let spec = specs.into_iter().next().ok_or_else(|| Status::internal("no metric spec returned"))?;
        let target = number(spec.target_size_float, spec.target_size);
        let request = GetMetricsRequest { scaled_object_ref: Some(reference), metric_name: spec.metric_name };
        let values = self.client.get_metrics(request).await?.into_inner().metric_values;
        // KEDA adds up what it gets.
        let value = values.iter().map(|value| number(value.metric_value_float, value.metric_value)).sum();
        Ok((target, Some(value)))
    }
}

fn unsigned(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}
