//! What happens when: the work that the application makes, timed by the ScaledObject that is played.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::scaled_object::PlayedObject;
use crate::jobrunr::schedule::{Schedule, parse_zone};
use crate::text::counted;

/// A moment to see that there is nothing yet.
const FIRST_AFTER: SignedDuration = SignedDuration::from_secs(20);
/// The jobs are scheduled so much further ahead than the trigger looks: nothing happens for a while.
const BEYOND_LOOK_AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// The jobs of the story.
const N_JOBS: u64 = 40;
/// Between the end of the longest cooldown and the instant at which the recurring job enters the look-ahead.
const ZERO_FOR: SignedDuration = SignedDuration::from_secs(45);
/// After this time beyond its end the story has failed.
const PATIENCE: SignedDuration = SignedDuration::from_mins(4);
/// With `--keep` the pauses between batches, in turns: long enough that the pods are gone after the second.
const PAUSES: [SignedDuration; 2] = [SignedDuration::from_secs(240), SignedDuration::from_secs(700)];

/// The id of the recurring job.
pub(super) const RECURRING_JOB: &str = "nightly-report";
/// The longest time that a job runs.
pub(super) const LONGEST_JOB: SignedDuration = SignedDuration::from_secs(21);

/// Jobs that are created at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) n_jobs: u64,
    /// How far ahead they are scheduled; `None` to run as soon as possible.
    pub(super) due_in: Option<SignedDuration>,
}

/// The times of the story, and what has to come out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Story {
    /// Its first instant.
    pub(super) start: Timestamp,
    /// The jobs that are scheduled.
    pub(super) batch: Batch,
    /// The workers of a pod: the trigger's target, as the ScaledObject recommends.
    pub(super) workers_per_pod: usize,
    /// The pods that these jobs need.
    pub(super) n_pods: u32,
    /// How long no trigger is active before the pods go.
    pub(super) cooldown: SignedDuration,
    /// When the recurring job is defined: while pods are there.
    recurring_defined_at: Timestamp,
    /// When it is due: long after the pods are gone.
    recurring_due_at: Timestamp,
}

impl Story {
    /// Returns the story for a ScaledObject that starts at `start`.
    pub(super) fn new(start: Timestamp, played: &PlayedObject) -> Self {
        let (look_ahead, rules) = (played.look_ahead(), &played.object.rules);
        let due_in = look_ahead + BEYOND_LOOK_AHEAD;
        let due_at = start + FIRST_AFTER + due_in;
        let zero_at = due_at + LONGEST_JOB + rules.cooldown + rules.polling_interval * 2;
        Self {
            start,
            batch: Batch { n_jobs: N_JOBS, due_in: Some(due_in) },
            workers_per_pod: played.workers_per_pod(),
            n_pods: played.pods_for(N_JOBS),
            cooldown: rules.cooldown,
            recurring_defined_at: due_at,
            recurring_due_at: zero_at + ZERO_FOR + look_ahead,
        }
    }

    /// How long it takes: until the run of the recurring job is done.
    pub(super) fn duration(&self) -> SignedDuration {
        self.recurring_due_at.duration_since(self.start) + LONGEST_JOB
    }

    /// Whether it has failed, because it takes much longer than it should.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.duration() + PATIENCE < now.duration_since(self.start)
    }

    /// Returns the schedule of the recurring job once it is to be defined: daily, at its second of the story, in UTC.
    pub(super) fn recurring_schedule(&self, now: Timestamp) -> Option<String> {
        let is_time = self.recurring_defined_at <= now;
        is_time.then(|| self.recurring_due_at.strftime("%-S %-M %-H * * *").to_string())
    }
}

/// Returns the next run of a schedule, as JobRunr's master computes it; `None` if the schedule is invalid.
pub(super) fn next_run(schedule: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = parse_zone("UTC").ok()?;
    Schedule::parse(schedule).ok()?.next_after(&zone, now, now).ok()
}

/// The batches to come.
pub(super) struct Work {
    story: Story,
    next: Option<Timestamp>,
    n_made: usize,
    keep: bool,
}

impl Work {
    /// The story's batch alone; with `keep`, further ones until the end of the process.
    pub(super) fn new(story: Story, keep: bool) -> Self {
        Self { story, next: Some(story.start + FIRST_AFTER), n_made: 0, keep }
    }

    /// Returns the batch whose time has come, if any.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Batch> {
        self.next.filter(|next| *next <= now)?;
        let story = self.story.batch;
        let further = [Batch { n_jobs: 12, due_in: None }, Batch { n_jobs: 64, ..story }, story];
        let batch = match self.n_made.checked_sub(1) {
            None => story,
            Some(index) => further[index % further.len()],
        };
        self.next = self.keep.then(|| now + PAUSES[self.n_made % PAUSES.len()]);
        self.n_made += 1;
        Some(batch)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.due_in {
            Some(due_in) => write!(f, "schedules {} to run in {} s", counted(self.n_jobs, "job"), due_in.as_secs()),
            None => write!(f, "enqueues {} to run now", counted(self.n_jobs, "job")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Story {
        let played = PlayedObject::new("127.0.0.1:9090").unwrap();
        Story::new("2026-08-01T20:00:00Z".parse().unwrap(), &played)
    }

    fn batches(keep: bool) -> Vec<(i64, u64)> {
        let story = story();
        let mut work = Work::new(story, keep);
        let due =
            |second| work.due(story.start + SignedDuration::from_secs(second)).map(|batch| (second, batch.n_jobs));
        (0..1500).filter_map(due).collect()
    }

    #[test]
    fn work_is_one_batch_and_with_keep_many() {
        assert_eq!(batches(false), [(20, 40)]);
        assert_eq!(batches(true), [(20, 40), (260, 12), (960, 64), (1200, 40)]);
    }

    #[test]
    fn story_leaves_the_pods_time_to_go_before_the_recurring_job_is_due() {
        let story = story();
        let defined_at = story.recurring_defined_at;
        assert_eq!(story.recurring_schedule(defined_at - SignedDuration::from_secs(1)), None);
        let schedule = story.recurring_schedule(defined_at).unwrap();
        assert_eq!(next_run(&schedule, defined_at), Some(story.recurring_due_at));
        let quiet = story.recurring_due_at.duration_since(defined_at);
        assert!(story.cooldown + LONGEST_JOB + ZERO_FOR < quiet, "{quiet}");
        // "About a minute" at the default speed, which is 10.
        assert!((400..720).contains(&story.duration().as_secs()), "{}", story.duration());
        assert!(!story.is_overdue(story.start + story.duration()));
    }
}
