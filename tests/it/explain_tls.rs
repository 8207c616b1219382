//! `explain --scaler` over TLS, with the files that KEDA's TriggerAuthentication has.

use std::path::Path;
use std::process::{Command, Output};

use crate::database::{Database, Kind};
use crate::process::Process;
use crate::tls::{Authority, Files};

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: orders}
spec:
  scaleTargetRef: {name: worker}
  triggers:
    - type: external-push
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '10'}
";

/// The exit code, and all that is said.
fn explain(directory: &Path, scaler: &str, options: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    command.args(["explain", "--scaler", scaler, "-f", "worker.yaml"]).args(options).current_dir(directory);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_asks_as_keda_does_with_mutual_tls() {
    let database = Database::new(Kind::Sqlite).await.at_present();
    let (servers, clients) = (Authority::new(), Authority::new());
    let files = Files::new(&servers.issue("scaler.test", 2099), Some(&clients.pem()));
    let directory = files.directory.path();
    let shown = clients.issue("keda.test", 2099);
    for (name, text) in [
        ("worker.yaml", MANIFEST),
        ("servers.pem", &servers.pem()),
        ("client.crt", &shown.cert),
        ("client.key", &shown.key),
        ("no.pem", "nothing"),
    ] {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let process = Process::start_with_tls(&database.url, &files.tls);
    let ca = ["--ca-cert", "servers.pem"];
    let name = ["--server-name", "scaler.test"];
    let client = ["--client-cert", "client.crt", "--client-key", "client.key"];
    let check = |options: &[&[&str]], code: i32, expected: &str| {
        let (exit, said) = explain(directory, &process.address, &options.concat());
        assert!(
            exit == Some(code) && said.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected),
            "{options:?}: {exit:?} {said}"
        );
    };
    check(&[&ca, &name, &client], 0, "as answered by 127.0.0.1");
    check(&[], 1, "give --tls or --ca-cert");
    check(&[&ca, &name], 1, "give --client-cert");
    check(&[&ca, &client], 1, "certificate");
    check(&[&["--tls"], &name, &client], 1, "certificate");
    check(&[&["--ca-cert", "gone.pem"]], 1, "--ca-cert: cannot read the file `gone.pem`");
    check(&[&["--ca-cert", "no.pem"]], 1, "`no.pem` has no certificate");
    check(&[&["--client-cert", "client.crt"]], 2, "--client-key");
    process.stop();
}
