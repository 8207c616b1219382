//! The rules of other projects: manifests with ScaledObjects, what KEDA does with them, and the HPA's algorithm. Pure, and
//! independent of JobRunr.

pub mod hpa;
pub mod keda;
pub mod manifest;
