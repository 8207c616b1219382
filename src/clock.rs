//! The clock as a value: real time, and faster time for the demo.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The source of the current time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that runs faster than the machine's.
    Fast {
        /// The time that it showed when it started.
        start: Timestamp,
        /// When it started, by the machine's clock.
        since: Instant,
        /// Its seconds per second of the machine's clock.
        speed: f64,
    },
}

impl Clock {
    /// Returns a clock that shows the current time and runs `speed` times as fast from now on.
    #[must_use]
    pub fn fast(speed: f64) -> Self {
        Self::Fast { start: Timestamp::now(), since: Instant::now(), speed }
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Fast { start, since, speed } => {
                let elapsed = since.elapsed().mul_f64(*speed);
                start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Returns the real time that passes during `duration` on this clock.
    #[must_use]
    pub fn real(&self, duration: Duration) -> Duration {
        match self {
            Self::System => duration,
            Self::Fast { speed, .. } => duration.div_f64(*speed),
        }
    }
}
