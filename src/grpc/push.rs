//! Streams: what is sent, and when.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert;
use super::decision_log::DecisionLog;
use super::proto::{GetMetricSpecResponse, IsActiveResponse};
use super::trigger_cache::NamedTrigger;
use crate::metrics::{Metrics, OpenStream, Push, StreamKind};
use crate::monitor::{AnswerError, Watcher};
use crate::scaling::Trigger;

/// KEDA drops a push that comes before it has written its own status. The second one comes after that.
const SECOND_PUSH_AFTER: Duration = Duration::from_secs(1);
/// How often `true` is repeated while a trigger stays active. Each stream has its own interval between these, so that streams that
/// began together do not push together. A push costs KEDA a write to the Kubernetes API, of which it makes 20 per second in total,
/// and adds nothing to KEDA's own poll.
const REPEAT_AFTER: [Duration; 2] = [Duration::from_secs(15 * 60), Duration::from_secs(25 * 60)];
/// This many rising edges are pushed at once; after that one per [`EDGE_INTERVAL`], which is as often as KEDA polls. Jobs that come
/// and are done every second must not cost KEDA a write per second.
const EDGES_AT_ONCE: u32 = 5;
const EDGE_INTERVAL: Duration = Duration::from_secs(30);

/// When a stream sends what.
#[derive(Debug)]
pub(super) struct PushSchedule {
    /// Whether the falling edge is sent as well.
    inactive_too: bool,
    repeat_after: Duration,
    /// What is sent next, and when, if the trigger stays active.
    next: Option<(Instant, Push)>,
    phase: Phase,
    /// Until when edges are used up, at one per [`EDGE_INTERVAL`].
    edges_until: Option<Instant>,
    /// Whether the push after a second was ever sent.
    is_confirmed: bool,
}

/// What the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent since the trigger became active.
    Idle,
    /// `true` was sent since the trigger became active.
    Active,
}

impl PushSchedule {
    /// `spread`, from 0 to 1, selects the interval of repeats.
    pub(super) fn new(inactive_too: bool, spread: f64) -> Self {
        let [min, max] = REPEAT_AFTER;
        let repeat_after = min + (max - min).mul_f64(spread);
        Self { inactive_too, repeat_after, next: None, phase: Phase::Idle, edges_until: None, is_confirmed: false }
    }

    /// Returns what to send at `now`, if anything, depending on whether the trigger is active.
    pub(super) fn next(&mut self, active: bool, now: Instant) -> Option<Push> {
        if !active {
            self.next = None;
            let phase = std::mem::replace(&mut self.phase, Phase::Idle);
            return (phase == Phase::Active && self.inactive_too).then_some(Push::Inactive);
        }
        let (at, push) = self.next.unwrap_or((self.next_edge(now), Push::Edge));
        self.next = Some((at, push));
        if now < at {
            return None;
        }
        match push {
            Push::Edge => self.edges_until = Some(self.edges_until.map_or(now, |until| until.max(now)) + EDGE_INTERVAL),
            _ => self.is_confirmed = true,
        }
        self.phase = Phase::Active;
        let confirm = (now + SECOND_PUSH_AFTER, Push::Second);
        self.next = Some(if self.is_confirmed { (now + self.repeat_after, Push::Repeat) } else { confirm });
        Some(push)
    }

    /// Returns when an edge may be sent.
    fn next_edge(&self, now: Instant) -> Instant {
        let earliest = self.edges_until.and_then(|until| until.checked_sub(EDGE_INTERVAL * (EDGES_AT_ONCE - 1)));
        earliest.map_or(now, |earliest| earliest.max(now))
    }

    /// Returns when something is to be sent if the trigger stays active, and whether that is worth a timer. A repeat is not: it
    /// is sent after the first read that ends when it is due.
    pub(super) fn timer(&self) -> Option<Instant> {
        self.next.filter(|(_, push)| *push != Push::Repeat).map(|(at, _)| at)
    }
}

/// Returns the activity of a trigger as a stream for KEDA. It holds no queue: a message is made when the client has room for it,
/// from what is known then, so that a slow client gets the latest state and delays nobody.
pub(super) fn activity(
    named: Arc<NamedTrigger>,
    watcher: Watcher,
    decisions: Arc<DecisionLog>,
    metrics: &Metrics,
    stop: CancellationToken,
) -> BoxStream<'static, Result<IsActiveResponse, Status>> {
    let pushes = PushSchedule::new(named.trigger.push_inactive, fastrand::f64());
    let _open = metrics.stream(StreamKind::Activity);
    let state = Activity { named, watcher, decisions, pushes, _open };
    let stream = stream::unfold(state, |mut stream| async move {
        let result = stream.next().await;
        Some((Ok(IsActiveResponse { result }), stream))
    });
    // After a stream that ended with OK, KEDA comes back in two seconds; after an error it can take a minute.
    stream.take_until(stop.cancelled_owned()).boxed()
}

/// Returns the specs of a trigger whose target is computed: immediately, and when the target has changed. A slow client gets only
/// the latest. The target stays the same while the database does not answer.
pub(super) fn specs(
    named: Arc<NamedTrigger>,
    first: f64,
    watcher: Watcher,
    open: OpenStream,
    stop: CancellationToken,
) -> BoxStream<'static, Result<GetMetricSpecResponse, Status>> {
    let state = (named, watcher, None::<f64>, open);
    let stream = stream::unfold(state, move |(named, mut watcher, sent, open)| async move {
        let target = match sent {
            None => first,
            Some(sent) => changed_target(&named.trigger, &mut watcher, sent).await,
        };
        let spec = convert::metric_spec(named.trigger.metric_name(), target);
        Some((Ok(spec), (named, watcher, Some(target), open)))
    });
    stream.take_until(stop.cancelled_owned()).boxed()
}

async fn changed_target(trigger: &Trigger, watcher: &mut Watcher, sent: f64) -> f64 {
    loop {
        if let Ok(snapshot) = watcher.latest() {
            let (target, _) = trigger.target_at(Some(&snapshot));
            if target != sent {
                return target;
            }
        }
        watcher.changed().await;
    }
}

/// An open activity stream. There can be thousands: it holds nothing that it can share.
struct Activity {
    named: Arc<NamedTrigger>,
    watcher: Watcher,
    decisions: Arc<DecisionLog>,
    pushes: PushSchedule,
    _open: OpenStream,
}

impl Activity {
    async fn next(&mut self) -> bool {
        loop {
            // A database that does not answer is no reason to send anything: KEDA keeps what it has.
            let active = self.active();
            if let Some(push) = active.and_then(|active| self.pushes.next(active, Instant::now())) {
                self.decisions.record_push(&self.named, push);
                return push != Push::Inactive;
            }
            // While nothing is known, nothing can be sent before the next read ends, whatever is due.
            match self.pushes.timer().filter(|_| active.is_some()) {
                Some(at) => {
                    // Boxed, because a stream keeps the place of a timer as long as it is open, and rarely uses it.
                    let _ = Box::pin(timeout_at(at, self.watcher.changed())).await;
                }
                None => self.watcher.changed().await,
            }
        }
    }

    /// Whether the trigger is active; `None` if that is not known.
    fn active(&self) -> Option<bool> {
        let snapshot = self.watcher.latest().map_err(|cause| {
            let storage = self.named.trigger.storage.clone();
            self.decisions.failed(&self.named, &AnswerError::NoAnswer { storage, cause })
        });
        let answer = self.decisions.decide(&self.named, &snapshot.ok()?);
        Some(answer.ok()?.active)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;

    /// Plays a sequence of (milliseconds since the start, active), asks whenever something is due, and returns what was sent when.
    fn play(pushes: &mut PushSchedule, course: &[(u64, bool)]) -> Vec<(u64, Push)> {
        let start = Instant::now();
        let mut sent = Vec::new();
        let mut was_active = false;
        for &(at, active) in course {
            let at = start + Duration::from_millis(at);
            while let Some(due) = pushes.next.map(|(at, _)| at).filter(|due| *due < at) {
                sent.extend(pushes.next(was_active, due).map(|push| (due, push)));
            }
            sent.extend(pushes.next(active, at).map(|push| (at, push)));
            was_active = active;
        }
        let millis = |at: Instant| u64::try_from(at.duration_since(start).as_millis()).unwrap();
        sent.into_iter().map(|(at, push)| (millis(at), push)).collect()
    }

    #[test]
    fn push_schedule_repeats_true_after_a_second_and_then_rarely() {
        let an_hour = [(0, true), (60 * MINUTE, true)];
        for (spread, pause) in [(0.0, 15 * MINUTE), (0.5, 20 * MINUTE), (1.0, 25 * MINUTE)] {
            let mut expected = vec![(0, Push::Edge), (1_000, Push::Second)];
            expected.extend((1..).map(|n| (1_000 + n * pause, Push::Repeat)).take_while(|(at, _)| *at <= 60 * MINUTE));
            assert_eq!(play(&mut PushSchedule::new(false, spread), &an_hour), expected);
        }
    }

    #[test]
    fn push_schedule_sends_rising_edges_at_once_and_false_only_on_request() {
        use Push::{Edge, Inactive, Second};
        let course = [(0, false), (500, true), (700, false), (900, true), (2000, false), (2500, true), (9000, false)];
        let edges = [(500, Edge), (900, Edge), (1900, Second), (2500, Edge)];
        assert_eq!(play(&mut PushSchedule::new(false, 0.0), &course), edges);
        let mut both = [edges.as_slice(), &[(700, Inactive), (2000, Inactive), (9000, Inactive)]].concat();
        both.sort_by_key(|(at, _)| *at);
        assert_eq!(play(&mut PushSchedule::new(true, 0.0), &course), both);
    }

    #[test]
    fn push_schedule_sends_frequent_edges_as_often_as_keda_polls() {
        let flickering: Vec<_> = (0..300).map(|second| (second * 1_000, second % 2 == 0)).collect();
        let sent: Vec<_> =
            play(&mut PushSchedule::new(false, 0.0), &flickering).into_iter().map(|(at, _)| at / 1_000).collect();
        assert_eq!(sent, [0, 2, 4, 6, 8, 30, 60, 90, 120, 150, 180, 210, 240, 270]);
    }

    proptest! {
        /// However often a trigger changes, KEDA gets little more than its own poll returns; and if the trigger stays active, KEDA
        /// knows it.
        #[test]
        fn push_schedule_is_bounded_and_forgets_no_edge(
            spread in 0.0..=1.0_f64,
            steps in proptest::collection::vec((1_u64..100_000, any::<bool>()), 1..200),
        ) {
            let mut at = 0;
            let mut course: Vec<_> = steps.into_iter().map(|(pause, active)| { at += pause; (at, active) }).collect();
            course.extend([(at, true), (at + 60_000, true)]);
            let mut pushes = PushSchedule::new(false, spread);
            let sent = play(&mut pushes, &course);
            let first = sent[0].0;
            for (n, (at, _)) in (1_u64..).zip(&sent) {
                prop_assert!(n <= u64::from(EDGES_AT_ONCE) + 1 + (at - first) / 30_000, "{n} pushes until {at}");
            }
            prop_assert!(pushes.phase == Phase::Active && matches!(pushes.next, Some((_, Push::Repeat))), "{pushes:?}");
        }
    }
}
