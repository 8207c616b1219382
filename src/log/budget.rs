//! How much a source may write.

use std::time::{Duration, Instant};

/// Bytes that a source may write per minute: enough for a line about each of the thousand triggers whose changes are logged.
pub(super) const BYTES_PER_MINUTE: usize = 512 * 1024;

const MINUTE: Duration = Duration::from_secs(60);

/// What a source has written within the current minute, and what was dropped.
#[derive(Debug)]
pub(super) struct Budget {
    began: Instant,
    n_bytes: usize,
    dropped: Dropped,
}

/// Lines that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) n_lines: u64,
    pub(super) n_bytes: u64,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, n_bytes: 0, dropped: Dropped::default() }
    }

    /// Whether a line of `n_bytes` may be written. The first line of a minute always may.
    pub(super) fn admit(&mut self, n_bytes: usize, now: Instant) -> bool {
        if MINUTE <= now.duration_since(self.began) {
            (self.began, self.n_bytes) = (now, 0);
        }
        let fits = self.n_bytes == 0 || self.n_bytes.saturating_add(n_bytes) <= BYTES_PER_MINUTE;
        if fits {
            self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        } else {
            self.dropped.n_lines += 1;
            self.dropped.n_bytes += n_bytes as u64;
        }
        fits
    }

    /// When to report what was dropped: at the end of the minute. `None` if nothing was.
    pub(super) fn report_at(&self) -> Option<Instant> {
        (self.dropped != Dropped::default()).then_some(self.began + MINUTE)
    }

    /// Returns what was dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_admits_its_bytes_per_minute_and_counts_the_rest() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let line = BYTES_PER_MINUTE / 4;
        for second in 0..4 {
            assert!(budget.admit(line, at(second)), "{second}");
        }
        assert_eq!(budget.report_at(), None);
        assert!(!budget.admit(line, at(10)) && !budget.admit(1, at(59)));
        assert_eq!(budget.report_at(), Some(at(60)));
        // The next minute begins with its first line.
        assert!(budget.admit(line, at(70)));
        assert_eq!(budget.take_dropped(), Dropped { n_lines: 2, n_bytes: line as u64 + 1 });
        assert_eq!((budget.report_at(), budget.take_dropped()), (None, Dropped::default()));
        assert!(budget.admit(3 * line, at(129)) && !budget.admit(1, at(129)));
    }

    #[test]
    fn budget_admits_a_line_that_is_longer_than_all_of_it() {
        let mut budget = Budget::new(Instant::now());
        assert!(budget.admit(2 * BYTES_PER_MINUTE, Instant::now()));
        assert!(!budget.admit(1, Instant::now()));
    }
}
