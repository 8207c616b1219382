//! Checks what a login needs, and explains why one failed.

use std::error::Error as _;

use tokio_rustls::rustls::{self, CertificateError};

use crate::config::{ServerAddress, Tls};
use crate::storage::StorageError;

/// Returns the user to log in as, after checking the TLS files: the driver's own errors do not name them.
pub(super) fn user(address: &ServerAddress) -> Result<&str, StorageError> {
    match address.login_errors().into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(address.username.as_deref().unwrap_or_default()),
    }
}

/// Adds advice to an error if the server's certificate was rejected.
pub(super) fn explained(error: sqlx::Error, tls: &Tls) -> sqlx::Error {
    match certificate_error(&error).and_then(|cause| advice(cause, tls)) {
        Some(advice) => sqlx::Error::Tls(advice.into()),
        None => error,
    }
}

fn certificate_error(error: &sqlx::Error) -> Option<&CertificateError> {
    let cause = match error {
        sqlx::Error::Io(error) => error.get_ref()? as &(dyn std::error::Error + 'static),
        error => error.source()?,
    };
    match cause.downcast_ref()? {
        rustls::Error::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}

fn advice(cause: &CertificateError, tls: &Tls) -> Option<String> {
    // Authorities with the same name and different keys lead to a bad signature.
    let is_of_another = matches!(cause, CertificateError::UnknownIssuer | CertificateError::BadSignature);
    Some(match (cause, &tls.root_cert) {
        (_, Some(path)) if is_of_another => format!(
            "the server's certificate is not signed by an authority in `{}` (`sslrootcert` of the address), nor by a public \
             one; put the certificate of the authority that signed it there",
            path.display()
        ),
        (_, None) if is_of_another => "the server's certificate is not signed by a public authority, and the \
             address names no other; set `sslrootcert` in the address to the file with the certificate of the authority \
             that signed it, in PEM"
            .to_owned(),
        (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }, _) => {
            format!("the server's {cause}; give one of its names as the host of the address")
        }
        _ => return None,
    })
}
