//! Where decisions go: into the metrics, to those who look at them, and into the log when they change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tonic::Status;
use tracing::info;

use super::convert;
use super::trigger_cache::{Answer, NamedTrigger};
use crate::clock::Clock;
use crate::jobrunr::Snapshot;
use crate::metrics::{Metrics, Push, TriggerId};
use crate::monitor::AnswerError;
use crate::recent::Recent;
use crate::scaling::{Decision, decide, stale_seconds};
use crate::text::joined;

/// Triggers whose changes are logged. Further ones are not, until another is unused.
const MAX_TRIGGERS: usize = 1_000;
/// A trigger that was not asked for this long is forgotten.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(600);
/// How often to search for unused triggers while there are too many.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often a change of the number of pods alone is logged.
const PODS_INTERVAL: Duration = Duration::from_secs(10);

/// Records every decision in the metrics and among the recent ones, and in the log if it is a change.
pub(super) struct DecisionLog {
    clock: Clock,
    metrics: Metrics,
    recent: Recent,
    logged: Mutex<Logged>,
}

/// What was last logged of each trigger.
#[derive(Default)]
struct Logged {
    triggers: HashMap<TriggerId, LastLogged>,
    swept_at: Option<Instant>,
}

struct LastLogged {
    active: bool,
    pods: u64,
    logged_at: Instant,
    asked_at: Instant,
}

impl DecisionLog {
    pub(super) fn new(clock: Clock, metrics: Metrics, recent: Recent) -> Self {
        Self { clock, metrics, recent, logged: Mutex::default() }
    }

    /// Records a message on an activity stream.
    pub(super) fn record_push(&self, named: &NamedTrigger, push: Push) {
        self.metrics.record_push(push);
        self.recent.record_push(named.id);
    }

    /// Decides about a snapshot now, and records the decision: once per snapshot, unless that is so old that its age is among the
    /// reasons.
    ///
    /// # Errors
    /// Why the storage cannot answer the trigger's question. It is recorded.
    pub(super) fn decide(&self, named: &NamedTrigger, snapshot: &Arc<Snapshot>) -> Result<Answer, Status> {
        self.decide_at(named, snapshot, self.clock.now())
    }

    fn decide_at(&self, named: &NamedTrigger, snapshot: &Arc<Snapshot>, now: Timestamp) -> Result<Answer, Status> {
        if let Some(answer) = named.last.of(snapshot).filter(|_| stale_seconds(snapshot, now).is_none()) {
            return Ok(answer);
        }
        let decision = decide(&named.trigger, snapshot, now).map_err(|cause| {
            let storage = named.trigger.storage.clone();
            self.failed(named, &AnswerError::Question { storage, cause })
        })?;
        let answer = Answer::from(&decision);
        named.last.set(snapshot, answer);
        self.record(named, &decision);
        Ok(answer)
    }

    /// Records why a trigger has no decision, and returns it as a status.
    pub(super) fn failed(&self, named: &NamedTrigger, error: &AnswerError) -> Status {
        let status = convert::answer_status(error);
        // The next decision is recorded, whatever it is made from.
        named.last.forget();
        self.recent.record_failure(named.id, &named.key, &named.trigger, status.message());
        status
    }

    /// Records a decision. Its reasons are put into words only if it is a change.
    fn record(&self, named: &NamedTrigger, decision: &Decision) {
        let NamedTrigger { key, trigger, id, .. } = named;
        self.metrics.record_decision(*id, key, trigger, decision);
        self.recent.record(*id, key, trigger, decision);
        let pods = decision.pods();
        let is_change = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            logged.is_change(*id, decision.active, pods, Instant::now())
        };
        if is_change {
            info!(
                scaled_object = %key,
                storage = trigger.storage,
                metric = %trigger.metric,
                trigger = trigger.settings().to_string(),
                value = decision.value,
                target = decision.target,
                active = decision.active,
                pods,
                "{}",
                joined(&decision.reasons, "; ")
            );
        }
    }
}

impl Logged {
    /// Whether a decision differs from the one last logged of its trigger, so that it is to be logged now.
    fn is_change(&mut self, id: TriggerId, active: bool, pods: u64, now: Instant) -> bool {
        if let Some(last) = self.triggers.get_mut(&id) {
            last.asked_at = now;
            let is_other_pods = last.pods != pods && PODS_INTERVAL <= now.duration_since(last.logged_at);
            if last.active == active && !is_other_pods {
                return false;
            }
            (last.active, last.pods, last.logged_at) = (active, pods, now);
            return true;
        }
        if MAX_TRIGGERS <= self.triggers.len() {
            self.sweep(now);
        }
        let has_room = self.triggers.len() < MAX_TRIGGERS;
        if has_room {
            self.triggers.insert(id, LastLogged { active, pods, logged_at: now, asked_at: now });
        }
        has_room
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_none_or(|at| SWEEP_INTERVAL <= now.duration_since(at)) {
            self.swept_at = Some(now);
            self.triggers.retain(|_, last| now.duration_since(last.asked_at) < UNUSED_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use tokio::time::advance;

    use super::super::trigger_cache::LastAnswer;
    use super::*;
    use crate::scaling::{ScaledObjectKey, Trigger};

    fn id(metrics: &Metrics, metadata: &str) -> TriggerId {
        let trigger = Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap();
        metrics.trigger_id(&ScaledObjectKey::parse("shop", "worker").unwrap(), &trigger)
    }

    #[test]
    fn change_is_logged_once_and_pods_alone_every_ten_seconds() {
        let id = id(&Metrics::default(), "metric=enqueued-count targetValue=8");
        let (mut logged, mut now) = (Logged::default(), Instant::now());
        let mut check = |after_seconds: u64, active: bool, pods: u64, expected: bool| {
            now += Duration::from_secs(after_seconds);
            assert_eq!(logged.is_change(id, active, pods, now), expected, "{active} {pods}");
        };
        check(0, true, 1, true);
        check(1, true, 1, false);
        check(1, true, 2, false);
        check(10, true, 3, true);
        check(1, true, 4, false);
        // Whether it is active, always.
        check(1, false, 0, true);
        check(1, true, 1, true);
    }

    #[test]
    fn triggers_of_a_scaled_object_with_the_same_metric_are_logged_separately() {
        let metrics = Metrics::default();
        let triggers = [
            "metric=scheduled-count targetValue=8",
            "metric=scheduled-count targetValue=8 scheduledIn=PT1H",
            "metric=scheduled-count targetValue=4",
            "metric=scheduled-count targetValue=auto",
            "metric=scheduled-count targetValue=8 activationTargetValue=5",
            "metric=scheduled-count targetValue=8 keepWhileProcessing=false",
        ];
        let (mut logged, mut now, mut n_changes) = (Logged::default(), Instant::now(), 0);
        for _ in 0..3 {
            for (n, trigger) in (1_u64..).zip(triggers) {
                n_changes += usize::from(logged.is_change(id(&metrics, trigger), n % 2 == 0, n, now));
            }
            now += Duration::from_secs(15);
        }
        assert_eq!(n_changes, triggers.len());
        // Written in another way it is the same trigger.
        let same =
            id(&metrics, "metric=scheduled-count targetValue=8.0 scheduledIn=PT60S serverTag= pushInactive=false");
        assert!(!logged.is_change(same, false, 1, now));
    }

    #[tokio::test(start_paused = true)]
    async fn decide_decides_once_per_snapshot() {
        let metrics = Metrics::default();
        let trigger = Trigger::parse([("metric", "enqueued-count"), ("targetValue", "8")]).unwrap();
        let key = ScaledObjectKey::parse("shop", "worker").unwrap();
        let named = NamedTrigger { id: metrics.trigger_id(&key, &trigger), key, trigger, last: LastAnswer::default() };
        let log = DecisionLog::new(Clock::System, metrics, Recent::off());
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let snapshot = Arc::new(Snapshot::empty(now, 4));
        let check = async |snapshot: &Arc<Snapshot>, age: i64, is_recorded: bool| {
            advance(Duration::from_secs(1)).await;
            let answer = log.decide_at(&named, snapshot, now + SignedDuration::from_secs(age)).unwrap();
            assert_eq!(answer, Answer { value: 0.0, active: false });
            let recorded_at = log.logged.lock().unwrap().triggers[&named.id].asked_at;
            assert_eq!(recorded_at == Instant::now(), is_recorded, "{age}");
        };
        check(&snapshot, 0, true).await;
        check(&snapshot, 4, false).await;
        // With the age of an old snapshot among the reasons.
        check(&snapshot, 5, true).await;
        // Another snapshot, even if it says the same.
        check(&Arc::new(Snapshot::empty(now, 4)), 0, true).await;
        check(&snapshot, 0, true).await;
        check(&snapshot, 0, false).await;
        // After a failure the same snapshot is decided about and recorded again.
        let storage = "other".to_owned();
        log.failed(&named, &AnswerError::UnknownStorage { storage, known: "default".to_owned() });
        check(&snapshot, 0, true).await;
    }

    #[test]
    fn decision_log_is_bounded() {
        let metrics = Metrics::default();
        let (mut logged, now) = (Logged::default(), Instant::now());
        for n in 1..=2 * MAX_TRIGGERS {
            let id = id(&metrics, &format!("metric=enqueued-count targetValue={n}"));
            assert_eq!(logged.is_change(id, true, 1, now), n <= MAX_TRIGGERS, "{n}");
        }
        assert_eq!(logged.triggers.len(), MAX_TRIGGERS);
        let new = id(&metrics, "metric=demand targetValue=8");
        assert!(!logged.is_change(new, true, 1, now + UNUSED_TIMEOUT / 2));
        assert!(logged.is_change(new, true, 1, now + UNUSED_TIMEOUT));
        assert_eq!(logged.triggers.len(), 1);
    }
}
