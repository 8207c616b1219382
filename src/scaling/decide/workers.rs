//! The workers of the live servers.

use std::fmt;

use super::float;
use crate::jobrunr::{Filter, Queue, Server, Snapshot};
use crate::scaling::Trigger;
use crate::text::counted;

/// The workers of the live servers and how many of them run a job.
pub(super) struct Workers {
    n_servers: u64,
    pub(super) total: u64,
    pub(super) occupied: u64,
}

impl Workers {
    pub(super) fn of(trigger: &Trigger, snapshot: &Snapshot, queue: &Queue) -> Self {
        let filter = &trigger.question.filter;
        let serves = |server: &&Server| filter.server_tag.as_deref().is_none_or(|tag| server.serves(tag));
        let servers: Vec<&Server> = snapshot.live_servers().filter(serves).collect();
        // Pro's servers say themselves how many workers they use. They cannot say for which jobs, so a filter counts jobs.
        let said = servers.iter().try_fold(0_u64, |sum, server| Some(sum.saturating_add(server.occupied_workers?)));
        let occupied = match said {
            Some(said) if !servers.is_empty() && *filter == Filter::default() => said,
            _ => queue.processing_alive.n_jobs,
        };
        Self {
            n_servers: servers.len() as u64,
            total: servers.iter().map(|server| server.worker_pool_size).fold(0, u64::saturating_add),
            occupied,
        }
    }

    /// A ratio from 0 to 1. Capped, since jobs of a server that was just removed are still there for a moment, and
    /// with `metricType: Value` the HPA multiplies the ready pods by this ratio.
    pub(super) fn usage(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (float(self.occupied) / float(self.total)).min(1.0) }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} of ", self.occupied, counted(self.total, "worker"))?;
        write!(f, "{} occupied", counted(self.n_servers, "live server"))
    }
}
