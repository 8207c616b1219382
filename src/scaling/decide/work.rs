//! Metrics of work: how many workers keep a promise, how long a job waits, when the queue is empty.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{MIN_LATENCY, float};
use crate::jobrunr::{
    DEFAULT_POLL_INTERVAL_SECONDS, Filter, JobGroup, Queue, RunningJob, ServiceTime, ServiceTimes, Snapshot,
};
use crate::kubernetes::hpa::SYNC_PERIOD;
use crate::scaling::capacity::{self, Backlog, Batch, Running};
use crate::scaling::target::workers_per_pod;
use crate::scaling::{DemandParts, Metric, Reason, Trigger};

/// Batches that stand for a group of jobs which came one after another.
const BATCHES: u32 = 8;
/// Groups of running jobs, by how long they still run.
const RUNNING_GROUPS: usize = 32;
/// The longest time that an estimate gives: a year, in seconds. KEDA needs a finite number.
const LONGEST: f64 = 366.0 * 86_400.0;

/// A trigger's jobs as work.
pub(super) struct Work<'a> {
    trigger: &'a Trigger,
    snapshot: &'a Snapshot,
    queue: &'a Queue,
    times: Option<&'a ServiceTimes>,
    backlog: Backlog,
    /// For each kind of which jobs run longer than the mean: how many, and how long they are taken to run in the end.
    overdue: BTreeMap<&'a str, (f64, f64)>,
    /// Jobs of kinds of which none has finished lately.
    n_unknown: f64,
    /// The jobs of higher priority, if the trigger's jobs have one: servers run them first.
    ahead: Option<&'a Queue>,
}

impl<'a> Work<'a> {
    /// `parts` are the jobs that count.
    pub(super) fn new(trigger: &'a Trigger, snapshot: &'a Snapshot, queue: &'a Queue, parts: &DemandParts) -> Self {
        let times = snapshot.service_times.as_deref();
        let (backlog, overdue) = (Backlog::default(), BTreeMap::new());
        let ahead = trigger.question.filter.ahead().and_then(|ahead| snapshot.queues.get(&ahead)?.as_ref().ok());
        let mut work = Self { trigger, snapshot, queue, times, backlog, overdue, n_unknown: 0.0, ahead };
        work.add_running(float(parts.processing));
        work.add_waiting(queue, float(parts.enqueued), 0.0);
        work.add_due(queue, float(parts.due));
        work.add_ahead();
        // Nothing more is known of them: they can start at once.
        let others = [parts.orphans, parts.awaiting, parts.recurring].map(float).into_iter().sum();
        work.add(0.0, others, None);
        work
    }

    /// How long a job of this kind runs, in seconds; of any kind for `None`.
    fn service(&self, kind: Option<&str>) -> f64 {
        if let Some(given) = self.trigger.promise.service_time {
            return given.as_secs_f64();
        }
        let finished = self.finished(kind);
        let (n_overdue, seconds) = kind.and_then(|kind| self.overdue.get(kind)).copied().unwrap_or_default();
        match finished {
            None if n_overdue == 0.0 => f64::INFINITY,
            None => seconds / n_overdue,
            Some(time) => (time.mean * time.samples as f64 + seconds) / (time.samples as f64 + n_overdue),
        }
    }

    /// What finished jobs of this kind say, or those of all kinds.
    fn finished(&self, kind: Option<&str>) -> Option<ServiceTime> {
        let of_kind = kind.and_then(|kind| self.times?.of_kind(kind));
        of_kind.or_else(|| self.times?.overall())
    }

    fn add(&mut self, due: f64, jobs: f64, kind: Option<&str>) {
        if 0.0 < jobs {
            let service = self.service(kind);
            self.backlog.batches.push(Batch { due, jobs, service });
        }
    }

    /// Adds the running jobs. A job that has run longer than its kind does on average is taken to run as long again.
    fn add_running(&mut self, n_jobs: f64) {
        let snapshot = self.snapshot;
        let listed = snapshot.running.as_ref().filter(|_| self.trigger.question.filter == Filter::default());
        // Orphans do not run, so the time since their start says nothing.
        let jobs = listed.map(|running| running.of_servers(snapshot.live_servers())).unwrap_or_default();
        let elapsed =
            |job: &RunningJob| job.started_at.map(|at| snapshot.read_at.duration_since(at).as_secs_f64().max(0.0));
        for job in &jobs {
            let mean = self.finished(Some(&job.kind)).map_or(0.0, |time| time.mean);
            if let Some(elapsed) = elapsed(job).filter(|elapsed| mean < *elapsed) {
                let (n_overdue, seconds) = self.overdue.entry(&job.kind).or_default();
                *n_overdue += 1.0;
                *seconds += 2.0 * elapsed;
            }
        }
        let left = |job: &&RunningJob| {
            let (service, elapsed) = (self.service(Some(&job.kind)), elapsed(job).unwrap_or(0.0));
            if elapsed < service { service - elapsed } else { elapsed }
        };
        let mut left: Vec<f64> = jobs.iter().map(left).collect();
        left.sort_unstable_by(f64::total_cmp);
        if left.is_empty() {
            left.push(self.service(None));
        }
        // Jobs may not be listed, or without their server: the count is right.
        let weight = n_jobs / left.len() as f64;
        let groups = left.chunks(left.len().div_ceil(RUNNING_GROUPS));
        self.backlog.running = groups
            .map(|group| Running {
                jobs: weight * group.len() as f64,
                left: group.iter().sum::<f64>() / group.len() as f64,
            })
            .collect();
    }

    /// Adds the jobs in a queue, as due at `latest` or before. Those that are in no group came with the oldest.
    fn add_waiting(&mut self, queue: &Queue, n_jobs: f64, latest: f64) {
        let mut n_grouped = 0.0;
        for group in &queue.waiting {
            n_grouped += group.jobs;
            self.count_unknown(group, group.jobs);
            for (due, jobs) in self.spread(group) {
                self.add(due.min(latest), jobs, Some(&group.kind));
            }
        }
        self.add(-self.waited(), n_jobs - n_grouped, None);
    }

    /// Adds the jobs of higher priority: those that wait start before the trigger's oldest job.
    fn add_ahead(&mut self) {
        let Some(ahead) = self.ahead else { return };
        let (jobs, left) = (float(ahead.processing_alive.n_jobs), self.service(None));
        self.backlog.running.push(Running { jobs, left });
        self.add_waiting(ahead, float(self.n_enqueued(ahead)), -self.waited());
        self.add_due(ahead, float(self.n_due(ahead)));
    }

    fn n_enqueued(&self, queue: &Queue) -> u64 {
        queue.enqueued(self.trigger.include_blocked).n_jobs
    }

    fn n_due(&self, queue: &Queue) -> u64 {
        queue.scheduled_within(self.trigger.question.look_ahead).n_jobs
    }

    /// The jobs of higher priority that run, wait or become due.
    fn n_ahead(&self) -> u64 {
        let n_jobs = |ahead: &Queue| ahead.processing_alive.n_jobs + self.n_enqueued(ahead) + self.n_due(ahead);
        self.ahead.map_or(0, n_jobs)
    }

    /// Adds the scheduled jobs that are due within the trigger's look-ahead. The groups are a sample up to the longest one.
    fn add_due(&mut self, queue: &Queue, n_jobs: f64) {
        let look_ahead = self.trigger.question.look_ahead.as_secs_f64();
        let spread: Vec<(&JobGroup, f64, f64)> = queue
            .due
            .iter()
            .flat_map(|group| self.spread(group).map(move |(due, jobs)| (group, due, jobs)))
            .filter(|(_, due, _)| *due <= look_ahead)
            .collect();
        let n_sampled: f64 = spread.iter().map(|(_, _, jobs)| jobs).sum();
        if n_sampled <= 0.0 {
            return self.add(0.0, n_jobs, None);
        }
        for (group, due, jobs) in spread {
            let jobs = jobs * n_jobs / n_sampled;
            self.count_unknown(group, jobs);
            self.add(due, jobs, Some(&group.kind));
        }
    }

    /// The jobs that run: the trigger's, and those of higher priority.
    fn n_running(&self) -> u64 {
        let queues = [Some(self.queue), self.ahead].into_iter().flatten();
        queues.map(|queue| queue.processing_alive.n_jobs).fold(0, u64::saturating_add)
    }

    /// Adds the running jobs that the filter does not select: their workers are not free. Returns how many. Servers of JobRunr Pro
    /// report how many workers are occupied, but with a heartbeat; the list of the running jobs is as new as the other counts.
    fn add_others(&mut self) -> u64 {
        let filter = &self.trigger.question.filter;
        if *filter == Filter::default() {
            return 0;
        }
        let servers = self.snapshot.live_servers().filter(|server| server.is_for(filter));
        let n_running = match self.snapshot.running.as_ref().filter(|running| running.is_complete()) {
            Some(running) => running.of_servers(servers).len() as u64,
            None => servers.filter_map(|server| server.occupied_workers).fold(0, u64::saturating_add),
        };
        let n_others = n_running.saturating_sub(self.n_running());
        let left = self.service(None);
        self.backlog.running.push(Running { jobs: float(n_others), left });
        n_others
    }

    fn count_unknown(&mut self, group: &JobGroup, jobs: f64) {
        if self.trigger.promise.service_time.is_none()
            && self.times.is_none_or(|times| times.of_kind(&group.kind).is_none())
        {
            self.n_unknown += jobs;
        }
    }

    /// Spreads a group evenly over its time, as pairs of due time and jobs.
    fn spread(&self, group: &JobGroup) -> impl Iterator<Item = (f64, f64)> + use<> {
        let (first, last) = (self.seconds_until(group.first), self.seconds_until(group.last));
        let jobs = group.jobs / f64::from(BATCHES);
        (0..BATCHES).map(move |nth| (first + (last - first) * (f64::from(nth) + 0.5) / f64::from(BATCHES), jobs))
    }

    fn seconds_until(&self, instant: Timestamp) -> f64 {
        instant.duration_since(self.snapshot.read_at).as_secs_f64()
    }

    /// How long the oldest job in the queue has waited, in seconds.
    fn waited(&self) -> f64 {
        let oldest = self.queue.oldest_enqueued_at(self.trigger.include_blocked);
        oldest.map_or(0.0, |oldest| -self.seconds_until(oldest)).max(0.0)
    }

    /// How often idle servers look for jobs, in seconds.
    fn poll_interval(&self) -> f64 {
        let slowest =
            self.snapshot.live_servers().map(|server| server.poll_interval.as_secs_f64()).max_by(f64::total_cmp);
        slowest.unwrap_or(DEFAULT_POLL_INTERVAL_SECONDS.into())
    }

    /// The fewest workers that keep the promise for `n_jobs`, and run what goes before them: at least those in use, so that nobody is
    /// asked to stop, and at most one per job. With a filter, the workers that run other jobs are in use as well.
    pub(super) fn demand(mut self, max_latency: SignedDuration, n_jobs: u64, reasons: &mut Vec<Reason>) -> u64 {
        if n_jobs == 0 {
            return 0;
        }
        let work_seconds = Some(self.backlog.work()).filter(|work| work.is_finite());
        let n_others = self.add_others();
        let n_jobs = n_jobs.saturating_add(self.n_ahead()).saturating_add(n_others);
        let promised = max_latency.as_secs_f64();
        // An idle server looks for jobs once per poll interval.
        let max_latency_seconds = promised - self.poll_interval().min(promised / 4.0);
        let promise = capacity::Promise {
            max_latency: max_latency_seconds,
            start: (self.trigger.promise.pod_start + SYNC_PERIOD).as_secs_f64(),
            foreseen: self.trigger.question.look_ahead.as_secs_f64(),
        };
        let needed = self.backlog.workers(float(self.snapshot.n_workers(&self.trigger.question.filter)), &promise);
        let in_use = self.n_running().saturating_add(n_others);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the number of jobs")]
        let workers = (needed - 1e-6).ceil().clamp(0.0, float(n_jobs)) as u64;
        let workers = workers.max(in_use).max(1).min(n_jobs);
        let pod_start = self.trigger.promise.pod_start;
        reasons.push(Reason::Promise { max_latency, pod_start, workers, in_use, work_seconds });
        reasons.extend((0 < n_others).then_some(Reason::OtherJobs { workers: n_others }));
        let waited = self.waited();
        if promised < waited {
            reasons.push(Reason::PromiseBroken { seconds: waited });
        }
        self.explain(reasons);
        workers
    }

    /// How long until a job that is enqueued now starts, or until all jobs are done, in seconds.
    pub(super) fn time(mut self, reasons: &mut Vec<Reason>) -> f64 {
        let n_workers = self.snapshot.n_workers(&self.trigger.question.filter);
        let n_jobs: f64 = self.backlog.n_jobs();
        let (workers, start) = if 0 < n_workers {
            (n_workers, SignedDuration::ZERO)
        } else {
            (self.workers_of_a_pod(), self.trigger.promise.pod_start)
        };
        let is_drain = self.trigger.metric == Metric::DrainTime;
        // They are in the way of a new job, but none of those that are to be done.
        let n_others = if is_drain { 0 } else { self.add_others() };
        let seconds = match n_jobs {
            0.0 => 0.0,
            _ if is_drain => self.backlog.drain(float(workers)) + start.as_secs_f64(),
            _ => self.backlog.wait(float(workers)) + start.as_secs_f64(),
        };
        // Without any estimate, what has been waited so far is the best guess. By a clock ahead of ours it is nothing.
        let guess = || self.waited().max(start.as_secs_f64());
        let mut seconds = if seconds.is_finite() { seconds } else { guess() };
        if self.backlog.is_waiting() {
            // Without a server nothing ends: the value must grow until the trigger is active and a pod starts.
            let least = if n_workers == 0 { self.waited() } else { 0.0 };
            seconds = seconds.max(least).max(MIN_LATENCY);
        }
        let seconds = seconds.clamp(0.0, LONGEST);
        reasons.push(if is_drain {
            Reason::DrainTime { seconds, workers }
        } else {
            Reason::ExpectedLatency { seconds, workers }
        });
        if 0.0 < n_jobs {
            reasons.extend((0 < n_others).then_some(Reason::OtherJobs { workers: n_others }));
            if n_workers == 0 {
                reasons.push(Reason::NoServer { pod_start: start });
            }
            self.explain(reasons);
        }
        seconds
    }

    fn workers_of_a_pod(&self) -> u64 {
        let metadata = self.trigger.target.workers_per_pod();
        workers_per_pod(&self.trigger.question.filter, Some(self.snapshot), metadata).0
    }

    /// What goes before, and where the service times come from.
    fn explain(&self, reasons: &mut Vec<Reason>) {
        let jobs = self.n_ahead();
        reasons.extend((0 < jobs).then_some(Reason::Ahead { jobs }));
        if let Some(given) = self.trigger.promise.service_time {
            return reasons.push(Reason::ServiceTimeGiven { seconds: given.as_secs_f64() });
        }
        let Some((times, overall)) = self.times.and_then(|times| Some((times, times.overall()?))) else {
            return reasons.push(Reason::ServiceTimeUnknown);
        };
        reasons.push(Reason::ServiceTime {
            mean: overall.mean,
            p95: overall.p95,
            samples: overall.samples,
            kinds: times.n_kinds(),
            age_seconds: times.newest.map(|newest| self.snapshot.read_at.duration_since(newest).as_secs().max(0)),
        });
        if 0.5 <= self.n_unknown {
            reasons.push(Reason::NewKinds { jobs: self.n_unknown.round() });
        }
    }
}
