//! What the benchmarks share: their size, their output, and a scaler to ask.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, ScaledObjectRef};
use tonic::transport::Channel;

use crate::support::database::Kind;

/// Whether to run for a few seconds only, which shows that it works.
pub(crate) fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// Whether to run at the largest size.
pub(crate) fn is_full() -> bool {
    std::env::args().any(|argument| argument == "--full")
}

/// Whether to run on a database: on all of them, or on the one that `--database=NAME` names.
pub(crate) fn is_wanted(kind: Kind) -> bool {
    let named = |argument: String| argument.strip_prefix("--database=").map(str::to_owned);
    std::env::args().find_map(named).is_none_or(|wanted| wanted == name(kind))
}

/// Returns the first value for a quick run, else the second.
pub(crate) fn sized<T>(quick: T, usual: T) -> T {
    if is_quick() { quick } else { usual }
}

/// Prints a heading and what is measured.
pub(crate) fn heading(title: &str, about: &str) {
    let size = if is_quick() { " (quick: not worth comparing)" } else { "" };
    println!("\n{title}{size}\n{about}\n");
}

/// Prints rows below headings, numbers to the right.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("  {}", cells.collect::<Vec<_>>().join("  "));
    };
    line(&headings.iter().map(|&heading| heading.to_owned()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
}

/// Returns whether a goal was met, for the last column.
pub(crate) fn verdict(is_met: bool) -> String {
    if is_met { "ok" } else { "missed" }.to_owned()
}

/// Returns a database's name.
pub(crate) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "PostgreSQL",
        Kind::MariaDb => "MariaDB",
        Kind::MySql => "MySQL",
        Kind::MongoDb => "FerretDB",
        Kind::Sqlite => "SQLite",
    }
}

/// Returns a duration as milliseconds.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1_000.0)
}

/// How long one action took, repeatedly.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Awaits an action, and adds how long it took.
    pub(crate) async fn time<T>(&mut self, action: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = action.await;
        self.add(began.elapsed());
        result
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn extend(&mut self, others: Times) {
        self.0.extend(others.0);
    }

    /// Returns a quantile, from 0 to 1.
    pub(crate) fn at(&mut self, part: f64) -> Duration {
        self.0.sort();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a list in memory")]
        let place = ((self.0.len() as f64 - 1.0) * part).round() as usize;
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// The program, serving.
pub(crate) struct ScalerProcess {
    child: Child,
    pub(crate) address: String,
    /// From its start until it accepted connections.
    pub(crate) started_in: Duration,
}

impl Drop for ScalerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that is measured: the one that `BENCH_PROGRAM` names, else the one that was built with the benchmark.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BENCH_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_jobrunr-scaler").into(), PathBuf::from)
}

impl ScalerProcess {
    /// Starts it with one storage, and waits until it accepts connections.
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(url, None)
    }

    /// The same; `database` is JobRunr's on a server of MongoDB's.
    pub(crate) fn start_with(url: &str, database: Option<&str>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let began = Instant::now();
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", &address]).env_clear().env("JOBRUNR_SCALER_URL", url);
        command.env("JOBRUNR_SCALER_LOG_FILTER", "warn").env("JOBRUNR_SCALER_HTTP", "off");
        command.envs(database.map(|database| ("JOBRUNR_SCALER_DATABASE", database)));
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the scaler does not serve");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { child, address, started_in: began.elapsed() }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// Makes the calls of one of KEDA's polls for a trigger.
pub(crate) async fn poll(client: &mut ExternalScalerClient<Channel>, reference: &ScaledObjectRef) {
    let spec = client.get_metric_spec(reference.clone()).await.unwrap().into_inner().metric_specs.remove(0);
    let request = GetMetricsRequest { scaled_object_ref: Some(reference.clone()), metric_name: spec.metric_name };
    client.get_metrics(request).await.unwrap();
    client.is_active(reference.clone()).await.unwrap();
}
