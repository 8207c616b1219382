//! The certificate of the gRPC port: from PEM files to what rustls serves with. Reads files; binds nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use thiserror::Error;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use x509_cert::der::Decode;

/// The files of the gRPC port's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, PEM.
    pub cert: PathBuf,
    /// The certificate's key, PEM.
    pub key: PathBuf,
    /// The authorities that sign clients' certificates, PEM. With it, a client has to show one: mutual TLS.
    pub client_ca: Option<PathBuf>,
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsFiles::cert`]
    Cert,
    /// [`TlsFiles::key`]
    Key,
    /// [`TlsFiles::client_ca`]
    ClientCa,
}

impl TlsFile {
    /// What is in it.
    fn content(self) -> &'static str {
        match self {
            Self::Cert => "certificate",
            Self::Key => "private key",
            Self::ClientCa => "certificate of an authority",
        }
    }
}

/// What is wrong with the files. No text holds anything of a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct TlsError {
    /// The file to look at.
    pub file: TlsFile,
    text: String,
}

impl TlsError {
    fn new(file: TlsFile, text: impl fmt::Display) -> Self {
        Self { file, text: text.to_string() }
    }
}

/// The bytes of the files. No `Debug`: one of them is a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What new connections are served with.
#[derive(Clone)]
pub struct TlsSettings {
    /// For rustls: TLS 1.2 and 1.3, and HTTP/2 only.
    pub config: Arc<ServerConfig>,
    /// When the certificate, or the first of those sent along with it, expires.
    pub not_after: Timestamp,
}

impl TlsFiles {
    /// Reads the files as they are now.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<Pem, TlsError> {
        let client_ca = self.client_ca.as_deref().map(|path| read(TlsFile::ClientCa, path)).transpose()?;
        Ok(Pem { cert: read(TlsFile::Cert, &self.cert)?, key: read(TlsFile::Key, &self.key)?, client_ca })
    }

    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file cannot be read, is no PEM, or does not fit the others.
    pub fn load(&self) -> Result<TlsSettings, TlsError> {
        self.settings(&self.read()?)
    }

    /// Makes of the files' bytes what rustls serves with.
    ///
    /// # Errors
    /// A file is no PEM, or does not fit the others.
    pub fn settings(&self, pem: &Pem) -> Result<TlsSettings, TlsError> {
        let chain = certificates(TlsFile::Cert, &self.cert, &pem.cert)?;
        let not_after = not_after(&self.cert, &chain)?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| no_pem(TlsFile::Key, &self.key))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(TlsFile::Cert, error))?;
        let builder = match (&self.client_ca, &pem.client_ca) {
            (Some(path), Some(bytes)) => builder.with_client_cert_verifier(verifier(path, bytes)?),
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| self.unfit(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsSettings { config: Arc::new(config), not_after })
    }

    fn unfit(&self, error: &rustls::Error) -> TlsError {
        let (cert, key) = (self.cert.display(), self.key.display());
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::new(
                TlsFile::Key,
                format_args!("the key in `{key}` is not that of the certificate in `{cert}`"),
            ),
            rustls::Error::InvalidCertificate(_) => {
                TlsError::new(TlsFile::Cert, format_args!("the certificate in `{cert}` cannot be used: {error}"))
            }
            _ => TlsError::new(TlsFile::Key, format_args!("the key in `{key}` cannot be used: {error}")),
        }
    }
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path)
        .map_err(|cause| TlsError::new(file, format_args!("cannot read the file `{}`: {cause}", path.display())))
}

fn no_pem(file: TlsFile, path: &Path) -> TlsError {
    let text = format!("the file `{}` holds no {} in PEM (-----BEGIN …)", path.display(), file.content());
    TlsError::new(file, text)
}

/// All certificates of a file, at least one.
fn certificates(file: TlsFile, path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| no_pem(file, path))
}

fn not_after(path: &Path, chain: &[CertificateDer<'static>]) -> Result<Timestamp, TlsError> {
    let unreadable = || {
        let text =
            format!("the certificate in `{}` cannot be read: its expiry is not where it belongs", path.display());
        TlsError::new(TlsFile::Cert, text)
    };
    let expiries = chain.iter().map(|certificate| {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        let seconds = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
        Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
    });
    expiries.collect::<Option<Vec<_>>>().and_then(|expiries| expiries.into_iter().min()).ok_or_else(unreadable)
}

fn verifier(path: &Path, bytes: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unfit = |error: &dyn fmt::Display| {
        let path = path.display();
        TlsError::new(TlsFile::ClientCa, format_args!("the authorities in `{path}` cannot be used: {error}"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::ClientCa, path, bytes)? {
        roots.add(certificate).map_err(|error| unfit(&error))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as Arc<dyn ClientCertVerifier>).map_err(|error| unfit(&error))
}
