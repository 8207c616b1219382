//! The work that the application makes, and when.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// A moment to see that there is nothing yet.
const FIRST_AFTER: SignedDuration = SignedDuration::from_secs(20);
/// Long enough after a batch that the pods are gone again before the next one.
const PAUSES: [SignedDuration; 2] = [SignedDuration::from_secs(240), SignedDuration::from_secs(700)];

/// Jobs that are made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) n_jobs: u64,
    /// How far ahead they are scheduled; `None` to run as soon as possible.
    pub(super) due_in: Option<SignedDuration>,
}

/// The story's batch: 40 jobs at 8 a pod are 5 pods.
pub(super) const STORY: Batch = Batch { n_jobs: 40, due_in: Some(SignedDuration::from_secs(120)) };

/// What follows with `--keep`, again and again.
const MORE: [Batch; 3] =
    [Batch { n_jobs: 12, due_in: None }, Batch { n_jobs: 64, due_in: Some(SignedDuration::from_secs(120)) }, STORY];

/// The work to come.
pub(super) struct Work {
    next: Option<Timestamp>,
    n_made: usize,
    keep: bool,
}

impl Work {
    /// The story's batch alone, or with `keep` more and more of them.
    pub(super) fn new(start: Timestamp, keep: bool) -> Self {
        Self { next: Some(start + FIRST_AFTER), n_made: 0, keep }
    }

    /// The batch whose time has come, if any.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Batch> {
        self.next.filter(|next| *next <= now)?;
        let batch = match self.n_made.checked_sub(1) {
            None => STORY,
            Some(place) => MORE[place % MORE.len()],
        };
        self.next = self.keep.then(|| now + PAUSES[self.n_made % PAUSES.len()]);
        self.n_made += 1;
        Some(batch)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.due_in {
            Some(due_in) => write!(f, "schedules {} jobs to run in {} s", self.n_jobs, due_in.as_secs()),
            None => write!(f, "enqueues {} jobs to run now", self.n_jobs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(keep: bool) -> Vec<(i64, u64)> {
        let start: Timestamp = "2026-08-01T20:00:00Z".parse().unwrap();
        let mut work = Work::new(start, keep);
        let due = |second| work.due(start + SignedDuration::from_secs(second)).map(|batch| (second, batch.n_jobs));
        (0..1500).filter_map(due).collect()
    }

    #[test]
    fn the_story_has_one_batch_and_keep_goes_on() {
        assert_eq!(batches(false), [(20, 40)]);
        assert_eq!(batches(true), [(20, 40), (260, 12), (960, 64), (1200, 40)]);
    }
}
