//! The program as a process whose files change: configuration, passwords, certificates.

use std::path::Path;
use std::time::Duration;

use jobrunr_scaler::grpc::proto::GetMetricsRequest;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use tonic::transport::{Channel, Endpoint, Identity};
use tonic::{Code, Status};

use crate::database::{Database, Kind};
use crate::process::{Process, program};
use crate::rows::job;
use crate::scaler::{eventually, next_push, reference};
use crate::tls::{Authority, Files, trusting};

async fn value(client: &mut ExternalScalerClient<Channel>, metadata: &str) -> Result<f64, Status> {
    let reference = reference(metadata);
    let storage = reference.scaler_metadata.get("storage").map_or("default", String::as_str);
    let metric_name = format!("jobrunr-{storage}-enqueued-count");
    let request = GetMetricsRequest { scaled_object_ref: Some(reference), metric_name };
    let response = client.get_metrics(request).await?.into_inner();
    Ok(response.metric_values[0].metric_value_float)
}

/// Replaces a file as ConfigMaps and careful people do.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[tokio::test]
async fn configuration_is_reloaded_unless_it_is_invalid() {
    let mut first = Database::new(Kind::Sqlite).await.at_present();
    let mut second = Database::new(Kind::Sqlite).await.at_present();
    first.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    second.insert_jobs(&[job("ENQUEUED", 1.0), job("ENQUEUED", 1.0)]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let one = format!("storages:\n  default:\n    url: {}\n", first.url);
    let both = format!("{one}  second:\n    url: {}\n", second.url);
    replace(&file, &one);
    let process = Process::start(&[], &["--config", file.to_str().unwrap()]);
    let mut client = process.client().await;
    let of = |storage: &str| format!("metric=enqueued-count targetValue=1 storage={storage}");
    let mut stream = client.stream_is_active(reference(&of("default"))).await.unwrap().into_inner();
    assert_eq!(next_push(&mut stream, Duration::from_secs(5)).await, Some(true));
    assert_eq!(value(&mut client, &of("second")).await.unwrap_err().code(), Code::NotFound);

    // A changed file is noticed.
    replace(&file, &both);
    eventually("the second storage", async || value(&mut client.clone(), &of("second")).await.ok()).await;
    assert_eq!(value(&mut client, &of("second")).await.unwrap(), 2.0);

    // A bad one changes nothing, and says so. A signal has it looked at at once.
    replace(&file, &format!("{one}    refresh: often\n    password: hunter2\n"));
    process.signal("HUP");
    process.until_exposed("jobrunr_scaler_config_last_reload_ok 0").await;
    assert_eq!(value(&mut client, &of("second")).await.unwrap(), 2.0);

    // What goes away is gone, and what stays was never interrupted: the stream of the first is still the one from above.
    replace(&file, &one);
    process.signal("HUP");
    process.until_exposed("jobrunr_scaler_config_last_reload_ok 1").await;
    let gone = async || value(&mut client.clone(), &of("second")).await.err().map(|status| status.code());
    assert_eq!(eventually("the second storage's end", gone).await, Code::NotFound);
    assert_eq!(next_push(&mut stream, Duration::from_secs(20)).await, Some(true));
    let log = process.stop();
    assert!(log.contains("often") && !log.contains("hunter2"), "{log}");
}

/// A trigger is parsed once, but its storage is looked up with every call.
#[tokio::test]
async fn cached_trigger_follows_a_changed_storage() {
    let mut first = Database::new(Kind::Sqlite).await.at_present();
    let mut second = Database::new(Kind::Sqlite).await.at_present();
    first.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    second.insert_jobs(&[job("ENQUEUED", 1.0), job("ENQUEUED", 1.0)]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let config = |url: &str, more: &str| format!("storages:\n  default:\n    url: {url}\n{more}");
    replace(&file, &config(&first.url, ""));
    let process = Process::start(&[], &["--config", file.to_str().unwrap()]);
    let mut client = process.client().await;
    let metadata = "metric=enqueued-count targetValue=1";
    for _ in 0..2 {
        assert_eq!(value(&mut client, metadata).await.unwrap(), 1.0);
    }
    replace(&file, &config(&second.url, ""));
    process.signal("HUP");
    let changed = async || value(&mut client.clone(), metadata).await.ok().filter(|value| *value != 1.0);
    assert_eq!(eventually("the other database", changed).await, 2.0);
    replace(&file, &config(&second.url, "    namespaces: [other]\n"));
    process.signal("HUP");
    let closed = async || value(&mut client.clone(), metadata).await.err().map(|status| status.code());
    assert_eq!(eventually("the storage is closed to the namespace", closed).await, Code::PermissionDenied);
}

#[tokio::test]
async fn password_rotation_needs_no_restart() {
    for kind in crate::database::SERVERS {
        let mut database = Database::new(kind).await.at_present();
        database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
        let user = database.name.clone();
        let (create, alter, end) = match kind {
            Kind::Postgres => (
                format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD 'hunter1'"),
                format!("ALTER ROLE {user} PASSWORD 'hunter2'"),
                format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"),
            ),
            // Its own command for this would be one per connection.
            Kind::MySql => (
                format!("CREATE USER {user} IDENTIFIED BY 'hunter1'; GRANT ALL ON *.* TO {user}"),
                format!("ALTER USER {user} IDENTIFIED BY 'hunter2'"),
                String::new(),
            ),
            _ => (
                format!("CREATE USER {user} IDENTIFIED BY 'hunter1'; GRANT ALL ON *.* TO {user}"),
                format!("ALTER USER {user} IDENTIFIED BY 'hunter2'"),
                format!("KILL USER {user}"),
            ),
        };
        database.execute(&create).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        replace(&file, "hunter1\n");
        let url = database.url.replace("jobrunr:jobrunr@", &format!("{user}@"));
        let process = Process::start(
            &[
                ("JOBRUNR_SCALER_URL", &url),
                ("JOBRUNR_SCALER_PASSWORD_FILE", file.to_str().unwrap()),
                ("JOBRUNR_SCALER_MAX_STALENESS", "PT1S"),
            ],
            &[],
        );
        let mut client = process.client().await;
        let metadata = "metric=enqueued-count targetValue=1";
        assert_eq!(value(&mut client, metadata).await.unwrap(), 1.0, "{kind:?}");

        database.execute(&alter).await;
        if kind == Kind::MySql {
            let find =
                format!("SELECT CAST(max(id) AS SIGNED) FROM information_schema.processlist WHERE user = '{user}'");
            let connection = database.number(&find).await;
            database.execute(&format!("KILL {connection}")).await;
        } else {
            database.execute(&end).await;
        }
        let refused = async || value(&mut client.clone(), metadata).await.err();
        let error = eventually("the old password is refused", refused).await;
        assert!(!error.message().contains("hunter1"), "{error:?}");
        replace(&file, "hunter2\n");
        let answered = async || value(&mut client.clone(), metadata).await.ok();
        assert_eq!(eventually("the new password", answered).await, 1.0);
        let log = process.stop();
        assert!(!log.contains("hunter1") && !log.contains("hunter2"), "{kind:?} {log}");
    }
}

#[tokio::test]
async fn streams_over_tls_end_with_ok_at_shutdown() {
    let database = Database::new(Kind::Sqlite).await;
    let (servers, clients) = (Authority::new(), Authority::new());
    let files = Files::new(&servers.issue("scaler.test", 2099), Some(&clients.pem()));
    let process = Process::start_with_tls(&database.url, &files.tls);
    let shown = clients.issue("keda.test", 2099);
    let tls = trusting(&servers).identity(Identity::from_pem(shown.cert, shown.key));
    let endpoint = Endpoint::from_shared(format!("https://{}", process.address)).unwrap().tls_config(tls).unwrap();
    let mut client = ExternalScalerClient::new(endpoint.connect().await.unwrap());
    let metadata = reference("metric=enqueued-count targetValue=1");
    let mut stream = client.stream_is_active(metadata).await.unwrap().into_inner();
    process.until_exposed("jobrunr_scaler_certificate_expiry_timestamp_seconds 4").await;
    process.signal("TERM");
    assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
    drop(client);
    let log = process.stop();
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn certificate_that_is_invalid_exits_with_64() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue("scaler.test", 2099), None);
    let key = authority.issue("another.test", 2099).key;
    let check = |cert: &str, key: &str, expected: &str| {
        std::fs::write(&files.tls.cert, cert).unwrap();
        std::fs::write(&files.tls.key, key).unwrap();
        let env = [
            ("JOBRUNR_SCALER_URL", "sqlite:/nowhere.db"),
            ("JOBRUNR_SCALER_TLS_CERT_FILE", files.tls.cert.to_str().unwrap()),
            ("JOBRUNR_SCALER_TLS_KEY_FILE", files.tls.key.to_str().unwrap()),
        ];
        let output = program(&env).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(64) && text.contains(expected), "{expected}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    };
    let good = authority.issue("scaler.test", 2099);
    check(&good.cert, &key, "does not belong to the certificate");
    check("", &good.key, "contains no certificate");
    check(&good.cert, "-----BEGIN PRIVATE KEY-----\nhunter2", "tls.key");
}
