//! The program as a process.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use jobrunr_scaler::config::TlsFiles;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use tonic::transport::Channel;

use super::scaler::eventually;

/// Returns the command `serve`, with none of this environment's variables for the scaler but those given.
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

/// Returns the variables that configure TLS.
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

/// Returns what an address answers to a path, head and body.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Runs `health`; returns its exit code and what it prints.
pub(crate) fn health(address: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    let output = command.args(["health", "--http", address]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Returns a figure of a process's memory, such as `VmRSS`, in MiB.
pub(crate) fn memory(process: u32, figure: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.split(':').next() == Some(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Returns a process's time on a processor so far; in hundredths of a second, which is what Linux counts in.
pub(crate) fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A scaler that runs as its users run it.
pub(crate) struct Process {
    child: Child,
    pub(crate) log: Lines<BufReader<ChildStderr>>,
    pub(crate) http: String,
    pub(crate) address: String,
}

impl Drop for Process {
    /// A test that fails leaves no process behind.
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

    /// Starts it with at most `n` file descriptors.
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

    /// Serves gRPC with TLS.
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

    /// Returns what Prometheus would get.
    pub(crate) fn metrics(&self) -> String {
        get(&self.http, "/metrics")
    }

    /// Returns the most memory that it ever had resident, MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        memory(self.child.id(), "VmHWM")
    }

    /// Returns the memory that it has resident, MiB.
    pub(crate) fn memory(&self) -> f64 {
        memory(self.child.id(), "VmRSS")
    }

    /// Returns its time on a processor so far.
    pub(crate) fn processor_time(&self) -> Duration {
        processor_time(self.child.id())
    }

    /// Waits until Prometheus would get a text.
    pub(crate) async fn until_exposed(&self, metric: &str) {
        eventually(metric, async || self.metrics().contains(metric).then_some(())).await;
    }

    /// Returns the next line of the log about a storage.
    pub(crate) fn line_about(&mut self, storage: &str) -> serde_json::Value {
        let line = self.log.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["storage"] == storage).then_some(line)
        });
        line.unwrap()
    }

    /// Stops it as Kubernetes does. Returns what it has logged since it listens.
    pub(crate) fn stop(self) -> String {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended with exit code 0. Returns what it has logged since it listens.
    pub(crate) fn ended(mut self) -> String {
        assert_eq!(exit_code(&mut self.child), Some(0));
        self.log.by_ref().map(|line| line.unwrap() + "\n").collect()
    }
}
