//! What the program takes from its environment, and what not.

use std::process::{Command, Output};

use crate::database::{Database, Kind};
use crate::process::Process;

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: orders}
spec:
  scaleTargetRef: {name: worker}
  triggers:
    - type: external-push
      metricType: AverageValue
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '10'}
";

/// The exit code, and all that is said.
fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBRUNR_SCALER_") || name.starts_with("PG"))
    {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } = command.args(args).envs(env.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// A misspelled setting has its default, and only the warning says so.
#[tokio::test]
async fn warnings_of_the_configuration_are_printed_by_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("worker.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let explain = ["explain", "-f", manifest.to_str().unwrap()];
    let env = [("JOBRUNR_SCALER_URL", "jdbc:postgresql://u@localhost:1/db"), ("JOBRUNR_SCALER_REFRSH", "PT2S")];
    let simulate = ["simulate", "--workload", "history", "-f", manifest.to_str().unwrap()];
    for command in [&explain[..], &["check"], &["grants-sql"], &["notify-sql"], &simulate] {
        let (_, said) = run(command, &env);
        assert!(
            said.contains("warning: the environment variable JOBRUNR_SCALER_REFRSH is unknown"),
            "{command:?}: {said}"
        );
    }
}

#[tokio::test]
async fn libpq_variables_have_no_effect() {
    let database = Database::new(Kind::Postgres).await;
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("worker.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let explain = |url: &str, variables: &[(&str, &str)]| {
        let env = [&[("JOBRUNR_SCALER_URL", url)], variables].concat();
        run(&["explain", "-f", manifest.to_str().unwrap()], &env)
    };
    let check = |url: &str, variables: &[(&str, &str)], code: i32, expected: &str| {
        let (exit, said) = explain(url, variables);
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(exit == Some(code) && words.contains(expected), "{url} {variables:?}: {exit:?} {said}");
    };
    let url = &database.url;
    check(url, &[], 0, "0 jobs enqueued");
    // Each would lead elsewhere or nowhere.
    for variable in [
        ("PGHOST", "nowhere.invalid"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "nothing"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nowhere.pem"),
        ("PGAPPNAME", "psql"),
    ] {
        check(url, &[variable], 0, "0 jobs enqueued");
    }
    // And none helps out where the configuration has nothing.
    let without_user = url.replace("jobrunr:jobrunr@", "");
    check(&without_user, &[("PGUSER", "jobrunr"), ("PGPASSWORD", "jobrunr")], 64, "no user is configured");
    let without_password = url.replace("jobrunr:jobrunr@", "jobrunr@");
    check(&without_password, &[("PGPASSWORD", "jobrunr")], 1, "password authentication failed");
    check(url, &[("PGOPTIONS", "-c search_path=elsewhere")], 64, "environment variable PGOPTIONS");
    check(url, &[("PGSSLCERT", "/nowhere.pem")], 64, "environment variable PGSSLCERT");
}

#[tokio::test]
async fn health_asks_where_the_scaler_is_configured_to_answer() {
    let database = Database::new(Kind::Sqlite).await;
    let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let http = ("JOBRUNR_SCALER_HTTP", process.http.as_str());
    assert_eq!(run(&["health"], &[http]), (Some(0), String::new()));
    let any = process.http.replace("127.0.0.1", "0.0.0.0");
    assert_eq!(run(&["health"], &[("JOBRUNR_SCALER_HTTP", &any)]), (Some(0), String::new()));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml").display().to_string();
    // Somebody broke the file meanwhile; the scaler still serves with what it had.
    std::fs::write(&file, format!("http: {}\nstorages: {{orders: {{url: 'jdbc:oracle:x'}}}}\n", process.http)).unwrap();
    assert_eq!(run(&["health", "--config", &file], &[]), (Some(0), String::new()));
    assert_eq!(run(&["health"], &[("JOBRUNR_SCALER_CONFIG", &file)]), (Some(0), String::new()));
    // The option goes before the environment, and that before the file.
    let check = |args: &[&str], env: &[(&str, &str)], code: i32, expected: &str| {
        let (exit, said) = run(&[&["health"], args].concat(), env);
        assert!(exit == Some(code) && said.contains(expected), "{args:?} {env:?}: {exit:?} {said}");
    };
    check(&["--config", &file], &[("JOBRUNR_SCALER_HTTP", "127.0.0.1:1")], 1, "no answer from 127.0.0.1:1");
    check(&["--http", "127.0.0.1:2"], &[http], 1, "no answer from 127.0.0.1:2");
    check(&[], &[("JOBRUNR_SCALER_HTTP", "off")], 1, "`http` is `off`");
    check(&[], &[("JOBRUNR_SCALER_HTTP", "nowhere")], 64, "environment variable JOBRUNR_SCALER_HTTP");
    check(&["--config", "/nowhere.yaml"], &[], 64, "/nowhere.yaml");
    process.stop();
}
