//! TLS on the gRPC port, by a client of another make than our server's configuration: who is let in, and what happens
//! when certificates change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobrunr_scaler::clock::Clock;
use jobrunr_scaler::config::TlsFiles;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::{self, Certificates, Scaler};
use jobrunr_scaler::metrics::Metrics;
use jobrunr_scaler::recent::Recent;
use jobrunr_scaler::serve::start_storage;
use jobrunr_scaler::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::database::{Database, Kind};
use crate::rows::job;
use crate::scaler::{eventually, next_push, reference};

/// An authority of a test's own.
pub(crate) struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host name, which expires at the end of `year`.
    pub(crate) fn issue(&self, host: &str, year: i32) -> Pair {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

/// The files of a server, in a directory of the test's own.
pub(crate) struct Files {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) tls: TlsFiles,
}

impl Files {
    pub(crate) fn new(pair: &Pair, client_ca: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let client_ca = client_ca.map(|pem| write(&path("ca.crt"), pem));
        let tls = TlsFiles { cert: path("tls.crt"), key: path("tls.key"), client_ca };
        let files = Self { directory, tls };
        files.replace(pair);
        files
    }

    pub(crate) fn replace(&self, pair: &Pair) {
        write(&self.tls.cert, &pair.cert);
        write(&self.tls.key, &pair.key);
    }
}

fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    path.to_owned()
}

/// The files of a database server of a test's own with a certificate for localhost: `server.crt` and `server.key` in a directory, and
/// beside them the certificate of its authority and that of another.
pub(crate) struct ServerFiles {
    pub(crate) directory: tempfile::TempDir,
    /// The server's key.
    pub(crate) key: String,
    /// The authority's certificate.
    pub(crate) right: String,
    /// Another authority's certificate.
    pub(crate) wrong: String,
}

impl ServerFiles {
    pub(crate) fn new() -> Self {
        let (authority, other) = (Authority::new(), Authority::new());
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
            directory.path().join(name).display().to_string()
        };
        let pair = authority.issue("localhost", 2040);
        file("server.crt", &pair.cert);
        let key = file("server.key", &pair.key);
        let (right, wrong) = (file("right.pem", &authority.pem()), file("wrong.pem", &other.pem()));
        Self { directory, key, right, wrong }
    }
}

/// A scaler that speaks TLS, over a database that its test owns.
struct TlsScaler {
    port: u16,
    certificates: Arc<Certificates>,
    _database: Database,
    _stop: DropGuard,
}

async fn start(files: &Files) -> TlsScaler {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let certificates = Arc::new(Certificates::load(files.tls.clone()).unwrap());
    let stop = CancellationToken::new();
    let storage =
        start_storage("default", &database.config(), Clock::System, &Metrics::default(), &Tasks::default(), &stop);
    let storages = std::iter::once(("default".to_owned(), storage)).collect();
    let scaler = Scaler::new(watch::channel(storages).1, Clock::System, Metrics::default(), Recent::off());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(grpc::serve(listener, Some(Arc::clone(&certificates)), scaler, stop.clone()));
    let following = Arc::clone(&certificates);
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move { following.follow_files().await }));
    TlsScaler { port, certificates, _database: database, _stop: stop.drop_guard() }
}

/// Whom the client trusts, as `scaler.test`.
pub(crate) fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem())).domain_name("scaler.test")
}

impl TlsScaler {
    async fn connect(&self, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.port)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    }

    /// Whether a new connection gets as far as an answer.
    async fn check(&self, tls: ClientTlsConfig) -> Result<(), String> {
        let channel = self.connect(tls).await.map_err(|error| format!("{error:?}"))?;
        let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        health.map(drop).map_err(|status| format!("{status:?}"))
    }
}

#[tokio::test]
async fn only_whoever_trusts_the_authority_gets_in() {
    let (ours, other) = (Authority::new(), Authority::new());
    let scaler = start(&Files::new(&ours.issue("scaler.test", 2099), None)).await;
    scaler.check(trusting(&ours)).await.unwrap();
    let error = scaler.check(trusting(&other)).await.unwrap_err();
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
    let error = scaler.check(trusting(&ours).domain_name("another.test")).await.unwrap_err();
    assert!(error.contains("NotValidForName"), "{error}");
    let plain = Endpoint::from_shared(format!("http://127.0.0.1:{}", scaler.port)).unwrap().connect().await;
    if let Ok(channel) = plain {
        assert!(HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_err());
    }
}

#[tokio::test]
async fn with_mutual_tls_a_client_needs_a_certificate() {
    let (servers, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new(&servers.issue("scaler.test", 2099), Some(&clients.pem()));
    let scaler = start(&files).await;
    let identity = |authority: &Authority| {
        let Pair { cert, key } = authority.issue("keda.test", 2099);
        trusting(&servers).identity(Identity::from_pem(cert, key))
    };
    scaler.check(identity(&clients)).await.unwrap();
    assert!(scaler.check(trusting(&servers)).await.is_err());
    assert!(scaler.check(identity(&other)).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_an_open_stream_survives() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::new(&old.issue("scaler.test", 2099), None);
    let scaler = start(&files).await;
    let mut client = ExternalScalerClient::new(scaler.connect(trusting(&old)).await.unwrap());
    let metadata = reference("metric=enqueued-count targetValue=1");
    let mut stream = client.stream_is_active(metadata.clone()).await.unwrap().into_inner();
    assert_eq!(next_push(&mut stream, Duration::from_secs(5)).await, Some(true));

    files.replace(&new.issue("scaler.test", 2098));
    eventually("the new certificate", async || scaler.check(trusting(&new)).await.ok()).await;
    assert!(scaler.check(trusting(&old)).await.is_err());
    let state = scaler.certificates.state();
    assert_eq!((state.not_after.to_string().as_str(), state.error), ("2098-12-31T00:00:00Z", None));
    // The old connection goes on: its stream pushes, and calls are answered.
    assert_eq!(next_push(&mut stream, Duration::from_secs(20)).await, Some(true));
    assert!(client.is_active(metadata).await.unwrap().into_inner().result);
}

#[tokio::test]
async fn a_link_that_is_swapped_as_kubernetes_does_is_noticed() {
    let (old, new) = (Authority::new(), Authority::new());
    let [first, second] = [&old, &new].map(|authority| Files::new(&authority.issue("scaler.test", 2099), None));
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("..data");
    std::os::unix::fs::symlink(first.directory.path(), &link).unwrap();
    let tls = TlsFiles { cert: link.join("tls.crt"), key: link.join("tls.key"), client_ca: None };
    let mounted = Files { directory: tempfile::tempdir().unwrap(), tls };
    let scaler = start(&mounted).await;
    scaler.check(trusting(&old)).await.unwrap();
    let fresh = directory.path().join("..data_tmp");
    std::os::unix::fs::symlink(second.directory.path(), &fresh).unwrap();
    std::fs::rename(&fresh, &link).unwrap();
    eventually("the new certificate", async || scaler.check(trusting(&new)).await.ok()).await;
}

#[tokio::test]
async fn a_broken_pair_keeps_the_old_one_and_is_told() {
    let authority = Authority::new();
    let good = authority.issue("scaler.test", 2099);
    let other = authority.issue("scaler.test", 2098);
    let files = Files::new(&good, None);
    let scaler = start(&files).await;
    let half = &other.cert[..other.cert.len() / 2];
    for (cert, key, expected) in [
        (other.cert.as_str(), good.key.as_str(), "does not belong to the certificate"),
        (half, other.key.as_str(), "tls.crt"),
        ("", "", "contains no certificate"),
        (other.cert.as_str(), "hunter2", "contains no private key"),
    ] {
        files.replace(&Pair { cert: cert.to_owned(), key: key.to_owned() });
        let state = eventually(expected, async || {
            let state = scaler.certificates.state();
            state.error.as_ref().is_some_and(|error| error.contains(expected)).then_some(state)
        });
        let state = state.await;
        assert_eq!(state.not_after.to_string(), "2099-12-31T00:00:00Z");
        assert!(!state.error.unwrap().contains("hunter2"));
        scaler.check(trusting(&authority)).await.unwrap();
    }
    files.replace(&other);
    eventually("the good pair", async || scaler.certificates.state().error.is_none().then_some(())).await;
    assert_eq!(scaler.certificates.state().not_after.to_string(), "2098-12-31T00:00:00Z");
}

#[tokio::test]
async fn handshakes_that_never_end_hold_nobody_up_and_are_given_up() {
    let authority = Authority::new();
    let scaler = start(&Files::new(&authority.issue("scaler.test", 2099), None)).await;
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut connection = TcpStream::connect(("127.0.0.1", scaler.port)).await.unwrap();
        // Some say nothing, some the beginning of a handshake.
        if n % 2 == 0 {
            connection.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
        }
        silent.push(connection);
    }
    let began = Instant::now();
    scaler.check(trusting(&authority)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for mut connection in silent {
        let mut bytes = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut bytes)).await;
        assert!(end.is_ok(), "the connection is still open");
    }
}

#[tokio::test]
async fn nothing_but_http2_is_agreed_on() {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let authority = Authority::new();
    let scaler = start(&Files::new(&authority.issue("scaler.test", 2099), None)).await;
    for (offered, agreed) in [("h2", true), ("http/1.1", false)] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![offered.as_bytes().to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let connection = TcpStream::connect(("127.0.0.1", scaler.port)).await.unwrap();
        let connection = connector.connect(ServerName::try_from("scaler.test").unwrap(), connection).await;
        assert_eq!(connection.is_ok(), agreed, "{offered}: {connection:?}");
    }
}
