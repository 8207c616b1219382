//! What may take long is repeated in its share of the time.

use tokio::time::{Duration, Instant};

use crate::config::ReadBounds;

/// When a scan, a count or a search last ran, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastRun {
    began: Instant,
    took: Duration,
    has_timed_out: bool,
}

impl LastRun {
    /// A run that began at `began` and has just ended.
    pub(super) fn since(began: Instant) -> Self {
        Self { began, took: began.elapsed(), has_timed_out: false }
    }

    /// The same of one that timed out.
    pub(super) fn timed_out_since(began: Instant) -> Self {
        Self { has_timed_out: true, ..Self::since(began) }
    }

    pub(super) fn began(self) -> Instant {
        self.began
    }

    pub(super) fn has_timed_out(self) -> bool {
        self.has_timed_out
    }

    /// This run, with the time of an earlier one if that took less.
    pub(super) fn at_most(self, last: Self) -> Self {
        let took = if last.has_timed_out { self.took } else { self.took.min(last.took) };
        Self { took, ..self }
    }

    /// Returns whether it can run again: its share of the time is used up, or the longest interval has passed. After a timeout only
    /// the share counts.
    pub(super) fn can_repeat(self, bounds: &ReadBounds) -> bool {
        let longest = if self.has_timed_out { Duration::MAX } else { bounds.full_scan_interval };
        self.can_repeat_after(bounds, longest)
    }

    /// Returns whether it can run again: its share of the time is used up, or this time has passed.
    pub(super) fn can_repeat_after(self, bounds: &ReadBounds, longest: Duration) -> bool {
        self.took.saturating_mul(bounds.full_scan_share).min(longest) <= self.began.elapsed()
    }

    /// Returns whether it timed out and waits for its share of the time.
    pub(super) fn is_postponed(self, bounds: &ReadBounds) -> bool {
        self.has_timed_out && !self.can_repeat(bounds)
    }

    /// Returns whether it ended within this time.
    pub(super) fn is_cheap(self, limit: Duration) -> bool {
        !self.has_timed_out && self.took <= limit
    }
}
