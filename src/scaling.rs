//! From a trigger and a snapshot to a decision. Pure: no I/O, no clock, no tokio.

mod capacity;
mod decide;
mod estimate;
mod key;
mod metric;
mod promise;
mod reason;
mod target;
mod trigger;

pub use decide::{Decision, decide, stale_seconds};
pub use estimate::KindEstimate;
pub use key::{KeyError, ScaledObjectKey};
pub use metric::Metric;
pub use promise::Promise;
pub use reason::{DemandParts, JobCount, Reason, RecurringReason};
pub use target::{Target, WorkersSource};
pub use trigger::{MetadataErrors, MetadataProblem, Settings, Trigger};
