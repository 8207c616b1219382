//! What `protect` does. Exposed only by a process that protects pods.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::lock;

/// What is known of the pods, as of the latest assessment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtectFigures {
    /// Pods that run jobs.
    pub busy_pods: usize,
    /// Pods that run none.
    pub idle_pods: usize,
    /// Servers whose pod is not found.
    pub servers_without_pod: usize,
    /// Jobs that run on an unknown server.
    pub jobs_without_server: u64,
    /// Costs that have to be written.
    pub pending: usize,
    /// Namespaces whose pods could not be listed yet.
    pub unlisted_namespaces: usize,
}

#[derive(Clone, Debug, Default)]
struct State {
    figures: ProtectFigures,
    writes: BTreeMap<&'static str, u64>,
}

/// The metrics of `protect`. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ProtectMetrics(Arc<Mutex<Option<State>>>);

impl ProtectMetrics {
    /// Records what is known of the pods.
    pub fn record(&self, figures: ProtectFigures) {
        lock(&self.0).get_or_insert_default().figures = figures;
    }

    /// Records the outcome of a write of a cost.
    pub fn record_write(&self, outcome: &'static str) {
        let mut state = lock(&self.0);
        let n_writes = state.get_or_insert_default().writes.entry(outcome).or_default();
        *n_writes = n_writes.saturating_add(1);
    }
}

impl Collector for ProtectMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(State { figures, writes }) = lock(&self.0).clone() else { return Ok(()) };
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut pods = encoder.encode_descriptor("protect_pods", "Pods by what they do", None, kind)?;
        for (state, n_pods) in [("busy", figures.busy_pods), ("idle", figures.idle_pods)] {
            ConstGauge::new(number(n_pods)).encode(pods.encode_family(&[("state", state)])?)?;
        }
        let gauges = [
            ("protect_servers_without_pod", "Servers whose pod is not found", number(figures.servers_without_pod)),
            (
                "protect_jobs_without_server",
                "Jobs that run on an unknown server",
                i64::try_from(figures.jobs_without_server).unwrap_or(i64::MAX),
            ),
            ("protect_pending", "Deletion costs that have to be written", number(figures.pending)),
            (
                "protect_unlisted_namespaces",
                "Namespaces whose pods could not be listed yet",
                number(figures.unlisted_namespaces),
            ),
        ];
        for (name, help, value) in gauges {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut counter =
            encoder.encode_descriptor("protect_writes", "Writes of deletion costs by outcome", None, kind)?;
        for (outcome, n_writes) in writes {
            ConstCounter::new(n_writes).encode(counter.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }
}
