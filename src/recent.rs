//! What was decided recently: the latest decision about each trigger, and its last half hour. For people to look at; no answer
//! depends on it.
//!
//! Recording is on the way of every call. It formats nothing and, for a trigger that is known, allocates nothing.

mod course;
mod rejections;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use course::{COLUMN_SECONDS, Column, N_COLUMNS};
pub use rejections::Rejection;

use self::course::Course;
use self::rejections::Rejections;
use crate::metrics::TriggerId;
use crate::scaling::{Decision, ScaledObjectKey, Trigger};
use crate::text::printable;

/// Triggers that are remembered. Further ones are counted.
const MAX_TRIGGERS: usize = 1_000;
/// A trigger that was not asked for this long is forgotten.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(1_800);
/// How often to search for forgotten triggers while there are too many.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The longest text of a failure, in characters.
const MAX_TEXT: usize = 600;

/// What was decided recently. Clones share it.
#[derive(Clone)]
pub struct Recent(Option<Arc<Shared>>);

struct Shared {
    began: Instant,
    kept: Mutex<Kept>,
    /// Marked as changed whenever something is recorded and somebody waits for it.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Kept {
    triggers: HashMap<TriggerId, Remembered>,
    rejections: Rejections,
    n_dropped: u64,
    swept_at: Option<Instant>,
}

/// What is kept of a trigger.
struct Remembered {
    named: Arc<(ScaledObjectKey, Trigger)>,
    decision: Option<Decision>,
    decided_at: Option<Instant>,
    failure: Option<Arc<str>>,
    asked_at: Instant,
    course: Course,
}

/// A trigger that was asked for recently.
#[derive(Clone, Debug)]
pub struct RecentTrigger {
    /// Identifies it within this process.
    pub id: TriggerId,
    named: Arc<(ScaledObjectKey, Trigger)>,
    /// The latest decision; `None` if there was none yet.
    pub decision: Option<Decision>,
    /// How long ago that was.
    pub decision_age: Option<Duration>,
    /// Why the latest question has no answer; `None` if it has.
    pub failure: Option<Arc<str>>,
    /// How long ago it was last asked for.
    pub asked_age: Duration,
    /// Its last half hour, the oldest column first.
    pub columns: Vec<Column>,
}

impl RecentTrigger {
    /// The ScaledObject.
    #[must_use]
    pub fn key(&self) -> &ScaledObjectKey {
        &self.named.0
    }

    /// The trigger.
    #[must_use]
    pub fn trigger(&self) -> &Trigger {
        &self.named.1
    }
}

impl Recent {
    /// Remembers what is recorded.
    #[must_use]
    pub fn new() -> Self {
        Self(Some(Arc::new(Shared { began: Instant::now(), kept: Mutex::default(), changes: watch::Sender::new(()) })))
    }

    /// Remembers nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Records that a trigger exists, with its warnings. They are kept for triggers that are introduced only.
    pub fn introduce(&self, id: TriggerId, key: &ScaledObjectKey, trigger: &Trigger) {
        self.update(id, key, trigger, |known, _| {
            if known.named.1.warnings != trigger.warnings {
                known.named = Arc::new((key.clone(), trigger.clone()));
            }
        });
    }

    /// Records a decision.
    pub fn record(&self, id: TriggerId, key: &ScaledObjectKey, trigger: &Trigger, decision: &Decision) {
        self.update(id, key, trigger, |known, column| {
            match &mut known.decision {
                Some(last) => {
                    let Decision { value, target, active, truncated, ref reasons } = *decision;
                    (last.value, last.target, last.active, last.truncated) = (value, target, active, truncated);
                    // Into the memory of the last ones.
                    last.reasons.clone_from(reasons);
                }
                last => *last = Some(decision.clone()),
            }
            known.decided_at = Some(known.asked_at);
            known.failure = None;
            known.course.at(column).answer(decision.value / decision.target, decision.active);
        });
    }

    /// Records that a question has no answer, and why.
    pub fn record_failure(&self, id: TriggerId, key: &ScaledObjectKey, trigger: &Trigger, why: &str) {
        self.update(id, key, trigger, |known, column| {
            let is_same = known.failure.as_deref() == Some(why);
            if !is_same {
                known.failure = Some(printable(why, MAX_TEXT).into());
            }
            known.course.at(column).failed = true;
        });
    }

    /// Records a message on an activity stream.
    pub fn record_push(&self, id: TriggerId) {
        let Some(shared) = &self.0 else { return };
        let column = shared.column();
        if let Some(known) = shared.kept().triggers.get_mut(&id) {
            known.course.at(column).pushed = true;
        }
        shared.notify();
    }

    /// Records that a call was rejected, and why. The ScaledObject does not scale until that is put right.
    pub fn record_rejection(&self, key: &ScaledObjectKey, why: &str) {
        let Some(shared) = &self.0 else { return };
        shared.kept().rejections.record(key, why, Instant::now());
        shared.notify();
    }

    fn update(
        &self,
        id: TriggerId,
        key: &ScaledObjectKey,
        trigger: &Trigger,
        change: impl FnOnce(&mut Remembered, u64),
    ) {
        let Some(shared) = &self.0 else { return };
        let (now, column) = (Instant::now(), shared.column());
        {
            let mut kept = shared.kept();
            let Some(known) = kept.get_or_add(id, key, trigger, now, column) else { return };
            known.asked_at = now;
            change(known, column);
        }
        shared.notify();
    }

    /// Returns the triggers that were asked for within half an hour, in no order.
    #[must_use]
    pub fn triggers(&self) -> Vec<RecentTrigger> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let (now, column) = (Instant::now(), shared.column());
        let ids: Vec<TriggerId> = {
            let mut kept = shared.kept();
            kept.triggers.retain(|_, known| !known.is_unused(now));
            kept.triggers.keys().copied().collect()
        };
        // One by one, so that no call waits for more than one of them.
        ids.into_iter().filter_map(|id| Some(shared.kept().triggers.get(&id)?.at(id, now, column))).collect()
    }

    /// Returns the rejected calls of the last minutes, the latest first.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        self.0.as_ref().map(|shared| shared.kept().rejections.all(Instant::now())).unwrap_or_default()
    }

    /// Returns the number of records about triggers that are not remembered, because there are too many.
    #[must_use]
    pub fn n_dropped(&self) -> u64 {
        self.0.as_ref().map(|shared| shared.kept().n_dropped).unwrap_or_default()
    }

    /// Returns what changes whenever something is recorded; `None` if nothing is.
    #[must_use]
    pub fn changes(&self) -> Option<watch::Receiver<()>> {
        self.0.as_ref().map(|shared| shared.changes.subscribe())
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the present column.
    fn column(&self) -> u64 {
        self.began.elapsed().as_secs() / COLUMN_SECONDS
    }

    /// Costs nothing while nobody looks.
    fn notify(&self) {
        if 0 < self.changes.receiver_count() {
            self.changes.send_replace(());
        }
    }
}

impl Kept {
    /// Returns what is kept of a trigger; `None` if there are too many.
    fn get_or_add(
        &mut self,
        id: TriggerId,
        key: &ScaledObjectKey,
        trigger: &Trigger,
        now: Instant,
        column: u64,
    ) -> Option<&mut Remembered> {
        if !self.triggers.contains_key(&id) {
            if MAX_TRIGGERS <= self.triggers.len() {
                self.sweep(now);
            }
            if MAX_TRIGGERS <= self.triggers.len() {
                self.n_dropped += 1;
                return None;
            }
            // Perhaps the correction of a rejected one. If not, KEDA repeats its call within a minute.
            self.rejections.forget(key);
            let named = Arc::new((key.clone(), trigger.clone()));
            let course = Course::new(column);
            let new = Remembered { named, decision: None, decided_at: None, failure: None, asked_at: now, course };
            self.triggers.insert(id, new);
        }
        self.triggers.get_mut(&id)
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_none_or(|at| SWEEP_INTERVAL <= now.duration_since(at)) {
            self.swept_at = Some(now);
            self.triggers.retain(|_, known| !known.is_unused(now));
        }
    }
}

impl Remembered {
    fn is_unused(&self, now: Instant) -> bool {
        UNUSED_TIMEOUT <= now.duration_since(self.asked_at)
    }

    fn at(&self, id: TriggerId, now: Instant, column: u64) -> RecentTrigger {
        RecentTrigger {
            id,
            named: Arc::clone(&self.named),
            decision: self.decision.clone(),
            decision_age: self.decided_at.map(|at| now.duration_since(at)),
            failure: self.failure.clone(),
            asked_age: now.duration_since(self.asked_at),
            columns: self.course.until(column),
        }
    }
}
