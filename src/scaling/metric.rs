//! The catalogue of metrics.

use std::fmt;

/// What a trigger scales on. Names follow JobRunr Pro's metrics API, which has all but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Seconds that the oldest enqueued job has waited; 0 when none waits.
    EnqueuedLatency,
    /// Jobs in the queue.
    EnqueuedCount,
    /// Jobs scheduled to run within the look-ahead, overdue ones included.
    ScheduledCount,
    /// Occupied workers ÷ workers of live servers, a ratio from 0 to 1; 0 without servers.
    WorkerUsage,
    /// Workers of live servers.
    TotalWorkers,
    /// Workers that run a job.
    OccupiedWorkers,
    /// Jobs that want a worker now or within the look-ahead: enqueued, being processed, scheduled and recurring ones due,
    /// orphans. Never 0 while something is left to do.
    Demand,
}

impl Metric {
    /// Every metric, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::EnqueuedLatency,
        Self::EnqueuedCount,
        Self::ScheduledCount,
        Self::WorkerUsage,
        Self::TotalWorkers,
        Self::OccupiedWorkers,
        Self::Demand,
    ];

    /// The name in a trigger's metadata.
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
        }
    }

    /// Whether the value is a number of jobs, so that a pod's workers are a target for it.
    #[must_use]
    pub fn counts_jobs(self) -> bool {
        matches!(self, Self::EnqueuedCount | Self::ScheduledCount | Self::Demand)
    }

    /// Whether the value depends on `scheduledIn`.
    #[must_use]
    pub fn looks_ahead(self) -> bool {
        matches!(self, Self::ScheduledCount | Self::Demand)
    }

    /// The metric of that name.
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
