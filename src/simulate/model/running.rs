//! What the scaler reads of the jobs that run, one by one.

use std::sync::Arc;

use super::Model;
use super::scaler::instant;
use crate::jobrunr::{RunningJob, RunningJobs};

impl Model<'_> {
    /// Every job in state PROCESSING with its server. Jobs of killed pods have a server that is not among those alive.
    pub(super) fn running_jobs(&self) -> RunningJobs {
        let job = |job: u32, server_id: Arc<str>, started: Option<i64>| RunningJob {
            id: job.to_string().into(),
            kind: Arc::clone(&self.kinds[self.jobs.kind(job) as usize]),
            server_id: Some(server_id),
            started_at: started.map(instant),
        };
        let pods = self.pods.existing().map(|number| (number, self.pods.get(number)));
        let runs = pods.flat_map(|(number, pod)| {
            let server = server_id(number);
            pod.runs.iter().filter(|run| !run.is_lost).map(move |run| (run.job, Arc::clone(&server), Some(run.started)))
        });
        let killed: Arc<str> = "killed".into();
        let orphans = self.jobs.orphans().map(|job| (job, Arc::clone(&killed), None));
        let jobs = runs.chain(orphans).map(|(number, server, started)| job(number, server, started)).collect();
        RunningJobs { jobs, ..RunningJobs::default() }
    }
}

/// The id of a pod's server.
pub(super) fn server_id(pod: u32) -> Arc<str> {
    format!("pod-{pod}").into()
}
