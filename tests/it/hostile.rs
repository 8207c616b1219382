//! Clients that are broken or mean harm, against a real scaler and its real log.

mod connections;
mod log;
mod metadata;

use std::io::Read;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, ScaledObjectRef};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::process::program;
use crate::scaler::eventually;

/// A scaler that runs as its users run it, whose log is read as it is written. Killed with the test.
struct Logged {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    http: String,
    client: ExternalScalerClient<Channel>,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Logged {
    async fn start(url: &str, format: &str) -> Self {
        let env = [("JOBRUNR_SCALER_URL", url), ("JOBRUNR_SCALER_LOG_FORMAT", format)];
        let mut child = program(&env).args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = stderr.read(&mut piece) {
                read.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        let address = async |message: &str| {
            let find = async || {
                let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
                let line = log.lines().find(|line| line.contains(message))?.to_owned();
                let start = line.find("127.0.0.1:")?;
                Some(line[start..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect())
            };
            eventually::<String>(message, find).await
        };
        let (http, grpc) = (address("health and metrics").await, address("listening").await);
        let client = ExternalScalerClient::connect(format!("http://{grpc}")).await.unwrap();
        Self { child, log, reader: Some(reader), http, client }
    }

    /// What has been logged so far.
    fn text(&self) -> String {
        String::from_utf8(self.log.lock().unwrap().clone()).expect("the log is text")
    }

    /// The most memory that it has ever held, in bytes.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Ends it as Kubernetes does, and gives its exit code and all that it has logged.
    async fn stop(mut self) -> (Option<i32>, String) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = eventually("the end of the program", async || self.child.try_wait().unwrap()).await;
        // It reads what is left in the pipe.
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.text())
    }
}

/// What each of KEDA's five calls answers to a request that is refused.
async fn refusals(client: &ExternalScalerClient<Channel>, reference: &ScaledObjectRef) -> Vec<Status> {
    let mut client = client.clone();
    let metrics = GetMetricsRequest { scaled_object_ref: Some(reference.clone()), metric_name: "x".to_owned() };
    vec![
        client.is_active(reference.clone()).await.map(drop).unwrap_err(),
        client.get_metric_spec(reference.clone()).await.map(drop).unwrap_err(),
        client.get_metrics(metrics).await.map(drop).unwrap_err(),
        client.stream_is_active(reference.clone()).await.map(drop).unwrap_err(),
        client.stream_metric_spec(reference.clone()).await.map(drop).unwrap_err(),
    ]
}

/// Rejected by all calls, with a short and printable message.
async fn check_refused(client: &ExternalScalerClient<Channel>, reference: &ScaledObjectRef, words: &[&str]) {
    for status in refusals(client, reference).await {
        let message = status.message();
        assert_eq!(status.code(), Code::InvalidArgument, "{message:.1000}");
        assert!(message.len() < 1_000, "{} bytes: {message:.1000}", message.len());
        assert!(is_printable(message), "{message:?}");
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}

/// Whether a text has nothing in it that starts a line, moves the cursor or turns the direction of writing.
fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c))
}

/// A call that a well-behaved client makes meanwhile is answered in time.
async fn check_answered(client: &ExternalScalerClient<Channel>) {
    let began = Instant::now();
    let reference = crate::scaler::reference("metric=enqueued-count targetValue=1");
    assert!(!client.clone().is_active(reference).await.unwrap().into_inner().result);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
