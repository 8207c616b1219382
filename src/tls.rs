//! Reads and checks certificates in PEM files: for the gRPC port, and for clients.

use std::collections::BTreeSet;
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
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use x509_cert::der::Decode;

/// The TLS files of the gRPC port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its intermediate certificates, PEM.
    pub cert: PathBuf,
    /// The key of the certificate, PEM.
    pub key: PathBuf,
    /// The authorities that sign client certificates, PEM. If set, clients must present one: mutual TLS.
    pub client_ca: Option<PathBuf>,
}

/// The role of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificate to present to the peer.
    Cert,
    /// The key of that certificate.
    Key,
    /// The authorities that sign the peer's certificate.
    Authority,
}

impl TlsFile {
    /// What the file contains.
    fn content(self) -> &'static str {
        match self {
            Self::Cert => "certificate",
            Self::Key => "private key",
            Self::Authority => "certificate of an authority",
        }
    }

    /// The first line of its content.
    fn label(self) -> &'static str {
        match self {
            Self::Cert | Self::Authority => "-----BEGIN CERTIFICATE-----",
            Self::Key => "-----BEGIN PRIVATE KEY-----",
        }
    }
}

/// What is wrong with a file. No message contains any part of a key.
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

/// The content of the files. No `Debug`: one of them is a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// The TLS settings for new connections.
#[derive(Clone)]
pub struct TlsSettings {
    /// For rustls: TLS 1.2 and 1.3, and HTTP/2 only.
    pub config: Arc<ServerConfig>,
    /// When the first certificate of the chain expires.
    pub not_after: Timestamp,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<Pem, TlsError> {
        let client_ca = self.client_ca.as_deref().map(|path| read(TlsFile::Authority, path)).transpose()?;
        Ok(Pem { cert: read(TlsFile::Cert, &self.cert)?, key: read(TlsFile::Key, &self.key)?, client_ca })
    }

    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or does not match the others.
    pub fn load(&self) -> Result<TlsSettings, TlsError> {
        self.settings(&self.read()?)
    }

    /// Builds the settings from the content of the files.
    ///
    /// # Errors
    /// A file is not PEM, or does not match the others.
    pub fn settings(&self, pem: &Pem) -> Result<TlsSettings, TlsError> {
        let chain = certificates(TlsFile::Cert, &self.cert, &pem.cert)?;
        let not_after = not_after(&self.cert, &chain)?;
        let key = private_key(&self.key, &pem.key)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(TlsFile::Cert, error))?;
        let builder = match (&self.client_ca, &pem.client_ca) {
            (Some(path), Some(bytes)) => builder.with_client_cert_verifier(verifier(path, bytes)?),
            _ => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| unusable(&self.cert, &self.key, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsSettings { config: Arc::new(config), not_after })
    }
}

/// Checks the authorities that a client trusts.
///
/// # Errors
/// The file cannot be read, or contains no certificate.
pub(crate) fn check_authorities(path: &Path) -> Result<(), TlsError> {
    roots(path, &read(TlsFile::Authority, path)?).map(drop)
}

/// Checks the certificate that a client presents, and its key.
///
/// # Errors
/// A file cannot be read, is not PEM, or does not match the other.
pub(crate) fn check_identity(cert: &Path, key: &Path) -> Result<(), TlsError> {
    let chain = certificates(TlsFile::Cert, cert, &read(TlsFile::Cert, cert)?)?;
    let private_key = private_key(key, &read(TlsFile::Key, key)?)?;
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(TlsFile::Cert, error))?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain, private_key)
        .map_err(|error| unusable(cert, key, &error))?;
    Ok(())
}

fn unusable(cert: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    let (cert, key) = (cert.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::new(
            TlsFile::Key,
            format_args!("the key in `{key}` does not belong to the certificate in `{cert}`"),
        ),
        rustls::Error::InvalidCertificate(_) => {
            TlsError::new(TlsFile::Cert, format_args!("the certificate in `{cert}` cannot be used: {error}"))
        }
        _ => TlsError::new(TlsFile::Key, format_args!("the key in `{key}` cannot be used: {error}")),
    }
}

#[expect(clippy::disallowed_methods, reason = "small local files")]
fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path)
        .map_err(|cause| TlsError::new(file, format_args!("cannot read the file `{}`: {cause}", path.display())))
}

fn not_pem(file: TlsFile, path: &Path, bytes: &[u8]) -> TlsError {
    let (path, content, label) = (path.display(), file.content(), file.label());
    let others = labels(bytes).join(", ");
    let others = if others.is_empty() { others } else { format!("; it contains: {others}") };
    TlsError::new(file, format_args!("the file `{path}` contains no {content} in PEM ({label}){others}"))
}

/// Returns the distinct labels of the PEM blocks, such as `PRIVATE KEY`, at most four.
fn labels(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let labels = text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let is_label =
        |label: &&str| label.len() <= 30 && label.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b' '));
    let labels: BTreeSet<&str> = labels.filter(is_label).collect();
    labels.into_iter().take(4).map(str::to_owned).collect()
}

fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| not_pem(TlsFile::Key, path, bytes))
}

/// Returns all certificates of a file, at least one.
fn certificates(file: TlsFile, path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| not_pem(file, path, bytes))
}

fn not_after(path: &Path, chain: &[CertificateDer<'static>]) -> Result<Timestamp, TlsError> {
    let unreadable = || {
        let text = format!("the certificate in `{}` cannot be read: it has no valid expiry date", path.display());
        TlsError::new(TlsFile::Cert, text)
    };
    let expiries = chain.iter().map(|certificate| {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        let seconds = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
        Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
    });
    expiries.collect::<Option<Vec<_>>>().and_then(|expiries| expiries.into_iter().min()).ok_or_else(unreadable)
}

fn roots(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::Authority, path, bytes)? {
        roots.add(certificate).map_err(|error| unusable_authorities(path, &error))?;
    }
    Ok(roots)
}

fn unusable_authorities(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError::new(TlsFile::Authority, format_args!("the authorities in `{}` cannot be used: {error}", path.display()))
}

fn verifier(path: &Path, bytes: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path, bytes)?), provider).build();
    let verifier = verifier.map(|verifier| verifier as Arc<dyn ClientCertVerifier>);
    verifier.map_err(|error| unusable_authorities(path, &error))
}
