//! The clock, as a value: the demo lets time run faster, everything else takes it as it comes.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where the present comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that started at an instant and runs faster than the machine's.
    Fast {
        /// What it showed when it started.
        start: Timestamp,
        /// When that was.
        since: Instant,
        /// Its seconds for each second of the machine's.
        speed: f64,
    },
}

impl Clock {
    /// A clock that shows the present now and runs `speed` times as fast from here on.
    #[must_use]
    pub fn fast(speed: f64) -> Self {
        Self::Fast { start: Timestamp::now(), since: Instant::now(), speed }
    }

    /// The present.
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

    /// How long the machine takes for `duration` on this clock.
    #[must_use]
    pub fn real(&self, duration: Duration) -> Duration {
        match self {
            Self::System => duration,
            Self::Fast { speed, .. } => duration.div_f64(*speed),
        }
    }
}
