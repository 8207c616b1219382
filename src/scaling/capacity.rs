//! How many workers a backlog needs so that every job starts in time, and how long jobs wait with those that there are.
//!
//! Jobs start in the order in which they are due, as JobRunr fetches them. All workers that are free serve the oldest job first,
//! so when a job starts, every worker has been busy with jobs before it. Hence a job starts within `t` seconds if all jobs up to
//! it, itself included, are at most `workers × t` seconds of work, where a job counts for at most `t` seconds: it keeps one worker
//! from the others, never more. This bound holds for any order of durations, and for many jobs it is close. For jobs that become due
//! later it is off by one job at most, because it is not known which of those before still run then.
//!
//! All times are in seconds.

/// Jobs that are due at the same instant and take equally long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Batch {
    /// When they are due, from now on. Negative for jobs that wait.
    pub(super) due: f64,
    /// How many; a group that is spread over time has fractions of jobs in each batch.
    pub(super) jobs: f64,
    /// How long one of them runs. Infinite if nothing is known, so that each job has its own worker.
    pub(super) service: f64,
}

/// Running jobs that still take equally long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Running {
    /// How many.
    pub(super) jobs: f64,
    /// How long they still run.
    pub(super) left: f64,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backlog {
    /// The running jobs.
    pub(super) running: Vec<Running>,
    /// The jobs that wait or become due, by due time.
    pub(super) batches: Vec<Batch>,
}

/// What is promised, and how fast workers come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Promise {
    /// How long after it is due a job may start.
    pub(super) max_latency: f64,
    /// From the decision until a new worker takes its first job.
    pub(super) start: f64,
    /// How long before they are due scheduled jobs are known: the look-ahead.
    pub(super) foreseen: f64,
}

/// Deadlines, and starts of busy periods, that are examined. Between them the work changes little.
const MAX_INSTANTS: usize = 16;

impl Promise {
    /// The least time that is granted to new workers. Where a promise is broken or too tight, they clear what is late within this
    /// time, so that their number stays bounded.
    fn least(&self) -> f64 {
        (self.start / 4.0).max(self.max_latency / 10.0).max(1.0)
    }

    /// The time from `begin` until a job that is due at `due` must have started.
    fn window(&self, begin: f64, due: f64) -> f64 {
        (due + self.max_latency - begin.max(0.0)).max(self.least())
    }

    /// The part of a window in which workers that do not exist yet can work. Those for a job that waits were asked for when it
    /// came: they are on their way, and not asked for again.
    fn window_of_new(&self, window: f64, due: f64) -> f64 {
        let waited = (-due).max(0.0);
        let missing = if due <= 0.0 { (self.start - waited).max(0.0) } else { (self.start - self.foreseen).max(0.0) };
        (window - missing).max(self.least())
    }
}

impl Backlog {
    /// The fewest workers with which every job starts in time, if `existing` of them can work now and the others come later. A
    /// promise that cannot be kept any more, or never could, is healed as fast as [`Promise::least`] says.
    ///
    /// One job more, a longer job, a longer wait or a tighter promise never need fewer.
    pub(super) fn workers(&self, existing: f64, promise: &Promise) -> f64 {
        let mut needed: f64 = 0.0;
        let instants = self.instants();
        for &deadline in &instants {
            let later = instants.iter().copied().filter(|begin| 0.0 < *begin && *begin <= deadline);
            for begin in std::iter::once(f64::NEG_INFINITY).chain(later) {
                needed = needed.max(self.workers_until(begin, deadline, existing, promise));
            }
        }
        needed.max(self.n_running())
    }

    /// The workers for the jobs that are due from `begin` until `deadline`. Those that exist are used first.
    fn workers_until(&self, begin: f64, deadline: f64, existing: f64, promise: &Promise) -> f64 {
        let window = promise.window(begin, deadline);
        let enough = self.busy(begin, deadline, window);
        if enough <= existing {
            return enough;
        }
        let new = self.busy(begin, deadline, promise.window_of_new(window, deadline));
        existing + (1.0 - existing / enough) * new
    }

    /// How many workers the jobs that are due from `begin` until `deadline` keep busy throughout a window.
    fn busy(&self, begin: f64, deadline: f64, window: f64) -> f64 {
        let share = |seconds: f64| seconds.min(window) / window;
        let left = |batch: &Batch| {
            // Jobs of before may still run: they started when they were due, or now.
            if begin <= batch.due { batch.service } else { batch.service - (begin - batch.due.max(0.0)) }
        };
        let batches = self.batches.iter().filter(|batch| batch.due <= deadline);
        let waiting: f64 = batches.map(|batch| batch.jobs * share(left(batch).max(0.0))).sum();
        let left = |running: &Running| (running.left - begin.max(0.0)).max(0.0);
        let running: f64 = self.running.iter().map(|running| running.jobs * share(left(running))).sum();
        waiting + running
    }

    /// The instants at which jobs are due: all, or some of them, evenly chosen, always with the last.
    fn instants(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.batches.iter().map(|batch| batch.due).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.dedup();
        let n = all.len();
        if MAX_INSTANTS < n {
            all = (1..=MAX_INSTANTS).map(|nth| all[nth * n / MAX_INSTANTS - 1]).collect();
        }
        all
    }

    /// How long a job waits that is enqueued now, with so many workers; infinite if they never get to it.
    pub(super) fn wait(&self, workers: f64) -> f64 {
        if self.n_jobs() < workers {
            return 0.0;
        }
        self.time_until(|time| self.busy(f64::NEG_INFINITY, 0.0, time) < workers, workers)
    }

    /// How long until all jobs that wait or run are done, with so many workers; infinite if that is never.
    pub(super) fn drain(&self, workers: f64) -> f64 {
        let waiting = || self.batches.iter().filter(|batch| batch.due <= 0.0);
        let all = || {
            let running = self.running.iter().map(|running| (running.jobs, running.left));
            waiting().map(|batch| (batch.jobs, batch.service)).chain(running).filter(|(jobs, _)| 0.0 < *jobs)
        };
        let work: f64 = all().map(|(jobs, seconds)| jobs * seconds).sum();
        let longest = all().map(|(_, seconds)| seconds).fold(0.0, f64::max);
        if work <= 0.0 { 0.0 } else { (work / workers).max(longest) }
    }

    /// All work, in seconds of one worker; infinite if some is unknown.
    pub(super) fn work(&self) -> f64 {
        let waiting = self.batches.iter().map(|batch| (batch.jobs, batch.service));
        let running = self.running.iter().map(|running| (running.jobs, running.left));
        waiting.chain(running).filter(|(jobs, _)| 0.0 < *jobs).map(|(jobs, seconds)| jobs * seconds).sum()
    }

    /// All jobs that wait or run.
    pub(super) fn n_jobs(&self) -> f64 {
        self.n_waiting() + self.n_running()
    }

    fn n_running(&self) -> f64 {
        self.running.iter().map(|running| running.jobs).sum()
    }

    /// Whether jobs wait.
    pub(super) fn is_waiting(&self) -> bool {
        0.0 < self.n_waiting()
    }

    fn n_waiting(&self) -> f64 {
        self.batches.iter().filter(|batch| batch.due <= 0.0).map(|batch| batch.jobs).sum()
    }

    /// The earliest time at which `is_free` holds, to a millisecond or a thousandth.
    fn time_until(&self, is_free: impl Fn(f64) -> bool, workers: f64) -> f64 {
        let (mut before, mut after) = (0.0, self.drain(workers).max(0.001) * 1.001);
        if !after.is_finite() || !is_free(after) {
            return f64::INFINITY;
        }
        while (before * 1.001_f64).max(before + 0.001) < after {
            let middle = f64::midpoint(before, after);
            if is_free(middle) { after = middle } else { before = middle }
        }
        after
    }
}

#[cfg(test)]
mod tests;
