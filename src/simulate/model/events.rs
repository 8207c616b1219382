//! The queue of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::simulate::Millis;

/// What happens at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A run of a job ends, if it still goes on.
    JobEnds { pod: u32, run: u64 },
    /// A server sends its heartbeat, fetches jobs and, if it is the master, does the master's work.
    ServerPolls { pod: u32 },
    /// A pod's server announces itself.
    ServerStarts { pod: u32 },
    /// A server that stops has waited long enough for its jobs.
    JobsAreInterrupted { pod: u32 },
    /// The grace period of a pod is over.
    PodIsKilled { pod: u32 },
    /// Scheduled jobs are due, for a poll interval of zero.
    JobsAreDue,
    /// KEDA polls the triggers.
    KedaPolls,
    /// The HPA reads the metrics.
    HpaSyncs,
    /// The scaler reads its storage and may push.
    ScalerReads,
}

/// Events by their time. Those of the same instant come in the order in which they were added.
#[derive(Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    n_added: u64,
}

impl Events {
    pub(super) fn add(&mut self, at: Millis, event: Event) {
        self.n_added += 1;
        self.heap.push(Reverse((at, self.n_added, event)));
    }

    pub(super) fn next_at(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// When an event comes first.
    #[cfg(test)]
    pub(super) fn first(&self, event: Event) -> Option<Millis> {
        self.heap.iter().filter(|Reverse((.., other))| *other == event).map(|Reverse((at, ..))| *at).min()
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((.., event))| event)
    }
}
