//! How many costs may be written.

use std::time::Duration;

use tokio::time::Instant;

/// Writes per second, with a reserve for a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Budget {
    /// A full budget.
    #[must_use]
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, tokens: per_second, at: Instant::now() }
    }

    /// Takes as many writes as there are, at most `wanted`.
    pub(super) fn take(&mut self, wanted: usize) -> usize {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        (self.tokens, self.at) = ((self.tokens + earned).min(self.per_second), now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few, and not negative")]
        let taken = wanted.min(self.tokens as usize);
        self.tokens -= taken as f64;
        taken
    }

    /// How long it takes until there is another write.
    #[must_use]
    pub(super) fn until_next(&self) -> Duration {
        Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / self.per_second).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn budget_is_used_up_and_earned_again() {
        let mut budget = Budget::new(10);
        assert_eq!(budget.take(4), 4);
        assert_eq!(budget.take(20), 6);
        assert_eq!(budget.take(20), 0);
        tokio::time::advance(budget.until_next()).await;
        assert_eq!(budget.take(20), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.take(100), 10);
    }
}
