//! TLS to the database: who is believed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jobrunr_scaler::jobrunr::Questions;
use jobrunr_scaler::storage::Storage;

use super::plain;
use crate::database::{Kind, SERVERS, config, noon, server_url};
use crate::tls::Authority;

/// A server of the test's own, which ends with its standard input.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Speaks TLS with the certificate in `tls`.
    fn start(kind: Kind, directory: &Path, tls: &Path) -> Self {
        let name = if kind == Kind::Postgres { "postgres" } else { "mariadb" };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/database.sh");
        let mut command = Command::new(script);
        command.arg(name).arg(directory).env("DATABASE_TLS", tls);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(['@', '/']).find_map(|part| part.strip_prefix("127.0.0.1:")?.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("the server did not start: {line}")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The error of a read. The databases have no tables, so an error about tables shows that the login succeeded.
async fn outcome(url: &str) -> String {
    let read = async {
        let mut session = config(url, "").connect().await?;
        session.read(&Questions::from_iter([plain()]), noon()).await
    };
    read.await.unwrap_err().to_string()
}

const LOGGED_IN: &str = "no table jobrunr_jobs";

#[tokio::test]
async fn tls_modes_reject_the_wrong_server() {
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
    for kind in SERVERS {
        let server = Server::start(kind, directory.path(), directory.path());
        let url = |host: &str, port: u16, mode: &str, ca: &str| match kind {
            Kind::Postgres => format!(
                "jdbc:postgresql://{host}:{port}/jobrunr?user=jobrunr&password=jobrunr&sslmode={mode}&sslrootcert={ca}"
            ),
            _ => format!(
                "jdbc:mariadb://{host}:{port}/jobrunr?user=jobrunr&password=jobrunr&sslMode={mode}&serverSslCert={ca}"
            ),
        };
        let check = async |host: &str, mode: &str, ca: &str, expected: &str| {
            let error = outcome(&url(host, server.port, mode, ca)).await;
            assert!(error.contains(expected), "{kind:?} {host} {mode} {ca}: {error}");
        };
        check("localhost", "verify-full", &right, LOGGED_IN).await;
        check("localhost", "verify-ca", &right, LOGGED_IN).await;
        let not_signed = format!("not signed by an authority in `{wrong}`");
        check("localhost", "verify-full", &wrong, &not_signed).await;
        check("localhost", "verify-ca", &wrong, &not_signed).await;
        check("localhost", "verify-full", "system", "set `sslrootcert` in the address").await;
        // The certificate is for localhost.
        check("127.0.0.1", "verify-full", &right, "certificate is only valid for DnsName(\"localhost\")").await;
        check("127.0.0.1", "verify-ca", &right, LOGGED_IN).await;
        // A file that was deleted while serving, and one that is not a certificate.
        check("localhost", "verify-full", "/nowhere.pem", "`sslrootcert` of the address: cannot read").await;
        check("localhost", "verify-full", &key, "it holds: PRIVATE KEY").await;
        // A server without TLS, as an attacker in between would pretend.
        let plain = server_url(kind).port().unwrap();
        let error = outcome(&url("localhost", plain, "verify-full", &right)).await;
        assert!(error.contains("TLS"), "{kind:?}: {error}");
    }
}
