//! TLS of `explain --scaler`, with the same files as KEDA's TriggerAuthentication.

use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

/// The TLS options.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Use TLS, as KEDA does with enableTLS. The other TLS options imply it
    #[arg(long, requires = "scaler")]
    tls: bool,

    /// The authorities to trust for the scaler's certificate, PEM, in place of the public ones; KEDA's caCert
    #[arg(long, value_name = "FILE", requires = "scaler")]
    ca_cert: Option<PathBuf>,

    /// The client certificate, PEM; KEDA's tlsClientCert
    #[arg(long, value_name = "FILE", requires_all = ["scaler", "client_key"])]
    client_cert: Option<PathBuf>,

    /// The key of the client certificate, PEM; KEDA's tlsClientKey
    #[arg(long, value_name = "FILE", requires_all = ["scaler", "client_cert"])]
    client_key: Option<PathBuf>,

    /// The name in the scaler's certificate if it is not HOST, for example with kubectl port-forward
    #[arg(long, value_name = "NAME", requires = "scaler")]
    server_name: Option<String>,
}

/// Why TLS cannot be used.
#[derive(Debug, Error)]
pub enum TlsArgsError {
    /// A file cannot be read.
    #[error("{option}: cannot read the file `{}`: {cause}", path.display())]
    File {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// A file has no certificate.
    #[error("--ca-cert: the file `{}` has no certificate in PEM (-----BEGIN …)", .0.display())]
    NoCertificate(PathBuf),
    /// The files do not fit together.
    #[error("the TLS options cannot be used; the files must be PEM, and the key must belong to the certificate: {0}")]
    Unfit(String),
}

impl TlsArgs {
    /// Returns where and how to reach the scaler.
    pub(super) fn endpoint(&self, address: &Uri) -> Result<Endpoint, TlsArgsError> {
        if !self.is_wanted() {
            return Ok(Endpoint::from(address.clone()));
        }
        let authority = address.authority().map(ToString::to_string).unwrap_or_default();
        let unfit = |error: tonic::transport::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            TlsArgsError::Unfit(format!("{error}{cause}"))
        };
        let endpoint = Endpoint::from_shared(format!("https://{authority}")).map_err(unfit)?;
        endpoint.tls_config(self.config()?).map_err(unfit)
    }

    /// Returns what to try if the scaler closes the connection.
    pub(super) fn hint(&self) -> &'static str {
        match (self.is_wanted(), &self.client_cert) {
            (false, _) => "; if the scaler uses TLS, give --tls or --ca-cert",
            (true, None) => "; if the scaler requires a certificate, give --client-cert and --client-key",
            (true, Some(_)) => "; does the scaler trust the authority of --client-cert?",
        }
    }

    fn is_wanted(&self) -> bool {
        self.tls || self.ca_cert.is_some() || self.client_cert.is_some() || self.server_name.is_some()
    }

    fn config(&self) -> Result<ClientTlsConfig, TlsArgsError> {
        let mut config = match &self.ca_cert {
            Some(path) => {
                let pem = read("--ca-cert", path)?;
                if CertificateDer::pem_slice_iter(&pem).next().is_none() {
                    return Err(TlsArgsError::NoCertificate(path.clone()));
                }
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            config = config.identity(Identity::from_pem(read("--client-cert", cert)?, read("--client-key", key)?));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

#[expect(clippy::disallowed_methods, reason = "a command reads its input before it connects")]
fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsArgsError> {
    std::fs::read(path).map_err(|cause| TlsArgsError::File { option, path: path.to_owned(), cause })
}
