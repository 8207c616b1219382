//! The certificates for new connections. They follow their files; open connections keep theirs.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::debounced::Debounced;
use crate::tls::{Pem, TlsError, TlsFiles, TlsSettings};

/// How often the files are read. Their bytes are compared, because Kubernetes replaces a link to their directory.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The state of the certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// When the certificate in use expires.
    pub not_after: Timestamp,
    /// What is wrong with the files; `None` while their content is in use.
    pub error: Option<String>,
}

#[derive(Clone)]
struct Current {
    settings: TlsSettings,
    error: Option<String>,
}

/// The certificates in use.
pub struct Certificates {
    files: TlsFiles,
    /// The content of the files at the start.
    loaded: Pem,
    current: watch::Sender<Current>,
}

impl Certificates {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = files.read()?;
        let settings = files.settings(&loaded)?;
        let (current, _) = watch::channel(Current { settings, error: None });
        let certificates = Self { files, loaded, current };
        certificates.warn_if_expired();
        Ok(certificates)
    }

    /// Returns their present state.
    #[must_use]
    pub fn state(&self) -> CertificateState {
        let current = self.current.borrow();
        CertificateState { not_after: current.settings.not_after, error: current.error.clone() }
    }

    /// Returns a function that returns when the certificate in use expires, and whether it is the one in the files.
    pub fn watch(&self) -> impl Fn() -> (Timestamp, bool) + Send + Sync + use<> {
        let current = self.current.subscribe();
        move || {
            let current = current.borrow();
            (current.settings.not_after, current.error.is_none())
        }
    }

    /// Returns the acceptor for the handshake of one new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.borrow().settings.config.clone().into()
    }

    /// Applies changes of the files. Never returns.
    pub async fn follow_files(&self) {
        let mut content = Debounced::new(Ok(self.loaded.clone()));
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            self.check(&mut content);
        }
    }

    fn check(&self, content: &mut Debounced<Result<Pem, TlsError>>) {
        // A blocking read, but of a few kilobytes, which are rarely on a slow disk.
        let read = self.files.read();
        if !content.observe(&read) {
            return;
        }
        match read.and_then(|pem| self.files.settings(&pem)) {
            Ok(settings) => self.apply(settings),
            Err(error) => self.reject(&error),
        }
    }

    fn apply(&self, settings: TlsSettings) {
        let not_after = settings.not_after;
        self.current.send_replace(Current { settings, error: None });
        info!(%not_after, "certificate reloaded; new connections use it");
        self.warn_if_expired();
    }

    fn reject(&self, error: &TlsError) {
        let not_after = self.state().not_after;
        warn!(%error, %not_after, "new certificate rejected; the previous one stays in use until it expires");
        self.current.send_modify(|current| current.error = Some(error.to_string()));
    }

    fn warn_if_expired(&self) {
        let not_after = self.state().not_after;
        if not_after < Timestamp::now() {
            warn!(%not_after, "certificate expired; clients reject it");
        }
    }
}
