//! What the scaler learns of the model's jobs: kinds of those that wait, and how long finished ones ran.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::jobs::Jobs;
use super::scaler::instant;
use crate::jobrunr::{FINISHED_SAMPLE, FinishedRun, JobGroup, QUEUE_SAMPLE, ServiceTimes};
use crate::simulate::{Job, Millis, Workload};

/// How often finished jobs are read, as the scaler does it.
const INTERVAL: Millis = 15_000;

/// What the scaler has learnt.
pub(super) struct Learnt {
    kinds: Vec<Arc<str>>,
    /// The newest finished jobs.
    finished: VecDeque<FinishedRun>,
    times: Arc<ServiceTimes>,
    /// When they were read; `None` before the first time.
    read_at: Option<Millis>,
}

impl Learnt {
    /// The storage has the jobs that were done before the workload began; nothing is known of those to come.
    pub(super) fn new(workload: &Workload) -> Self {
        let kinds: Vec<Arc<str>> = workload.kinds.iter().map(|kind| kind.as_str().into()).collect();
        let before = &workload.done_before[workload.done_before.len().saturating_sub(FINISHED_SAMPLE)..];
        let finished = before.iter().map(|job| run(&kinds, job, instant(0))).collect();
        Self { kinds, finished, times: Arc::default(), read_at: None }
    }

    pub(super) fn finish(&mut self, job: &Job, now: Millis) {
        if FINISHED_SAMPLE <= self.finished.len() {
            self.finished.pop_front();
        }
        self.finished.push_back(run(&self.kinds, job, instant(now)));
    }

    /// How long jobs run, as far as was read.
    pub(super) fn service_times(&mut self, now: Millis) -> Arc<ServiceTimes> {
        if self.read_at.is_none_or(|read_at| read_at + INTERVAL <= now) {
            self.read_at = Some(now);
            self.times = Arc::new(ServiceTimes::from_runs(&self.finished));
        }
        self.times.clone()
    }

    /// The jobs in the queue by kind.
    pub(super) fn waiting(&self, jobs: &Jobs<'_>) -> Vec<JobGroup> {
        let named = |(kind, at): (u32, Millis)| (self.kinds[kind as usize].clone(), instant(at));
        let oldest = JobGroup::of_jobs(jobs.queue().take(QUEUE_SAMPLE).map(named));
        let newest = jobs.queue().rev().take(jobs.queue().len().saturating_sub(QUEUE_SAMPLE).min(QUEUE_SAMPLE));
        JobGroup::of_queue(oldest, JobGroup::of_jobs(newest.map(named)), jobs.n_enqueued())
    }

    /// A sample of the scheduled jobs that are due until then, by kind.
    pub(super) fn due(&self, jobs: &Jobs<'_>, until: Millis) -> Vec<JobGroup> {
        let sample = jobs.scheduled().take(QUEUE_SAMPLE).filter(|(_, due)| *due <= until);
        JobGroup::of_jobs(sample.map(|(kind, due)| (self.kinds[kind as usize].clone(), instant(due))))
    }
}

fn run(kinds: &[Arc<str>], job: &Job, ended_at: Timestamp) -> FinishedRun {
    let (kind, seconds) = (kinds[job.kind as usize].clone(), f64::from(job.duration) / 1000.0);
    FinishedRun { id: Arc::default(), kind, ended_at, seconds }
}
