//! The files of the gRPC port's TLS, checked.
use std::path::PathBuf;

use super::Purpose;
use super::mistake::Report;
use super::raw::{Given, RawTls};
use crate::tls::{TlsFile, TlsFiles};

/// The files; `None` where none is given, and where the certificate or its key is missing, which is reported.
pub(super) fn check(raw: RawTls, purpose: Purpose, report: &mut Report) -> Option<TlsFiles> {
    let (cert, key) = match (&raw.cert_file, &raw.key_file) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(cert), None) => {
            report.mistake(&cert.place, "a certificate needs its key; give `tls.keyFile` too");
            return None;
        }
        (None, Some(key)) => {
            report.mistake(&key.place, "a key needs its certificate; give `tls.certFile` too");
            return None;
        }
        (None, None) => {
            if let Some(given) = &raw.client_ca_file {
                let text = "clients can only be asked for certificates over TLS; give `tls.certFile` and \
                            `tls.keyFile` too";
                report.mistake(&given.place, text);
            }
            return None;
        }
    };
    let path = |given: &Given| PathBuf::from(&given.text);
    let files = TlsFiles { cert: path(cert), key: path(key), client_ca: raw.client_ca_file.as_ref().map(path) };
    if purpose == Purpose::Serve
        && let Err(error) = files.load()
    {
        let given = match error.file {
            TlsFile::Cert => cert,
            TlsFile::Key => key,
            TlsFile::Authority => raw.client_ca_file.as_ref().unwrap_or(cert),
        };
        report.mistake(&given.place, &error);
    }
    Some(files)
}
