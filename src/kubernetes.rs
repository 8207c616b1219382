//! The rules of others: ScaledObjects as manifests, what KEDA does with them, and the HPA's algorithm. Pure, and knows nothing of
//! JobRunr.

pub mod hpa;
pub mod keda;
pub mod manifest;
