//! Which deletion costs have to change so that a ReplicaSet removes the pod first whose loss costs least.
//!
//! A ReplicaSet removes the pod with the lowest cost. A pod without running jobs has no cost, which counts as 0; any other has one
//! for its [class of loss](crate::jobrunr::loss_class). Costs that are in the right order stay as they are, whatever their numbers.

use super::pods::{Cost, PodKey};

/// Between the costs of two classes.
const COST_PER_CLASS: i32 = 100;
/// The classes: no job, and the powers of four of a 64-bit number.
const N_CLASSES: usize = 34;

/// A pod of a ReplicaSet, and what its loss would cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The pod.
    pub pod: PodKey,
    /// Its cost.
    pub cost: Cost,
    /// The class of what is lost with it; 0 if it runs no job.
    pub class: u32,
    /// Whether it may run jobs that are not known, so that its cost must not fall.
    pub in_doubt: bool,
}

/// A cost that has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pod.
    pub pod: PodKey,
    /// The cost; `None` removes it.
    pub cost: Option<i32>,
    /// How much is wrong without it, in classes. The largest comes first.
    pub urgency: u32,
}

/// Returns the cost of a class; `None` for pods without a job.
#[must_use]
pub fn cost_of(class: u32) -> Option<i32> {
    let class = i32::try_from(class).ok().filter(|class| 0 < *class)?;
    Some(class.saturating_mul(COST_PER_CLASS))
}

/// Returns the class that a cost stands for.
fn class_of(cost: i32) -> u32 {
    u32::try_from(cost.max(0).checked_div(COST_PER_CLASS).unwrap_or(0)).unwrap_or(0)
}

/// A pod while changes are collected.
struct Place<'a> {
    candidate: &'a Candidate,
    class: usize,
    cost: i32,
    wanted: i32,
}

impl Place<'_> {
    fn new(candidate: &Candidate) -> Option<Place<'_>> {
        let cost = match candidate.cost {
            Cost::None => 0,
            Cost::Ours(cost) => cost,
            Cost::Foreign => return None,
        };
        // In doubt its cost says what it was.
        let class = if candidate.in_doubt { candidate.class.max(class_of(cost)) } else { candidate.class };
        let class = class.min(u32::try_from(N_CLASSES).unwrap_or(u32::MAX).saturating_sub(1));
        let wanted = cost_of(class).unwrap_or(0);
        let wanted = if candidate.in_doubt { wanted.max(cost) } else { wanted };
        Some(Place { candidate, class: class as usize, cost, wanted })
    }

    /// How many classes its cost is away from what it wants.
    fn urgency(&self) -> u32 {
        u32::try_from(self.class).unwrap_or(0).abs_diff(class_of(self.cost))
    }

    fn change(&self) -> Option<Change> {
        let written = match self.candidate.cost {
            Cost::Ours(cost) => cost,
            Cost::None | Cost::Foreign => 0,
        };
        (self.cost != written).then(|| Change {
            pod: self.candidate.pod.clone(),
            cost: Some(self.cost).filter(|cost| *cost != 0),
            urgency: u32::try_from(self.class).unwrap_or(0).abs_diff(class_of(written)),
        })
    }
}

/// Returns the changes that put the costs of one ReplicaSet's pods in order: none while a pod with a higher class has a higher cost
/// than each pod with a lower one. The most urgent come first, and of those the ones that protect a pod.
#[must_use]
pub fn changes(candidates: &[Candidate]) -> Vec<Change> {
    let mut places: Vec<Place<'_>> = candidates.iter().filter_map(Place::new).collect();
    // Each round puts at least one pod right, and two pods that are right are in order.
    while let Some(limits) = Limits::violated(&places) {
        let wrong = |place: &Place<'_>| !limits.allow(place) && place.cost != place.wanted;
        let Some(worst) = places.iter().filter(|place| wrong(place)).map(Place::urgency).max() else { break };
        for place in places.iter_mut().filter(|place| wrong(place) && place.urgency() == worst) {
            place.cost = place.wanted;
        }
    }
    let mut changes: Vec<Change> = places.iter().filter_map(Place::change).collect();
    changes.sort_by(|a, b| {
        let key = |change: &Change| (change.urgency, change.cost);
        key(b).cmp(&key(a)).then_with(|| a.pod.cmp(&b.pod))
    });
    changes
}

/// For each class, the highest cost of the classes below it and the lowest of those above.
struct Limits {
    highest_below: [i64; N_CLASSES],
    lowest_above: [i64; N_CLASSES],
}

impl Limits {
    /// Returns the limits unless all costs are in order.
    fn violated(places: &[Place<'_>]) -> Option<Self> {
        let (mut highest, mut lowest) = ([i64::MIN; N_CLASSES], [i64::MAX; N_CLASSES]);
        for place in places {
            let cost = i64::from(place.cost);
            if let (Some(high), Some(low)) = (highest.get_mut(place.class), lowest.get_mut(place.class)) {
                *high = cost.max(*high);
                *low = cost.min(*low);
            }
        }
        let mut limits = Self { highest_below: [i64::MIN; N_CLASSES], lowest_above: [i64::MAX; N_CLASSES] };
        let mut so_far = i64::MIN;
        for (limit, highest) in limits.highest_below.iter_mut().zip(highest) {
            *limit = so_far;
            so_far = so_far.max(highest);
        }
        let mut so_far = i64::MAX;
        for (limit, lowest) in limits.lowest_above.iter_mut().zip(lowest).rev() {
            *limit = so_far;
            so_far = so_far.min(lowest);
        }
        let is_violated = places.iter().any(|place| !limits.allow(place));
        is_violated.then_some(limits)
    }

    /// Whether the pod's cost is above those of the classes below and below those of the classes above.
    fn allow(&self, place: &Place<'_>) -> bool {
        let cost = i64::from(place.cost);
        let below = self.highest_below.get(place.class).is_none_or(|limit| *limit < cost);
        let above = self.lowest_above.get(place.class).is_none_or(|limit| cost < *limit);
        below && above
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: usize, class: u32, cost: Cost, in_doubt: bool) -> Candidate {
        Candidate { pod: ("shop".into(), format!("pod-{number:02}").into()), cost, class, in_doubt }
    }

    /// Pods as classes and costs, of which 0 is none.
    fn plan(pods: &[(u32, i32)]) -> Vec<(usize, Option<i32>)> {
        let cost = |cost| if cost == 0 { Cost::None } else { Cost::Ours(cost) };
        let pods: Vec<Candidate> =
            pods.iter().enumerate().map(|(n, (class, written))| candidate(n, *class, cost(*written), false)).collect();
        changes(&pods).into_iter().map(|change| (change.pod.1[4..].parse().unwrap(), change.cost)).collect()
    }

    #[test]
    fn costs_are_written_only_when_the_order_changes() {
        let check =
            |pods: &[(u32, i32)], expected: &[(usize, Option<i32>)]| assert_eq!(plan(pods), expected, "{pods:?}");
        check(&[], &[]);
        // Nothing runs, or something runs everywhere.
        check(&[(0, 0), (0, 0)], &[]);
        check(&[(2, 0), (2, 0)], &[]);
        // A job starts.
        check(&[(0, 0), (1, 0)], &[(1, Some(100))]);
        // It goes on, and the order is what it was.
        check(&[(0, 0), (3, 100)], &[]);
        check(&[(0, 0), (3, 100), (5, 200)], &[]);
        // The one that lasts longer is above the other.
        check(&[(0, 0), (3, 100), (2, 100)], &[(1, Some(300))]);
        // It ends: where all pods are idle nothing is left to order.
        check(&[(0, 0), (0, 300)], &[]);
        check(&[(0, 300), (1, 0)], &[(0, None), (1, Some(100))]);
        check(&[(0, 300), (1, 100)], &[(0, None)]);
        // The most urgent come first, and of those the pods to protect.
        check(&[(5, 0), (1, 0), (0, 0), (0, 400)], &[(0, Some(500)), (3, None), (1, Some(100))]);
    }

    #[test]
    fn costs_do_not_fall_in_doubt_and_those_of_others_stay() {
        let doubtful = [candidate(0, 0, Cost::Ours(300), true), candidate(1, 1, Cost::None, true)];
        let pod = |number: usize| doubtful[number].pod.clone();
        assert_eq!(changes(&doubtful), []);
        let idle = candidate(2, 0, Cost::None, true);
        let all = [doubtful[0].clone(), doubtful[1].clone(), idle];
        assert_eq!(changes(&all), [Change { pod: pod(1), cost: Some(100), urgency: 1 }]);
        let foreign = [candidate(0, 0, Cost::Foreign, false), candidate(1, 1, Cost::None, false)];
        assert_eq!(changes(&foreign), []);
    }

    proptest! {
        /// After the changes a busier pod has a higher cost than a less busy one, a second plan is empty, and no cost has fallen
        /// in doubt.
        #[test]
        fn changes_put_costs_in_order(
            pods in prop::collection::vec((0_u32..6, prop::option::of(-50_i32..700), any::<bool>()), 0..20)
        ) {
            let mut pods: Vec<Candidate> = pods
                .into_iter()
                .enumerate()
                .map(|(n, (class, cost, in_doubt))| candidate(n, class, cost.map_or(Cost::None, Cost::Ours), in_doubt))
                .collect();
            let before = pods.clone();
            for change in changes(&pods) {
                let pod = pods.iter_mut().find(|pod| pod.pod == change.pod).unwrap();
                pod.cost = change.cost.map_or(Cost::None, Cost::Ours);
            }
            prop_assert_eq!(changes(&pods), vec![]);
            let number = |cost: Cost| match cost { Cost::Ours(cost) => cost, _ => 0 };
            for (pod, was) in pods.iter().zip(&before) {
                prop_assert!(!pod.in_doubt || number(was.cost) <= number(pod.cost), "{:?} {:?}", was, pod);
                for other in pods.iter().filter(|other| !pod.in_doubt && !other.in_doubt && pod.class < other.class) {
                    prop_assert!(number(pod.cost) < number(other.cost), "{:?} {:?}", pod, other);
                }
            }
        }
    }
}
