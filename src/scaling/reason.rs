//! Why a decision is what it is. Typed, and put into words only when somebody reads it.

mod recurring;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

pub use recurring::RecurringReason;

use super::target::WorkersSource;
use crate::jobrunr::{Count, Filter};
use crate::text::{counted, number, plural};

/// One reason of a [`Decision`](super::Decision). `Display` puts it into words, `Serialize` gives its `kind` and its numbers.
///
/// No reason owns a text: making or cloning one allocates nothing, because names are shared with the snapshot and the trigger.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reason {
    /// The jobs in the queue.
    Enqueued(JobCount),
    /// The jobs in the queue, and how long the oldest of them has waited; `None` if the queue is empty.
    OldestEnqueued {
        /// The jobs.
        #[serde(flatten)]
        jobs: JobCount,
        /// How long the oldest has waited.
        seconds: Option<f64>,
    },
    /// Jobs in the queue that do not count, because each shares a mutex with one that does.
    Blocked {
        /// How many.
        jobs: u64,
    },
    /// No job in the queue can start, because running jobs hold the mutexes of all.
    AllBlocked,
    /// The scheduled jobs that are due within the look-ahead, or overdue.
    Scheduled {
        /// The jobs.
        #[serde(flatten)]
        jobs: JobCount,
        /// The look-ahead.
        #[serde(serialize_with = "as_text")]
        look_ahead: SignedDuration,
    },
    /// The workers of the live servers.
    Workers {
        /// How many of them run a job.
        occupied: u64,
        /// How many there are.
        total: u64,
        /// The live servers.
        servers: u64,
    },
    /// More workers are occupied than there are, because jobs of a removed server are still there for a moment.
    UsageCapped,
    /// The parts that demand is the sum of.
    Demand {
        /// The sum.
        #[serde(flatten)]
        jobs: JobCount,
        /// The look-ahead.
        #[serde(serialize_with = "as_text")]
        look_ahead: SignedDuration,
        /// The parts.
        #[serde(flatten)]
        parts: DemandParts,
    },
    /// Jobs that are being processed according to their state, but whose server is dead.
    Orphans {
        /// How many.
        jobs: u64,
    },
    /// The value comes from a truncated count.
    Truncated,
    /// How the target was computed.
    Target {
        /// The workers of one pod.
        workers_per_pod: u64,
        /// The fraction of them to plan for.
        usage: f64,
        /// Where the number of workers comes from.
        #[serde(flatten)]
        source: WorkersSource,
    },
    /// How many workers a promise needs.
    Promise {
        /// The promise.
        #[serde(serialize_with = "as_text")]
        max_latency: SignedDuration,
        /// How long a new pod takes to start.
        #[serde(serialize_with = "as_text")]
        pod_start: SignedDuration,
        /// The workers: at least those in use, at most one per job.
        workers: u64,
        /// The workers in use.
        in_use: u64,
        /// The work of all jobs, in seconds of one worker; `None` if nothing is known of it.
        work_seconds: Option<f64>,
    },
    /// Jobs of higher priority go before those that the trigger counts.
    Ahead {
        /// How many run, wait, or are due within the look-ahead.
        jobs: u64,
    },
    /// Workers that are not free because they run jobs which the trigger's filter does not select.
    OtherJobs {
        /// How many.
        workers: u64,
    },
    /// A job has waited longer than promised.
    PromiseBroken {
        /// How long the oldest has waited.
        seconds: f64,
    },
    /// How long jobs run, from finished ones.
    ServiceTime {
        /// The mean, in seconds.
        mean: f64,
        /// 95 % are not longer, in seconds.
        p95: f64,
        /// The finished jobs that were looked at.
        samples: usize,
        /// Their kinds.
        kinds: usize,
        /// How long ago the newest of them ended, in seconds.
        age_seconds: Option<i64>,
    },
    /// How long jobs run, as the metadata say.
    ServiceTimeGiven {
        /// The duration.
        seconds: f64,
    },
    /// No finished job tells how long jobs run.
    ServiceTimeUnknown,
    /// Jobs of kinds of which none has finished lately.
    NewKinds {
        /// How many.
        jobs: f64,
    },
    /// How long a job would wait that is enqueued now.
    ExpectedLatency {
        /// The wait.
        seconds: f64,
        /// With so many workers.
        workers: u64,
    },
    /// How long until all jobs are done.
    DrainTime {
        /// The time.
        seconds: f64,
        /// With so many workers.
        workers: u64,
    },
    /// No server is alive, so a pod has to start first.
    NoServer {
        /// How long that takes.
        #[serde(serialize_with = "as_text")]
        pod_start: SignedDuration,
    },
    /// The value is raised so that each server that runs a job keeps its pod.
    BusyServers {
        /// The live servers that run a job.
        servers: u64,
        /// Further live servers that may run one, because it is not known where some jobs run.
        possible: u64,
        /// The value.
        value: f64,
    },
    /// Active because the value is above the activation target.
    Active {
        /// The value.
        value: f64,
        /// The activation target.
        activation_target: f64,
    },
    /// Active because there are more jobs than the activation target. With a promise, whose value is a number of workers.
    ActiveByJobs {
        /// The jobs.
        jobs: u64,
        /// The activation target.
        activation_target: f64,
    },
    /// Active although the value is not above the activation target: jobs are being processed.
    ActiveWhileProcessing(JobCount),
    /// Inactive because the value is not above the activation target.
    Inactive {
        /// The value.
        value: f64,
        /// The activation target.
        activation_target: f64,
    },
    /// Inactive because there are not more jobs than the activation target. With a promise.
    InactiveByJobs {
        /// The jobs.
        jobs: u64,
        /// The activation target.
        activation_target: f64,
    },
    /// The next job that is scheduled beyond the look-ahead.
    NextScheduled {
        /// When it runs.
        #[serde(serialize_with = "as_text")]
        at: Timestamp,
        /// When this trigger starts to count it.
        #[serde(serialize_with = "as_text")]
        counts_from: Timestamp,
    },
    /// The snapshot is old.
    Stale {
        /// Its age.
        seconds: i64,
    },
    /// What has to do with recurring jobs.
    #[serde(untagged)]
    Recurring(RecurringReason),
}

/// A number of jobs, and which jobs were counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobCount {
    /// How many.
    #[serde(rename = "jobs")]
    pub n_jobs: u64,
    /// Whether counting stopped at the limit: there may be more.
    pub truncated: bool,
    /// Which jobs were counted.
    #[serde(flatten)]
    pub filter: Filter,
}

/// The jobs that need a worker now or within the look-ahead, by why they do. Each job is in one part only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DemandParts {
    /// Jobs in the queue.
    pub enqueued: u64,
    /// Scheduled jobs that are due within the look-ahead, or overdue.
    pub due: u64,
    /// Jobs that await a deadline within the look-ahead.
    pub awaiting: u64,
    /// Jobs that a live server processes.
    pub processing: u64,
    /// Jobs that a dead server processed.
    pub orphans: u64,
    /// Runs of recurring jobs that JobRunr has yet to create.
    pub recurring: u64,
}

impl DemandParts {
    /// The sum of the parts.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { enqueued, due, awaiting, processing, orphans, recurring } = *self;
        [enqueued, due, awaiting, processing, orphans, recurring].into_iter().fold(0, u64::saturating_add)
    }

    /// Lists the parts that are not 0: `3 enqueued, 1 orphan`.
    fn words(&self, look_ahead: SignedDuration) -> String {
        let Self { enqueued, due, awaiting, processing, orphans, recurring } = *self;
        let parts = [
            (enqueued, "enqueued".to_owned()),
            (due, format!("due within {look_ahead}")),
            (awaiting, format!("awaiting a deadline within {look_ahead}")),
            (processing, "processing".to_owned()),
            (orphans, format!("orphan{}", plural(orphans))),
            (recurring, format!("recurring run{} to be created", plural(recurring))),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter(|(n, _)| 0 < *n).map(|(n, what)| format!("{n} {what}")).collect();
        parts.join(", ")
    }
}

impl JobCount {
    /// The count of the jobs that a filter lets through.
    pub(super) fn new(count: Count, filter: &Filter) -> Self {
        Self { n_jobs: count.n_jobs, truncated: count.limited, filter: filter.clone() }
    }

    fn verb(&self) -> &'static str {
        if self.n_jobs == 1 && !self.truncated { "is" } else { "are" }
    }
}

impl fmt::Display for JobCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_jobs, truncated, filter } = self;
        if *truncated {
            write!(f, "{n_jobs} or more jobs{filter}")
        } else {
            write!(f, "{}{filter}", counted(*n_jobs, "job"))
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enqueued(jobs) => write!(f, "{jobs} enqueued"),
            Self::OldestEnqueued { jobs, seconds: None } if jobs.n_jobs == 0 => {
                write!(f, "no job{} is enqueued", jobs.filter)
            }
            Self::OldestEnqueued { jobs, seconds: None } => write!(f, "{jobs} enqueued"),
            Self::OldestEnqueued { jobs, seconds: Some(seconds) } => {
                write!(f, "{jobs} {} enqueued, the oldest for {seconds:.1} s", jobs.verb())
            }
            Self::Blocked { jobs } => {
                let wait = if *jobs == 1 { "waits" } else { "wait" };
                write!(f, "{jobs} more job{} {wait} for a mutex: they run one at a time", plural(*jobs))
            }
            Self::AllBlocked => {
                f.write_str("running jobs hold the mutexes of all jobs in the queue: none can start yet")
            }
            Self::Scheduled { jobs, look_ahead } => write!(f, "{jobs} due within {look_ahead}"),
            Self::Workers { occupied, total, servers } => {
                let (total, servers) = (counted(*total, "worker"), counted(*servers, "live server"));
                write!(f, "{occupied} of {total} of {servers} occupied")
            }
            Self::UsageCapped => {
                f.write_str("capped at 1: jobs of servers that are shutting down must not ask for more pods")
            }
            Self::Demand { jobs, look_ahead, .. } if jobs.n_jobs == 0 => {
                write!(f, "nothing to do{}, now or within {look_ahead}", jobs.filter)
            }
            Self::Demand { jobs, look_ahead, parts } => write!(f, "{jobs}: {}", parts.words(*look_ahead)),
            Self::Orphans { jobs } => {
                let them = if *jobs == 1 { "it" } else { "them" };
                write!(f, "orphans: {} without heartbeat; ", counted(*jobs, "job"))?;
                write!(f, "JobRunr requeues {them} as soon as a server is alive")
            }
            Self::Truncated => f.write_str("the count is truncated: there may be more jobs (see countLimit)"),
            Self::Target { workers_per_pod, usage, source } => {
                write!(f, "target: {} per pod", counted(*workers_per_pod, "worker"))?;
                if (usage - 1.0).abs() >= f64::EPSILON {
                    write!(f, " × targetUsage {usage}")?;
                }
                write!(f, ", {source}")
            }
            Self::Promise { max_latency, workers, in_use, work_seconds, .. } => {
                let needed = counted(*workers, "worker");
                write!(f, "maxLatency {max_latency}: {needed} needed, {in_use} in use")?;
                work_seconds.map_or(Ok(()), |work| write!(f, "; {} s of work", number(work, 1)))
            }
            Self::Ahead { jobs } => {
                let go = if *jobs == 1 { "goes" } else { "go" };
                write!(f, "{} of higher priority {go} before", counted(*jobs, "job"))
            }
            Self::OtherJobs { workers } => {
                let run = if *workers == 1 { "runs" } else { "run" };
                write!(f, "{} {run} other jobs", counted(*workers, "worker"))
            }
            Self::PromiseBroken { seconds } => {
                write!(f, "maxLatency is exceeded: the oldest job has waited {} s", number(*seconds, 1))
            }
            Self::ServiceTime { mean, p95, samples, kinds, age_seconds } => {
                write!(f, "a job runs {} s on average, 95 % up to {} s: ", number(*mean, 3), number(*p95, 3))?;
                let (samples, kinds) = (counted(*samples as u64, "finished job"), counted(*kinds as u64, "kind"));
                write!(f, "{samples} of {kinds}")?;
                age_seconds.map_or(Ok(()), |age| write!(f, ", the newest {age} s old"))
            }
            Self::ServiceTimeGiven { seconds } => {
                write!(f, "a job runs {} s, as serviceTime says", number(*seconds, 3))
            }
            Self::ServiceTimeUnknown => {
                f.write_str("no finished job shows how long jobs run: one worker per job; serviceTime can say it")
            }
            Self::NewKinds { jobs } => {
                write!(
                    f,
                    "{} of kinds without finished jobs: the mean of all kinds counts",
                    counted(*jobs as u64, "job")
                )
            }
            Self::ExpectedLatency { seconds, workers } => {
                let (seconds, workers) = (number(*seconds, 1), counted(*workers, "worker"));
                write!(f, "a job enqueued now starts within about {seconds} s with {workers}")
            }
            Self::DrainTime { seconds, workers } => {
                let (seconds, workers) = (number(*seconds, 1), counted(*workers, "worker"));
                write!(f, "all jobs are done in about {seconds} s with {workers}")
            }
            Self::NoServer { pod_start } => write!(f, "no server is alive: a pod starts within {pod_start}"),
            Self::BusyServers { servers, possible, value } => {
                let (them, s) = (counted(*servers, "server"), if *servers == 1 { "s" } else { "" });
                let more = if *possible == 0 { String::new() } else { format!(", and perhaps {possible} more") };
                write!(f, "raised to {} (keepBusyPods): {them} run{s} jobs{more}", number(*value, 3))
            }
            Self::Active { value, activation_target } => {
                write!(f, "active: {} is above {}", number(*value, 3), number(*activation_target, 3))
            }
            Self::ActiveByJobs { jobs, activation_target } => {
                write!(f, "active: {}, above {}", counted(*jobs, "job"), number(*activation_target, 3))
            }
            Self::InactiveByJobs { jobs, activation_target } => {
                write!(f, "inactive: {}, not above {}", counted(*jobs, "job"), number(*activation_target, 3))
            }
            Self::ActiveWhileProcessing(jobs) => write!(f, "active: {jobs} {} being processed", jobs.verb()),
            Self::Inactive { value, activation_target } => {
                write!(f, "inactive: {} is not above {}", number(*value, 3), number(*activation_target, 3))
            }
            Self::NextScheduled { at, counts_from } => {
                write!(f, "next: a job is scheduled at {at} and counts from {counts_from} on")
            }
            Self::Stale { seconds } => write!(f, "as of {seconds} s ago: the database has not answered since"),
            Self::Recurring(reason) => reason.fmt(f),
        }
    }
}

/// Serializes a value as its text: an instant, a duration, a shared name.
fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
