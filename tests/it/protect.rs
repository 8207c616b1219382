//! `protect` against a small API server and JobRunr's tables on SQLite.

mod api;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jobrunr_scaler::config::{Config, StorageConfig};
use jobrunr_scaler::metrics::Metrics;
use jobrunr_scaler::protect::cluster::{ClusterError, Scope};
use jobrunr_scaler::protect::options::ProtectOptions;
use jobrunr_scaler::protect::pods::Cost;
use jobrunr_scaler::protect::process::{self, ProtectError};
use jobrunr_scaler::tasks::Tasks;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, Kind};
use crate::rows::{Job, job, server};
use crate::scaler::eventually;
use api::{Api, NAMESPACE};

/// The id of the server of the n-th pod.
fn server_id(number: usize) -> String {
    format!("0b0b0b0b-1111-4222-8333-{number:012}")
}

fn pod_name(number: usize) -> String {
    format!("workers-5f7c9d-{number:03}")
}

/// A job that the server of the n-th pod has been running for so many seconds.
fn run(number: usize, seconds: i64) -> Job {
    let started_at = Timestamp::now() - SignedDuration::from_secs(seconds);
    let state = format!(
        r#"{{"state":"PROCESSING","createdAt":"{started_at}","serverId":"{}","serverName":"{}"}}"#,
        server_id(number),
        pod_name(number)
    );
    job("PROCESSING", 0.0).json(format!(r#"{{"jobHistory":[{state}],"metadata":{{}}}}"#)).kind(&format!("job-{number}"))
}

/// So many pods with servers, and a database of theirs.
async fn pods(api: &Api, n_pods: usize) -> Database {
    let mut database = Database::new(Kind::Sqlite).await.at_present();
    let servers: Vec<_> =
        (0..n_pods).map(|n| server(8, 3600, 1.0).id(&server_id(n)).name(Some(&pod_name(n)))).collect();
    database.insert_servers(&servers).await;
    (0..n_pods).for_each(|number| api.add_pod(&pod_name(number)));
    database
}

fn options() -> ProtectOptions {
    ProtectOptions { namespaces: vec![NAMESPACE.to_owned()], writes_per_second: 1000, ..ProtectOptions::default() }
}

fn config(database: &Database) -> Config {
    let storage = StorageConfig { refresh: Duration::from_millis(50), ..database.config() };
    let env = [("JOBRUNR_SCALER_URL".to_owned(), database.url.clone())];
    let mut config = Config::load(None, env).unwrap().config;
    config.storages.values_mut().for_each(|configured| *configured = storage.clone());
    config
}

/// A process that protects pods until it is stopped.
struct Protection {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ProtectError>>,
    metrics: Metrics,
}

impl Protection {
    fn start(api: &Api, database: &Database, options: ProtectOptions) -> Self {
        Self::start_with(api, config(database), options)
    }

    fn start_with(api: &Api, config: Config, options: ProtectOptions) -> Self {
        let (stop, metrics, cluster) = (CancellationToken::new(), Metrics::default(), api.cluster());
        let (stopping, recorded) = (stop.clone(), metrics.clone());
        let task = tokio::spawn(async move {
            process::protect(cluster, &config, &options, &recorded, &Tasks::default(), stopping).await
        });
        Self { stop, task, metrics }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    fn metric(&self, name: &str) -> Option<String> {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("jobrunr_scaler_{name}")))?;
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, async || is_so().then_some(())).await;
}

#[tokio::test]
async fn costs_follow_the_jobs() {
    let api = Api::start().await;
    let mut database = pods(&api, 3).await;
    database.insert_jobs(&[run(1, 0)]).await;
    let protection = Protection::start(&api, &database, options());
    let [a, b, c] = [0, 1, 2].map(pod_name);
    until("the busy pod costs more than the idle ones", || api.is_order(&[&a, &b]) && api.is_order(&[&c, &b])).await;
    assert_eq!(api.annotated(), [b.as_str()]);
    // A long-running job is worth more.
    database.insert_jobs(&[run(2, 5_000)]).await;
    until("the order is idle, short, long", || api.is_order(&[&a, &b, &c])).await;
    // All end, and one starts elsewhere.
    database.move_jobs("PROCESSING", "SUCCEEDED").await;
    database.insert_jobs(&[run(0, 0)]).await;
    until("another pod is busy", || api.is_order(&[&b, &a]) && api.is_order(&[&c, &a])).await;
    // New pods are seen, and pods that are gone are no trouble.
    api.remove_pod(&c);
    api.add_pod(&pod_name(3));
    let fourth = [server(8, 3600, 1.0).id(&server_id(3)).name(Some(&pod_name(3)))];
    database.insert_servers(&fourth).await;
    database.insert_jobs(&[run(3, 500)]).await;
    until("the new pod is protected", || api.is_order(&[&b, &a, &pod_name(3)])).await;
    until("the pods are counted", || protection.metric("protect_pods{state=\"busy\"}").as_deref() == Some("2")).await;
    assert_eq!(protection.metric("protect_servers_without_pod").as_deref(), Some("1"));
    protection.stop().await;
    assert_eq!(api.annotated(), Vec::<String>::new());
}

#[tokio::test]
async fn costs_stay_if_told_so_and_are_removed_on_request() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_jobs(&[run(1, 0)]).await;
    let protection = Protection::start(&api, &database, ProtectOptions { keeps_costs: true, ..options() });
    until("the busy pod has a cost", || !api.annotated().is_empty()).await;
    protection.stop().await;
    assert_eq!(api.annotated(), [pod_name(1)]);
    // What fails for a moment, or in another namespace, does not keep it.
    api.fail("list", 503, 1);
    api.fail("patch", 429, 1);
    let namespaces = vec!["forbidden".to_owned(), NAMESPACE.to_owned()];
    let error = process::remove(&api.cluster(), &ProtectOptions { namespaces, ..options() }).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("removed the deletion costs of 1 pod, then failed: the API server forbids `list`"),
        "{text}"
    );
    assert_eq!(api.annotated(), Vec::<String>::new());
    assert_eq!(process::remove(&api.cluster(), &options()).await.unwrap(), 0);
}

#[tokio::test]
async fn two_processes_agree() {
    let api = Api::start().await;
    let mut database = pods(&api, 4).await;
    database.insert_jobs(&[run(1, 0), run(2, 300)]).await;
    let both = [0, 1].map(|_| Protection::start(&api, &database, ProtectOptions { keeps_costs: true, ..options() }));
    until("both see order", || api.is_order(&[&pod_name(0), &pod_name(1), &pod_name(2)])).await;
    // A read may have failed before, which is counted as well.
    let ok = "reads_total{storage=\"default\",outcome=\"ok\"}";
    let n_reads = || both.each_ref().map(|one| one.metric(ok).map_or(0, |n| n.parse::<u64>().unwrap()));
    let more_reads = async || {
        let before = n_reads();
        until("more reads by both", || before.iter().zip(n_reads()).all(|(before, now)| before + 3 < now)).await;
    };
    // Each may have begun to write what the other has written since.
    more_reads().await;
    let n_writes = api.n_requests("patch");
    more_reads().await;
    assert_eq!(api.n_requests("patch"), n_writes);
    for protection in both {
        protection.stop().await;
    }
}

#[tokio::test]
async fn failures_of_the_api_server_pass() {
    for (verb, code) in
        [("list", 500), ("list", 429), ("watch", 410), ("watch", 500), ("patch", 429), ("patch", 500), ("patch", 403)]
    {
        let api = Api::start().await;
        let mut database = pods(&api, 2).await;
        api.fail(verb, code, 1);
        database.insert_jobs(&[run(1, 0)]).await;
        let protection = Protection::start(&api, &database, options());
        until(&format!("{code} of {verb} was answered"), || api.n_failures_left() == 0).await;
        until(&format!("the pod is protected after {code} of {verb}"), || api.is_order(&[&pod_name(0), &pod_name(1)]))
            .await;
        protection.stop().await;
    }
}

/// A webhook, a policy or a missing right that is about one pod is no reason to leave the others alone.
#[tokio::test]
async fn pod_that_cannot_be_written_does_not_keep_the_others() {
    for (code, message) in [
        (403, "admission webhook \"deny.example.com\" denied the request: not this one"),
        (403, "User \"protect\" cannot patch resource \"pods\""),
        (422, "ValidatingAdmissionPolicy 'costs' denied request: not this one"),
        (500, "Internal error occurred: failed calling webhook \"deny.example.com\""),
    ] {
        let api = Api::start().await;
        let mut database = pods(&api, 4).await;
        let [idle, refused, busy, late] = [0, 1, 2, 3].map(pod_name);
        api.refuse(&refused, Some((code, message)));
        // The one that is refused is the most urgent.
        database.insert_jobs(&[run(1, 5_000), run(2, 0)]).await;
        let protection = Protection::start(&api, &database, ProtectOptions { writes_per_second: 1, ..options() });
        until(message, || api.is_order(&[&idle, &busy])).await;
        database.insert_jobs(&[run(3, 0)]).await;
        until("another pod is protected", || api.is_order(&[&idle, &late])).await;
        until("one is pending", || protection.metric("protect_pending").as_deref() == Some("1")).await;
        assert_eq!(api.cost(&refused), 0, "{code}");
        // Nothing was forgotten.
        api.refuse(&refused, None);
        until("the pod is protected once it can be", || api.is_order(&[&busy, &refused])).await;
        protection.stop().await;
    }
}

#[tokio::test]
async fn namespace_that_cannot_be_listed_does_not_keep_the_others() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_jobs(&[run(1, 0)]).await;
    let namespaces = vec![NAMESPACE.to_owned(), "forbidden".to_owned()];
    let protection = Protection::start(&api, &database, ProtectOptions { namespaces, ..options() });
    until("the busy pod has a cost", || api.is_order(&[&pod_name(0), &pod_name(1)])).await;
    assert_eq!(protection.metric("protect_unlisted_namespaces").as_deref(), Some("1"));
    // Pods of its servers are perhaps there.
    assert_eq!(protection.metric("protect_servers_without_pod").as_deref(), Some("0"));
    protection.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_an_api_server_that_hangs() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_jobs(&[run(1, 0)]).await;
    api.hang();
    let protection = Protection::start(&api, &database, ProtectOptions { keeps_costs: true, ..options() });
    until("a write is under way", || 0 < api.n_requests("patch")).await;
    // Each write may take 10 s.
    tokio::time::timeout(Duration::from_secs(5), protection.stop()).await.unwrap();
}

#[tokio::test]
async fn cost_that_somebody_writes_after_ours_was_removed_is_theirs() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_jobs(&[run(1, 0)]).await;
    let protection = Protection::start(&api, &database, options());
    until("the busy pod has a cost", || !api.annotated().is_empty()).await;
    protection.stop().await;
    api.annotate(&pod_name(1), "kubectl-annotate", "1000");
    let scope = Scope { namespace: NAMESPACE.to_owned(), selector: None };
    let (listed, _) = api.cluster().list(&scope).await.unwrap();
    assert_eq!(listed.iter().map(|pod| pod.cost).collect::<Vec<_>>(), [Cost::None, Cost::Foreign]);
    assert_eq!(process::remove(&api.cluster(), &options()).await.unwrap(), 0);
    assert_eq!(api.cost(&pod_name(1)), 1000);
}

/// Reads come every 50 ms here. Each must not be a reason to ask an API server again that has too much to do.
#[tokio::test]
async fn api_server_with_too_much_to_do_is_left_alone_for_a_while() {
    let api = Api::start().await;
    let mut database = pods(&api, 21).await;
    let busy: Vec<Job> = (1..21).map(|number| run(number, 0)).collect();
    database.insert_jobs(&busy).await;
    api.fail("patch", 429, 1_000);
    let protection = Protection::start(&api, &database, options());
    until("a write was refused", || 0 < api.n_requests("patch")).await;
    let ok = "reads_total{storage=\"default\",outcome=\"ok\"}";
    let n_reads = || protection.metric(ok).map_or(0, |n| n.parse::<u64>().unwrap());
    let before = n_reads();
    until("more reads", || before + 8 < n_reads()).await;
    // Ten at a time, after one second, two and four.
    assert!(api.n_requests("patch") <= 40, "{}", api.n_requests("patch"));
    until("all are pending", || protection.metric("protect_pending").as_deref() == Some("20")).await;
    api.allow();
    until("all are protected in the end", || (1..21).all(|number| api.is_order(&[&pod_name(0), &pod_name(number)])))
        .await;
    until("none is pending", || protection.metric("protect_pending").as_deref() == Some("0")).await;
    protection.stop().await;
}

/// A pod may have servers of two storages. What the second runs is not known until it has answered.
#[tokio::test]
async fn nothing_is_written_before_each_storage_has_answered() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_jobs(&[run(0, 0)]).await;
    let mut config = config(&database);
    let missing = StorageConfig {
        refresh: Duration::from_millis(50),
        ..crate::database::config("sqlite:/nowhere/jobrunr.db", "")
    };
    config.storages.insert("other".parse().unwrap(), missing);
    let protection = Protection::start_with(&api, config, options());
    until("the pods are known", || protection.metric("protect_pods{state=\"busy\"}").as_deref() == Some("1")).await;
    assert_eq!((api.n_requests("patch"), protection.metric("protect_pending").as_deref()), (0, Some("1")));
    protection.stop().await;
}

#[tokio::test]
async fn removal_is_tried_again_when_it_fails() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_jobs(&[run(1, 0)]).await;
    let protection = Protection::start(&api, &database, options());
    until("the busy pod has a cost", || !api.annotated().is_empty()).await;
    api.fail("patch", 500, 1);
    protection.stop().await;
    assert_eq!((api.annotated(), api.n_failures_left()), (Vec::<String>::new(), 0));
}

#[tokio::test]
async fn pods_are_listed_again_when_a_watch_has_missed_something() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    let protection = Protection::start(&api, &database, options());
    until("the pods are watched", || 0 < api.n_requests("watch")).await;
    api.add_pod_unseen(&pod_name(2));
    let third = [server(8, 3600, 1.0).id(&server_id(2)).name(Some(&pod_name(2)))];
    database.insert_servers(&third).await;
    database.insert_jobs(&[run(2, 0)]).await;
    until("the new pod is protected", || api.is_order(&[&pod_name(0), &pod_name(2)])).await;
    assert!(2 <= api.n_requests("list"));
    protection.stop().await;
}

#[tokio::test]
async fn costs_of_others_stay() {
    let api = Api::start().await;
    let mut database = pods(&api, 3).await;
    api.annotate(&pod_name(1), "kubectl-annotate", "7");
    database.insert_jobs(&[run(1, 0), run(2, 0)]).await;
    let protection = Protection::start(&api, &database, options());
    until("the other pod is protected", || api.is_order(&[&pod_name(0), &pod_name(2)])).await;
    assert_eq!(api.cost(&pod_name(1)), 7);
    // Somebody takes over a cost of ours.
    api.annotate(&pod_name(2), "kubectl-annotate", "-5");
    database.move_jobs("PROCESSING", "SUCCEEDED").await;
    database.insert_jobs(&[run(0, 0)]).await;
    until("idle pods are known", || protection.metric("protect_pods{state=\"busy\"}").as_deref() == Some("1")).await;
    protection.stop().await;
    assert_eq!([1, 2].map(|number| api.cost(&pod_name(number))), [7, -5]);
}

#[tokio::test]
async fn missing_rights_are_named() {
    let api = Api::start().await;
    api.add_pod("a");
    let (cluster, scope) = (api.cluster(), Scope { namespace: NAMESPACE.to_owned(), selector: None });
    let (pods, version) = cluster.list(&scope).await.unwrap();
    let text = |error: ClusterError| {
        assert!(matches!(error, ClusterError::Forbidden { .. }), "{error:?}");
        error.to_string()
    };
    for verb in ["list", "watch", "patch"] {
        api.fail(verb, 403, 1);
        let error = match verb {
            "list" => cluster.list(&scope).await.map(drop).unwrap_err(),
            "watch" => cluster.watch(&scope, &mut version.clone()).await.map(drop).unwrap_err(),
            _ => cluster.write(&pods[0], Some(100)).await.unwrap_err(),
        };
        let expected = format!("the API server forbids `{verb}` on pods in the namespace `shop`");
        let text = text(error);
        assert!(text.starts_with(&expected) && text.contains("k8s/overlays/protect"), "{text}");
    }
    // A later pod of the same name does not get the cost.
    let mut other = pods[0].clone();
    other.uid = "another".into();
    assert!(matches!(cluster.write(&other, Some(100)).await, Err(ClusterError::Gone(_))));
    api.remove_pod("a");
    assert!(matches!(cluster.write(&pods[0], Some(100)).await, Err(ClusterError::Gone(_))));
    let gone = ProtectOptions { namespaces: vec!["nowhere".to_owned()], ..options() };
    assert_eq!(gone.scopes(&cluster)[0].namespace, "nowhere");
    assert_eq!(pods[0].cost, Cost::None);
}

#[tokio::test]
async fn report_shows_server_pod_jobs_and_cost() {
    let api = Api::start().await;
    let mut database = pods(&api, 2).await;
    database.insert_servers(&[server(8, 3600, 1.0).id(&server_id(9)).name(Some("laptop"))]).await;
    database.insert_jobs(&[run(1, 70)]).await;
    let report = process::report(&api.cluster(), &config(&database), &options()).await.unwrap();
    let shown: Vec<_> =
        report.servers.iter().map(|server| (server.pod.as_deref(), server.jobs, server.cost, server.wanted)).collect();
    assert!(shown.contains(&(Some("shop/workers-5f7c9d-000"), 0, None, None)), "{shown:?}");
    assert!(shown.contains(&(Some("shop/workers-5f7c9d-001"), 1, None, Some(400))), "{shown:?}");
    assert!(shown.contains(&(None, 0, None, None)), "{shown:?}");
    assert!(!report.is_healthy());
    let table = report.table();
    for text in ["default  laptop", "laptop: no pod has its name", "1 cost out of order"] {
        assert!(table.contains(text), "{table}");
    }
}
