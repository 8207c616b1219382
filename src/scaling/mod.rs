//! From a trigger and a snapshot to a decision; and what KEDA and the HPA make of it. Pure: no I/O, no clock, no tokio.

mod decide;
pub mod hpa;
pub mod keda;
mod key;
pub mod manifest;
mod metric;
mod target;
mod trigger;

pub use decide::{Decision, decide};
pub use key::{KeyError, ScaledObjectKey};
pub use metric::Metric;
pub use target::Target;
pub use trigger::{MetadataError, MetadataErrors, Settings, Trigger};
