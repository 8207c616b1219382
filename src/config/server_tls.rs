//! Checks the TLS files of the gRPC port.
use std::path::PathBuf;

use super::Purpose;
use super::problem::Diagnostics;
use super::raw::{RawTls, RawValue};
use crate::tls::{TlsFile, TlsFiles};

/// Returns the files; `None` if none is given, or if the certificate or its key is missing, which is reported.
pub(super) fn check(raw: RawTls, purpose: Purpose, diagnostics: &mut Diagnostics) -> Option<TlsFiles> {
    // A template that filled in nothing must not switch TLS off, or client certificates.
    let empty = [&raw.cert_file, &raw.key_file, &raw.client_ca_file];
    let empty: Vec<&RawValue> = empty.into_iter().flatten().filter(|value| value.text.trim().is_empty()).collect();
    if !empty.is_empty() {
        for value in empty {
            diagnostics.problem(&value.origin, "is empty; write the path of a file, or remove it to go without");
        }
        return None;
    }
    let (cert, key) = match (&raw.cert_file, &raw.key_file) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(cert), None) => {
            diagnostics.problem(&cert.origin, "the certificate needs its key; set `tls.keyFile` too");
            return None;
        }
        (None, Some(key)) => {
            diagnostics.problem(&key.origin, "the key needs its certificate; set `tls.certFile` too");
            return None;
        }
        (None, None) => {
            if let Some(authority) = &raw.client_ca_file {
                let text = "client certificates need TLS; set `tls.certFile` and `tls.keyFile` too";
                diagnostics.problem(&authority.origin, text);
            }
            return None;
        }
    };
    let path = |value: &RawValue| PathBuf::from(&value.text);
    let files = TlsFiles { cert: path(cert), key: path(key), client_ca: raw.client_ca_file.as_ref().map(path) };
    if purpose == Purpose::Serve
        && let Err(error) = files.load()
    {
        let file = match error.file {
            TlsFile::Cert => cert,
            TlsFile::Key => key,
            TlsFile::Authority => raw.client_ca_file.as_ref().unwrap_or(cert),
        };
        diagnostics.problem(&file.origin, &error);
    }
    Some(files)
}
