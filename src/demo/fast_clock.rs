//! The demo's clock, which runs faster than the machine's.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::clock::TimeSource;

/// A clock that shows the present when it starts, and runs `speed` times as fast from then on.
#[derive(Debug)]
pub(super) struct FastClock {
    start: Timestamp,
    since: Instant,
    speed: f64,
}

impl FastClock {
    /// Starts a clock, for as long as the process lives: the scaler's tasks keep it.
    pub(super) fn start(speed: f64) -> &'static Self {
        Box::leak(Box::new(Self { start: Timestamp::now(), since: Instant::now(), speed }))
    }

    /// What it showed when it started.
    pub(super) fn started_at(&self) -> Timestamp {
        self.start
    }

    /// Its seconds per second of the machine's.
    pub(super) fn speed(&self) -> f64 {
        self.speed
    }

    /// How long the machine takes until it has advanced by `duration`.
    pub(super) fn real(&self, duration: Duration) -> Duration {
        duration.div_f64(self.speed)
    }
}

impl TimeSource for FastClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.since.elapsed().mul_f64(self.speed);
        self.start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    fn until(&self, at: Timestamp) -> Duration {
        self.real(at.duration_since(self.now()).max(SignedDuration::ZERO).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test without a runtime")]
    fn fast_clock_divides_waits_by_its_speed() {
        let clock = FastClock::start(100.0);
        assert_eq!(clock.real(Duration::from_secs(15)), Duration::from_millis(150));
        let wait = clock.until(clock.now() + SignedDuration::from_hours(1));
        assert!((Duration::from_secs(35)..=Duration::from_secs(36)).contains(&wait), "{wait:?}");
        assert_eq!(clock.until(clock.started_at()), Duration::ZERO);
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(20));
        assert!(SignedDuration::from_secs(2) <= clock.now().duration_since(before));
    }
}
