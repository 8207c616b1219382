//! Warnings about misbehaving clients: one line per minute.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

const INTERVAL: Duration = Duration::from_secs(60);

/// A log of warnings of one kind, with one line per minute. The others have the level debug.
#[derive(Default)]
pub struct RateLimitedLog(Mutex<Limiter>);

impl RateLimitedLog {
    /// A log without lines.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Limiter { last: None, n_omitted: 0 }))
    }

    /// Warns about a client.
    pub fn warn(&self, text: &str, client: &dyn Display) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now()) {
            Some(omitted) => warn!(%client, omitted, "{text}; logged once per minute"),
            None => debug!(%client, "{text}"),
        }
    }
}

#[derive(Default)]
struct Limiter {
    last: Option<Instant>,
    n_omitted: u64,
}

impl Limiter {
    /// Returns how many were omitted before this one; `None` if this one is omitted as well.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            self.n_omitted += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.n_omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limiter_allows_one_line_per_minute_and_counts_the_others() {
        let start = Instant::now();
        let mut limiter = Limiter::default();
        let lines: Vec<_> = [0, 1, 59, 60, 61, 200].map(|s| limiter.next(start + Duration::from_secs(s))).into();
        assert_eq!(lines, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
