//! The certificates that new connections get. They follow their files; what is open keeps what it began with.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::tls::{Pem, TlsError, TlsFiles, TlsSettings};

/// How often to look at the files. Their bytes are compared, because Kubernetes swaps a link above them.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// When the certificate in use expires.
    pub not_after: Timestamp,
    /// What is wrong with the files as they are now; `None` while what they hold is in use.
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
    /// What the files held at the start.
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

    /// How they are now.
    #[must_use]
    pub fn state(&self) -> CertificateState {
        let current = self.current.borrow();
        CertificateState { not_after: current.settings.not_after, error: current.error.clone() }
    }

    /// Tells when the certificate in use expires, and whether what the files hold now is in use.
    pub fn watch(&self) -> impl Fn() -> (Timestamp, bool) + Send + Sync + use<> {
        let current = self.current.subscribe();
        move || {
            let current = current.borrow();
            (current.settings.not_after, current.error.is_none())
        }
    }

    /// For the handshake of one new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.borrow().settings.config.clone().into()
    }

    /// Looks at the files again and again, and takes up what has changed. Never returns.
    pub async fn follow_files(&self) {
        let mut looks = Looks { last: None, known: Ok(self.loaded.clone()) };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look(&mut looks);
        }
    }

    fn look(&self, looks: &mut Looks) {
        // These are a few kilobytes, rarely on a slow disk.
        let seen = self.files.read();
        if !looks.is_news(&seen) {
            return;
        }
        match seen.and_then(|pem| self.files.settings(&pem)) {
            Ok(settings) => self.take_up(settings),
            Err(error) => self.keep_the_old(&error),
        }
    }

    fn take_up(&self, settings: TlsSettings) {
        let not_after = settings.not_after;
        self.current.send_replace(Current { settings, error: None });
        info!(%not_after, "new connections get the new certificate");
        self.warn_if_expired();
    }

    fn keep_the_old(&self, error: &TlsError) {
        let not_after = self.state().not_after;
        warn!(%error, %not_after, "the new certificate is not taken up; the old one serves until it expires");
        self.current.send_modify(|current| current.error = Some(error.to_string()));
    }

    fn warn_if_expired(&self) {
        let not_after = self.state().not_after;
        if not_after < Timestamp::now() {
            warn!(%not_after, "the certificate has expired: clients will refuse it");
        }
    }
}

/// What was seen of the files.
type Seen = Result<Pem, TlsError>;

/// Tells what is new. Whoever replaces the files may be half done with it, so that only what is seen twice in a row counts.
struct Looks {
    last: Option<Seen>,
    /// What was dealt with.
    known: Seen,
}

impl Looks {
    fn is_news(&mut self, seen: &Seen) -> bool {
        let is_settled = self.last.as_ref() == Some(seen);
        self.last = Some(seen.clone());
        if !is_settled || self.known == *seen {
            return false;
        }
        self.known = seen.clone();
        true
    }
}
