//! What pods and their servers do.

use rand::RngExt;

use super::Model;
use super::events::Event;
use super::pods::{Phase, Run};
use crate::simulate::{Millis, Settings};

/// JobRunr interrupts the jobs of a server that stops so long before the await duration ends. Seen: 9.3 s of 10 s and 14.4 s of 15 s.
const INTERRUPTED_BEFORE_END: Millis = 700;
/// How long a server takes to fetch. A job that ends meanwhile makes it fetch no more (`OnboardNewWorkTask`), so that of several
/// jobs that end at once only the first is followed by another. Seen: 6 to 50 ms.
const FETCH_TIME: Millis = 10;
/// A server looks for dead ones once in that many heartbeats (`ServerZooKeeper`).
const POLLS_PER_CHECK: u32 = 4;

impl Model<'_> {
    /// A pod whose server has been running for a while.
    pub(super) fn add_running_pod(&mut self, first_poll: Millis) {
        let pod = self.create_pod();
        self.pods.announce(pod, self.now);
        self.events.add(self.now + first_poll, Event::ServerPolls { pod });
        self.update_free(pod);
    }

    fn create_pod(&mut self) -> u32 {
        self.pods.create(self.now, self.random.random())
    }

    /// Creates pods or stops some.
    pub(super) fn set_replicas(&mut self, replicas: u32) {
        if replicas == self.replicas {
            return;
        }
        self.replicas = replicas;
        self.measure.replicas(self.now, replicas);
        for _ in self.pods.n_active()..replicas {
            let pod = self.create_pod();
            let spread = (self.settings.pod_start as f64 * self.settings.pod_start_spread) as Millis;
            let start = self.settings.pod_start - spread + self.random_below(2 * spread + 1);
            self.events.add(self.now + start, Event::ServerStarts { pod });
        }
        while replicas < self.pods.n_active() {
            let Settings { readiness, spares_busy_pods, .. } = *self.settings;
            let Some(pod) = self.pods.to_remove(self.now, readiness, spares_busy_pods) else { break };
            self.stop_pod(pod);
        }
        self.observe();
    }

    fn stop_pod(&mut self, pod: u32) {
        if self.pods.get(pod).runs.is_empty() {
            self.remove_pod(pod);
            return;
        }
        self.pods.drain(pod);
        let grace = self.settings.grace_period;
        let interrupted_after = (self.settings.await_on_stop - INTERRUPTED_BEFORE_END).max(0);
        if interrupted_after < grace {
            self.events.add(self.now + interrupted_after, Event::JobsAreInterrupted { pod });
        } else {
            self.events.add(self.now + grace, Event::PodIsKilled { pod });
        }
    }

    /// The pod ends in an orderly way.
    fn remove_pod(&mut self, pod: u32) {
        self.pods.delete_server(pod);
        self.measure.pod_millis += self.pods.remove(pod, self.now);
        self.observe();
    }

    pub(super) fn server_starts(&mut self, pod: u32) {
        if self.pods.get(pod).phase != Phase::Starting {
            return;
        }
        self.pods.announce(pod, self.now);
        self.events.add(self.now + self.settings.first_fetch_after(), Event::ServerPolls { pod });
        self.update_free(pod);
        self.observe();
    }

    /// A server's heartbeat. It fetches before the master enqueues, as seen: a job that the master enqueues waits for the next poll of
    /// some server.
    pub(super) fn server_polls(&mut self, pod: u32) {
        if self.pods.get(pod).phase != Phase::Running {
            return;
        }
        let server = self.pods.get_mut(pod);
        server.heartbeat = self.now;
        server.n_polls += 1;
        let checks = server.n_polls.is_multiple_of(POLLS_PER_CHECK);
        self.fetch(pod);
        let dead_before = self.now - self.settings.heartbeat_timeout();
        if checks {
            self.pods.delete_dead_servers(dead_before);
        }
        if self.pods.is_master(pod) {
            self.requeue_orphans(dead_before);
            self.enqueue_due();
        }
        self.events.add(self.now + self.settings.heartbeat_interval(), Event::ServerPolls { pod });
    }

    fn requeue_orphans(&mut self, dead_before: Millis) {
        if self.jobs.has_orphans() {
            let dues = self.jobs.fail_orphans(self.now, dead_before);
            self.enqueue_at(dues);
            self.observe();
        }
        for (pod, run) in self.pods.stale_runs(dead_before) {
            let due = self.jobs.fail_while_running(run.job, pod, run.id, self.now);
            self.enqueue_at(due);
            let runs = &mut self.pods.get_mut(pod).runs;
            runs.iter_mut().filter(|running| running.id == run.id).for_each(|running| running.is_lost = true);
        }
    }

    /// The master enqueues scheduled jobs, up to a poll interval early.
    pub(super) fn enqueue_due(&mut self) {
        if !self.pods.any_running() {
            return;
        }
        let before = self.jobs.n_enqueued();
        self.jobs.enqueue_due(self.now, self.now + self.settings.poll_interval);
        if before < self.jobs.n_enqueued() {
            self.jobs_enqueued();
        }
    }

    pub(super) fn job_arrives(&mut self) {
        let Some(due) = self.jobs.arrive(self.now) else { return self.jobs_enqueued() };
        self.enqueue_at([due]);
        self.last_progress = self.now;
        self.storage_changed();
    }

    /// With a poll interval of zero, scheduled jobs do not wait for a poll.
    fn enqueue_at(&mut self, dues: impl IntoIterator<Item = Millis>) {
        if self.settings.poll_interval == 0 {
            dues.into_iter().for_each(|due| self.events.add(due, Event::JobsAreDue));
        }
    }

    fn jobs_enqueued(&mut self) {
        if self.settings.poll_interval == 0 {
            while let Some(pod) = self.pods.first_free().filter(|_| 0 < self.jobs.n_enqueued()) {
                self.fetch(pod);
            }
        }
        self.observe();
        self.storage_changed();
    }

    /// A server takes as many jobs as it has free workers, unless it is doing so. No job ends before the fetch that it came with, which
    /// would keep it from being followed by another.
    fn fetch(&mut self, pod: u32) {
        let fetch_time = if 0 < self.settings.poll_interval { FETCH_TIME } else { 0 };
        let server = self.pods.get_mut(pod);
        if self.now < server.fetches_until {
            return;
        }
        server.fetches_until = self.now + fetch_time;
        let n_free = (self.settings.workers_per_pod as usize).saturating_sub(self.pods.get(pod).runs.len());
        let first_run = self.next_run;
        for _ in 0..n_free {
            let Some(start) = self.jobs.start(self.now) else { break };
            if let Some(wait) = start.wait {
                self.measure.waits.record(wait);
            }
            if start.first_run.is_some_and(|(pod, run)| self.pods.is_running(pod, run)) {
                self.jobs.ran_twice(start.job);
            }
            let id = self.next_run;
            self.next_run += 1;
            self.pods.get_mut(pod).runs.push(Run { id, job: start.job, started: self.now, is_lost: false });
            self.events.add(self.now + start.duration.max(fetch_time), Event::JobEnds { pod, run: id });
        }
        self.update_free(pod);
        if first_run < self.next_run {
            self.observe();
        }
    }

    fn update_free(&mut self, pod: u32) {
        if self.settings.poll_interval == 0 {
            let server = self.pods.get(pod);
            let is_free = server.phase == Phase::Running && server.runs.len() < self.settings.workers_per_pod as usize;
            self.pods.set_free(pod, is_free);
        }
    }

    /// A run ends, unless it was stopped before.
    pub(super) fn job_ends(&mut self, pod: u32, run: u64) {
        let server = self.pods.get_mut(pod);
        let Some(index) = server.runs.iter().position(|running| running.id == run) else { return };
        let ended = server.runs.swap_remove(index);
        if !ended.is_lost {
            self.jobs.finish(ended.job);
            if let Some(learnt) = &mut self.learnt {
                learnt.finish(self.jobs.get(ended.job), self.now);
            }
        }
        match self.pods.get(pod).phase {
            Phase::Running => self.fetch(pod),
            Phase::Draining if self.pods.get(pod).runs.is_empty() => self.remove_pod(pod),
            _ => {}
        }
        self.observe();
        if self.jobs.n_processing() == 0 {
            self.storage_changed();
        }
    }

    /// The await duration of a server that stops is over: its jobs are interrupted, and JobRunr retries them.
    pub(super) fn interrupt(&mut self, pod: u32) {
        if self.pods.get(pod).phase != Phase::Draining {
            return;
        }
        for run in std::mem::take(&mut self.pods.get_mut(pod).runs) {
            if !run.is_lost {
                let due = self.jobs.fail(run.job, self.now);
                self.enqueue_at(due);
            }
        }
        self.remove_pod(pod);
        self.storage_changed();
    }

    /// The grace period is over before the await duration: the jobs stay in state PROCESSING, and the server's row stays.
    pub(super) fn kill(&mut self, pod: u32) {
        if self.pods.get(pod).phase != Phase::Draining {
            return;
        }
        let killed = self.pods.get_mut(pod);
        let runs = std::mem::take(&mut killed.runs);
        let heartbeats: Vec<_> = runs.iter().map(|run| (*run, killed.heartbeat_of(run))).collect();
        for (run, heartbeat) in heartbeats {
            if !run.is_lost {
                self.jobs.orphan(run.job, heartbeat);
            }
        }
        self.measure.pod_millis += self.pods.remove(pod, self.now);
        self.observe();
    }
}
