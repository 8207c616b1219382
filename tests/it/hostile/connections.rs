//! Connections and calls that never finish, against the program with few file descriptors. Clients that mean well come
//! meanwhile, each with its own connection, from the same address as the others.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::Request;
use jobrunr_scaler::grpc::proto::ScaledObjectRef;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tonic::transport::{ClientTlsConfig, Endpoint, Identity};

use crate::database::{Database, Kind};
use crate::process::{Process, with_tls};
use crate::rows::job;
use crate::scaler::{eventually, next_push, reference};
use crate::tls::{Authority, Files, trusting};

/// What a shell, and many a container, gives a process.
const DESCRIPTORS: u64 = 1_024;
/// How long anybody may wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// What an attack may make it hold, MiB. A release takes 12 when it is at rest, so that it stays below 64; what these tests run
/// takes 26.
const MOST_MIB: f64 = 52.0;
/// Only what a test waits for, since nobody reads the log.
const QUIET: (&str, &str) = ("JOBRUNR_SCALER_LOG_FILTER", "warn,jobrunr_scaler::serve=info");
const COUNT: &str = "metric=enqueued-count targetValue=1";

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a client begins: without room for any byte of an answer.
fn opening() -> Vec<u8> {
    let no_window = [0, 4, 0, 0, 0, 0];
    [PREFACE, &frame(4, 0, 0, &no_window)].concat()
}

/// The headers of a call, every field written out (RFC 7541, section 6.2.2).
fn headers(stream: u32, path: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block = [
        &[0x83, 0x86, 0x04][..],
        &text(path),
        &[0x01],
        &text("scaler"),
        &[0x0f, 0x10],
        &text("application/grpc"),
        &[0x00],
        &text("te"),
        &text("trailers"),
    ];
    frame(1, 4, stream, &block.concat())
}

/// A message of a call as gRPC puts it.
fn message(reference: &ScaledObjectRef) -> Vec<u8> {
    let message = reference.encode_to_vec();
    [&[0], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), &message].concat()
}

const STREAM_IS_ACTIVE: &str = "/externalscaler.ExternalScaler/StreamIsActive";
const IS_ACTIVE: &str = "/externalscaler.ExternalScaler/IsActive";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Connections that each say this much and then nothing.
async fn incomplete(address: &str, n: usize, said: impl AsRef<[Vec<u8>]>) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for said in said.as_ref().iter().cycle().take(n) {
        let mut connection = TcpStream::connect(address).await.unwrap();
        // A client that is rejected at once cannot write any more.
        let _ = connection.write_all(said).await;
        connections.push(connection);
    }
    connections
}

/// Connections on which calls begin, `n` on each, every one of which goes on as `call` says. Nothing is ever read.
async fn calls(address: &str, connections: u32, n: u32, call: impl Fn(u32) -> Vec<u8>) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let mut bytes = opening();
        (0..n).for_each(|number| bytes.extend(call(2 * number + 1)));
        // A server that is full stops reading, or hangs up.
        let _ = tokio::time::timeout(Duration::from_millis(500), connection.write_all(&bytes)).await;
        open.push(connection);
    }
    open
}

struct Target {
    process: Process,
    tls: Option<ClientTlsConfig>,
    /// What it holds at rest, MiB.
    rest: f64,
    _alone: MutexGuard<'static, ()>,
}

/// One attack at a time: other tests run beside them, and have little patience.
static ALONE: Mutex<()> = Mutex::const_new(());

impl Target {
    async fn grpc(&self) -> Result<(), String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.process.address)).unwrap();
        let endpoint = match &self.tls {
            Some(tls) => endpoint.tls_config(tls.clone()).unwrap(),
            None => endpoint,
        };
        let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
        let answer = ExternalScalerClient::new(channel).is_active(reference(COUNT)).await;
        assert!(answer.map_err(|status| format!("{status:?}"))?.into_inner().result);
        Ok(())
    }

    async fn http(&self) -> Result<(), String> {
        let answer = self.get("/readyz").await?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("answered {answer:?}")) }
    }

    /// A new client gets an answer in time, be it with its second connection.
    async fn answers(&self, mut visit: impl AsyncFnMut() -> Result<(), String>) {
        let mut error = "no answer".to_owned();
        let visits = async {
            while let Err(again) = visit().await {
                error = again;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, visits).await;
        assert!(answered.is_ok(), "not within {PATIENCE:?}: {error}");
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(&self.process.http).await.map_err(text)?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.map_err(text)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(text)?;
        Ok(answer)
    }

    async fn n_streams(&self) -> u64 {
        let metrics = self.get("/metrics").await.unwrap();
        let name = "jobrunr_scaler_streams{kind=\"activity\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }

    /// Clients come and go while the attack is made and for a second after, and each gets its answer in time.
    async fn during<T>(&self, attack: impl Future<Output = T>) -> T {
        let visits = async {
            loop {
                tokio::join!(self.answers(async || self.grpc().await), self.answers(async || self.http().await));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let attacked = async {
            let held = attack.await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            held
        };
        tokio::select! {
            held = attacked => held,
            () = visits => unreachable!("they come as long as the attack lasts"),
        }
    }

    /// It deals with what is left of an attack, and does not spin on it.
    async fn is_at_rest(&self) {
        let rest = async || {
            let before = self.process.processor_time();
            tokio::time::sleep(Duration::from_secs(1)).await;
            (self.process.processor_time() - before < Duration::from_millis(300)).then_some(())
        };
        eventually("a second without much to do", rest).await;
        self.held_little();
    }

    fn held_little(&self) {
        let more = self.process.peak_memory() - self.rest;
        assert!(more < MOST_MIB, "{more} MiB more than at rest");
    }
}

async fn database() -> Database {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    database
}

async fn start(database: &Database, env: &[(&str, &str)], tls: Option<ClientTlsConfig>) -> Target {
    let _alone = ALONE.lock().await;
    let env = [&[("JOBRUNR_SCALER_URL", database.url.as_str()), QUIET], env].concat();
    let process = Process::start_with_descriptors(&env, DESCRIPTORS);
    let mut target = Target { process, tls, rest: 0.0, _alone };
    // The storage is connected.
    target.answers(async || target.grpc().await).await;
    target.rest = target.process.peak_memory();
    target
}

#[tokio::test]
async fn silent_and_incomplete_connections_keep_nobody_out() {
    let database = database().await;
    let target = start(&database, &[], None).await;
    let mut keda = target.process.client().await.stream_is_active(reference(COUNT)).await.unwrap().into_inner();
    assert_eq!(next_push(&mut keda, PATIENCE).await, Some(true));
    let call = headers(1, IS_ACTIVE);
    let grpc = [
        Vec::new(),
        opening()[..16].to_vec(),
        [opening(), call[..call.len() / 2].to_vec()].concat(),
        [opening(), call].concat(),
    ];
    let http = [b"".to_vec(), b"GET /metr".to_vec(), b"GET /metrics HTTP/1.1\r\nHost: x\r\n".to_vec()];
    let attack = async {
        let grpc = incomplete(&target.process.address, 1_100, &grpc).await;
        (grpc, incomplete(&target.process.http, 1_100, &http).await)
    };
    let _held = target.during(attack).await;
    target.is_at_rest().await;
    // Clients that were there before and are in use still are.
    assert_eq!(next_push(&mut keda, PATIENCE).await, Some(true), "the second push");
    assert_eq!(next_push(&mut keda, Duration::from_millis(100)).await, None, "the stream is open");
}

#[tokio::test]
async fn bodies_that_never_end_keep_nobody_out_and_are_canceled() {
    let database = database().await;
    let target = start(&database, &[], None).await;
    let half = message(&reference(COUNT));
    let half = &half[..half.len() / 2];
    for path in [IS_ACTIVE, HEALTH] {
        // Most do not begin it: HTTP/2's own protection cuts off who sends many small pieces.
        let call = |stream| {
            let begun = if stream % 20 == 1 { frame(0, 0, stream, half) } else { Vec::new() };
            [headers(stream, path), begun].concat()
        };
        let _held = target.during(calls(&target.process.address, 20, 1_000, call)).await;
    }
    target.is_at_rest().await;
}

#[tokio::test]
async fn large_bodies_that_never_end_hold_little() {
    let database = database().await;
    let target = start(&database, &[], None).await;
    let attack = async {
        let mut open = Vec::new();
        for _ in 0..10 {
            let connection = TcpStream::connect(&target.process.address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(connection).await.unwrap();
            tokio::spawn(connection);
            for _ in 0..40 {
                let request = Request::post(format!("http://scaler{IS_ACTIVE}")).header("te", "trailers");
                let request = request.header("content-type", "application/grpc").body(()).unwrap();
                let Ok((answer, mut body)) = client.send_request(request, false) else { break };
                // As long as a message may be, but for its last bytes.
                let begun = [&[0], u32::to_be_bytes(256 * 1024).as_slice(), &[0; 250 * 1024]].concat();
                let _ = body.send_data(begun.into(), false);
                open.push((answer, body));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        open
    };
    let _held = target.during(attack).await;
    target.is_at_rest().await;
}

#[tokio::test]
async fn streams_that_nobody_reads_keep_nobody_out() {
    let database = database().await;
    let target = start(&database, &[], None).await;
    let message = message(&reference(COUNT));
    for path in [STREAM_IS_ACTIVE, "/grpc.health.v1.Health/Watch"] {
        let message: &[u8] = if path == STREAM_IS_ACTIVE { &message } else { &[0; 5] };
        let call = |stream| [headers(stream, path), frame(0, 1, stream, message)].concat();
        let _held = target.during(calls(&target.process.address, 20, 1_000, call)).await;
    }
    target.held_little();
}

#[tokio::test]
async fn unfinished_handshakes_keep_nobody_out() {
    let database = database().await;
    let (servers, clients) = (Authority::new(), Authority::new());
    let files = Files::new(&servers.issue("scaler.test", 2099), Some(&clients.pem()));
    let keda = clients.issue("keda.test", 2099);
    let tls = trusting(&servers).identity(Identity::from_pem(keda.cert, keda.key));
    let target = start(&database, &with_tls(&files.tls), Some(tls)).await;
    let attack = incomplete(&target.process.address, 1_200, [Vec::new(), vec![0x16, 0x03, 0x01, 0x02]]);
    let _held = target.during(attack).await;
    target.is_at_rest().await;
}

/// Who has done what it came for and stays is no better than who never began.
#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let database = database().await;
    let target = start(&database, &[], None).await;
    let health = [PREFACE, &frame(4, 0, 0, &[]), &headers(1, HEALTH), &frame(0, 1, 1, &[0; 5])].concat();
    let attack = incomplete(&target.process.address, 1_100, [health]);
    let _held = target.during(attack).await;
    target.is_at_rest().await;
}

/// How many of the streams that were opened with [`calls`] get a message.
async fn n_answered(connection: &mut (impl AsyncRead + Unpin), n: usize) -> usize {
    let mut answered = HashSet::new();
    let mut bytes = Vec::new();
    while answered.len() < n && connection.read_buf(&mut bytes).await.unwrap() != 0 {
        while let Some(length) = bytes.first_chunk::<4>().map(|head| u32::from_be_bytes(*head) as usize >> 8) {
            let Some(frame) = bytes.get(..9 + length) else { break };
            if frame[3] == 0 {
                answered.insert(frame[5..9].to_vec());
            }
            bytes.drain(..9 + length);
        }
    }
    answered.len()
}

/// As KEDA does it: everything on one connection, and all streams at once when it connects.
#[tokio::test]
async fn streams_on_one_connection_can_be_ten_thousand() {
    const N: u32 = 10_000;
    let database = database().await;
    let target = start(&database, &[("JOBRUNR_SCALER_REFRESH", "PT20S")], None).await;
    let mut connection = TcpStream::connect(&target.process.address).await.unwrap();
    let room = frame(8, 0, 0, &[0, 16, 0, 0]);
    connection.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &room].concat()).await.unwrap();
    let (mut read, mut write) = connection.split();
    let opening = async {
        for number in 0..N {
            let reference = ScaledObjectRef { name: format!("worker-{number}"), ..reference(COUNT) };
            let stream = 2 * number + 1;
            write
                .write_all(&[headers(stream, STREAM_IS_ACTIVE), frame(0, 1, stream, &message(&reference))].concat())
                .await
                .unwrap();
        }
    };
    let (_, n_answered) = tokio::join!(opening, n_answered(&mut read, N as usize));
    assert_eq!(n_answered, N as usize);
    assert_eq!(target.n_streams().await, u64::from(N));
    target.during(async {}).await;
    target.held_little();
}
