//! TLS to the database: who is believed.

use jobrunr_scaler::jobrunr::Questions;
use jobrunr_scaler::storage::Storage;

use super::plain;
use crate::database::{Kind, TLS_SERVERS, config, noon, server_url};
use crate::support::servers::OwnServer;
use crate::tls::ServerFiles;

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
    let ServerFiles { directory, key, right, wrong } = ServerFiles::new();
    for kind in TLS_SERVERS {
        let server = OwnServer::start(kind, directory.path(), "DATABASE_TLS", directory.path());
        let url = |host: &str, port: u16, mode: &str, ca: &str| match kind {
            Kind::Postgres => format!(
                "jdbc:postgresql://{host}:{port}/jobrunr?user=jobrunr&password=jobrunr&sslmode={mode}&sslrootcert={ca}"
            ),
            _ => format!(
                "jdbc:mariadb://{host}:{port}/jobrunr?user=jobrunr&password=jobrunr&sslMode={mode}&serverSslCert={ca}"
            ),
        };
        let check = async |host: &str, mode: &str, ca: &str, expected: &str| {
            let error = outcome(&url(host, server.port(), mode, ca)).await;
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
        check("localhost", "verify-full", &key, "it contains: PRIVATE KEY").await;
        // A server without TLS, as an attacker in between would pretend.
        let plain = server_url(kind).port().unwrap();
        let error = outcome(&url("localhost", plain, "verify-full", &right)).await;
        assert!(error.contains("TLS"), "{kind:?}: {error}");
    }
}
