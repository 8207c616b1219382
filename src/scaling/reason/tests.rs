//! How each reason reads, and what machines get of it.

use jiff::{SignedDuration, Timestamp};

use super::*;

fn jobs(n_jobs: u64) -> JobCount {
    JobCount { n_jobs, truncated: false, filter: Filter::default() }
}

fn at(minute: i64) -> Timestamp {
    "2026-11-23T20:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
}

fn reasons() -> Vec<Reason> {
    let look_ahead = SignedDuration::from_mins(1);
    let filter = Filter {
        priority: Some(1),
        server_tag: Some("gpu".into()),
        dynamic_queue: Some("a".into()),
        ..Filter::default()
    };
    let target = |workers_per_pod, usage, source| Reason::Target { workers_per_pod, usage, source };
    vec![
        Reason::Enqueued(jobs(1)),
        Reason::Enqueued(JobCount { n_jobs: 10_000, truncated: true, filter: filter.clone() }),
        Reason::OldestEnqueued { jobs: jobs(1), seconds: Some(34.25) },
        Reason::OldestEnqueued { jobs: JobCount { filter: filter.clone(), ..jobs(0) }, seconds: None },
        Reason::Blocked { jobs: 1 },
        Reason::Blocked { jobs: 7 },
        Reason::AllBlocked,
        Reason::Ahead { jobs: 1 },
        Reason::Ahead { jobs: 7 },
        Reason::Scheduled { jobs: jobs(5), look_ahead },
        Reason::Workers { occupied: 1, total: 4, servers: 1 },
        Reason::UsageCapped,
        Reason::Demand { jobs: jobs(0), look_ahead, parts: DemandParts::default() },
        Reason::Demand {
            jobs: jobs(17),
            look_ahead,
            parts: DemandParts { enqueued: 6, due: 5, awaiting: 3, processing: 1, orphans: 1, recurring: 1 },
        },
        Reason::Orphans { jobs: 1 },
        Reason::Orphans { jobs: 2 },
        Reason::Truncated,
        target(1, 1.0, WorkersSource::LiveServers { servers: 1 }),
        target(8, 0.8, WorkersSource::LiveServers { servers: 2 }),
        target(8, 1.0, WorkersSource::SmallestLiveServer { servers: 2 }),
        target(8, 1.0, WorkersSource::DeadServer),
        target(8, 1.0, WorkersSource::StoppedServer),
        target(8, 1.0, WorkersSource::Metadata),
        target(8, 1.0, WorkersSource::Default),
        Reason::BusyServers { servers: 1, possible: 0, value: 6.4 },
        Reason::BusyServers { servers: 3, possible: 2, value: 40.0 },
        Reason::Active { value: 0.375, activation_target: 0.0 },
        Reason::OtherJobs { workers: 1 },
        Reason::ActiveByJobs { jobs: 1, activation_target: 0.0 },
        Reason::InactiveByJobs { jobs: 5, activation_target: 5.0 },
        Reason::ActiveWhileProcessing(jobs(2)),
        Reason::Inactive { value: 1.0, activation_target: 1.5 },
        Reason::NextScheduled { at: at(90), counts_from: at(89) },
        Reason::Stale { seconds: 50 },
    ]
}

fn recurring_reasons() -> Vec<Reason> {
    let job = || "tick".into();
    let reasons = vec![
        RecurringReason::RunMissing { job: job() },
        RecurringReason::RunDue { job: job(), at: at(0) },
        RecurringReason::RunOverdue { job: job(), at: at(0) },
        RecurringReason::MoreRuns { jobs: 1 },
        RecurringReason::Unknown { job: job(), cause: "its schedule is invalid".into() },
        RecurringReason::MoreUnknown { jobs: 2 },
        RecurringReason::Note { text: "the version is not known".into() },
        RecurringReason::Unfiltered,
        RecurringReason::Next { job: job(), at: at(90), counts_from: at(89) },
    ];
    reasons.into_iter().map(Reason::Recurring).collect()
}

#[test]
fn reasons_in_words_and_as_json() {
    let reasons = [reasons(), recurring_reasons()].concat();
    let lines: Vec<String> =
        reasons.iter().map(|reason| format!("{reason}\n  {}", serde_json::to_string(reason).unwrap())).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
