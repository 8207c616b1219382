//! The program as a process: exit codes, signals, what it prints.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use jobrunr_scaler::config::TlsFiles;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::metrics::Metrics;
use tonic::transport::Channel;

use crate::database::{Database, Kind};
use crate::rows::scheduled;
use crate::scaler::{eventually, next_push, reference};

/// The program with nothing of this environment but what it is given.
pub(crate) fn program(env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBRUNR_SCALER_")) {
        command.env_remove(name);
    }
    command
        .args(["serve"])
        .env("JOBRUNR_SCALER_HTTP", "127.0.0.1:0")
        .envs(env.iter().copied())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// What configures TLS.
pub(crate) fn with_tls(files: &TlsFiles) -> Vec<(&'static str, &str)> {
    fn path(path: &Path) -> &str {
        path.to_str().unwrap()
    }
    let mut env =
        vec![("JOBRUNR_SCALER_TLS_CERT_FILE", path(&files.cert)), ("JOBRUNR_SCALER_TLS_KEY_FILE", path(&files.key))];
    env.extend(files.client_ca.iter().map(|ca| ("JOBRUNR_SCALER_TLS_CLIENT_CA_FILE", path(ca))));
    env
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the program did not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What an address answers to a path, head and body.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The exit code of `health` and what it says.
fn health(address: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    let output = command.args(["health", "--http", address]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A scaler that runs as its users run it.
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    pub(crate) http: String,
    pub(crate) address: String,
}

impl Drop for Process {
    /// A test that fails leaves nobody behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Process {
    pub(crate) fn start(env: &[(&str, &str)], args: &[&str]) -> Self {
        let mut command = program(env);
        command.args(args);
        Self::spawn(command)
    }

    /// With no more file descriptors than this.
    pub(crate) fn start_with_descriptors(env: &[(&str, &str)], n: u64) -> Self {
        let limited = program(env);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={n}")).arg(limited.get_program()).args(limited.get_args());
        for (name, value) in limited.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let command = command.env("JOBRUNR_SCALER_LOG_FORMAT", "json").args(["--listen", "127.0.0.1:0"]);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address_of = |message: &str| {
            let address = log.by_ref().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                (line["message"] == message).then(|| line["address"].as_str().unwrap().to_owned())
            });
            address.unwrap()
        };
        let (http, address) = (address_of("health and metrics"), address_of("listening"));
        Self { child, log, http, address }
    }

    /// With TLS over a database.
    pub(crate) fn start_with_tls(url: &str, files: &TlsFiles) -> Self {
        Self::start(&[vec![("JOBRUNR_SCALER_URL", url)], with_tls(files)].concat(), &[])
    }

    pub(crate) async fn client(&self) -> ExternalScalerClient<Channel> {
        ExternalScalerClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// What it shows to Prometheus.
    pub(crate) fn metrics(&self) -> String {
        get(&self.http, "/metrics")
    }

    /// The most memory that it ever had resident, MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Time on a processor so far; in hundredths of a second, which is what Linux counts in.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) async fn told(&self, metric: &str) {
        eventually(metric, async || self.metrics().contains(metric).then_some(())).await;
    }

    /// The first line of the log, after those of the start, that is about this storage.
    pub(crate) fn line_about(&mut self, storage: &str) -> serde_json::Value {
        let line = self.log.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["storage"] == storage).then_some(line)
        });
        line.unwrap()
    }

    /// Ends it as Kubernetes does, and gives what it has logged since it listens.
    pub(crate) fn stop(self) -> String {
        self.signal("TERM");
        self.ended()
    }

    /// What it has logged since it listens, when it has ended well.
    pub(crate) fn ended(mut self) -> String {
        assert_eq!(exit_code(&mut self.child), Some(0));
        self.log.by_ref().map(|line| line.unwrap() + "\n").collect()
    }
}

#[tokio::test]
async fn serve_ends_well_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let database = Database::new(Kind::Sqlite).await;
        let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
        let mut client = process.client().await;
        let metadata = reference("metric=enqueued-count targetValue=1");
        let mut stream = client.stream_is_active(metadata.clone()).await.unwrap().into_inner();
        assert!(!client.is_active(metadata).await.unwrap().into_inner().result);
        assert_eq!(next_push(&mut stream, Duration::from_millis(50)).await, None);

        assert!(get(&process.http, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(get(&process.http, "/nowhere").starts_with("HTTP/1.1 404"));
        let metrics = get(&process.http, "/metrics");
        for told in [
            "jobrunr_scaler_calls_total{method=\"IsActive\",code=\"Ok\"} 1",
            "jobrunr_scaler_streams{kind=\"activity\"} 1",
            "jobrunr_scaler_storage_up{storage=\"default\"} 1",
            "metric=\"enqueued-count\",filter=\"\",trigger=\"targetValue=1\"} 0",
        ] {
            assert!(metrics.contains(told), "{told}: {metrics}");
        }
        assert_eq!(health(&process.http).0, Some(0));

        process.signal(signal);
        assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
        drop(client);
        assert!(process.ended().contains("stopped"), "{signal}");
    }
}

/// Nobody is to be sent to a scaler that stops, while its last calls finish.
#[tokio::test(flavor = "multi_thread")]
async fn a_scaler_that_stops_is_not_ready_any_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(jobrunr_scaler::http::serve(listener, Metrics::default(), stop.clone()));
    let check = async |path: &'static str, status: &str, code: i32| {
        let of = address.clone();
        let answer = tokio::task::spawn_blocking(move || (get(&of, path), health(&of))).await.unwrap();
        assert!(answer.0.starts_with(status), "{path}: {}", answer.0);
        assert_eq!(answer.1.0, Some(code), "{}", answer.1.1);
    };
    check("/readyz", "HTTP/1.1 200", 0).await;
    stop.cancel();
    check("/readyz", "HTTP/1.1 503", 1).await;
    check("/healthz", "HTTP/1.1 200", 1).await;
    serving.abort();
    let _ = serving.await;
    let nobody = health(&address);
    assert!(nobody.0 == Some(1) && nobody.1.contains("no answer"), "{}", nobody.1);
}

#[test]
fn a_bad_configuration_is_told_whole_and_ends_with_64() {
    let env = [
        ("JOBRUNR_SCALER_URL", "jdbc:oracle:thin:@host:1521/jobs"),
        ("JOBRUNR_SCALER_REFRESH", "often"),
        ("JOBRUNR_SCALER_TABLE_PREFIX", "tbl; drop table x"),
        ("JOBRUNR_SCALER_LISTEN", "nowhere"),
        ("JOBRUNR_SCALER_PASSWORD", "hunter2"),
    ];
    let output = program(&env).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in env[..4].iter().map(|(name, _)| *name).chain(["Oracle", "often", "nowhere"]) {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn no_configuration_is_a_bad_one() {
    let output = program(&[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("JOBRUNR_SCALER_URL"), "{text}");
}

#[test]
fn an_address_in_use_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        program(&[("JOBRUNR_SCALER_URL", "sqlite:/nowhere.db")]).args(["--listen", &address]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}

/// KEDA does not say which of them it asks for.
#[tokio::test]
async fn two_triggers_with_the_same_metric_have_series_and_lines_of_their_own() {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[scheduled(30.0), scheduled(600.0)]).await;
    let process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let mut client = process.client().await;
    for _ in 0..5 {
        for metadata in
            ["metric=scheduled-count targetValue=1", "metric=scheduled-count targetValue=1 scheduledIn=PT1H"]
        {
            assert!(client.is_active(reference(metadata)).await.unwrap().into_inner().result);
        }
    }
    process.told("trigger=\"targetValue=1\"} 1").await;
    process.told("trigger=\"targetValue=1 scheduledIn=PT1H\"} 2").await;
    drop(client);
    let log = process.stop();
    for line in ["\"trigger\":\"targetValue=1\"", "\"trigger\":\"targetValue=1 scheduledIn=PT1H\""] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

/// Whoever reads the log may go away. The scaler goes on, and ends as it should.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let database = Database::new(Kind::Sqlite).await;
    let mut process = Process::start(&[("JOBRUNR_SCALER_URL", &database.url)], &[]);
    let mut client = process.client().await;
    // Dropping the reader closes the pipe: to write a line is an error from here on.
    let empty = Command::new("true").stderr(Stdio::piped()).spawn().unwrap().stderr.unwrap();
    process.log = BufReader::new(empty).lines();
    let metadata = reference("metric=enqueued-count targetValue=1");
    assert!(!client.is_active(metadata.clone()).await.unwrap().into_inner().result);
    assert!(!client.is_active(metadata).await.unwrap().into_inner().result);
    drop(client);
    process.stop();
}
