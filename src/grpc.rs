//! KEDA's side: from its messages to our words and back, streams, the server. Knows no SQL.

mod calls;
mod certificates;
mod codec;
mod convert;
mod incoming;
mod paced;
mod push;
mod scaler;
mod server;
mod warnings;

pub use certificates::{CertificateState, Certificates};
pub use scaler::Scaler;
pub use server::{ServeError, serve};

/// Streams end and calls finish within this time after the stop; what is left then is cut off.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// What tonic makes of `proto/externalscaler.proto`.
#[expect(missing_docs, reason = "generated; the contract's own comments stand in the .proto file")]
pub mod proto {
    tonic::include_proto!("externalscaler");

    /// The compiled contract, for the reflection service.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/externalscaler.bin"));
}
