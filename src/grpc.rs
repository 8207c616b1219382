//! KEDA's side: from its messages to our words and back, streams, the server. Knows no SQL.

mod certificates;
mod convert;
mod incoming;
mod push;
mod scaler;
mod server;
mod warnings;

pub use certificates::{CertificateState, Certificates};
pub use scaler::Scaler;
pub use server::{ServeError, serve};

/// What tonic makes of `proto/externalscaler.proto`.
#[expect(missing_docs, reason = "generated; the contract's own comments stand in the .proto file")]
pub mod proto {
    tonic::include_proto!("externalscaler");

    /// The compiled contract, for the reflection service.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/externalscaler.bin"));
}
