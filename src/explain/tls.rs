//! How `explain --scaler` speaks TLS, with what KEDA's TriggerAuthentication has too.

use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

/// The options of TLS.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Ask over TLS, as KEDA does with enableTLS. The other TLS options mean this too
    #[arg(long, requires = "scaler")]
    tls: bool,

    /// The authorities to trust for the scaler's certificate, PEM, instead of the public ones; KEDA's caCert
    #[arg(long, value_name = "FILE", requires = "scaler")]
    ca_cert: Option<PathBuf>,

    /// The certificate to show to the scaler, PEM; KEDA's tlsClientCert
    #[arg(long, value_name = "FILE", requires_all = ["scaler", "client_key"])]
    client_cert: Option<PathBuf>,

    /// The key of that certificate, PEM; KEDA's tlsClientKey
    #[arg(long, value_name = "FILE", requires_all = ["scaler", "client_cert"])]
    client_key: Option<PathBuf>,

    /// The name that the scaler's certificate has to have, where it is not the HOST, as after kubectl port-forward
    #[arg(long, value_name = "NAME", requires = "scaler")]
    server_name: Option<String>,
}

/// Why TLS cannot be spoken.
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
    /// A file without a certificate.
    #[error("--ca-cert: the file `{}` holds no certificate in PEM (-----BEGIN …)", .0.display())]
    NoCertificate(PathBuf),
    /// The files do not go together.
    #[error("the TLS options cannot be used; the files have to be PEM, and the key that of the certificate: {0}")]
    Unfit(String),
}

impl TlsArgs {
    /// Where and how to reach the scaler.
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

    /// What to try where the scaler breaks a connection off.
    pub(super) fn hint(&self) -> &'static str {
        match (self.is_wanted(), &self.client_cert) {
            (false, _) => "; where the scaler speaks TLS, give --tls or --ca-cert",
            (true, None) => "; where the scaler asks for a certificate, give --client-cert and --client-key",
            (true, Some(_)) => "; does the scaler believe the authority of --client-cert?",
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

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsArgsError> {
    std::fs::read(path).map_err(|cause| TlsArgsError::File { option, path: path.to_owned(), cause })
}
