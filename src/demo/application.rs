//! A stand-in for an application with JobRunr: a client that creates jobs, and pods whose workers process them.
//!
//! Every write is one that JobRunr makes, when JobRunr makes it. A server announces itself and sends heartbeats. The oldest
//! one is the master, which enqueues scheduled jobs up to a poll interval early. Each server takes as many jobs as it has
//! free workers, and sends heartbeats for them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fast_clock::FastClock;
use super::state::{Actor, DemoState};
use super::story::{LONGEST_JOB, RECURRING_JOB, Story, Work, next_run};
use super::tables::{Tables, uuid};
use crate::clock::TimeSource;
use crate::text::counted;

/// The shortest that JobRunr allows.
const POLL_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// From the creation of a pod until its server announces itself: a JVM starts.
const STARTUP: SignedDuration = SignedDuration::from_secs(20);
/// How long a server that stops waits for its jobs (`interruptJobsAwaitDurationOnStop`).
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// JobRunr's first retry comes after three seconds.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(3);
/// How long succeeded jobs stay, and deleted ones after that: shorter than JobRunr's defaults, since time runs fast here.
const KEEP_JOBS: SignedDuration = SignedDuration::from_hours(1);
/// The first number of servers' ids, far from the jobs'.
const SERVER_IDS: u64 = 1 << 40;
/// The first number of ids of a recurring job's runs.
const RUN_IDS: u64 = 1 << 41;
/// The time between two steps.
const STEP: Duration = Duration::from_millis(500);
/// The shortest time between two steps, by the machine's clock.
const SHORTEST_STEP: Duration = Duration::from_millis(5);

/// The application and its pods.
pub(super) struct Application {
    tables: Tables,
    clock: &'static FastClock,
    state: Arc<DemoState>,
    story: Story,
    work: Work,
    pods: Vec<Pod>,
    n_pods_made: u64,
    n_jobs_made: u64,
    has_recurring: bool,
}

/// One pod with a background job server.
struct Pod {
    server_id: String,
    name: String,
    phase: Phase,
    next_poll: Timestamp,
    jobs: Vec<RunningJob>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting { until: Timestamp },
    Ready,
    Stopping { until: Timestamp },
}

struct RunningJob {
    id: String,
    ends: Timestamp,
}

impl Application {
    pub(super) fn new(
        tables: Tables,
        clock: &'static FastClock,
        state: Arc<DemoState>,
        story: Story,
        work: Work,
    ) -> Self {
        let pods = Vec::new();
        Self { tables, clock, state, story, work, pods, n_pods_made: 0, n_jobs_made: 0, has_recurring: false }
    }

    /// Works until dropped.
    pub(super) async fn run(mut self) -> Result<(), sqlx::Error> {
        let mut steps = tokio::time::interval(self.clock.real(STEP).max(SHORTEST_STEP));
        steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            self.step(self.clock.now()).await?;
        }
    }

    async fn step(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        let state = Arc::clone(&self.state);
        let _writing = state.lock_tables().await;
        self.make_work(now).await?;
        self.define_recurring(now).await?;
        self.scale(now);
        for index in 0..self.pods.len() {
            self.step_pod(index, now).await?;
        }
        self.remove_stopped(now).await?;
        let counts = self.tables.counts().await?;
        let n_ready = self.pods.iter().filter(|pod| pod.phase == Phase::Ready).count();
        let n_workers = (n_ready * self.story.workers_per_pod) as u64;
        self.state.observe(now, count(self.pods.len()), count(n_ready), n_workers, counts);
        Ok(())
    }

    async fn make_work(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        let Some(batch) = self.work.due(now) else { return Ok(()) };
        let scheduled_at = batch.due_in.map(|due_in| now + due_in);
        self.tables.create_jobs(self.n_jobs_made, batch.n_jobs, scheduled_at, now).await?;
        self.n_jobs_made += batch.n_jobs;
        self.state.jobs_made(now, batch.n_jobs, scheduled_at.unwrap_or(now));
        self.state.record(now, Actor::Application, batch.to_string());
        Ok(())
    }

    async fn define_recurring(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        let Some(schedule) = self.story.recurring_schedule(now).filter(|_| !self.has_recurring) else { return Ok(()) };
        self.has_recurring = true;
        self.tables.define_recurring(RECURRING_JOB, &schedule, now).await?;
        let text = format!("defines the recurring job {RECURRING_JOB}, cron {schedule}");
        self.state.record(now, Actor::Application, text);
        Ok(())
    }

    /// The master makes sure that the recurring job has a next run.
    async fn write_run(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        let Some(schedule) = self.tables.schedule_without_run(RECURRING_JOB).await? else { return Ok(()) };
        let Some(at) = next_run(&schedule, now) else { return Ok(()) };
        self.n_jobs_made += 1;
        self.tables.write_run(RUN_IDS + self.n_jobs_made, RECURRING_JOB, at, now).await?;
        if !self.state.run_planned(at) {
            return Ok(());
        }
        let due = at.duration_since(self.story.start).as_secs();
        let text = format!("the master writes the next run of {RECURRING_JOB}, for {:02}:{:02}", due / 60, due % 60);
        self.state.record(now, Actor::Pods, text);
        Ok(())
    }

    /// What a Deployment does: creates pods, or stops the newest.
    fn scale(&mut self, now: Timestamp) {
        let wanted = self.state.replicas().spec as usize;
        let stays = |pod: &&mut Pod| !matches!(pod.phase, Phase::Stopping { .. });
        let n_pods = self.pods.iter_mut().filter(stays).count();
        for pod in self.pods.iter_mut().rev().filter(stays).take(n_pods.saturating_sub(wanted)) {
            pod.phase = Phase::Stopping { until: now + GRACE };
        }
        for _ in n_pods..wanted {
            self.n_pods_made += 1;
            self.pods.push(Pod {
                server_id: uuid(SERVER_IDS + self.n_pods_made),
                name: format!("worker-{}", self.n_pods_made),
                phase: Phase::Starting { until: now + STARTUP },
                next_poll: now,
                jobs: Vec::new(),
            });
        }
    }

    async fn step_pod(&mut self, index: usize, now: Timestamp) -> Result<(), sqlx::Error> {
        let n_workers = self.story.workers_per_pod;
        let is_master = self.pods.iter().position(|pod| pod.phase == Phase::Ready) == Some(index);
        let Some(pod) = self.pods.get_mut(index) else { return Ok(()) };
        let tables = &mut self.tables;
        if matches!(pod.phase, Phase::Starting { until } if until <= now) {
            let seconds = POLL_INTERVAL.as_secs();
            tables.announce_server(&pod.server_id, &pod.name, n_workers, seconds, now).await?;
            pod.phase = Phase::Ready;
            pod.next_poll = now;
        }
        let has_finished = pod.finish_jobs(tables, now).await?;
        if pod.phase != Phase::Ready {
            return Ok(());
        }
        let polls = pod.next_poll <= now;
        if polls {
            pod.next_poll = now + POLL_INTERVAL;
            pod.refresh(tables, now).await?;
        }
        if polls && is_master {
            let name = pod.name.clone();
            self.do_masters_work(&name, now).await?;
        }
        let Some(pod) = self.pods.get_mut(index) else { return Ok(()) };
        // A worker that becomes free takes the next job immediately; an idle server looks once per poll interval.
        if polls || has_finished {
            pod.take_jobs(&mut self.tables, n_workers, now).await?;
        }
        Ok(())
    }

    async fn do_masters_work(&mut self, name: &str, now: Timestamp) -> Result<(), sqlx::Error> {
        self.tables.clean_up(now - KEEP_JOBS, now).await?;
        let n_jobs = self.tables.enqueue_scheduled(now + POLL_INTERVAL, now).await?;
        if 0 < n_jobs {
            let text = format!("{name} is the master and enqueues {}", counted(n_jobs, "job"));
            self.state.record(now, Actor::Pods, text);
        }
        self.write_run(now).await
    }

    /// Removes pods whose jobs are done or whose time is over. Jobs that still run then are interrupted.
    async fn remove_stopped(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        for pod in &self.pods {
            let Phase::Stopping { until } = pod.phase else { continue };
            if !pod.jobs.is_empty() && now < until {
                continue;
            }
            for job in &pod.jobs {
                self.tables.retry_job(&job.id, now + FIRST_RETRY, now).await?;
            }
            self.state.jobs_interrupted(pod.jobs.len() as u64);
            self.tables.remove_server(&pod.server_id).await?;
        }
        self.pods.retain(|pod| match pod.phase {
            Phase::Stopping { until } => !pod.jobs.is_empty() && now < until,
            _ => true,
        });
        Ok(())
    }
}

impl Pod {
    async fn refresh(&self, tables: &mut Tables, now: Timestamp) -> Result<(), sqlx::Error> {
        tables.refresh_server(&self.server_id, now).await?;
        for job in &self.jobs {
            tables.refresh_job(&job.id, now).await?;
        }
        Ok(())
    }

    async fn finish_jobs(&mut self, tables: &mut Tables, now: Timestamp) -> Result<bool, sqlx::Error> {
        let n_before = self.jobs.len();
        for job in self.jobs.extract_if(.., |job| job.ends <= now) {
            tables.finish_job(&job.id, now).await?;
        }
        Ok(self.jobs.len() < n_before)
    }

    async fn take_jobs(&mut self, tables: &mut Tables, n_workers: usize, now: Timestamp) -> Result<(), sqlx::Error> {
        let n_free = n_workers.saturating_sub(self.jobs.len());
        if n_free == 0 {
            return Ok(());
        }
        for id in tables.take_jobs(n_free, now).await? {
            let ends = now + duration_of(&id);
            self.jobs.push(RunningJob { id, ends });
        }
        Ok(())
    }
}

/// Jobs take up to [`LONGEST_JOB`], in four lengths, so that they do not all end at once.
fn duration_of(id: &str) -> SignedDuration {
    let last_digit = id.chars().last().and_then(|digit| digit.to_digit(16)).unwrap_or_default();
    LONGEST_JOB - SignedDuration::from_secs(i64::from(last_digit % 4) * 2)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
