//! The page that shows what was decided and why: its JSON, its HTML, and what a real browser makes of it.

use std::path::Path;

use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;
use jobrunr_scaler::grpc::proto::{GetMetricsRequest, ScaledObjectRef};
use scraper::{Html, Selector};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::database::{Database, Kind, Layout};
use crate::process::{Process, get};
use crate::rows::{job, server};
use crate::scaler::{eventually, reference};

#[path = "../report/browser.rs"]
#[allow(dead_code, reason = "the report uses all of it")]
mod browser;

use browser::Browser;

const CHECKS: &str = include_str!("../report/check.js");
/// A tag as JobRunr Pro lets an application write it.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&";

/// Asks for a trigger of a ScaledObject as KEDA does; the error is what KEDA gets.
async fn ask(client: &mut ExternalScalerClient<Channel>, name: &str, metadata: &[(&str, &str)]) -> Result<(), String> {
    let scaler_metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let scaled_object_ref = ScaledObjectRef { namespace: "shop".to_owned(), name: name.to_owned(), scaler_metadata };
    let spec = client.get_metric_spec(scaled_object_ref.clone()).await.map_err(|status| status.message().to_owned())?;
    let metric_name = spec.into_inner().metric_specs[0].metric_name.clone();
    let request = GetMetricsRequest { scaled_object_ref: Some(scaled_object_ref), metric_name };
    client.get_metrics(request).await.map(drop).map_err(|status| status.message().to_owned())
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Without the framing of a chunked answer, of which the page has none.
fn json_of(process: &Process, path: &str) -> Value {
    serde_json::from_str(body(&get(&process.http, path))).unwrap()
}

fn texts(html: &Html, selector: &str) -> Vec<String> {
    let squeeze = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    html.select(&Selector::parse(selector).unwrap()).map(|element| squeeze(element.text().collect())).collect()
}

/// A scaler with a storage that answers and one that does not, and some triggers.
struct Scene {
    database: Database,
    process: Process,
    client: ExternalScalerClient<Channel>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let mut database = Database::with(Kind::Sqlite, Layout { pro: true, ..Layout::default() }).await.at_present();
        database.insert_jobs(&vec![job("ENQUEUED", 12.0); 40]).await;
        database.insert_jobs(&vec![job("ENQUEUED", 3.0).tag(HOSTILE); 3]).await;
        database.insert_servers(&[server(8, 15, 1.0)]).await;
        // JobRunr 7 creates the run when it is due.
        database.forget_version_8().await;
        let hour = (database.now + jiff::SignedDuration::from_hours(6)).strftime("%H").to_string();
        database.insert_recurring("nightly-report", &format!("0 {hour} * * *")).await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yaml");
        let text = format!(
            "http: {{address: '127.0.0.1:0'}}\nstorages:\n  default: {{url: '{}', refresh: PT0.1S}}\n  away: {{url: \
             'postgres://scaler:hunter2@127.0.0.1:1/orders', namespaces: [shop]}}\n",
            database.url
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::start(&[], &["--config", config.to_str().unwrap()]);
        let mut client = process.client().await;
        let demand = [("metric", "demand"), ("targetValue", "8"), ("scalerAddress", "scaler:9090")];
        ask(&mut client, "jobrunr-workers", &demand).await.unwrap();
        ask(&mut client, "gpu", &[("metric", "enqueued-count"), ("targetValue", "2"), ("serverTag", HOSTILE)])
            .await
            .unwrap();
        ask(&mut client, "usage", &[("metric", "worker-usage"), ("targetValue", "0.8")]).await.unwrap();
        let away = [("metric", "enqueued-latency"), ("targetValue", "30"), ("storage", "away")];
        ask(&mut client, "orders", &away).await.unwrap_err();
        ask(&mut client, "typo", &[("metric", "enqueued"), ("targetValue", "30")]).await.unwrap_err();
        Self { database, process, client, _folder: folder }
    }
}

#[tokio::test]
async fn page_shows_every_trigger_with_its_reasons_and_what_is_wrong() {
    let scene = Scene::new().await;
    let answer = get(&scene.process.http, "/");
    let head = answer.split("\r\n\r\n").next().unwrap();
    assert!(head.contains("content-security-policy: default-src 'none';") && head.contains("no-store"), "{head}");
    let html = Html::parse_document(body(&answer));
    assert!(html.errors.is_empty(), "{:?}", html.errors);
    assert_eq!(
        texts(&html, "section[aria-labelledby=triggers] h3"),
        ["shop/gpu", "shop/jobrunr-workers", "shop/orders", "shop/usage"]
    );
    let text = texts(&html, "main").remove(0);
    for shown in [
        // Values, targets and pods.
        "demand of default · targetValue=8",
        "active: 43 is above 0",
        "wakes at",
        "nightly-report",
        // What is wrong, and what to do.
        "storage away: ",
        "KEDA gets errors: it keeps the pods",
        "shop/typo: trigger metadata: metric is enqueued; allowed is one of",
        "Correct its metadata",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let figures = texts(&html, "article:nth-of-type(2) dl.figures");
    assert!(figures.iter().any(|figures| figures.contains("value43") || figures.contains("value 43")), "{figures:?}");
    assert!(!answer.contains("hunter2") && !answer.contains("<script>alert") && !answer.contains("<img"), "{answer}");
    assert!(answer.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
}

#[tokio::test]
async fn json_is_the_same_and_can_be_filtered() {
    let scene = Scene::new().await;
    let all = json_of(&scene.process, "/api/triggers");
    let names = |json: &Value| -> Vec<String> {
        json["triggers"].as_array().unwrap().iter().map(|t| t["scaledObject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["gpu", "jobrunr-workers", "orders", "usage"]);
    let demand = &all["triggers"][1];
    assert_eq!(demand["state"], "active");
    let decision = &demand["decision"];
    assert_eq!((&decision["value"], &decision["target"], &decision["pods"]), (&json!(43.0), &json!(8.0), &json!(6)));
    assert_eq!(decision["details"][0]["kind"], "demand");
    assert!(decision["reasons"][0].as_str().unwrap().starts_with("43 jobs: 43 enqueued"), "{decision}");
    let storages = all["storages"].as_array().unwrap();
    assert_eq!((&storages[0]["name"], &storages[0]["state"]), (&json!("away"), &json!("down")));
    assert_eq!(
        (&storages[1]["state"], &storages[1]["liveServers"], &storages[1]["workers"]),
        (&json!("up"), &json!(1), &json!(8))
    );
    assert!(storages[1]["next"].to_string().contains("nightly-report"), "{}", storages[1]);
    let problem = all["problems"].as_array().unwrap().iter().find(|problem| problem["scaledObject"] == "typo").unwrap();
    assert_eq!((&problem["severity"], &problem["namespace"]), (&json!("error"), &json!("shop")));
    // The last half hour of one ScaledObject.
    assert!(demand["lastHalfHour"].is_null(), "{demand}");
    let one = json_of(&scene.process, "/api/triggers?namespace=shop&scaledObject=jobrunr-workers");
    let columns = one["triggers"][0]["lastHalfHour"].as_array().unwrap();
    assert_eq!(columns.len(), 180);
    assert!(columns.iter().any(|column| column["ratio"] == json!(5.375) && column["active"] == json!(true)), "{one}");
    for (query, expected) in [
        ("namespace=shop", vec!["gpu", "jobrunr-workers", "orders", "usage"]),
        ("namespace=nowhere", vec![]),
        ("namespace=shop&scaledObject=gpu", vec!["gpu"]),
        ("storage=away", vec!["orders"]),
        ("state=failed", vec!["orders"]),
        ("state=active&namespace=&unknown=%FF", vec!["gpu", "jobrunr-workers"]),
    ] {
        assert_eq!(names(&json_of(&scene.process, &format!("/api/triggers?{query}"))), expected, "{query}");
    }
    let problems = |query: &str| json_of(&scene.process, &format!("/api/triggers?{query}"))["problems"].to_string();
    assert!(problems("namespace=shop").contains("\"away\""), "{}", problems("namespace=shop"));
    assert!(!problems("storage=default").contains("\"away\""), "{}", problems("storage=default"));
    // The check of the storages, once it is done.
    let path = "/api/triggers?storage=default";
    eventually("a finding", async || {
        (!json_of(&scene.process, path)["storages"][0]["checkedAt"].is_null()).then_some(())
    })
    .await;
    assert!(!json_of(&scene.process, "/api/triggers").to_string().contains("hunter2"));
}

#[tokio::test]
async fn page_can_be_off() {
    let database = Database::new(Kind::Sqlite).await;
    let env = [("JOBRUNR_SCALER_URL", database.url.as_str()), ("JOBRUNR_SCALER_HTTP_PAGE", "false")];
    let process = Process::start(&env, &[]);
    for path in ["/", "/api/triggers", "/events", "/page.js"] {
        assert!(get(&process.http, path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(get(&process.http, "/healthz").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn page_is_right_in_a_browser_and_updates_itself() {
    let mut scene = Scene::new().await;
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&pictures).unwrap();
    let own = format!("http://{}/", scene.process.http);
    let mut browser = Browser::start();
    for (width, on) in [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark"), (3840, "light")] {
        browser.show(width, on);
        browser.open_url(&own);
        // Nothing is cut off while it is open either.
        browser.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
        assert_eq!(browser.evaluate(CHECKS), json!([]), "{width} px, {on}");
        browser.screenshot(&pictures.join(format!("page-{width}-{on}.png")));
        assert_eq!(browser.complaints_but(|url| url.starts_with(&own)), Vec::<String>::new(), "{width} px, {on}");
    }
    // A change is shown without being asked for; what is open stays open.
    scene.database.insert_jobs(&vec![job("ENQUEUED", 1.0); 57]).await;
    let demand = [("metric", "demand"), ("targetValue", "8"), ("scalerAddress", "scaler:9090")];
    let mut client = scene.client.clone();
    let asking = tokio::spawn(async move {
        loop {
            ask(&mut client, "jobrunr-workers", &demand).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let shown = "new Promise((shown) => {\
        const look = () => document.getElementById('main').textContent.includes('active: 100 is above 0') && shown(true);\
        new MutationObserver(look).observe(document.getElementById('main'), { childList: true }); look(); })";
    let (mut browser, result) = tokio::task::spawn_blocking(move || {
        let result = browser.evaluate(shown);
        (browser, result)
    })
    .await
    .unwrap();
    asking.abort();
    assert_eq!(result, json!(true));
    assert_eq!(browser.evaluate("document.getElementById('check-default').open"), json!(true));
    assert_eq!(browser.complaints_but(|url| url.starts_with(&own)), Vec::<String>::new());
    // The keyboard reaches everything that can be used.
    let reached =
        browser.evaluate("[...document.querySelectorAll('a, button, select, summary')].every((e) => 0 <= e.tabIndex)");
    assert_eq!(reached, json!(true));
}

/// The memory of a scaler that was asked for a thousand triggers, and the page of it.
#[tokio::test(flavor = "multi_thread")]
async fn thousand_triggers_are_usable_and_take_less_than_16_mib() {
    let database = Database::new(Kind::Sqlite).await;
    let mut memory = Vec::new();
    for page in ["false", "true"] {
        let env = [("JOBRUNR_SCALER_URL", database.url.as_str()), ("JOBRUNR_SCALER_HTTP_PAGE", page)];
        let process = Process::start(&env, &[]);
        let mut client = process.client().await;
        for n in 0..1_000 {
            let mut request =
                reference("metric=demand targetValue=8 activationTargetValue=1.5 keepWhileProcessing=false");
            request.namespace = format!("namespace-{:02}", n % 40);
            request.name = format!("a-scaled-object-with-a-long-name-number-{n:04}");
            client.is_active(request).await.unwrap();
        }
        memory.push(process.memory());
        if page == "true" {
            is_usable(&process);
        }
    }
    assert!(memory[1] - memory[0] < 16.0, "MiB without and with the page: {memory:?}");
}

fn is_usable(process: &Process) {
    let own = format!("http://{}/", process.http);
    let mut browser = Browser::start();
    browser.show(1280, "light");
    browser.open_url(&own);
    assert_eq!(browser.evaluate(CHECKS), json!([]));
    let count = "document.querySelectorAll('section[aria-labelledby=triggers] article').length";
    assert_eq!(browser.evaluate(count), json!(60));
    assert_eq!(browser.evaluate("document.querySelectorAll('nav.pages > *').length"), json!(17));
    browser.open_url(&format!("{own}?from=960"));
    assert_eq!(browser.evaluate(count), json!(40));
    browser.open_url(&format!("{own}?namespace=namespace-07"));
    assert_eq!(browser.evaluate(count), json!(25));
    let link = "document.querySelector('section[aria-labelledby=triggers] h3 a').href";
    let link = browser.evaluate(link).as_str().unwrap().to_owned();
    browser.open_url(&link);
    assert_eq!(browser.evaluate(count), json!(1));
    assert_eq!(browser.complaints_but(|url| url.starts_with(&own)), Vec::<String>::new());
    let bytes = get(&process.http, "/").len();
    assert!(bytes < 400_000, "{bytes}");
}
