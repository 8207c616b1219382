//! Streams: what is sent when.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert;
use super::proto::{GetMetricSpecResponse, IsActiveResponse};
use super::scaler::tell;
use crate::clock::Clock;
use crate::metrics::{Metrics, OpenStream, Push, StreamKind};
use crate::monitor::Watcher;
use crate::scaling::{ScaledObjectKey, Trigger, decide};

/// KEDA drops a push that comes before it has written its own status; this one comes after.
const SECOND_PUSH_AFTER: Duration = Duration::from_secs(1);
/// How often `true` is repeated while a trigger stays active; each stream has a time of its own between these. A push costs KEDA
/// a write to the Kubernetes API, of which it makes 20 a second for everything, and says nothing that KEDA's own poll does not.
const REPEAT_AFTER: [Duration; 2] = [Duration::from_secs(15 * 60), Duration::from_secs(25 * 60)];
/// So many rising edges are pushed at once; then one in this time, which is as often as KEDA polls. Jobs that come and are done
/// every second must not cost KEDA a write every second.
const EDGES_AT_ONCE: u32 = 5;
const EDGE_EVERY: Duration = Duration::from_secs(30);

/// When a stream sends what.
#[derive(Debug)]
pub(super) struct PushSchedule {
    /// Also send the falling edge.
    inactive_too: bool,
    repeat_after: Duration,
    /// What is to be sent, and when, while the trigger stays active.
    next: Option<(Instant, Push)>,
    /// Whether `true` was sent since it became active.
    is_told: bool,
    /// Whether the push after a second was sent.
    is_confirmed: bool,
    /// Until when edges are used up that are sent once in [`EDGE_EVERY`].
    edges_until: Option<Instant>,
}

impl PushSchedule {
    /// `spread`, from 0 to 1, says how often this stream repeats: those that began together shall not push together.
    pub(super) fn new(inactive_too: bool, spread: f64) -> Self {
        let [least, most] = REPEAT_AFTER;
        let repeat_after = least + (most - least).mul_f64(spread);
        Self { inactive_too, repeat_after, next: None, is_told: false, is_confirmed: false, edges_until: None }
    }

    /// What to send at `now`, if anything, given whether the trigger is active.
    pub(super) fn due(&mut self, active: bool, now: Instant) -> Option<Push> {
        if !active {
            self.next = None;
            let was_told = std::mem::take(&mut self.is_told);
            return (was_told && self.inactive_too).then_some(Push::Inactive);
        }
        let (at, push) = self.next.unwrap_or((self.next_edge(now), Push::Edge));
        self.next = Some((at, push));
        if now < at {
            return None;
        }
        match push {
            Push::Edge => self.edges_until = Some(self.edges_until.map_or(now, |until| until.max(now)) + EDGE_EVERY),
            _ => self.is_confirmed = true,
        }
        self.is_told = true;
        let confirm = (now + SECOND_PUSH_AFTER, Push::Second);
        self.next = Some(if self.is_confirmed { (now + self.repeat_after, Push::Repeat) } else { confirm });
        Some(push)
    }

    /// When an edge may be sent.
    fn next_edge(&self, now: Instant) -> Instant {
        let earliest = self.edges_until.and_then(|until| until.checked_sub(EDGE_EVERY * (EDGES_AT_ONCE - 1)));
        earliest.map_or(now, |earliest| earliest.max(now))
    }

    /// When something is due if nothing changes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }
}

/// The activity of a trigger, as KEDA wants it pushed. There is no queue behind it: a message is made when the client
/// has room for one, from what is known then, so that a slow reader gets the newest and delays nobody.
pub(super) fn activity(
    key: ScaledObjectKey,
    trigger: Trigger,
    watcher: Watcher,
    clock: Clock,
    metrics: Metrics,
    stop: CancellationToken,
) -> BoxStream<'static, Result<IsActiveResponse, Status>> {
    let pushes = PushSchedule::new(trigger.push_inactive, fastrand::f64());
    let _open = metrics.stream(StreamKind::Activity);
    let state = Stream { key, trigger, watcher, clock, metrics, pushes, _open };
    let stream = stream::unfold(state, |mut stream| async move {
        let result = stream.next().await;
        Some((Ok(IsActiveResponse { result }), stream))
    });
    // Ending well tells KEDA to come back in two seconds; after an error it may take a minute.
    stream.take_until(stop.cancelled_owned()).boxed()
}

/// The specs of a trigger whose target is computed: at once, and whenever the target has changed. A slow reader gets the
/// newest only. While the database is away the target stays as it is.
pub(super) fn specs(
    trigger: Trigger,
    first: f64,
    watcher: Watcher,
    open: OpenStream,
    stop: CancellationToken,
) -> BoxStream<'static, Result<GetMetricSpecResponse, Status>> {
    let state = (trigger, watcher, None::<f64>, open);
    let stream = stream::unfold(state, move |(trigger, mut watcher, sent, open)| async move {
        let target = match sent {
            None => first,
            Some(sent) => changed_target(&trigger, &mut watcher, sent).await,
        };
        Some((Ok(convert::metric_spec(&trigger, target)), (trigger, watcher, Some(target), open)))
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

struct Stream {
    key: ScaledObjectKey,
    trigger: Trigger,
    watcher: Watcher,
    clock: Clock,
    metrics: Metrics,
    pushes: PushSchedule,
    _open: OpenStream,
}

impl Stream {
    async fn next(&mut self) -> bool {
        loop {
            // A database that does not answer is no reason to say anything: KEDA keeps what it has.
            let active = self.watcher.latest().ok().and_then(|snapshot| {
                let decision = decide(&self.trigger, &snapshot, self.clock.now()).ok()?;
                tell(&self.metrics, &self.key, &self.trigger, &decision);
                Some(decision.active)
            });
            if let Some(push) = active.and_then(|active| self.pushes.due(active, Instant::now())) {
                self.metrics.pushed(push);
                return push != Push::Inactive;
            }
            // Where nothing is known, nothing can be sent, whatever is due, before the next read ends.
            match self.pushes.next_due().filter(|_| active.is_some()) {
                Some(at) => tokio::select! {
                    () = self.watcher.changed() => {}
                    () = sleep_until(at) => {}
                },
                None => self.watcher.changed().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;

    /// Plays a course of (milliseconds since the start, active), with a look whenever something is due, and gives what was sent
    /// when.
    fn play(pushes: &mut PushSchedule, course: &[(u64, bool)]) -> Vec<(u64, Push)> {
        let start = Instant::now();
        let mut sent = Vec::new();
        let mut was_active = false;
        for &(at, active) in course {
            let at = start + Duration::from_millis(at);
            while let Some(due) = pushes.next_due().filter(|due| *due < at) {
                sent.extend(pushes.due(was_active, due).map(|push| (due, push)));
            }
            sent.extend(pushes.due(active, at).map(|push| (at, push)));
            was_active = active;
        }
        let millis = |at: Instant| u64::try_from(at.duration_since(start).as_millis()).unwrap();
        sent.into_iter().map(|(at, push)| (millis(at), push)).collect()
    }

    #[test]
    fn true_is_sent_on_the_edge_after_a_second_and_then_seldom() {
        let an_hour = [(0, true), (60 * MINUTE, true)];
        for (spread, pause) in [(0.0, 15 * MINUTE), (0.5, 20 * MINUTE), (1.0, 25 * MINUTE)] {
            let mut expected = vec![(0, Push::Edge), (1_000, Push::Second)];
            expected.extend((1..).map(|n| (1_000 + n * pause, Push::Repeat)).take_while(|(at, _)| *at <= 60 * MINUTE));
            assert_eq!(play(&mut PushSchedule::new(false, spread), &an_hour), expected);
        }
    }

    #[test]
    fn rising_edges_are_sent_at_once_and_false_only_on_request() {
        use Push::{Edge, Inactive, Second};
        let course = [(0, false), (500, true), (700, false), (900, true), (2000, false), (2500, true), (9000, false)];
        let edges = [(500, Edge), (900, Edge), (1900, Second), (2500, Edge)];
        assert_eq!(play(&mut PushSchedule::new(false, 0.0), &course), edges);
        let mut both = [edges.as_slice(), &[(700, Inactive), (2000, Inactive), (9000, Inactive)]].concat();
        both.sort_by_key(|(at, _)| *at);
        assert_eq!(play(&mut PushSchedule::new(true, 0.0), &course), both);
    }

    #[test]
    fn edges_that_come_every_second_are_sent_as_often_as_keda_polls() {
        let flickering: Vec<_> = (0..300).map(|second| (second * 1_000, second % 2 == 0)).collect();
        let sent: Vec<_> =
            play(&mut PushSchedule::new(false, 0.0), &flickering).into_iter().map(|(at, _)| at / 1_000).collect();
        assert_eq!(sent, [0, 2, 4, 6, 8, 30, 60, 90, 120, 150, 180, 210, 240, 270]);
    }

    proptest! {
        /// However a trigger flickers, KEDA gets little more than its own poll asks; and who stays active was told.
        #[test]
        fn pushes_are_bounded_and_none_is_forgotten(
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
            prop_assert!(pushes.is_told && matches!(pushes.next, Some((_, Push::Repeat))), "{pushes:?}");
        }
    }
}
