//! Checks what a login needs besides the address: a user, and TLS files.

use thiserror::Error;

use super::{ServerAddress, TlsMode};
use crate::tls::{TlsError, TlsFile, check_authorities, check_identity};

/// Why a login cannot succeed, known before connecting.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoginError {
    /// There is no user.
    #[error(
        "no user is configured: set `username`, or name the user in the address, such as postgres://user@host/database; no \
         other place is read{}",
        if *.is_socket { ". Peer authentication over a Unix socket also needs it: the role that the scaler's system user may log in as" } else { "" }
    )]
    NoUser {
        /// Whether the address is a Unix socket.
        is_socket: bool,
    },
    /// A TLS file is missing or invalid.
    #[error("`{parameter}` of the address: {cause}; {needed}")]
    Tls {
        /// The parameter of the address that names the file.
        parameter: &'static str,
        /// What is wrong with the file.
        cause: TlsError,
        /// What the file must be.
        needed: &'static str,
    },
}

impl ServerAddress {
    /// Returns what is missing or wrong for a login. Reads the TLS files that the mode uses.
    pub fn login_errors(&self) -> Vec<LoginError> {
        let mut errors = Vec::new();
        if self.username.as_deref().unwrap_or_default().is_empty() {
            errors.push(LoginError::NoUser { is_socket: self.hosts.iter().any(|(host, _)| host.starts_with('/')) });
        }
        errors.extend(self.tls_errors(["sslrootcert", "sslcert", "sslkey"]));
        errors
    }

    /// Returns what is wrong with the TLS files that the mode uses. `names` are the parameters of the address that name the
    /// authority, the certificate and its key.
    pub(super) fn tls_errors(&self, names: [&'static str; 3]) -> Vec<LoginError> {
        let mut errors = Vec::new();
        let tls = &self.tls;
        if let Some(path) = tls.root_cert.as_deref().filter(|_| tls.mode.verifies()) {
            errors.extend(check_authorities(path).err().map(|cause| LoginError::tls(cause, names)));
        }
        if let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key)
            && tls.mode != TlsMode::Disable
        {
            errors.extend(check_identity(cert, key).err().map(|cause| LoginError::tls(cause, names)));
        }
        errors
    }
}

impl LoginError {
    fn tls(cause: TlsError, [authority, cert, key]: [&'static str; 3]) -> Self {
        let (parameter, needed) = match cause.file {
            TlsFile::Authority => (
                authority,
                "it must be the certificate, in PEM, of the authority that signed the database server's certificate",
            ),
            TlsFile::Cert => (cert, "it must be the client certificate, in PEM"),
            TlsFile::Key => (key, "it must be the key of the client certificate, in PEM, unencrypted"),
        };
        Self::Tls { parameter, cause, needed }
    }
}
