//! Parsed triggers, found by what KEDA sends of them.
//!
//! KEDA sends the same metadata with every call. Parsing them takes longer than deciding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;

use super::proto::ScaledObjectRef;
use crate::jobrunr::Snapshot;
use crate::metrics::TriggerId;
use crate::scaling::{Decision, ScaledObjectKey, Trigger};

/// Cached triggers: those of a thousand ScaledObjects, with room to spare.
const MAX_TRIGGERS: usize = 4_096;
/// The encoded references of all cached triggers. A usual one has 150 bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// A larger reference is not cached, so that few cannot fill the cache.
const MAX_REFERENCE_BYTES: usize = 1_024;
/// A trigger that was not asked for this long makes room for another. KEDA asks every 30 s by default.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a full cache is searched for unused triggers, so that it costs little however many references do not fit.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A trigger of a ScaledObject, and what is derived from it once. Warnings are taken out of it.
#[derive(Debug)]
pub(super) struct NamedTrigger {
    pub(super) key: ScaledObjectKey,
    pub(super) trigger: Trigger,
    pub(super) id: TriggerId,
    pub(super) last: LastAnswer,
}

/// What KEDA gets of a decision. Its reasons go elsewhere: thousands of triggers would keep them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// The metric's value, in its own unit.
    pub(super) value: f64,
    /// Whether KEDA keeps the workload running.
    pub(super) active: bool,
}

impl From<&Decision> for Answer {
    fn from(&Decision { value, active, .. }: &Decision) -> Self {
        Self { value, active }
    }
}

/// The latest answer of a trigger, and the snapshot that it was decided from. As long as that is the latest one, the answer is the
/// same. Keeps no snapshot alive.
#[derive(Debug, Default)]
pub(super) struct LastAnswer(Mutex<Option<(Weak<Snapshot>, Answer)>>);

impl LastAnswer {
    /// Returns the answer that was decided from this snapshot, if that was the latest.
    pub(super) fn of(&self, snapshot: &Arc<Snapshot>) -> Option<Answer> {
        let last = self.last();
        let (of, answer) = last.as_ref()?;
        // No other snapshot can be at the place of one that a weak reference exists to.
        std::ptr::eq(of.as_ptr(), Arc::as_ptr(snapshot)).then_some(*answer)
    }

    /// Remembers an answer.
    pub(super) fn set(&self, snapshot: &Arc<Snapshot>, answer: Answer) {
        *self.last() = Some((Arc::downgrade(snapshot), answer));
    }

    /// Forgets it, so that the next decision is recorded.
    pub(super) fn forget(&self) {
        *self.last() = None;
    }

    fn last(&self) -> MutexGuard<'_, Option<(Weak<Snapshot>, Answer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parsed triggers, by reference. A trigger depends on nothing else: storages and their changes are looked up with every call.
///
/// A full cache keeps what it has as long as that is asked for. A client that changes its metadata with every call therefore
/// neither grows it nor displaces the triggers of others; its own are parsed with every call.
#[derive(Debug, Default)]
pub(super) struct TriggerCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    /// By the encoded reference, whose maps are in order.
    triggers: HashMap<Box<[u8]>, (Arc<NamedTrigger>, Instant)>,
    /// The length of all encoded references.
    n_bytes: usize,
    swept_at: Option<Instant>,
}

impl TriggerCache {
    /// Returns the trigger of a reference: the cached one, else the one that `parse` returns, which is cached if there is room.
    ///
    /// # Errors
    /// The error of `parse`, which is not cached.
    pub(super) fn get_or_parse<E>(
        &self,
        reference: &ScaledObjectRef,
        parse: impl FnOnce() -> Result<NamedTrigger, E>,
    ) -> Result<Arc<NamedTrigger>, E> {
        if MAX_REFERENCE_BYTES < reference.encoded_len() {
            return parse().map(Arc::new);
        }
        let encoded = reference.encode_to_vec();
        let now = Instant::now();
        if let Some(trigger) = self.cached().get(&encoded, now) {
            return Ok(trigger);
        }
        let trigger = Arc::new(parse()?);
        self.cached().insert(encoded.into(), &trigger, now);
        Ok(trigger)
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    fn get(&mut self, encoded: &[u8], now: Instant) -> Option<Arc<NamedTrigger>> {
        let (trigger, used_at) = self.triggers.get_mut(encoded)?;
        *used_at = now;
        Some(Arc::clone(trigger))
    }

    fn insert(&mut self, encoded: Box<[u8]>, trigger: &Arc<NamedTrigger>, now: Instant) {
        if !self.has_room(encoded.len()) {
            self.sweep(now);
        }
        // Two calls may have parsed it at the same time.
        if self.has_room(encoded.len()) && !self.triggers.contains_key(&encoded) {
            self.n_bytes += encoded.len();
            self.triggers.insert(encoded, (Arc::clone(trigger), now));
        }
    }

    fn has_room(&self, n_bytes: usize) -> bool {
        self.triggers.len() < MAX_TRIGGERS && self.n_bytes + n_bytes <= MAX_BYTES
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_none_or(|at| SWEEP_INTERVAL <= now.duration_since(at)) {
            self.swept_at = Some(now);
            self.triggers.retain(|_, (_, used_at)| now.duration_since(*used_at) < UNUSED_TIMEOUT);
            self.n_bytes = self.triggers.keys().map(|encoded| encoded.len()).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;
    use crate::metrics::Metrics;
    use crate::scaling::MetadataErrors;

    fn reference(name: &str, metadata: impl IntoIterator<Item = (String, String)>) -> ScaledObjectRef {
        let scaler_metadata = metadata.into_iter().collect();
        ScaledObjectRef { name: name.to_owned(), namespace: "shop".to_owned(), scaler_metadata }
    }

    fn demand(name: &str, target: &str) -> ScaledObjectRef {
        let metadata = [("metric", "demand"), ("targetValue", target)];
        reference(name, metadata.map(|(key, value)| (key.to_owned(), value.to_owned())))
    }

    fn parse(reference: &ScaledObjectRef) -> Result<NamedTrigger, MetadataErrors> {
        static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);
        let key = ScaledObjectKey::parse(&reference.namespace, &reference.name).unwrap();
        let metadata = reference.scaler_metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let trigger = Trigger::parse(metadata)?;
        Ok(NamedTrigger { id: METRICS.trigger_id(&key, &trigger), key, trigger, last: LastAnswer::default() })
    }

    /// Returns whether the cache had the trigger.
    fn is_cached(cache: &TriggerCache, reference: &ScaledObjectRef) -> bool {
        let mut is_parsed = false;
        let parse = || {
            is_parsed = true;
            parse(reference)
        };
        cache.get_or_parse(reference, parse).unwrap();
        !is_parsed
    }

    #[tokio::test(start_paused = true)]
    async fn cache_is_bounded_and_keeps_what_is_asked_for() {
        let cache = TriggerCache::default();
        let worker = demand("worker", "8");
        assert!(!is_cached(&cache, &worker) && is_cached(&cache, &worker));
        for n in 1..2 * MAX_TRIGGERS {
            // A hostile client: each call has other metadata.
            assert!(!is_cached(&cache, &demand("hostile", &n.to_string())));
        }
        assert_eq!(cache.cached().triggers.len(), MAX_TRIGGERS);
        for _ in 0..10 {
            advance(UNUSED_TIMEOUT / 2).await;
            assert!(is_cached(&cache, &worker), "it was asked for");
        }
        // Unused triggers make room.
        let other = demand("other", "8");
        assert!(!is_cached(&cache, &other) && is_cached(&cache, &other));
        assert_eq!(cache.cached().triggers.len(), 2);
    }

    #[test]
    fn cache_is_bounded_in_bytes() {
        let cache = TriggerCache::default();
        for n in 0..MAX_TRIGGERS {
            let mut long = demand(&format!("worker-{n}"), "8");
            long.scaler_metadata.insert("caCert".to_owned(), "x".repeat(900));
            is_cached(&cache, &long);
        }
        let cached = cache.cached();
        let n_bytes: usize = cached.triggers.keys().map(|encoded| encoded.len()).sum();
        assert_eq!(n_bytes, cached.n_bytes);
        assert!((MAX_BYTES - MAX_REFERENCE_BYTES..=MAX_BYTES).contains(&n_bytes), "{n_bytes}");
    }

    #[test]
    fn cache_holds_no_large_reference_and_no_error() {
        let cache = TriggerCache::default();
        let mut large = demand("worker", "8");
        large.scaler_metadata.insert("caCert".to_owned(), "x".repeat(MAX_REFERENCE_BYTES));
        assert!(!is_cached(&cache, &large) && !is_cached(&cache, &large));
        let invalid = demand("worker", "many");
        assert!(cache.get_or_parse(&invalid, || parse(&invalid)).is_err());
        assert!(cache.cached().triggers.is_empty());
    }

    prop_compose! {
        fn metadata()(
            metric in "demand|enqueued-count|worker-usage|other",
            target in "8|0.5|auto|",
            more in prop::collection::btree_map("scheduledIn|priority|serverTag|caCert|x", "PT5M|1|gpu|", 0..4),
        ) -> BTreeMap<String, String> {
            let mut all = more;
            all.extend([("metric".to_owned(), metric), ("targetValue".to_owned(), target)]);
            all
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever was asked before, a cached trigger is what a fresh parse returns.
        #[test]
        fn cached_trigger_equals_a_fresh_parse(
            asked in prop::collection::vec(("worker|other", metadata()), 1..12)
        ) {
            let cache = TriggerCache::default();
            for (name, metadata) in asked {
                let reference = reference(&name, metadata);
                let cached = cache.get_or_parse(&reference, || parse(&reference));
                match (cached, parse(&reference)) {
                    (Ok(cached), Ok(parsed)) => prop_assert_eq!((&cached.key, &cached.trigger), (&parsed.key, &parsed.trigger)),
                    (cached, parsed) => prop_assert_eq!(cached.err(), parsed.err()),
                }
            }
        }
    }
}
