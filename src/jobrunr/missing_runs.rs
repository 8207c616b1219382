//! Recurring jobs without a run for which JobRunr 8 creates none although a server is alive.
//!
//! The master remembers the time of the last run that it created, and creates no other before it
//! (`ProcessRecurringJobsTask.createJobsToSchedule`). So a recurring job can be without a run until then: after its run was deleted or
//! enqueued by hand, and with carbon-aware margins after the run has ended early, whose time is the end of the margin. A pod that waits
//! for such a run waits for nothing.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Recurring, RunScheduling};

/// Poll intervals in which a live master creates a run if it creates one at all. For four of them a server that was killed still seems
/// alive, and creates nothing.
const N_POLLS: i32 = 8;

/// The recurring jobs that were seen without a run.
#[derive(Debug, Default)]
pub(crate) struct MissingRuns {
    by_id: HashMap<Arc<str>, MissingRun>,
}

#[derive(Clone, Copy, Debug, Default)]
struct MissingRun {
    /// Since when it is missing while servers are alive.
    served_since: Option<Timestamp>,
    excused_until: Option<Timestamp>,
}

impl MissingRuns {
    /// Excuses jobs whose run a live server has not created for some poll intervals, until their next run is due. Then they need a
    /// server again, as before JobRunr 8, so that no run is missed if the servers are gone by then. `poll_interval` is that of the
    /// slowest live server; `None` if none is alive.
    pub(crate) fn excuse(&mut self, recurring: &mut Recurring, poll_interval: Option<SignedDuration>, now: Timestamp) {
        let mut known = std::mem::take(&mut self.by_id);
        if recurring.scheduling != RunScheduling::Ahead {
            return;
        }
        for job in recurring.jobs.iter_mut().filter(|job| !job.has_run) {
            let MissingRun { served_since, excused_until } = known.remove(&job.id).unwrap_or_default();
            let served_since = poll_interval.map(|_| served_since.unwrap_or(now));
            let waited = served_since.map(|since| now.duration_since(since));
            let patience = poll_interval.map(|poll_interval| poll_interval.saturating_mul(N_POLLS));
            let is_in_vain = waited.zip(patience).is_some_and(|(waited, patience)| patience <= waited);
            let next_at = job.next_at.as_ref().ok().copied().filter(|_| is_in_vain);
            job.excused_until = excused_until.filter(|until| now < *until).or(next_at);
            let missing = MissingRun { served_since, excused_until: job.excused_until };
            self.by_id.insert(Arc::clone(&job.id), missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Definition;
    use super::*;

    /// Reads of one recurring job that runs at 03:00, at these times: whether a server is alive, whether it has a run, whether it
    /// counts as due within a minute, and when it does next.
    #[test]
    fn job_without_a_run_counts_until_a_live_server_has_not_created_one() {
        let json = r#"{"scheduleExpression":"0 3 * * *","zoneId":"UTC","createdAt":"2026-11-23T20:00:00Z"}"#;
        let definition = Arc::new(Definition::parse("a", json, None));
        let mut runs = MissingRuns::default();
        let mut check = |time: &str, is_alive: bool, has_run: bool, is_due: bool, next: Option<&str>| {
            let at = |time: &str| -> Timestamp { format!("2026-11-{time}Z").parse().unwrap() };
            let with_run = if has_run { BTreeSet::from(["a".to_owned()]) } else { BTreeSet::new() };
            let (now, poll) = (at(time), is_alive.then_some(SignedDuration::from_secs(15)));
            let definitions = [Arc::clone(&definition)];
            let mut recurring =
                Recurring::new(RunScheduling::Ahead, &definitions, &with_run, now, SignedDuration::from_secs(15));
            runs.excuse(&mut recurring, poll, now);
            let look_ahead = SignedDuration::from_mins(1);
            assert_eq!(recurring.due(now, look_ahead).count() == 1, is_due, "{time}");
            assert_eq!(recurring.next(now, look_ahead).map(|(at, _)| at), next.map(at), "{time}");
        };
        let today = Some("24T03:00:00");
        // At zero pods it counts, and until a server that starts has had its time.
        check("24T00:00:00", false, false, true, None);
        check("24T01:00:00", false, false, true, None);
        check("24T01:00:30", true, false, true, None);
        check("24T01:02:29", true, false, true, None);
        check("24T01:02:30", true, false, false, today);
        // Nor does it count when that server is gone, but in time for its next run.
        check("24T01:10:00", false, false, false, today);
        check("24T02:58:59", false, false, false, today);
        check("24T02:59:00", false, false, true, None);
        check("24T03:00:00", false, false, true, None);
        // What waits for a server counts again.
        check("24T04:00:00", false, false, true, None);
        check("24T04:00:30", true, true, false, None);
        // The run has ended, before its time. A server that stops and starts again has its whole time.
        check("24T05:00:00", true, false, true, None);
        check("24T05:00:50", false, false, true, None);
        check("24T05:01:00", true, false, true, None);
        check("24T05:02:59", true, false, true, None);
        check("24T05:03:00", true, false, false, Some("25T03:00:00"));
        // A run that was created after all ends the excuse.
        check("24T05:04:00", true, true, false, None);
        check("24T05:05:00", true, false, true, None);
    }

    #[test]
    fn jobs_of_older_versions_are_never_excused() {
        let json = r#"{"scheduleExpression":"0 3 * * *","zoneId":"UTC","createdAt":"2026-11-23T20:00:00Z"}"#;
        let definition = Arc::new(Definition::parse("a", json, None));
        let mut runs = MissingRuns::default();
        for time in ["02:57:00", "02:58:00", "02:59:00", "03:00:00"] {
            let now: Timestamp = format!("2026-11-24T{time}Z").parse().unwrap();
            let (definitions, poll) = ([Arc::clone(&definition)], SignedDuration::from_secs(15));
            let mut recurring = Recurring::new(RunScheduling::JustInTime, &definitions, &BTreeSet::new(), now, poll);
            runs.excuse(&mut recurring, Some(poll), now);
            let is_due = 0 < recurring.due(now, SignedDuration::from_mins(1)).count();
            assert_eq!(is_due, "02:59:00" <= time, "{time}");
        }
    }
}
