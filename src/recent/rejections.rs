//! Calls that were rejected, a bounded number of them.

use std::time::Duration;

use tokio::time::Instant;

use super::MAX_TEXT;
use crate::scaling::ScaledObjectKey;
use crate::text::printable;

/// Rejections that are remembered. A further one replaces the oldest.
const MAX_REJECTIONS: usize = 100;
/// A rejection that has not occurred for this long is forgotten. KEDA repeats its calls at least every minute.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Why calls about a ScaledObject were rejected.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The ScaledObject.
    pub key: ScaledObjectKey,
    /// Why.
    pub why: String,
    /// How often that was so.
    pub times: u64,
    /// How long ago it last was.
    pub age: Duration,
}

#[derive(Default)]
pub(super) struct Rejections(Vec<Recorded>);

struct Recorded {
    key: ScaledObjectKey,
    why: String,
    times: u64,
    at: Instant,
}

impl Rejections {
    pub(super) fn record(&mut self, key: &ScaledObjectKey, why: &str, now: Instant) {
        let why = printable(why, MAX_TEXT);
        if let Some(known) = self.0.iter_mut().find(|known| known.key == *key && known.why == why) {
            known.times += 1;
            known.at = now;
            return;
        }
        self.0.retain(|known| now.duration_since(known.at) < TIMEOUT);
        if MAX_REJECTIONS <= self.0.len() {
            let oldest = self.0.iter().enumerate().min_by_key(|(_, known)| known.at).map(|(index, _)| index);
            oldest.map(|index| self.0.swap_remove(index));
        }
        self.0.push(Recorded { key: key.clone(), why, times: 1, at: now });
    }

    /// Forgets those of a ScaledObject.
    pub(super) fn forget(&mut self, key: &ScaledObjectKey) {
        self.0.retain(|known| known.key != *key);
    }

    /// Returns the rejections that still occur, the latest first.
    pub(super) fn all(&self, now: Instant) -> Vec<Rejection> {
        let recent = self.0.iter().filter(|known| now.duration_since(known.at) < TIMEOUT);
        let mut all: Vec<Rejection> = recent
            .map(|known| Rejection {
                key: known.key.clone(),
                why: known.why.clone(),
                times: known.times,
                age: now.duration_since(known.at),
            })
            .collect();
        all.sort_by_key(|rejection| rejection.age);
        all
    }
}
