//! The state of the certificate.

use std::fmt;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::lock;

/// Returns when the certificate in use expires, and whether it is the one in the files.
pub(super) type CertificateSource = Box<dyn Fn() -> (Timestamp, bool) + Send + Sync>;

/// The state of the certificate, if there is TLS.
#[derive(Clone, Default)]
pub(super) struct Certificate(Arc<Mutex<Option<CertificateSource>>>);

impl Certificate {
    pub(super) fn watch(&self, state: CertificateSource) {
        *lock(&self.0) = Some(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl Collector for Certificate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = lock(&self.0).as_ref().map(|state| state());
        let Some((expires, is_current)) = state else { return Ok(()) };
        let kind = ConstGauge::new(0.0).metric_type();
        let help = "When the certificate in use expires, seconds since 1970";
        let encoder_of = encoder.encode_descriptor("certificate_expiry_timestamp_seconds", help, None, kind)?;
        ConstGauge::new(expires.as_second()).encode(encoder_of)?;
        let help = "Whether the certificate in the files is in use";
        let encoder_of = encoder.encode_descriptor("certificate_last_reload_ok", help, None, kind)?;
        ConstGauge::new(i64::from(is_current)).encode(encoder_of)
    }
}
