//! Pods whose cost the API server does not let us write. Each is tried again after a time of its own, so that one pod that a webhook
//! rejects, or one namespace without rights, does not keep the others from being protected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::cluster::ClusterError;
use super::order::Change;
use super::pods::{Pod, PodKey, Pods};
use super::store::{RETRIES, varied};

/// The longest time until a pod is tried again. What refuses it may be a webhook that was away for a while.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The pods, with what the API server said.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<PodKey, Refusal>);

#[derive(Debug)]
struct Refusal {
    uid: Arc<str>,
    error: ClusterError,
    wait: Duration,
    until: Instant,
}

impl Refusals {
    /// Records an error. Logs it unless the API server says the same of another pod of the namespace.
    pub(super) fn record(&mut self, pod: &Pod, error: ClusterError) {
        let key = pod.key();
        let is_same = |known: &ClusterError| std::mem::discriminant(known) == std::mem::discriminant(&error);
        if !self.0.iter().any(|(other, refusal)| other.0 == key.0 && is_same(&refusal.error)) {
            warn!(
                namespace = &*key.0,
                pod = &*key.1,
                "{error}; the deletion cost of this pod stays as it is, and perhaps those of others in its namespace"
            );
        }
        let wait = self.0.get(&key).map_or(RETRIES.start, |known| known.wait.saturating_mul(2).min(LONGEST_WAIT));
        let until = Instant::now() + varied(wait);
        self.0.insert(key, Refusal { uid: Arc::clone(&pod.uid), error, wait, until });
    }

    /// Forgets a pod that was written.
    pub(super) fn end(&mut self, pod: &Pod) {
        self.0.remove(&pod.key());
    }

    /// Forgets pods that are gone.
    pub(super) fn retain(&mut self, pods: &Pods) {
        self.0.retain(|key, refusal| pods.get(key).is_some_and(|pod| pod.uid == refusal.uid));
    }

    /// Orders changes: those of pods that were not refused come first. Returns the ones that can be tried now, and when the first of
    /// the others can.
    pub(super) fn due(&self, changes: Vec<Change>) -> (Vec<Change>, Option<Instant>) {
        let now = Instant::now();
        let (refused, mut due): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| self.0.contains_key(&change.pod));
        let until = |change: &Change| self.0.get(&change.pod).map_or(now, |refusal| refusal.until);
        let next = refused.iter().map(until).filter(|until| now < *until).min();
        due.extend(refused.into_iter().filter(|change| until(change) <= now));
        (due, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protect::pods::Cost;

    fn pod(name: &str, uid: &str) -> Pod {
        Pod {
            namespace: "shop".into(),
            name: name.into(),
            uid: uid.into(),
            replica_set: None,
            cost: Cost::None,
            is_terminating: false,
        }
    }

    fn due(refusals: &Refusals) -> (Vec<String>, Option<Duration>) {
        let change = |name: &str| Change { pod: pod(name, "").key(), cost: Some(100), urgency: 1 };
        let (due, next) = refusals.due(["a", "b", "c"].map(change).to_vec());
        (due.iter().map(|change| change.pod.1.to_string()).collect(), next.map(|next| next - Instant::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn refused_pod_waits_longer_each_time_and_comes_last() {
        let mut refusals = Refusals::default();
        assert_eq!(due(&refusals), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], None));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            refusals.record(&pod("a", "1"), ClusterError::Rejected("no".to_owned()));
            let (now, next) = due(&refusals);
            assert_eq!(now, ["b", "c"]);
            let (expected, next) = (Duration::from_secs(seconds), next.unwrap());
            assert!(expected.mul_f64(0.75) <= next && next <= expected.mul_f64(1.25), "{seconds}: {next:?}");
            tokio::time::advance(next).await;
            assert_eq!(due(&refusals), (vec!["b".to_owned(), "c".to_owned(), "a".to_owned()], None));
        }
        // Another pod of the same name.
        let pods = |uid| [pod("a", uid)].map(|pod| (pod.key(), pod)).into_iter().collect();
        refusals.retain(&pods("1"));
        assert_eq!(due(&refusals).0, ["b", "c", "a"]);
        refusals.retain(&pods("2"));
        assert_eq!(due(&refusals).0, ["a", "b", "c"]);
        refusals.record(&pod("a", "2"), ClusterError::Rejected("no".to_owned()));
        refusals.end(&pod("a", "2"));
        assert_eq!(due(&refusals).0, ["a", "b", "c"]);
    }
}
