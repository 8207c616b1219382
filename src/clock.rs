//! The clock as a value: pure code takes the current time as an argument, the rest takes it from here.

use std::fmt::Debug;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The source of the current time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Another clock: the demo's runs faster.
    Other(&'static dyn TimeSource),
}

/// A clock other than the machine's.
pub trait TimeSource: Debug + Send + Sync {
    /// Returns the time that it shows.
    fn now(&self) -> Timestamp;

    /// Returns how long the machine takes until it shows `at`; zero if that has passed.
    fn until(&self, at: Timestamp) -> Duration;
}

impl Clock {
    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Other(source) => source.now(),
        }
    }

    /// Returns how long to sleep until the clock shows `at`; zero if that has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        match self {
            Self::System => at.duration_since(Timestamp::now()).max(SignedDuration::ZERO).unsigned_abs(),
            Self::Other(source) => source.until(at),
        }
    }
}
