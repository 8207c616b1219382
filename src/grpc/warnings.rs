//! Logs the mistakes in triggers: each one once, and a bounded number of them.
//!
//! KEDA shows errors of GetMetricSpec nowhere but in its own log, and asks again and again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::scaling::ScaledObjectKey;

/// Warnings remembered at most. What comes beyond them is counted and not shown.
const MAX_WARNINGS: usize = 1_000;
/// A warning that has not occurred for this long is forgotten, and logged again if it comes back.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How often to report the number of further ones.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// The warnings that were logged.
#[derive(Default)]
pub(super) struct Warnings {
    hasher: RandomState,
    logged: Mutex<Logged>,
}

/// When each logged warning last occurred, by its hash.
#[derive(Default)]
struct Logged {
    last_seen: HashMap<u64, Instant>,
    n_more: u64,
    counted_at: Option<Instant>,
}

/// What to do about a warning.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Log,
    Known,
    /// There are too many; how many more there were since the last report.
    Count(u64),
}

impl Warnings {
    /// Logs an error or warning about a trigger unless it was logged already. `key` is `None` if the caller's key is
    /// invalid. The text must be printable and short.
    pub(super) fn warn(&self, key: Option<&ScaledObjectKey>, text: &str) {
        let hash = self.hasher.hash_one((key, text));
        let verdict = self.logged.lock().unwrap_or_else(PoisonError::into_inner).verdict(hash, Instant::now());
        match (verdict, key) {
            (Verdict::Log, Some(key)) => warn!(scaled_object = %key, "{text}"),
            (Verdict::Log, None) => warn!("{text}"),
            (Verdict::Known, _) => {}
            (Verdict::Count(n_more), _) => warn!(
                n_more,
                "more than {MAX_WARNINGS} different errors and warnings about triggers; further ones are not shown"
            ),
        }
    }
}

impl Logged {
    fn verdict(&mut self, hash: u64, now: Instant) -> Verdict {
        if let Some(last_seen) = self.last_seen.get_mut(&hash) {
            *last_seen = now;
            return Verdict::Known;
        }
        if MAX_WARNINGS <= self.last_seen.len() {
            self.last_seen.retain(|_, last_seen| now.duration_since(*last_seen) < FORGET_AFTER);
        }
        if self.last_seen.len() < MAX_WARNINGS {
            self.last_seen.insert(hash, now);
            return Verdict::Log;
        }
        self.n_more += 1;
        if self.counted_at.is_some_and(|at| now.duration_since(at) < COUNT_EVERY) {
            return Verdict::Known;
        }
        self.counted_at = Some(now);
        Verdict::Count(std::mem::take(&mut self.n_more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_logged_once_and_counted_beyond_a_thousand() {
        let start = Instant::now();
        let mut logged = Logged::default();
        let mut check = |seconds: u64, warnings: std::ops::Range<u64>, expected: Verdict| {
            for hash in warnings {
                let verdict = logged.verdict(hash, start + Duration::from_secs(seconds));
                assert_eq!(verdict, expected, "{hash} after {seconds} s");
            }
        };
        check(0, 0..1_000, Verdict::Log);
        check(1, 0..1_000, Verdict::Known);
        check(2, 1_000..1_001, Verdict::Count(1));
        check(3, 1_001..1_500, Verdict::Known);
        check(62, 1_500..1_501, Verdict::Count(500));
        // Ten minutes after it last occurred.
        check(400, 0..1, Verdict::Known);
        check(601, 2_000..2_999, Verdict::Log);
        check(601, 0..1, Verdict::Known);
        check(601, 3_000..3_001, Verdict::Count(1));
    }
}
