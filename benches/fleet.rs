//! Many ScaledObjects, asked as KEDA asks: what it costs the database, and us.

#![expect(clippy::unwrap_used, reason = "a failed benchmark says where")]

#[allow(dead_code, reason = "no benchmark needs all that they share")]
mod common;
#[allow(dead_code, reason = "no benchmark needs all that tests share")]
#[path = "../tests/support/lib.rs"]
mod support;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{ScalerProcess, heading, is_full, poll, sized, table, verdict};
use futures::StreamExt;
use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{IsActiveResponse, ScaledObjectRef};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use support::database::{Database, Kind};
use support::process::{memory, processor_time};
use support::rows::{job, scheduled, server};
use support::scaler::reference;
use tonic::transport::Channel;
use tonic::{Response, Streaming};

/// The triggers of JobRunr's guide.
const TRIGGERS: [&str; 3] = [
    "metric=worker-usage targetValue=0.8",
    "metric=scheduled-count targetValue=8 scheduledIn=PT2M",
    "metric=enqueued-latency targetValue=300",
];
/// KEDA's polling interval and the HPA's; each asks for every trigger (KEDA `scale_handler.go`).
const POLLING_INTERVAL: Duration = Duration::from_secs(30);
const HPA_INTERVAL: Duration = Duration::from_secs(15);

fn triggers(scaled_object: usize) -> Vec<ScaledObjectRef> {
    let of = |metadata: &&str| ScaledObjectRef { name: format!("worker-{scaled_object}"), ..reference(metadata) };
    TRIGGERS.iter().map(of).collect()
}

/// The queries that somebody would give to three of KEDA's SQL scalers for the same.
const QUERIES: [&str; 3] = [
    "SELECT count(*)::float8 / 8 FROM jobrunr_jobs WHERE state = 'PROCESSING'",
    "SELECT count(*)::float8 FROM jobrunr_jobs WHERE state = 'SCHEDULED' AND scheduledAt < now() + interval '2 minutes'",
    "SELECT coalesce(extract(epoch FROM now() - min(updatedAt)), 0)::float8 FROM jobrunr_jobs WHERE state = 'ENQUEUED'",
];

/// Who asks, and how.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// As KEDA's SQL scalers ask: a connection for each trigger, a query each time.
    BySql,
    Polled,
    PolledAndStreamed,
}

/// What stands for a ScaledObject of three triggers.
enum ScaledObject {
    Sql(Vec<PgConnection>),
    Ours(ExternalScalerClient<Channel>, Vec<ScaledObjectRef>),
}

impl ScaledObject {
    /// KEDA's poll.
    async fn poll(&mut self) {
        match self {
            Self::Sql(connections) => query_all(connections).await,
            Self::Ours(client, triggers) => {
                for trigger in triggers {
                    poll(client, trigger).await;
                }
            }
        }
    }

    /// What KEDA does when the HPA asks: for each metric, the spec of every trigger and the values of one.
    async fn ask_for_hpa(&mut self) {
        match self {
            Self::Sql(connections) => query_all(connections).await,
            Self::Ours(client, triggers) => {
                for trigger in &*triggers {
                    for other in triggers.iter().skip(1) {
                        client.get_metric_spec(other.clone()).await.unwrap();
                    }
                    poll(client, trigger).await;
                }
            }
        }
    }

    /// Asks until it is dropped. The objects are not all asked at once: this one begins at its part of an interval.
    async fn ask(mut self, part: f64) {
        tokio::time::sleep(HPA_INTERVAL.mul_f64(part)).await;
        let mut ticks = tokio::time::interval(HPA_INTERVAL);
        for round in 0_u32.. {
            ticks.tick().await;
            if (round * HPA_INTERVAL).as_secs().is_multiple_of(POLLING_INTERVAL.as_secs()) {
                self.poll().await;
            }
            self.ask_for_hpa().await;
        }
    }
}

async fn query_all(connections: &mut [PgConnection]) {
    for (connection, query) in connections.iter_mut().zip(QUERIES) {
        let _: f64 = sqlx::query_scalar(query).fetch_one(connection).await.unwrap();
    }
}

/// Statements between two counts that are the benchmark's own: a count, and one for the connections.
const OUR_OWN: i64 = 2;

/// Transactions of a database so far: one a statement, as nobody groups them.
async fn transactions(database: &mut Database) -> i64 {
    // A session reports with a second's delay.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    database.number("SELECT xact_commit::int8 FROM pg_stat_database WHERE datname = current_database()").await
}

/// The ScaledObjects, and the streams that are open for them.
async fn scaled_objects(
    n_objects: usize,
    asked: Asked,
    url: &str,
    channel: &Channel,
) -> (Vec<ScaledObject>, Vec<Streaming<IsActiveResponse>>) {
    let (mut objects, mut streams) = (Vec::new(), Vec::new());
    let options = PgConnectOptions::from_str(url).unwrap().application_name("sql-scaler");
    for object in 0..n_objects {
        if asked == Asked::BySql {
            let mut connections = Vec::new();
            for _ in TRIGGERS {
                connections.push(PgConnection::connect_with(&options).await.unwrap());
            }
            objects.push(ScaledObject::Sql(connections));
            continue;
        }
        let mut client = ExternalScalerClient::new(channel.clone());
        let triggers = triggers(object);
        if asked == Asked::PolledAndStreamed {
            for trigger in &triggers {
                streams.push(client.stream_is_active(trigger.clone()).await.unwrap().into_inner());
            }
        }
        objects.push(ScaledObject::Ours(client, triggers));
    }
    (objects, streams)
}

async fn fleet(n_objects: usize, asked: Asked) -> Vec<String> {
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.insert_jobs(&vec![job("ENQUEUED", 5.0); 50]).await;
    database.insert_jobs(&vec![scheduled(600.0); 50]).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let scaler = ScalerProcess::start(&database.url);
    let channel = scaler.channel().await;
    let (objects, streams) = scaled_objects(n_objects, asked, &database.url, &channel).await;
    // Whatever is pushed is read.
    let listening = tokio::spawn(futures::stream::select_all(streams).for_each(|_| std::future::ready(())));
    let before = transactions(&mut database).await;
    let (began, processor) = (Instant::now(), processor_time(scaler.id()));
    let part = |object: usize| object as f64 / n_objects as f64;
    let asking = objects.into_iter().enumerate().map(|(n, object)| tokio::spawn(object.ask(part(n))));
    let asking: Vec<_> = asking.collect();
    tokio::time::sleep(sized(Duration::from_secs(2), POLLING_INTERVAL)).await;
    let connections = "SELECT count(*)::int8 FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name IN ('jobrunr-scaler', 'sql-scaler')";
    let n_connections = database.number(connections).await;
    let busy = (processor_time(scaler.id()) - processor).as_secs_f64() / began.elapsed().as_secs_f64();
    let n_statements = transactions(&mut database).await - before - OUR_OWN;
    let statements = n_statements as f64 / began.elapsed().as_secs_f64();
    asking.iter().for_each(|task| task.abort());
    listening.abort();
    let (who, ours) = match asked {
        Asked::BySql => ("an SQL scaler a trigger", false),
        Asked::Polled => ("this scaler, polled", true),
        Asked::PolledAndStreamed => ("this scaler, polled and streamed", true),
    };
    let of_ours = |figure: String| if ours { figure } else { "-".to_owned() };
    vec![
        who.to_owned(),
        n_objects.to_string(),
        format!("{statements:.1}"),
        n_connections.to_string(),
        of_ours(format!("{:.1} %", busy * 100.0)),
        of_ours(format!("{:.1}", memory(scaler.id(), "VmRSS"))),
    ]
}

async fn many_streams() {
    let n_streams = sized(200, 10_000);
    heading("Open streams", "All on one connection. Wanted: 10,000 of them in less than 64 MiB more.");
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    database.insert_jobs(&[job("ENQUEUED", 5.0)]).await;
    let scaler = ScalerProcess::start(&database.url);
    let mut client = ExternalScalerClient::new(scaler.channel().await);
    poll(&mut client, &reference(TRIGGERS[1])).await;
    let before = memory(scaler.id(), "VmRSS");
    let mut streams = Vec::new();
    for n in 0..n_streams {
        let trigger = ScaledObjectRef { name: format!("worker-{n}"), ..reference(TRIGGERS[n % 3]) };
        streams.push(client.stream_is_active(trigger).await.unwrap().into_inner());
    }
    let processor = processor_time(scaler.id());
    let began = Instant::now();
    tokio::time::sleep(sized(Duration::from_secs(1), Duration::from_secs(5))).await;
    let busy = (processor_time(scaler.id()) - processor).as_secs_f64() / began.elapsed().as_secs_f64();
    let more = memory(scaler.id(), "VmRSS") - before;
    let row = vec![n_streams.to_string(), format!("{more:.1}"), format!("{:.1} %", busy * 100.0), verdict(more < 64.0)];
    table(&["streams", "MiB more", "of a processor", "wanted"], &[row]);
}

/// What KEDA writes to the Kubernetes API, counted as it would: for a poll that finds a ScaledObject active its
/// `lastActiveTime`, for each push the same, and for each message of specs a reconcile (KEDA `scale_handler.go`,
/// `scale_scaledobjects.go`).
#[derive(Default)]
struct Writes {
    polls: AtomicUsize,
    pushes: AtomicUsize,
    specs: AtomicUsize,
}

impl Writes {
    fn take(&self) -> [usize; 3] {
        [&self.polls, &self.pushes, &self.specs].map(|count| count.swap(0, Ordering::Relaxed))
    }

    /// KEDA's poll of a ScaledObject, again and again, and its two streams for each trigger.
    async fn count(self: Arc<Self>, mut client: ExternalScalerClient<Channel>, object: usize, part: f64) {
        for trigger in triggers(object) {
            let mut pushes = client.stream_is_active(trigger.clone()).await.unwrap().into_inner();
            let specs = client.stream_metric_spec(trigger).await.map(Response::into_inner);
            let (of_pushes, of_specs) = (Arc::clone(&self), Arc::clone(&self));
            tokio::spawn(async move {
                while let Ok(Some(_)) = pushes.message().await {
                    of_pushes.pushes.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Where it is not implemented, KEDA does not ask again.
            let Ok(mut specs) = specs else { continue };
            tokio::spawn(async move {
                while let Ok(Some(_)) = specs.message().await {
                    of_specs.specs.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tokio::time::sleep(POLLING_INTERVAL.mul_f64(part)).await;
        let mut ticks = tokio::time::interval(POLLING_INTERVAL);
        loop {
            ticks.tick().await;
            let mut is_active = false;
            for trigger in triggers(object) {
                is_active |= client.is_active(trigger).await.unwrap().into_inner().result;
            }
            self.polls.fetch_add(usize::from(is_active), Ordering::Relaxed);
        }
    }
}

async fn keda_writes() {
    let n_objects = sized(10, 1_000);
    let window =
        if is_full() { Duration::from_secs(1_800) } else { sized(Duration::from_secs(5), 4 * POLLING_INTERVAL) };
    heading(
        "KEDA's writes",
        "What ScaledObjects whose three triggers are all active make KEDA write to the Kubernetes API. Its client makes 20 writes\n\
         a second, for everything. Wanted: what KEDA's poll writes, and a tenth more at most. A push is repeated after 15 to 25\n\
         minutes: --full measures for half an hour.",
    );
    let mut database = Database::new(Kind::Postgres).await.at_present();
    database.insert_jobs(&[vec![job("ENQUEUED", 60.0); 50], vec![job("PROCESSING", 1.0); 8]].concat()).await;
    database.insert_jobs(&vec![scheduled(-1.0); 50]).await;
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    let scaler = ScalerProcess::start(&database.url);
    let client = ExternalScalerClient::new(scaler.channel().await);
    let writes = Arc::new(Writes::default());
    let count = |object| Arc::clone(&writes).count(client.clone(), object, object as f64 / n_objects as f64);
    let counting: Vec<_> = (0..n_objects).map(|object| tokio::spawn(count(object))).collect();
    tokio::time::sleep(sized(Duration::from_secs(3), POLLING_INTERVAL)).await;
    let [_, pushes, specs] = writes.take();
    let opening = format!("{pushes} + {specs}");
    let began = Instant::now();
    tokio::time::sleep(window).await;
    let [polls, pushes, specs] = writes.take().map(|count| count as f64 * 60.0 / began.elapsed().as_secs_f64());
    counting.iter().for_each(|task| task.abort());
    let more = (pushes + specs) / polls;
    let row = vec![
        n_objects.to_string(),
        opening,
        format!("{polls:.0}"),
        format!("{pushes:.0}"),
        format!("{specs:.0}"),
        format!("{:.1} %", more * 100.0),
        verdict(more <= 0.1),
    ];
    table(&["ScaledObjects", "once, pushes + specs", "polls/min", "pushes/min", "specs/min", "more", "wanted"], &[row]);
}

#[tokio::main]
async fn main() {
    heading(
        "Fleet",
        "ScaledObjects of the three triggers of JobRunr's guide, on PostgreSQL, asked as KEDA does: every 30 s by its poll, every\n\
         15 s for the HPA. Beside it what KEDA's own SQL scalers do: a connection for each trigger, a query each time.\n\
         Wanted: the database's load flat.",
    );
    let mut rows = Vec::new();
    let many: &[usize] = sized(&[1, 10], &[1, 100, 1_000]);
    for asked in [Asked::BySql, Asked::Polled, Asked::PolledAndStreamed] {
        // 1,000 would be 3,000 connections, more than a usual server takes.
        for &n_objects in many.iter().filter(|&&n| asked != Asked::BySql || n <= 100) {
            rows.push(fleet(n_objects, asked).await);
        }
    }
    table(&["", "ScaledObjects", "statements/s", "connections", "of a processor", "MiB"], &rows);
    many_streams().await;
    keda_writes().await;
}
