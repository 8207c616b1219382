//! The recurring job of the story: defined while pods are there, due when there are none.

use jiff::{SignedDuration, Timestamp};

use crate::jobrunr::schedule::{Schedule, parse_zone};

pub(super) const ID: &str = "nightly-report";
/// While the story's jobs are being processed.
const DEFINED_AFTER: SignedDuration = SignedDuration::from_secs(140);
/// Long after the pods are gone.
const DUE_AFTER: SignedDuration = SignedDuration::from_secs(660);

/// When the recurring job is defined.
pub(super) fn defined_at(start: Timestamp) -> Timestamp {
    start + DEFINED_AFTER
}

/// Once a day at the second of the story that was chosen for it, as a cron expression of six fields in UTC.
pub(super) fn schedule(start: Timestamp) -> String {
    (start + DUE_AFTER).strftime("%-S %-M %-H * * *").to_string()
}

/// The next run of the schedule, as JobRunr's master computes it. `None` for a schedule that is none.
pub(super) fn next_run(schedule: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = parse_zone("UTC").ok()?;
    Schedule::parse(schedule).ok()?.next_after(&zone, now, now).ok()
}
