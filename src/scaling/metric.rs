//! The metrics.

use std::fmt;

/// What a trigger scales on. The names are those of JobRunr Pro's metrics API, which has all but the last
/// three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// How many seconds the oldest job in the queue has waited; 0 if the queue is empty.
    EnqueuedLatency,
    /// Jobs in the queue.
    EnqueuedCount,
    /// Scheduled jobs that are due within the look-ahead, or overdue.
    ScheduledCount,
    /// Occupied workers ÷ workers of the live servers, a ratio from 0 to 1; 0 without servers.
    WorkerUsage,
    /// Workers of the live servers.
    TotalWorkers,
    /// Workers that run a job.
    OccupiedWorkers,
    /// Jobs that need a worker now or within the look-ahead: enqueued, processing, orphaned, and due scheduled and recurring
    /// ones. Never 0 while something is left to do.
    Demand,
    /// How many seconds a job would wait that is enqueued now, with the workers there are.
    ExpectedLatency,
    /// How many seconds it takes until all jobs that wait or run are done, with the workers there are.
    DrainTime,
}

impl Metric {
    /// All metrics, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::EnqueuedLatency,
        Self::EnqueuedCount,
        Self::ScheduledCount,
        Self::WorkerUsage,
        Self::TotalWorkers,
        Self::OccupiedWorkers,
        Self::Demand,
        Self::ExpectedLatency,
        Self::DrainTime,
    ];

    /// Returns the name in a trigger's metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EnqueuedLatency => "enqueued-latency",
            Self::EnqueuedCount => "enqueued-count",
            Self::ScheduledCount => "scheduled-count",
            Self::WorkerUsage => "worker-usage",
            Self::TotalWorkers => "total-workers",
            Self::OccupiedWorkers => "occupied-workers",
            Self::Demand => "demand",
            Self::ExpectedLatency => "expected-latency",
            Self::DrainTime => "drain-time",
        }
    }

    /// Whether the value is a number of jobs, so that the workers of a pod can be its target.
    #[must_use]
    pub fn counts_jobs(self) -> bool {
        matches!(self, Self::EnqueuedCount | Self::ScheduledCount | Self::Demand)
    }

    /// Whether the value is in seconds.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Self::EnqueuedLatency | Self::ExpectedLatency | Self::DrainTime)
    }

    /// Whether the value is computed from how long jobs run.
    #[must_use]
    pub fn is_estimate(self) -> bool {
        matches!(self, Self::ExpectedLatency | Self::DrainTime)
    }

    /// Whether the value depends on `scheduledIn`.
    #[must_use]
    pub fn looks_ahead(self) -> bool {
        matches!(self, Self::ScheduledCount | Self::Demand)
    }

    /// Returns the metric of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
