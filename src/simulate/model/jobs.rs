//! JobRunr's jobs by state, with the counters that snapshots are made of.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use jiff::SignedDuration;

use crate::simulate::{Job, Millis};

/// JobRunr's default number of retries (`RetryFilter`).
const MAX_RETRIES: u32 = 10;
/// The n-th retry comes after 3 to the power of n seconds.
const BACKOFF_SEED: Millis = 3;

/// A job in the queue.
#[derive(Clone, Copy, Debug)]
struct Enqueued {
    job: u32,
    at: Millis,
}

/// A job in state PROCESSING whose pod was killed.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    job: u32,
    /// Its last heartbeat.
    heartbeat: Millis,
}

/// A job that was interrupted, killed or orphaned.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    n_failures: u32,
    is_failed: bool,
    /// Its first run, if that went on although the job counted as orphaned.
    first_run: Option<(u32, u64)>,
    ran_twice: bool,
}

/// How many jobs ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: u64,
    pub(super) interrupted: u64,
    pub(super) run_twice: u64,
    pub(super) failed: u64,
    pub(super) unfinished: u64,
}

/// A job that a worker starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) job: u32,
    pub(super) duration: Millis,
    /// How long it has waited since it was due; `None` if it was started before.
    pub(super) wait: Option<Millis>,
    /// An earlier run that may still be going.
    pub(super) first_run: Option<(u32, u64)>,
}

/// The jobs table.
pub(super) struct Jobs<'a> {
    jobs: &'a [Job],
    n_arrived: usize,
    queue: VecDeque<Enqueued>,
    /// SCHEDULED jobs by their due time.
    scheduled: BinaryHeap<Reverse<(Millis, u32)>>,
    horizons: Vec<Horizon>,
    orphans: Vec<Orphan>,
    /// Jobs in state PROCESSING, orphans included.
    n_processing: u64,
    n_done: u64,
    n_failed: u64,
    troubles: HashMap<u32, Trouble>,
    /// For Little's law: how long jobs were in the queue, each for itself.
    #[cfg(test)]
    pub(super) queue_millis: Millis,
    /// The jobs that are done, in that order.
    #[cfg(test)]
    pub(super) finished: Vec<u32>,
}

impl<'a> Jobs<'a> {
    /// `look_aheads` are those that [`scheduled_within`](Self::scheduled_within) can be asked for, by their index.
    pub(super) fn new(jobs: &'a [Job], look_aheads: Vec<SignedDuration>) -> Self {
        let horizon = |look_ahead: SignedDuration| Horizon::new(millis(look_ahead));
        Self {
            jobs,
            n_arrived: 0,
            queue: VecDeque::new(),
            scheduled: BinaryHeap::new(),
            horizons: look_aheads.into_iter().map(horizon).collect(),
            orphans: Vec::new(),
            n_processing: 0,
            n_done: 0,
            n_failed: 0,
            troubles: HashMap::new(),
            #[cfg(test)]
            queue_millis: 0,
            #[cfg(test)]
            finished: Vec::new(),
        }
    }

    pub(super) fn next_arrival(&self) -> Option<Millis> {
        self.jobs.get(self.n_arrived).map(|job| job.arrival)
    }

    /// The next job is created. Returns when it is due if it is not enqueued at once.
    pub(super) fn arrive(&mut self, now: Millis) -> Option<Millis> {
        let job = self.jobs.get(self.n_arrived)?;
        // At most `MAX_JOBS`.
        let number = self.n_arrived as u32;
        self.n_arrived += 1;
        if job.is_scheduled() {
            self.schedule(number, job.due, now);
            return Some(job.due);
        }
        self.queue.push_back(Enqueued { job: number, at: now });
        None
    }

    fn schedule(&mut self, job: u32, due: Millis, now: Millis) {
        self.scheduled.push(Reverse((due, job)));
        self.horizons.iter_mut().for_each(|horizon| horizon.add(due, now));
    }

    /// The master enqueues the jobs that are due at `until`.
    pub(super) fn enqueue_due(&mut self, now: Millis, until: Millis) {
        while let Some(Reverse((due, job))) = self.scheduled.peek().copied().filter(|Reverse((due, _))| *due <= until) {
            self.scheduled.pop();
            self.horizons.iter_mut().for_each(|horizon| horizon.remove(due, now));
            self.queue.push_back(Enqueued { job, at: now });
        }
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.scheduled.peek().map(|Reverse((due, _))| *due)
    }

    /// A worker takes the job at the head of the queue.
    pub(super) fn start(&mut self, now: Millis) -> Option<Start> {
        let Enqueued { job, at } = self.queue.pop_front()?;
        debug_assert!(at <= now, "a job starts before it is enqueued");
        self.n_processing += 1;
        #[cfg(test)]
        {
            self.queue_millis += now - at;
        }
        let Job { arrival, due, duration, .. } = self.jobs[job as usize];
        let trouble = if self.troubles.is_empty() { None } else { self.troubles.get_mut(&job) };
        let wait = trouble.is_none().then(|| now - due.max(arrival));
        let first_run = trouble.and_then(|trouble| trouble.first_run.take());
        Some(Start { job, duration: duration.into(), wait, first_run })
    }

    pub(super) fn finish(&mut self, job: u32) {
        debug_assert!((job as usize) < self.n_arrived, "a job is done before it arrives");
        self.n_processing -= 1;
        self.n_done += 1;
        #[cfg(test)]
        self.finished.push(job);
    }

    /// The job was interrupted: JobRunr schedules a retry, unless there were too many. Returns when it is due.
    pub(super) fn fail(&mut self, job: u32, now: Millis) -> Option<Millis> {
        self.n_processing -= 1;
        let trouble = self.troubles.entry(job).or_default();
        trouble.n_failures += 1;
        if MAX_RETRIES < trouble.n_failures {
            trouble.is_failed = true;
            self.n_failed += 1;
            return None;
        }
        let due = now + BACKOFF_SEED.pow(trouble.n_failures) * 1000;
        self.schedule(job, due, now);
        Some(due)
    }

    /// The job counts as orphaned, although its run goes on. Returns when its retry is due.
    pub(super) fn fail_while_running(&mut self, job: u32, pod: u32, run: u64, now: Millis) -> Option<Millis> {
        let due = self.fail(job, now);
        self.troubles.entry(job).or_default().first_run = Some((pod, run));
        due
    }

    pub(super) fn ran_twice(&mut self, job: u32) {
        self.troubles.entry(job).or_default().ran_twice = true;
    }

    /// The job's pod was killed. The job stays in state PROCESSING.
    pub(super) fn orphan(&mut self, job: u32, heartbeat: Millis) {
        self.orphans.push(Orphan { job, heartbeat });
        self.troubles.entry(job).or_default();
    }

    /// The master requeues jobs without a heartbeat since `before`. Returns when their retries are due.
    pub(super) fn fail_orphans(&mut self, now: Millis, before: Millis) -> Vec<Millis> {
        let mut dues = Vec::new();
        for index in (0..self.orphans.len()).rev() {
            if self.orphans[index].heartbeat <= before {
                let orphan = self.orphans.swap_remove(index);
                dues.extend(self.fail(orphan.job, now));
            }
        }
        dues
    }

    /// The jobs of killed pods.
    pub(super) fn orphans(&self) -> impl Iterator<Item = u32> {
        self.orphans.iter().map(|orphan| orphan.job)
    }

    /// The job's kind.
    pub(super) fn kind(&self, job: u32) -> u32 {
        self.jobs[job as usize].kind
    }

    pub(super) fn n_orphans_since(&self, before: Millis) -> u64 {
        self.orphans.iter().filter(|orphan| orphan.heartbeat <= before).count() as u64
    }

    pub(super) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// The jobs in the queue from its head on: their kind, and since when.
    pub(super) fn queue(&self) -> impl DoubleEndedIterator<Item = (u32, Millis)> + ExactSizeIterator {
        self.queue.iter().map(|enqueued| (self.jobs[enqueued.job as usize].kind, enqueued.at))
    }

    /// The scheduled jobs, in no order: their kind, and when they are due.
    pub(super) fn scheduled(&self) -> impl Iterator<Item = (u32, Millis)> {
        self.scheduled.iter().map(|Reverse((due, job))| (self.jobs[*job as usize].kind, *due))
    }

    /// A job of the workload.
    pub(super) fn get(&self, job: u32) -> &'a Job {
        &self.jobs[job as usize]
    }

    pub(super) fn n_enqueued(&self) -> u64 {
        self.queue.len() as u64
    }

    pub(super) fn oldest_enqueued_at(&self) -> Option<Millis> {
        self.queue.front().map(|enqueued| enqueued.at)
    }

    pub(super) fn n_processing(&self) -> u64 {
        self.n_processing
    }

    /// Jobs in state PROCESSING that run.
    pub(super) fn n_runs(&self) -> u64 {
        self.n_processing - self.orphans.len() as u64
    }

    /// SCHEDULED jobs that are due within the look-ahead with this index, and the first due time beyond it.
    pub(super) fn scheduled_within(&mut self, index: usize, now: Millis) -> (u64, Option<Millis>) {
        let horizon = &mut self.horizons[index];
        horizon.advance(now);
        (horizon.count(), horizon.next())
    }

    /// Jobs that are neither done nor given up, those that have not arrived included.
    pub(super) fn n_open(&self) -> u64 {
        self.jobs.len() as u64 - self.n_done - self.n_failed
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            done: self.n_done,
            interrupted: self.troubles.len() as u64,
            run_twice: self.troubles.values().filter(|trouble| trouble.ran_twice).count() as u64,
            failed: self.troubles.values().filter(|trouble| trouble.is_failed).count() as u64,
            unfinished: self.n_open(),
        }
    }
}

/// How many SCHEDULED jobs are due within one look-ahead. Each job costs the logarithm of their number, once.
struct Horizon {
    look_ahead: Millis,
    /// Due times beyond the look-ahead.
    beyond: BinaryHeap<Reverse<Millis>>,
    /// Those among them of jobs that are no longer SCHEDULED: enqueued early, with a look-ahead below the poll interval.
    removed: BinaryHeap<Reverse<Millis>>,
    within: i64,
}

impl Horizon {
    fn new(look_ahead: Millis) -> Self {
        Self { look_ahead, beyond: BinaryHeap::new(), removed: BinaryHeap::new(), within: 0 }
    }

    fn add(&mut self, due: Millis, now: Millis) {
        self.advance(now);
        if due <= now + self.look_ahead {
            self.within += 1;
        } else {
            self.beyond.push(Reverse(due));
        }
    }

    fn remove(&mut self, due: Millis, now: Millis) {
        self.advance(now);
        if due <= now + self.look_ahead {
            self.within -= 1;
        } else {
            self.removed.push(Reverse(due));
        }
    }

    fn advance(&mut self, now: Millis) {
        let until = now + self.look_ahead;
        self.within += pop_until(&mut self.beyond, until) - pop_until(&mut self.removed, until);
    }

    fn count(&self) -> u64 {
        self.within.unsigned_abs()
    }

    fn next(&mut self) -> Option<Millis> {
        while self.removed.peek().is_some_and(|removed| self.beyond.peek() == Some(removed)) {
            self.beyond.pop();
            self.removed.pop();
        }
        self.beyond.peek().map(|Reverse(due)| *due)
    }
}

fn pop_until(heap: &mut BinaryHeap<Reverse<Millis>>, until: Millis) -> i64 {
    let mut n = 0;
    while heap.peek().is_some_and(|Reverse(due)| *due <= until) {
        heap.pop();
        n += 1;
    }
    n
}

/// A duration in milliseconds. Saturates far below the range, so that sums cannot overflow.
pub(super) fn millis(duration: SignedDuration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX).min(Millis::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The counters agree with counting.
        #[test]
        fn horizon_counts_what_is_due(
            look_ahead in 0_i64..50,
            steps in prop::collection::vec((0_i64..20, 0_i64..100, 0_usize..4), 1..60)
        ) {
            let mut horizon = Horizon::new(look_ahead);
            let mut scheduled: Vec<i64> = Vec::new();
            let mut now = 0;
            for (pause, due_in, action) in steps {
                now += pause;
                if action < 3 {
                    scheduled.push(now + due_in);
                    scheduled.sort_unstable();
                    horizon.add(now + due_in, now);
                } else if !scheduled.is_empty() {
                    horizon.remove(scheduled.remove(0), now);
                }
                horizon.advance(now);
                let (within, beyond): (Vec<i64>, Vec<i64>) = scheduled.iter().partition(|due| **due <= now + look_ahead);
                prop_assert_eq!(horizon.count(), within.len() as u64);
                prop_assert_eq!(horizon.next(), beyond.first().copied());
            }
        }
    }
}
