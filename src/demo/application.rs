//! A stand-in for an application with JobRunr: a client that makes jobs, and pods whose workers process them.
//!
//! Every write is one that JobRunr makes, at the time at which JobRunr makes it: a server announces itself and sends
//! heartbeats, the oldest one is the master and enqueues what is scheduled up to a poll interval early, each takes as
//! many jobs as it has free workers and says of those that it is still at them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::board::{Board, Who};
use super::database::{Database, uuid};
use super::recurring;
use super::work::Work;
use crate::clock::Clock;

/// Jobs that a pod runs at once.
pub(super) const WORKERS_A_POD: usize = 4;
/// The shortest that JobRunr allows.
const POLL_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// From the creation of a pod until its server announces itself: a JVM that starts. It is longer than the HPA's period, so
/// that the HPA does not take pods for full that have just begun.
const STARTUP: SignedDuration = SignedDuration::from_secs(20);
/// How long a server that stops waits for its jobs (`interruptJobsAwaitDurationOnStop`).
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// JobRunr's first retry comes after three seconds.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(3);
/// How long jobs that are done stay, and then deleted ones: shorter than JobRunr's defaults, since time runs fast here.
const KEEP_JOBS: SignedDuration = SignedDuration::from_hours(1);
/// Servers' ids begin here, far from the jobs'.
const SERVER_IDS: u64 = 1 << 40;
/// And those of a recurring job's runs here.
const RUN_IDS: u64 = 1 << 41;
/// How often the stand-in looks at its pods.
const STEP: Duration = Duration::from_millis(500);
/// Faster than this no step can be.
const SHORTEST_STEP: Duration = Duration::from_millis(5);

/// The application and its pods.
pub(super) struct Application {
    database: Database,
    clock: Clock,
    board: Arc<Board>,
    work: Work,
    pods: Vec<Pod>,
    n_pods_made: u64,
    n_jobs_made: u64,
    start: Timestamp,
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
    pub(super) fn new(database: Database, clock: Clock, board: Arc<Board>, work: Work, start: Timestamp) -> Self {
        let pods = Vec::new();
        Self { database, clock, board, work, pods, n_pods_made: 0, n_jobs_made: 0, start, has_recurring: false }
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
        self.make_work(now).await?;
        self.define_recurring(now).await?;
        self.scale(now);
        for place in 0..self.pods.len() {
            self.step_pod(place, now).await?;
        }
        self.remove_stopped(now).await?;
        let counts = self.database.counts().await?;
        let n_ready = self.pods.iter().filter(|pod| pod.phase == Phase::Ready).count();
        let n_workers = (n_ready * WORKERS_A_POD) as u64;
        self.board.observe(now, count(self.pods.len()), count(n_ready), n_workers, counts);
        Ok(())
    }

    async fn make_work(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        let Some(batch) = self.work.due(now) else { return Ok(()) };
        let scheduled_at = batch.due_in.map(|due_in| now + due_in);
        self.database.create_jobs(self.n_jobs_made, batch.n_jobs, scheduled_at, now).await?;
        self.n_jobs_made += batch.n_jobs;
        self.board.made(now, batch.n_jobs, scheduled_at.unwrap_or(now));
        self.board.tell(now, Who::Application, batch.to_string());
        Ok(())
    }

    async fn define_recurring(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        if self.has_recurring || now < recurring::defined_at(self.start) {
            return Ok(());
        }
        self.has_recurring = true;
        let schedule = recurring::schedule(self.start);
        self.database.define_recurring(recurring::ID, &schedule, now).await?;
        self.board.tell(now, Who::Application, format!("defines the recurring job {}, cron {schedule}", recurring::ID));
        Ok(())
    }

    /// The master makes sure that the recurring job has a next run.
    async fn write_run(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        let Some(schedule) = self.database.schedule_without_run(recurring::ID).await? else { return Ok(()) };
        let Some(at) = recurring::next_run(&schedule, now) else { return Ok(()) };
        self.n_jobs_made += 1;
        self.database.write_run(RUN_IDS + self.n_jobs_made, recurring::ID, at, now).await?;
        if !self.board.planned_run(at) {
            return Ok(());
        }
        let due = at.duration_since(self.start).as_secs();
        let text = format!("the master writes the next run of {}, for {:02}:{:02}", recurring::ID, due / 60, due % 60);
        self.board.tell(now, Who::Pods, text);
        Ok(())
    }

    /// What a Deployment does: creates pods, or takes away the newest.
    fn scale(&mut self, now: Timestamp) {
        let wanted = self.board.replicas().spec as usize;
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

    async fn step_pod(&mut self, place: usize, now: Timestamp) -> Result<(), sqlx::Error> {
        let is_master = self.pods.iter().position(|pod| pod.phase == Phase::Ready) == Some(place);
        let Some(pod) = self.pods.get_mut(place) else { return Ok(()) };
        let database = &mut self.database;
        if matches!(pod.phase, Phase::Starting { until } if until <= now) {
            let seconds = POLL_INTERVAL.as_secs();
            database.announce_server(&pod.server_id, &pod.name, WORKERS_A_POD, seconds, now).await?;
            pod.phase = Phase::Ready;
            pod.next_poll = now;
        }
        let has_finished = pod.finish_jobs(database, now).await?;
        if pod.phase != Phase::Ready {
            return Ok(());
        }
        let polls = pod.next_poll <= now;
        if polls {
            pod.next_poll = now + POLL_INTERVAL;
            pod.refresh(database, now).await?;
        }
        if polls && is_master {
            database.clean_up(now - KEEP_JOBS, now).await?;
            let n_jobs = database.enqueue_scheduled(now + POLL_INTERVAL, now).await?;
            if 0 < n_jobs {
                self.board.tell(now, Who::Pods, format!("{} is the master and enqueues {n_jobs} jobs", pod.name));
            }
        }
        if polls && is_master {
            self.write_run(now).await?;
        }
        let Some(pod) = self.pods.get_mut(place) else { return Ok(()) };
        let database = &mut self.database;
        // A worker that comes free takes the next job at once; an idle server looks each poll interval.
        if polls || has_finished {
            pod.take_jobs(database, now).await?;
        }
        Ok(())
    }

    /// Lets go of pods whose jobs are done or whose time is over. What still runs then is cut.
    async fn remove_stopped(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        for pod in &self.pods {
            let Phase::Stopping { until } = pod.phase else { continue };
            if !pod.jobs.is_empty() && now < until {
                continue;
            }
            for job in &pod.jobs {
                self.database.retry_job(&job.id, now + FIRST_RETRY, now).await?;
            }
            self.board.cut(pod.jobs.len() as u64);
            self.database.remove_server(&pod.server_id).await?;
        }
        self.pods.retain(|pod| match pod.phase {
            Phase::Stopping { until } => !pod.jobs.is_empty() && now < until,
            _ => true,
        });
        Ok(())
    }
}

impl Pod {
    async fn refresh(&self, database: &mut Database, now: Timestamp) -> Result<(), sqlx::Error> {
        database.refresh_server(&self.server_id, now).await?;
        for job in &self.jobs {
            database.refresh_job(&job.id, now).await?;
        }
        Ok(())
    }

    async fn finish_jobs(&mut self, database: &mut Database, now: Timestamp) -> Result<bool, sqlx::Error> {
        let n_before = self.jobs.len();
        for job in self.jobs.extract_if(.., |job| job.ends <= now) {
            database.finish_job(&job.id, now).await?;
        }
        Ok(self.jobs.len() < n_before)
    }

    async fn take_jobs(&mut self, database: &mut Database, now: Timestamp) -> Result<(), sqlx::Error> {
        let n_free = WORKERS_A_POD.saturating_sub(self.jobs.len());
        if n_free == 0 {
            return Ok(());
        }
        for id in database.take_jobs(n_free, now).await? {
            let ends = now + duration_of(&id);
            self.jobs.push(RunningJob { id, ends });
        }
        Ok(())
    }
}

/// Jobs take from 15 to 21 seconds, so that they do not all end at once.
fn duration_of(id: &str) -> SignedDuration {
    let last_digit = id.chars().last().and_then(|digit| digit.to_digit(16)).unwrap_or_default();
    SignedDuration::from_secs(15 + i64::from(last_digit % 4) * 2)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
