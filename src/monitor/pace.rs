//! When to read next: backoff after failures, and the rate limit of reads that are brought forward.

use std::time::Duration;

use tokio::time::Instant;

use crate::jobrunr::{Question, Questions, Snapshot};

/// A storage that has worked for this long without failure works steadily; the next failure begins a new outage.
pub(super) const STEADY_AFTER: Duration = Duration::from_secs(60);

/// Exponential backoff with jitter: short waits first, so that a short outage is over soon, then doubled up to the longest.
/// Jitter shortens each by up to a third, so that replicas do not attempt at the same time.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    n_failures: u32,
    /// Since when attempts succeed.
    works_since: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, n_failures: 0, works_since: None }
    }

    /// Records a failure. Returns how long to wait. A success resets the waits only after [`STEADY_AFTER`]: a connection that
    /// lasts for a second must not be replaced every second.
    pub(super) fn record_failure(&mut self) -> Duration {
        if self.has_been_steady() {
            self.n_failures = 0;
        }
        self.works_since = None;
        let doubled = 2_u32.saturating_pow(self.n_failures);
        self.n_failures = self.n_failures.saturating_add(1);
        jittered(self.first.saturating_mul(doubled).min(self.longest))
    }

    /// Records a success.
    pub(super) fn record_success(&mut self) {
        self.works_since.get_or_insert_with(Instant::now);
    }

    /// Starts again with short waits.
    pub(super) fn restart(&mut self) {
        self.n_failures = 0;
    }

    /// Returns whether attempts have succeeded for at least [`STEADY_AFTER`].
    pub(super) fn has_been_steady(&self) -> bool {
        self.works_since.is_some_and(|at| STEADY_AFTER <= at.elapsed())
    }
}

/// Shortens a wait by a random part of up to a third.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - fastrand::f64() / 3.0)
}

/// The shortest pause of [`EarlyReads`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Limits the rate of reads that are brought forward: almost at once at first, then after pauses that double while each read is
/// followed by another early one. Requests without end lead to one read per refresh.
#[derive(Debug)]
pub(super) struct EarlyReads {
    pause: Duration,
    longest: Duration,
}

impl EarlyReads {
    pub(super) fn new(longest: Duration) -> Self {
        Self { pause: FIRST_PAUSE.min(longest), longest }
    }

    /// Records a read. `was_early`: something asked to bring it forward.
    pub(super) fn record(&mut self, was_early: bool) {
        let pause = if was_early { self.pause.saturating_mul(2) } else { FIRST_PAUSE };
        self.pause = pause.min(self.longest);
    }

    /// Returns how long after the beginning of the last read the next one can begin.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }
}

/// Returns whether a new job would activate a trigger: one of the questions has no jobs now, and no live server that would
/// find new jobs itself.
pub(super) fn is_activation_awaited(snapshot: &Snapshot, questions: &Questions) -> bool {
    questions.all().any(|question| has_no_jobs(snapshot, &question) && has_no_server(snapshot, &question))
}

fn has_no_jobs(snapshot: &Snapshot, question: &Question) -> bool {
    let queue = snapshot.queues.get(&question.filter).and_then(|queue| queue.as_ref().ok());
    queue.is_some_and(|queue| queue.enqueued.n_jobs == 0 && queue.processing.n_jobs == 0)
}

fn has_no_server(snapshot: &Snapshot, question: &Question) -> bool {
    let tag = question.filter.server_tag.as_deref();
    !snapshot.live_servers().any(|server| tag.is_none_or(|tag| server.serves(tag)))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Whether a wait is the expected one, shortened by up to a third.
    fn assert_about(wait: Duration, expected_millis: u64) {
        let expected = Duration::from_millis(expected_millis);
        assert!(expected.mul_f64(0.66) <= wait && wait <= expected, "{wait:?} instead of {expected:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_doubles_and_restarts_after_steady_success() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(18));
        for expected in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 18_000, 18_000] {
            assert_about(backoff.record_failure(), expected);
        }
        // A single success does not reset the waits.
        backoff.record_success();
        advance(STEADY_AFTER / 2).await;
        assert_about(backoff.record_failure(), 18_000);
        backoff.record_success();
        advance(STEADY_AFTER / 2).await;
        backoff.record_success();
        advance(STEADY_AFTER / 2).await;
        assert_about(backoff.record_failure(), 250);
        backoff.record_failure();
        backoff.restart();
        assert_about(backoff.record_failure(), 250);
    }

    #[test]
    fn early_reads_pause_longer_until_none_is_requested() {
        let mut early = EarlyReads::new(Duration::from_millis(100));
        let pauses: Vec<u128> = [true, true, true, true, true, false, true]
            .into_iter()
            .map(|was_early| {
                early.record(was_early);
                early.pause().as_millis()
            })
            .collect();
        assert_eq!(pauses, [20, 40, 80, 100, 100, 10, 20]);
        assert_eq!(EarlyReads::new(Duration::from_millis(3)).pause(), Duration::from_millis(3));
    }
}
