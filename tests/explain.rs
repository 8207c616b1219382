//! `explain` as a person runs it: the built program, manifests in files, JobRunr's tables in SQLite.

#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test, with its place")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// As JobRunr writes them: instants in epoch milliseconds.
const TABLES: [&str; 4] = [
    "CREATE TABLE jobrunr_jobs (id TEXT PRIMARY KEY, version INT, jobAsJson TEXT, jobSignature TEXT, state TEXT, \
     createdAt TIMESTAMP, updatedAt TIMESTAMP, scheduledAt TIMESTAMP, recurringJobId TEXT)",
    "CREATE TABLE jobrunr_backgroundjobservers (id TEXT PRIMARY KEY, workerPoolSize INT, pollIntervalInSeconds INT, \
     firstHeartbeat TIMESTAMP, lastHeartbeat TIMESTAMP, running INT)",
    "CREATE INDEX jobrunr_jobs_state_updated_idx ON jobrunr_jobs (state, updatedAt)",
    "CREATE INDEX jobrunr_job_scheduled_at_idx ON jobrunr_jobs (scheduledAt)",
];

const COUNT: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: orders}
spec:
  scaleTargetRef: {name: worker}
  maxReplicaCount: 10
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 300}}}}
  triggers:
    - type: external-push
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '10'}
";

/// A directory with a database in it, and what the program is run with.
struct Bench {
    directory: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        for table in TABLES {
            bench.sql(table).await;
        }
        bench
    }

    async fn sql(&self, statement: &str) {
        let options =
            SqliteConnectOptions::new().filename(self.directory.path().join("jobs.db")).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Adds jobs whose state changed `seconds` ago.
    async fn jobs(&self, n_jobs: u32, state: &str, seconds: i64) {
        let then = millis() - 1000 * seconds;
        self.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n_jobs}) \
             INSERT INTO jobrunr_jobs SELECT '{state}' || {then} || '-' || i, 1, '{{}}', 's', '{state}', {then}, {then}, \
             NULL, NULL FROM n"
        ))
        .await;
    }

    async fn server(&self, n_workers: u32) {
        let now = millis();
        self.sql(&format!("INSERT INTO jobrunr_backgroundjobservers VALUES ('a', {n_workers}, 15, {now}, {now}, 1)"))
            .await;
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The program in the directory, with nothing of this machine's environment that could matter.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
        command.current_dir(self.directory.path()).env_clear().args(arguments);
        command.env("JOBRUNR_SCALER_URL", "jdbc:sqlite:jobs.db");
        command
    }

    fn explain(&self, arguments: &[&str]) -> String {
        transcript(&self.command(&[&["explain"], arguments].concat()).output().unwrap())
    }
}

fn millis() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Everything that a person sees, and the exit code.
fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let errors = text(&output.stderr);
    let errors = if errors.is_empty() { String::new() } else { format!("\n[standard error]\n{errors}") };
    format!("{}{errors}\n[exit {}]", text(&output.stdout), output.status.code().unwrap())
}

#[tokio::test]
async fn a_table_shows_what_each_trigger_asks_for_and_why() {
    let bench = Bench::new().await;
    bench.jobs(35, "ENQUEUED", 90).await;
    bench.jobs(3, "PROCESSING", 0).await;
    bench.server(8).await;
    bench.file(
        "worker.yaml",
        &(COUNT.to_owned()
            + "    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:9090', metric: worker-usage, targetValue: '0.8'}
    - type: cron
      metadata: {timezone: Europe/Brussels, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: '2'}
"),
    );
    assert_snapshot!("table", bench.explain(&["-f", "worker.yaml"]));
    assert_snapshot!("json", bench.explain(&["-f", "worker.yaml", "--output", "json"]));
    assert_snapshot!("at_zero", bench.explain(&["-f", "worker.yaml", "--replicas", "0"]));
    assert_snapshot!("scaling_down", bench.explain(&["-f", "worker.yaml", "--replicas", "9"]));
}

#[tokio::test]
async fn without_work_the_workload_goes_to_zero_after_the_cooldown() {
    let bench = Bench::new().await;
    bench.file("worker.yaml", COUNT);
    assert_snapshot!("idle", bench.explain(&["-f", "worker.yaml", "--replicas", "4"]));
    let kept = COUNT.replace("maxReplicaCount: 10", "minReplicaCount: 2");
    bench.file("kept.yaml", &kept);
    assert_snapshot!("idle_at_minimum", bench.explain(&["-f", "kept.yaml", "--replicas", "4"]));
    assert_snapshot!("idle_at_zero", bench.explain(&["-f", "worker.yaml", "--replicas", "0"]));
}

#[tokio::test]
async fn several_documents_in_several_files_and_from_standard_input() {
    let bench = Bench::new().await;
    bench.jobs(500, "ENQUEUED", 1).await;
    let other = COUNT.replace("worker", "mailer");
    bench
        .file("all.yaml", &format!("{COUNT}---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n---\n{other}"));
    let mut command = bench.command(&["explain", "-f", "all.yaml", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let third = COUNT.replace("worker", "third").replace("maxReplicaCount: 10", "minReplicaCount: 2");
    child.stdin.take().unwrap().write_all(third.as_bytes()).unwrap();
    assert_snapshot!("several", transcript(&child.wait_with_output().unwrap()));
}

#[tokio::test]
async fn a_manifest_that_is_likely_wrong_is_warned_of() {
    let bench = Bench::new().await;
    bench.file(
        "odd.yaml",
        "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: odd}
spec:
  scaleTargetRef: {name: odd}
  maxReplicas: 4
  triggers:
    - type: external
      metadata: {scalerAddress: 'a:1', metric: worker-usage, targetValue: '0.8', metricType: Value, activationTargetVale: '1'}
    - type: external
      metricType: Value
      metadata: {scalerAddress: 'a:1', metric: total-workers, targetValue: '10', passwordFromEnv: DB}
",
    );
    assert_snapshot!("warnings", bench.explain(&["-f", "odd.yaml"]));
}

#[tokio::test]
async fn a_missing_database_is_an_error_with_its_cause_and_never_a_number() {
    let bench = Bench::new().await;
    let fallback = "  fallback: {failureThreshold: 3, replicas: 5}\n";
    bench.file("worker.yaml", &(COUNT.to_owned() + fallback));
    std::fs::remove_file(bench.directory.path().join("jobs.db")).unwrap();
    assert_snapshot!("missing_database", bench.explain(&["-f", "worker.yaml", "--replicas", "3"]));
    assert_snapshot!("missing_database_json", bench.explain(&["-f", "worker.yaml", "--output", "json"]));
}

#[tokio::test]
async fn fallback_is_promised_only_where_keda_has_one() {
    let bench = Bench::new().await;
    let manifest = COUNT.to_owned()
        + "    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:9090', metric: worker-usage, targetValue: '0.8'}
    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: demand, targetValue: '8', storage: invoices}
  fallback: {failureThreshold: 3, replicas: 5, behavior: currentReplicasIfHigher}
";
    bench.file("worker.yaml", &manifest);
    std::fs::remove_file(bench.directory.path().join("jobs.db")).unwrap();
    assert_snapshot!("fallback", bench.explain(&["-f", "worker.yaml", "--replicas", "7"]));
    assert_snapshot!("fallback_at_zero", bench.explain(&["-f", "worker.yaml", "--replicas", "0"]));
    bench.file("static.yaml", &manifest.replace(", behavior: currentReplicasIfHigher", ""));
    let said = bench.explain(&["-f", "static.yaml"]);
    assert!(said.contains("falls back to 5 replicas, fallback.replicas"), "{said}");
}

#[tokio::test]
async fn paused_scaled_objects_are_said_to_be_paused() {
    let bench = Bench::new().await;
    bench.jobs(35, "ENQUEUED", 90).await;
    let paused = |annotation: &str| {
        COUNT.replace(
            "namespace: orders",
            &format!("namespace: orders, annotations: {{autoscaling.keda.sh/{annotation}}}"),
        )
    };
    bench.file("paused.yaml", &paused("paused: \"true\""));
    assert_snapshot!("paused", bench.explain(&["-f", "paused.yaml"]));
    bench.file("at_four.yaml", &paused("paused-replicas: \"4\""));
    let said = bench.explain(&["-f", "at_four.yaml", "--output", "json"]);
    assert!(
        said.contains("\"wanted\": 4") && said.contains("\"paused\": \"autoscaling.keda.sh/paused-replicas\""),
        "{said}"
    );
    bench.file("in.yaml", &paused("paused-scale-in: \"true\""));
    let said = bench.explain(&["-f", "in.yaml"]);
    assert!(said.contains("4 wanted") && said.contains("KEDA and the HPA take no pods away"), "{said}");
}

#[tokio::test]
async fn values_that_are_rarely_intended_are_warned_of() {
    let bench = Bench::new().await;
    bench.server(8).await;
    bench.file(
        "tired.yaml",
        &(COUNT.replace("'10'}", "'0.8', activationTargetValue: '5', pushInactive: 'true'}")
            + "    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:8080', metric: enqueued-latency, targetValue: '10'}
    - type: external
      metricType: Value
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-latency, targetValue: '30000'}
"),
    );
    assert_snapshot!("rarely_intended", bench.explain(&["-f", "tired.yaml", "--replicas", "1"]));
    bench.file("usage.yaml", &COUNT.replace("enqueued-count, targetValue: '10'", "worker-usage, targetValue: '80%'"));
    let said = bench.explain(&["-f", "usage.yaml"]);
    assert!(said.contains("[exit 1]"), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("`targetValue` is `80%`; allowed is a ratio from 0.001 to 1"), "{said}");
    assert!(said.contains("did you mean `0.8`?"), "{said}");
}

#[tokio::test]
async fn addresses_and_types_that_keda_cannot_use_end_with_1() {
    let bench = Bench::new().await;
    bench.file("url.yaml", &COUNT.replace("scaler:9090", "http://scaler:9090"));
    bench.file("host.yaml", &COUNT.replace("scaler:9090", "scaler"));
    bench.file("type.yaml", &COUNT.replace("external-push", "external_push"));
    bench.file("kind.yaml", &COUNT.replace("kind: ScaledObject", "kind: Scaledobject"));
    let files = ["-f", "url.yaml", "-f", "host.yaml", "-f", "type.yaml", "-f", "kind.yaml"];
    assert_snapshot!("unusable", bench.explain(&files));
}

/// The manifests that are there to be copied: nothing is wrong with them, and nothing is warned of.
#[tokio::test]
async fn shipped_manifests_are_explained_without_a_warning() {
    let bench = Bench::new().await;
    let k8s = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s");
    let mut n_manifests = 0;
    let folders = ["", "overlays/example", "overlays/tls"].map(|folder| k8s.join(folder));
    for path in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path())
    {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.contains("scaledobject") {
            continue;
        }
        // Their storages are not here.
        let text = std::fs::read_to_string(&path).unwrap().replace("storage: orders", "storage: default");
        bench.file(name, &text);
        let said = bench.explain(&["-f", name]);
        assert!(said.ends_with("[exit 0]") && !said.contains("warning:"), "{}\n{said}", path.display());
        n_manifests += 1;
    }
    assert!(4 <= n_manifests, "{n_manifests}");
}

#[tokio::test]
async fn wrong_metadata_and_a_working_trigger_side_by_side() {
    let bench = Bench::new().await;
    bench.jobs(35, "ENQUEUED", 90).await;
    bench.file(
        "half.yaml",
        &(COUNT.to_owned()
            + "    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: enqueud-count, targetValue: many}
    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '5', storage: invoices}
"),
    );
    assert_snapshot!("wrong_metadata", bench.explain(&["-f", "half.yaml"]));
}

#[tokio::test]
async fn what_is_no_manifest_is_told_with_its_place() {
    let bench = Bench::new().await;
    bench.file("broken.yaml", "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: [}\n");
    bench.file("wrong.yaml", &COUNT.replace("'10'", "10").replace("maxReplicaCount: 10", "maxReplicaCount: '10'"));
    assert_snapshot!("no_manifest", bench.explain(&["-f", "broken.yaml", "-f", "wrong.yaml", "-f", "missing.yaml"]));
    let job = "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: batch}\nspec:\n  triggers:\n    \
               - {type: external-push, metadata: {scalerAddress: 'a:1', metric: enqueued-count, targetValue: '1'}}\n";
    bench.file("others.yaml", &format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n---\n{job}"));
    assert_snapshot!("no_scaled_object", bench.explain(&["-f", "others.yaml"]));
}

#[tokio::test]
async fn a_bad_configuration_ends_with_64_and_all_its_mistakes() {
    let bench = Bench::new().await;
    bench.file("worker.yaml", COUNT);
    let mut command = bench.command(&["explain", "-f", "worker.yaml"]);
    command.env("JOBRUNR_SCALER_REFRESH", "soon").env("JOBRUNR_SCALER_COUNT_LIMIT", "few");
    assert_snapshot!("bad_configuration", transcript(&command.output().unwrap()));
}

#[tokio::test]
async fn latencies_are_shown_as_they_are() {
    let bench = Bench::new().await;
    bench.jobs(2, "ENQUEUED", 90).await;
    bench.file("worker.yaml", &COUNT.replace("enqueued-count", "enqueued-latency"));
    let output = bench.command(&["explain", "-f", "worker.yaml", "--output", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trigger = &report["scaledObjects"][0]["triggers"][0];
    let latency = trigger["value"].as_f64().unwrap();
    assert!((90.0..120.0).contains(&latency), "{latency}");
    assert!(trigger["podsWanted"].as_u64().unwrap() >= 9, "{trigger}");
}

/// A scaler that runs as long as the test looks at it.
struct Serving {
    process: std::process::Child,
    address: String,
}

impl Serving {
    fn start(bench: &Bench) -> Self {
        // The port is free at this moment; whoever takes it in between fails the test, and tells why.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let mut command = bench.command(&["serve", "--listen", &address, "--http", "127.0.0.1:0"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let serving = Self { process, address };
        let is_up = || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::net::TcpStream::connect(&serving.address).is_ok()
        };
        assert!(std::iter::repeat_with(is_up).take(200).any(|up| up), "the scaler does not listen");
        serving
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_running_scaler_is_asked_as_keda_asks_it() {
    let bench = Bench::new().await;
    bench.jobs(35, "ENQUEUED", 90).await;
    bench.file(
        "worker.yaml",
        &(COUNT.to_owned()
            + "    - type: external
      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '5', storage: invoices}
"),
    );
    let serving = Serving::start(&bench);
    // As JSON, since the table breaks its lines by the length of the address.
    let answered = bench.explain(&["-f", "worker.yaml", "--scaler", &serving.address, "--output", "json"]);
    assert_snapshot!("scaler", answered.replace(&serving.address, "ADDRESS"));
    let address = serving.address.clone();
    drop(serving);
    let refused = bench.explain(&["-f", "worker.yaml", "--scaler", &address, "--output", "json"]);
    assert_snapshot!("scaler_gone", refused.replace(&address, "ADDRESS"));
}

#[tokio::test]
async fn a_scaler_that_does_not_answer_is_given_up() {
    let bench = Bench::new().await;
    bench.file("worker.yaml", COUNT);
    // The operating system takes the connection, and nobody ever reads from it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = bench.explain(&["-f", "worker.yaml", "--scaler", &address, "--output", "json"]);
    let error = format!("\"error\": \"GetMetricSpec of {address}: DEADLINE_EXCEEDED: no answer within 5 s\"");
    assert!(output.contains(&error), "{output}");
}

#[tokio::test]
async fn the_scaler_needs_a_port() {
    let bench = Bench::new().await;
    let output = bench.command(&["explain", "-f", "x.yaml", "--scaler", "localhost"]).output().unwrap();
    assert_snapshot!("scaler_without_port", transcript(&output));
}

#[tokio::test]
async fn no_colours_and_no_clearing_where_there_is_no_terminal() {
    let bench = Bench::new().await;
    bench.file("worker.yaml", COUNT);
    let mut command = bench.command(&["explain", "-f", "worker.yaml", "--watch", "1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let text = lines.take(20).collect::<Vec<_>>().join("\n");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(2 <= text.matches("orders/worker: 1 replica now").count(), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}
