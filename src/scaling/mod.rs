//! From a trigger and a snapshot to a decision. Pure: no I/O and no clock.

pub mod hpa;
pub mod keda;
pub mod manifest;
