//! What a simulation assumes of the application and the cluster.

use super::Millis;
use crate::jobrunr::{DEFAULT_HEARTBEAT_MULTIPLICAND, DEFAULT_POLL_INTERVAL_SECONDS};

/// What a simulation assumes of the application and the cluster. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The workers of a pod's server.
    pub workers_per_pod: u32,
    /// From the creation of a pod until its server announces itself.
    pub pod_start: Millis,
    /// The fraction by which a pod's start may be shorter or longer, so that servers poll at different instants.
    pub pod_start_spread: f64,
    /// When a pod counts as ready.
    pub readiness: Readiness,
    /// Whether pods with running jobs have a higher `pod-deletion-cost` than idle ones.
    pub spares_busy_pods: bool,
    /// JobRunr's `pollIntervalInSeconds`. With 0, a free worker fetches a job at once and scheduled jobs are enqueued when they
    /// are due; heartbeats then have JobRunr's default interval.
    pub poll_interval: Millis,
    /// `terminationGracePeriodSeconds`: a pod that stops is killed after this time.
    pub grace_period: Millis,
    /// JobRunr's `interruptJobsAwaitDurationOnStop`: how long a server that stops waits for its jobs.
    pub await_on_stop: Millis,
    /// The longest wait that a job should have. Only reported.
    pub slo: Millis,
    /// How often the scaler reads its storage.
    pub refresh: Millis,
    /// How often the scaler repeats a push while a trigger stays active.
    pub push_repeat: Millis,
    /// Where the scaler stops counting jobs; `None` counts all.
    pub count_limit: Option<u64>,
    /// When KEDA and the HPA act for the first time.
    pub phases: Phases,
    /// The seed of everything random.
    pub seed: u64,
}

/// When a pod counts as ready, for the HPA and for the choice of pods to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as it runs: the pod has no readiness probe.
    #[default]
    AtOnce,
    /// Once its server has announced itself: it has a readiness probe.
    WithServer,
}

/// When KEDA polls first and when the HPA syncs first. They are not synchronized with anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phases {
    /// At random instants within one interval.
    #[default]
    Random,
    /// At these instants.
    Fixed {
        /// KEDA's first poll.
        poll: Millis,
        /// The HPA's first sync.
        sync: Millis,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers_per_pod: 8,
            pod_start: 45_000,
            pod_start_spread: 0.1,
            readiness: Readiness::default(),
            spares_busy_pods: false,
            poll_interval: Millis::from(DEFAULT_POLL_INTERVAL_SECONDS) * 1000,
            grace_period: 30_000,
            await_on_stop: 10_000,
            slo: 60_000,
            refresh: 1000,
            // The middle of 15 and 25 minutes, within which each stream has its own time.
            push_repeat: 20 * 60_000,
            count_limit: Some(10_000),
            phases: Phases::default(),
            seed: 1,
        }
    }
}

impl Settings {
    /// How often a server sends a heartbeat and the master does its work.
    pub(super) fn heartbeat_interval(&self) -> Millis {
        if self.poll_interval == 0 { Millis::from(DEFAULT_POLL_INTERVAL_SECONDS) * 1000 } else { self.poll_interval }
    }

    /// After this time without a heartbeat, a server counts as dead and a job as orphaned.
    pub(super) fn heartbeat_timeout(&self) -> Millis {
        self.heartbeat_interval() * Millis::from(DEFAULT_HEARTBEAT_MULTIPLICAND)
    }

    /// From the start of a server until it fetches for the first time (`BackgroundJobServer.startStewardAndServerZooKeeper`).
    pub(super) fn first_fetch_after(&self) -> Millis {
        (self.poll_interval / 5).min(1000)
    }
}
