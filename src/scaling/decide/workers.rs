//! The metrics of workers.

use super::float;
use crate::jobrunr::{Filter, Queue, Server, Snapshot};
use crate::scaling::{Reason, Trigger};

/// The workers of the live servers, and how many of them run a job.
pub(super) struct Workers {
    pub(super) total: u64,
    pub(super) occupied: u64,
    n_servers: u64,
}

impl Workers {
    pub(super) fn of(trigger: &Trigger, snapshot: &Snapshot, queue: &Queue) -> Self {
        let filter = &trigger.question.filter;
        let servers = || snapshot.live_servers().filter(|server| server.is_for(filter));
        // Servers of JobRunr Pro report how many workers they use, but not for which jobs: with a filter, jobs are counted.
        let sum = |sum: u64, server: &Server| Some(sum.saturating_add(server.occupied_workers?));
        let reported = if *filter == Filter::default() { servers().try_fold(0, sum) } else { None };
        let n_servers = servers().count() as u64;
        Self {
            total: snapshot.n_workers(filter),
            occupied: reported.filter(|_| 0 < n_servers).unwrap_or(queue.processing_alive.n_jobs),
            n_servers,
        }
    }

    /// A ratio from 0 to 1. Capped, because jobs of a server that was just removed are still there for a moment, and with
    /// `metricType: Value` the HPA multiplies the ready pods by this ratio.
    pub(super) fn usage(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (float(self.occupied) / float(self.total)).min(1.0) }
    }

    pub(super) fn is_capped(&self) -> bool {
        0 < self.total && self.total < self.occupied
    }

    pub(super) fn reason(&self) -> Reason {
        Reason::Workers { occupied: self.occupied, total: self.total, servers: self.n_servers }
    }
}
