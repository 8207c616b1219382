//! When to read next: the waits between failed attempts, and how soon something may bring a read forward.

use std::time::Duration;

use tokio::time::Instant;

use crate::jobrunr::{Question, Questions, Snapshot};

/// A storage that has worked for this long without a failure works steadily: the next failure is a new one.
pub(super) const STEADY_AFTER: Duration = Duration::from_secs(60);

/// The waits between failed attempts: short at first, so that a short outage is over soon, then doubled up to the longest.
/// Each is shortened at random by up to a third, so that replicas do not keep step.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    n_failures: u32,
    /// Since when it has worked.
    works_since: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, n_failures: 0, works_since: None }
    }

    /// Takes in a failure; returns how long to wait. After a success the waits go on where they were, until it
    /// [works steadily](STEADY_AFTER): a connection that lives for a second must not be replaced every second.
    pub(super) fn failed(&mut self) -> Duration {
        if self.has_been_steady() {
            self.n_failures = 0;
        }
        self.works_since = None;
        let doubled = 2_u32.saturating_pow(self.n_failures);
        self.n_failures = self.n_failures.saturating_add(1);
        jittered(self.first.saturating_mul(doubled).min(self.longest))
    }

    pub(super) fn succeeded(&mut self) {
        self.works_since.get_or_insert_with(Instant::now);
    }

    /// Begins with the short waits again.
    pub(super) fn restart(&mut self) {
        self.n_failures = 0;
    }

    /// Whether the last failure, if any, was long ago.
    pub(super) fn has_been_steady(&self) -> bool {
        self.works_since.is_some_and(|at| STEADY_AFTER <= at.elapsed())
    }
}

/// A wait, shortened at random by up to a third.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - fastrand::f64() / 3.0)
}

/// The first pause of [`EarlyReads`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How soon after a read something may bring the next one forward: at first at once, then after pauses that double for as
/// long as each read brings the next. So whoever asks for reads without end gets one per refresh.
#[derive(Debug)]
pub(super) struct EarlyReads {
    pause: Duration,
    longest: Duration,
}

impl EarlyReads {
    pub(super) fn new(longest: Duration) -> Self {
        Self { pause: FIRST_PAUSE.min(longest), longest }
    }

    /// Takes in a read; `was_wanted_early` says whether anything asked for it since the one before.
    pub(super) fn read(&mut self, was_wanted_early: bool) {
        let pause = if was_wanted_early { self.pause.saturating_mul(2) } else { FIRST_PAUSE };
        self.pause = pause.min(self.longest);
    }

    /// How long after the beginning of the last read the next may begin.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }
}

/// Whether somebody waits to be woken: nothing to do for a question, and no live server that would find new jobs itself.
pub(super) fn is_anybody_asleep(snapshot: &Snapshot, questions: &Questions) -> bool {
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
    async fn waits_are_short_at_first_then_long_and_begin_again_when_it_works_steadily() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(18));
        for expected in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 18_000, 18_000] {
            assert_about(backoff.failed(), expected);
        }
        // A success is no sign that it lasts.
        backoff.succeeded();
        advance(STEADY_AFTER / 2).await;
        assert_about(backoff.failed(), 18_000);
        backoff.succeeded();
        advance(STEADY_AFTER / 2).await;
        backoff.succeeded();
        advance(STEADY_AFTER / 2).await;
        assert_about(backoff.failed(), 250);
        backoff.failed();
        backoff.restart();
        assert_about(backoff.failed(), 250);
    }

    #[test]
    fn early_reads_are_ever_further_apart_until_nobody_wants_them() {
        let mut early = EarlyReads::new(Duration::from_millis(100));
        let pauses: Vec<u128> = [true, true, true, true, true, false, true]
            .into_iter()
            .map(|was_wanted_early| {
                early.read(was_wanted_early);
                early.pause().as_millis()
            })
            .collect();
        assert_eq!(pauses, [20, 40, 80, 100, 100, 10, 20]);
        assert_eq!(EarlyReads::new(Duration::from_millis(3)).pause(), Duration::from_millis(3));
    }
}
