//! What a trigger promises about waiting, and what is assumed to keep it.

use jiff::SignedDuration;

/// What a trigger promises about waiting, and what is assumed to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// How long after it is due a job may start; `None` for one worker per job, whatever that takes.
    pub max_latency: Option<SignedDuration>,
    /// How long a new pod takes until its server works.
    pub pod_start: SignedDuration,
    /// How long a job runs; `None` to learn it from finished jobs.
    pub service_time: Option<SignedDuration>,
}

impl Default for Promise {
    fn default() -> Self {
        Self { max_latency: None, pod_start: SignedDuration::from_secs(45), service_time: None }
    }
}
