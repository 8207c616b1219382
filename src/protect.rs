//! `jobrunr-scaler protect`: spares pods with running jobs at scale-in.
//!
//! Kubernetes lets a ReplicaSet remove pods with a low `controller.kubernetes.io/pod-deletion-cost` first. JobRunr's tables show
//! which server runs which job, and a server's name is by default that of its pod. This process keeps the costs in step with the
//! jobs. It has its own rights and shares nothing with the scaler but the code that reads storages.
//!
//! - [`pods`]: pods, and which one a server is.
//! - [`assessment`]: what would be lost with each pod.
//! - [`order`]: which costs have to change.
//! - [`report`]: the same for people.
//!
//! These are pure. With the feature `protect` there are also `cluster`, the Kubernetes API; `store`, the pods as it shows them;
//! `protector`, which keeps the costs in step; `process`, which puts the parts together.

pub mod assessment;
pub mod order;
pub mod pods;
pub mod report;

#[cfg(feature = "protect")]
mod budget;
#[cfg(feature = "protect")]
pub mod cluster;
#[cfg(feature = "protect")]
pub mod options;
#[cfg(feature = "protect")]
pub mod process;
#[cfg(feature = "protect")]
pub mod protector;
#[cfg(feature = "protect")]
mod refusals;
#[cfg(feature = "protect")]
pub mod store;

#[cfg(test)]
mod tests;
