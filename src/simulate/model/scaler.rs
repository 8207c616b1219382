//! KEDA, the HPA, and the scaler that answers them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::Model;
use super::events::Event;
use super::jobs::millis;
use super::running::server_id;
use crate::jobrunr::{
    Count, DEFAULT_HEARTBEAT_MULTIPLICAND, Filter, LastSeenServers, Questions, Queue, Server, Snapshot,
};
use crate::kubernetes::hpa::{Hpa, MetricReading, Replicas, SYNC_PERIOD};
use crate::kubernetes::keda::{KedaState, TriggerAnswer};
use crate::scaling::{Decision, decide};
use crate::simulate::policy::ScaledPolicy;
use crate::simulate::{Millis, Phases, Settings};

/// The instant at which every simulation starts: 2026-01-01T00:00:00Z, in milliseconds. A whole second, as KEDA rounds to those.
const START: Millis = 1_767_225_600_000;
/// Tells the seed of the phases from that of the pods.
const PHASES: u64 = 0x9e37_79b9;
/// From one sync of the HPA to the next: 15 s, and what the work takes. Seen with Kubernetes 1.36 and KEDA 2.20. That little counts:
/// without `behavior`, a recommendation that is exactly five minutes old keeps pods for another sync.
const SYNC_INTERVAL: Millis = 15_020;
/// So many rising edges are pushed at once; then one per interval. As the scaler's streams do it.
const EDGES_AT_ONCE: Millis = 5;
const EDGE_INTERVAL: Millis = 30_000;

/// KEDA and the HPA with the state of one ScaledObject.
pub(super) struct Scaler {
    policy: ScaledPolicy,
    questions: Questions,
    look_aheads: Vec<SignedDuration>,
    keda: KedaState,
    hpa: Hpa,
    /// The computed targets of triggers without a stream, as they were when KEDA reconciled the ScaledObject.
    fixed_targets: Vec<Option<f64>>,
    /// What each trigger answered at KEDA's last poll.
    polled: Vec<Option<Decision>>,
    last_seen_servers: LastSeenServers,
    /// Whether a target depends on the servers that were seen.
    remembers_servers: bool,
    streams: Vec<Stream>,
    /// When the scaler reads next because of its streams.
    next_read: Option<Millis>,
    last_read: Millis,
}

/// The stream of a trigger.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// Whether `true` was pushed since the trigger became active.
    is_pushed: bool,
    /// When `true` is pushed again if the trigger stays active.
    repeats_at: Millis,
    /// Until when edges are used up.
    edges_until: Millis,
}

impl Scaler {
    pub(super) fn new(policy: &ScaledPolicy, settings: &Settings) -> Self {
        let bounds = policy.rules.bounds;
        Self {
            questions: policy.questions(),
            look_aheads: policy.look_aheads(),
            keda: KedaState::new(policy.rules.clone(), instant(0)),
            hpa: Hpa::new(bounds.hpa_min(), bounds.max, policy.behavior.clone()),
            fixed_targets: vec![None; policy.triggers.len()],
            polled: vec![None; policy.triggers.len()],
            last_seen_servers: LastSeenServers::default(),
            remembers_servers: policy.triggers.iter().any(|trigger| trigger.trigger.target.is_auto()),
            streams: vec![Stream::default(); policy.triggers.len()],
            next_read: None,
            last_read: -settings.refresh,
            policy: policy.clone(),
        }
    }

    pub(super) fn cooldown(&self) -> Millis {
        millis(self.policy.rules.cooldown)
    }

    pub(super) fn polling_interval(&self) -> Millis {
        millis(self.policy.rules.polling_interval)
    }

    /// Whether a trigger asks how much work jobs are.
    pub(super) fn wants_work(&self) -> bool {
        self.questions.want_work()
    }

    pub(super) fn look_aheads(&self) -> Vec<SignedDuration> {
        self.look_aheads.clone()
    }

    fn has_streams(&self) -> bool {
        self.policy.triggers.iter().any(|trigger| trigger.pushes)
    }

    /// Whether all streams have pushed, and running jobs keep their triggers active.
    fn is_kept_active(&self) -> bool {
        let mut streams = self.policy.triggers.iter().zip(&self.streams).filter(|(trigger, _)| trigger.pushes);
        streams.all(|(trigger, stream)| stream.is_pushed && trigger.trigger.keep_while_processing)
    }

    /// Answers a trigger. The model's snapshots have no errors.
    fn decide(&self, index: usize, snapshot: &Snapshot) -> Option<Decision> {
        decide(&self.policy.triggers[index].trigger, snapshot, snapshot.read_at).ok()
    }

    /// KEDA reconciles the ScaledObject, and gives the HPA its targets. Only those of streams may change later.
    fn reconcile(&mut self, snapshot: &Snapshot) {
        for index in 0..self.policy.triggers.len() {
            let trigger = &self.policy.triggers[index];
            if trigger.trigger.target.is_auto() && !trigger.pushes {
                self.fixed_targets[index] = self.decide(index, snapshot).map(|decision| decision.target);
            }
        }
    }
}

impl Stream {
    /// Returns when a rising edge may be pushed.
    fn next_edge(&self) -> Millis {
        self.edges_until - EDGE_INTERVAL * (EDGES_AT_ONCE - 1)
    }

    /// Returns whether to push now that the trigger is active.
    fn pushes(&mut self, now: Millis, repeat: Millis) -> bool {
        if now < self.next_push() {
            return false;
        }
        if !self.is_pushed {
            self.edges_until = self.edges_until.max(now) + EDGE_INTERVAL;
        }
        self.is_pushed = true;
        self.repeats_at = now + repeat;
        true
    }

    /// Returns when `true` is pushed next if the trigger is active.
    fn next_push(&self) -> Millis {
        if self.is_pushed { self.repeats_at } else { self.next_edge() }
    }
}

/// When KEDA polls and the HPA syncs first. The same for all policies of a seed, whatever else they draw: they must not differ by luck.
fn first_poll_and_sync(polling_interval: Millis, settings: &Settings) -> (Millis, Millis) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(settings.seed.wrapping_add(PHASES));
    let mut within = |interval: Millis| (interval as f64 * random.random::<f64>()) as Millis;
    match settings.phases {
        Phases::Random => (within(polling_interval), within(millis(SYNC_PERIOD))),
        Phases::Fixed { poll, sync } => (poll, sync),
    }
}

impl Model<'_> {
    pub(super) fn start_scaler(&mut self) {
        let Some(scaler) = &self.scaler else { return };
        let (poll, sync) = first_poll_and_sync(scaler.polling_interval(), self.settings);
        self.events.add(poll, Event::KedaPolls);
        self.events.add(sync, Event::HpaSyncs);
        if let (Some(snapshot), Some(scaler)) = (self.snapshot(), self.scaler.as_mut()) {
            scaler.reconcile(&snapshot);
        }
        self.storage_changed();
    }

    /// What the scaler reads at this instant.
    fn snapshot(&mut self) -> Option<Snapshot> {
        let running = self.scaler.as_ref()?.questions.want_running().then(|| self.running_jobs());
        let scaler = self.scaler.as_mut()?;
        let (now, limit) = (self.now, self.settings.count_limit);
        let read_at = instant(now);
        let count = |n: u64| match limit {
            Some(limit) if limit < n => Count { n_jobs: limit, limited: true },
            _ => Count { n_jobs: n, limited: false },
        };
        let stale_before = now - self.settings.heartbeat_timeout() - 1;
        let processing = self.jobs.n_processing();
        let stale = self.jobs.n_orphans_since(stale_before) + self.pods.stale_runs(stale_before).len() as u64;
        let mut queue = Queue {
            enqueued: count(self.jobs.n_enqueued()),
            oldest_enqueued_at: self.jobs.oldest_enqueued_at().map(instant),
            processing: count(processing),
            processing_alive: count(processing - stale),
            ..Queue::default()
        };
        for (index, look_ahead) in scaler.look_aheads.iter().enumerate() {
            let (within, next) = self.jobs.scheduled_within(index, now);
            queue.scheduled.insert(*look_ahead, count(within));
            queue.awaiting.insert(*look_ahead, Count::default());
            queue.next_scheduled_at.extend(next.map(|next| (*look_ahead, instant(next))));
        }
        if let Some(learnt) = &self.learnt {
            let longest = scaler.look_aheads.iter().max().map_or(0, |longest| millis(*longest));
            (queue.waiting, queue.due) = (learnt.waiting(&self.jobs), learnt.due(&self.jobs, now + longest));
        }
        let poll_interval = SignedDuration::from_millis(self.settings.heartbeat_interval());
        let workers = self.settings.workers_per_pod.into();
        let server = |number: u32, heartbeat: Millis| Server {
            id: server_id(number),
            worker_pool_size: workers,
            poll_interval,
            last_heartbeat: instant(heartbeat),
            ..Server::default()
        };
        let mut snapshot = Snapshot {
            servers: self.pods.servers().map(|(number, pod)| server(number, pod.heartbeat)).collect(),
            queues: BTreeMap::from([(Filter::default(), Ok(queue))]),
            service_times: self.learnt.as_mut().map(|learnt| learnt.service_times(now)),
            running,
            ..Snapshot::empty(read_at, DEFAULT_HEARTBEAT_MULTIPLICAND)
        };
        if scaler.remembers_servers {
            scaler.last_seen_servers.update(&snapshot);
            snapshot.last_seen_servers = scaler.last_seen_servers.clone();
        }
        Some(snapshot)
    }

    pub(super) fn keda_polls(&mut self) {
        let (Some(snapshot), Some(scaler)) = (self.snapshot(), self.scaler.as_mut()) else { return };
        let decisions: Vec<_> =
            (0..scaler.policy.triggers.len()).map(|index| scaler.decide(index, &snapshot)).collect();
        let answer = |decision: &Option<Decision>| match decision {
            Some(decision) if decision.active => TriggerAnswer::Active,
            Some(_) => TriggerAnswer::Inactive,
            None => TriggerAnswer::Failed,
        };
        let answers: Vec<TriggerAnswer> = decisions.iter().map(answer).collect();
        scaler.polled = decisions;
        let replicas = scaler.keda.poll(snapshot.read_at, self.replicas, &answers).replicas;
        let next = self.now + millis(scaler.policy.rules.polling_interval).max(1);
        self.events.add(next, Event::KedaPolls);
        self.set_replicas(replicas);
    }

    pub(super) fn hpa_syncs(&mut self) {
        self.events.add(self.now + SYNC_INTERVAL, Event::HpaSyncs);
        let ready = self.pods.n_ready(self.settings.readiness);
        let replicas = Replicas { spec: self.replicas, status: self.pods.n_active(), ready };
        let Some(scaler) = self.scaler.as_mut() else { return };
        if replicas.spec == 0 {
            // It reads no metrics, but sees the workload.
            scaler.hpa.sync(instant(self.now), replicas, &[]);
            return;
        }
        let (Some(snapshot), Some(scaler)) = (self.snapshot(), self.scaler.as_mut()) else { return };
        let mut readings = Vec::with_capacity(scaler.policy.triggers.len());
        for index in 0..scaler.policy.triggers.len() {
            let trigger = &scaler.policy.triggers[index];
            let metric_type = trigger.metric_type;
            let cached = scaler.polled[index].clone().filter(|_| trigger.cached);
            let reading = match cached.or_else(|| scaler.decide(index, &snapshot)) {
                Some(Decision { target, value, .. }) => {
                    let target = scaler.fixed_targets[index].unwrap_or(target);
                    MetricReading { metric_type, target, value: Some(value) }
                }
                None => MetricReading { metric_type, target: f64::NAN, value: None },
            };
            readings.push(scaler.keda.hpa_reading(index, reading, replicas));
        }
        let replicas = scaler.hpa.sync(snapshot.read_at, replicas, &readings).replicas;
        self.set_replicas(replicas);
    }

    /// Something has changed in the storage. The scaler reads it if a stream waits for that, at once if its last read is not recent.
    pub(super) fn storage_changed(&mut self) {
        let Some(scaler) = &self.scaler else { return };
        if scaler.has_streams() && !(0 < self.jobs.n_processing() && scaler.is_kept_active()) {
            self.read_at(scaler.last_read + self.settings.refresh);
        }
    }

    fn read_at(&mut self, at: Millis) {
        let (at, Some(scaler)) = (at.max(self.now), self.scaler.as_mut()) else { return };
        if scaler.next_read.is_none_or(|next| at < next) {
            scaler.next_read = Some(at);
            self.events.add(at, Event::ScalerReads);
        }
    }

    /// The scaler reads its storage and pushes rising edges.
    pub(super) fn scaler_reads(&mut self) {
        let Some(scaler) = self.scaler.as_mut().filter(|scaler| scaler.next_read == Some(self.now)) else { return };
        scaler.next_read = None;
        scaler.last_read = self.now;
        let Some(snapshot) = self.snapshot() else { return };
        let mut wakes = false;
        let mut reads_again = None;
        let Some(scaler) = self.scaler.as_mut() else { return };
        for index in 0..scaler.policy.triggers.len() {
            if !scaler.policy.triggers[index].pushes {
                continue;
            }
            let active = scaler.decide(index, &snapshot).is_some_and(|decision| decision.active);
            let stream = &mut scaler.streams[index];
            if active {
                wakes |= stream.pushes(self.now, self.settings.push_repeat);
                reads_again = Some(reads_again.map_or(stream.next_push(), |at: Millis| at.min(stream.next_push())));
            } else {
                stream.is_pushed = false;
            }
        }
        if wakes {
            let replicas = scaler.keda.push_true(snapshot.read_at, self.replicas).replicas;
            self.set_replicas(replicas);
        }
        self.plan_read(&snapshot, reads_again);
    }

    /// Plans the next read: while jobs wait or run, as often as the scaler reads; otherwise when time alone changes something.
    fn plan_read(&mut self, snapshot: &Snapshot, reads_again: Option<Millis>) {
        let Some(scaler) = &self.scaler else { return };
        let has_work = 0 < self.jobs.n_enqueued() + self.jobs.n_processing();
        let is_busy = has_work && !(0 < self.jobs.n_processing() && scaler.is_kept_active());
        let at_refresh = is_busy.then_some(self.now + self.settings.refresh);
        let by_time = snapshot.next_change(&scaler.questions).map(|at| at.as_millisecond() - START);
        let by_time = by_time.map(|at| at.max(self.now + self.settings.refresh));
        let next = [at_refresh, by_time, reads_again].into_iter().flatten().min();
        if let Some(next) = next {
            self.read_at(next.max(self.now + 1));
        }
    }
}

/// An instant of the simulation as a time.
pub(super) fn instant(now: Millis) -> Timestamp {
    Timestamp::from_millisecond(START.saturating_add(now)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flickering_trigger_is_pushed_five_times_at_once_and_then_once_per_30_seconds() {
        let mut stream = Stream::default();
        let mut pushed = Vec::new();
        for second in 100..300 {
            let now = second * 1000;
            stream.is_pushed = false;
            if stream.pushes(now, 1000) {
                pushed.push(second);
            }
        }
        assert_eq!(pushed, [100, 101, 102, 103, 104, 130, 160, 190, 220, 250, 280]);
    }
}
