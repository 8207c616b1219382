//! Logs problems with triggers: each one once, and a bounded number of them.
//!
//! KEDA shows errors of GetMetricSpec only in its own log, and repeats its calls.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::scaling::ScaledObjectKey;

/// Remembered warnings. Further ones are counted and not logged.
const MAX_WARNINGS: usize = 1_000;
/// A warning that has not occurred for this long is forgotten, and logged again if it comes back.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(600);
/// How often the number of further ones is logged.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

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

/// What to do with a warning.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Log,
    Known,
    /// There are too many: the number of further ones since the last time.
    Count(u64),
}

impl Warnings {
    /// Logs an error or warning about a trigger unless it was logged already. `key` is `None` if the caller's key is
    /// invalid. The text must be printable and short.
    pub(super) fn warn(&self, key: Option<&ScaledObjectKey>, text: &str) {
        let hash = self.hasher.hash_one((key, text));
        let action = self.logged.lock().unwrap_or_else(PoisonError::into_inner).action(hash, Instant::now());
        match (action, key) {
            (Action::Log, Some(key)) => warn!(scaled_object = %key, "{text}"),
            (Action::Log, None) => warn!("{text}"),
            (Action::Known, _) => {}
            (Action::Count(n_more), _) => warn!(
                n_more,
                "more than {MAX_WARNINGS} different errors and warnings about triggers; further ones are not logged"
            ),
        }
    }
}

impl Logged {
    fn action(&mut self, hash: u64, now: Instant) -> Action {
        if let Some(last_seen) = self.last_seen.get_mut(&hash) {
            *last_seen = now;
            return Action::Known;
        }
        if MAX_WARNINGS <= self.last_seen.len() {
            self.last_seen.retain(|_, last_seen| now.duration_since(*last_seen) < UNUSED_TIMEOUT);
        }
        if self.last_seen.len() < MAX_WARNINGS {
            self.last_seen.insert(hash, now);
            return Action::Log;
        }
        self.n_more += 1;
        if self.counted_at.is_some_and(|at| now.duration_since(at) < COUNT_INTERVAL) {
            return Action::Known;
        }
        self.counted_at = Some(now);
        Action::Count(std::mem::take(&mut self.n_more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_logged_once_and_counted_beyond_a_thousand() {
        let start = Instant::now();
        let mut logged = Logged::default();
        let mut check = |seconds: u64, warnings: std::ops::Range<u64>, expected: Action| {
            for hash in warnings {
                let action = logged.action(hash, start + Duration::from_secs(seconds));
                assert_eq!(action, expected, "{hash} after {seconds} s");
            }
        };
        check(0, 0..1_000, Action::Log);
        check(1, 0..1_000, Action::Known);
        check(2, 1_000..1_001, Action::Count(1));
        check(3, 1_001..1_500, Action::Known);
        check(62, 1_500..1_501, Action::Count(500));
        // Ten minutes after it last occurred.
        check(400, 0..1, Action::Known);
        check(601, 2_000..2_999, Action::Log);
        check(601, 0..1, Action::Known);
        check(601, 3_000..3_001, Action::Count(1));
    }
}
