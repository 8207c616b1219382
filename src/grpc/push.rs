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
/// Each `true` costs KEDA a write to the Kubernetes API.
const REPEAT_AFTER: Duration = Duration::from_secs(15);

/// When a stream sends what.
#[derive(Debug)]
pub(super) struct Pushes {
    /// Also send the falling edge.
    inactive_too: bool,
    active: bool,
    /// When `true` is due again while the trigger stays active.
    next: Option<Instant>,
    /// Whether the push after a second is still to come.
    second_due: bool,
    /// Whether the push before was the one that it follows.
    after_first: bool,
}

impl Pushes {
    pub(super) fn new(inactive_too: bool) -> Self {
        Self { inactive_too, active: false, next: None, second_due: true, after_first: false }
    }

    /// What to send at `now`, if anything, given whether the trigger is active.
    pub(super) fn due(&mut self, active: bool, now: Instant) -> Option<Push> {
        let was_active = std::mem::replace(&mut self.active, active);
        if !active {
            self.next = None;
            return (was_active && self.inactive_too).then_some(Push::Inactive);
        }
        let is_due = !was_active || self.next.is_some_and(|next| next <= now);
        if !is_due {
            return None;
        }
        let is_first = std::mem::take(&mut self.second_due);
        self.next = Some(now + if is_first { SECOND_PUSH_AFTER } else { REPEAT_AFTER });
        let is_second = std::mem::replace(&mut self.after_first, is_first);
        Some(match (was_active, is_second) {
            (false, _) => Push::Edge,
            (true, true) => Push::Second,
            (true, false) => Push::Repeat,
        })
    }

    /// When to look again even if nothing changes.
    pub(super) fn next_repeat(&self) -> Option<Instant> {
        self.next
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
    let pushes = Pushes::new(trigger.push_inactive);
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
    pushes: Pushes,
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
            // Without an answer nothing can be said, whatever is due, before the next read ends.
            match self.pushes.next_repeat().filter(|_| active.is_some()) {
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
    use super::*;

    /// Plays a course of (milliseconds since the start, active) and gives what was sent when.
    fn play(inactive_too: bool, course: &[(u64, bool)]) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut pushes = Pushes::new(inactive_too);
        let mut sent = Vec::new();
        for &(at, active) in course {
            if let Some(push) = pushes.due(active, start + Duration::from_millis(at)) {
                sent.push((at, push != Push::Inactive));
            }
        }
        sent
    }

    #[test]
    fn true_is_sent_on_the_edge_after_a_second_and_then_every_fifteen() {
        let all_active: Vec<(u64, bool)> = (0..40).map(|second| (second * 1000, true)).collect();
        assert_eq!(play(false, &all_active), [(0, true), (1000, true), (16_000, true), (31_000, true)]);
    }

    #[test]
    fn each_rising_edge_is_sent_at_once_and_false_only_on_request() {
        let course = [(0, false), (500, true), (700, false), (900, true), (1900, true), (2000, false)];
        assert_eq!(play(false, &course), [(500, true), (900, true)]);
        assert_eq!(play(true, &course), [(500, true), (700, false), (900, true), (2000, false)]);
    }
}
