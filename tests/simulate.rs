//! `simulate` as a person runs it: the built program, manifests and workloads in files.

#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test, with its place")]

use std::process::Command;

use insta::assert_snapshot;
use tempfile::TempDir;

#[allow(dead_code, reason = "explain needs more of it")]
#[path = "explain/workspace.rs"]
mod workspace;

use workspace::{Workspace, transcript};

const DEMAND: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker}
spec:
  scaleTargetRef: {name: worker}
  maxReplicaCount: 10
  cooldownPeriod: 60
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 300}}}}
  triggers:
    - type: external-push
      metadata: {scalerAddress: 'scaler:9090', metric: demand, targetValue: '8', scheduledIn: PT2M}
";

/// A folder in which the program runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.file("demand.yaml", DEMAND);
        folder
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// Runs `simulate` with these arguments, and returns everything that a person sees.
    fn simulate(&self, arguments: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
        command.current_dir(self.0.path()).env_clear().arg("simulate").args(arguments.split_whitespace());
        transcript(&command.output().unwrap())
    }
}

#[test]
fn table_compares_scaled_objects_and_fixed_pods() {
    let folder = Folder::new();
    folder.file(
        "latency.yaml",
        &DEMAND.replace(
            "metric: demand, targetValue: '8', scheduledIn: PT2M",
            "metric: enqueued-latency, targetValue: '30'",
        ),
    );
    assert_snapshot!("table", folder.simulate("-f demand.yaml -f latency.yaml --fixed 5 --workload burst"));
    let table = folder.simulate("-f demand.yaml -f latency.yaml --fixed 5 --workload long-tail --await-on-stop PT2M");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn json_is_the_interface() {
    let folder = Folder::new();
    folder.file("jobs.csv", "arrival_seconds,duration_seconds,due_seconds\n0,30,600\n0,20.5,\n1000,5,\n");
    let arguments = "-f demand.yaml --workload jobs.csv --output json --seed 3";
    assert_snapshot!("json", folder.simulate(arguments));
    assert_eq!(folder.simulate(arguments), folder.simulate(arguments));
}

#[test]
fn exported_workload_gives_the_same_result() {
    let folder = Folder::new();
    let results = |workload: &str| {
        let text = folder.simulate(&format!("-f demand.yaml --output json --workload {workload}"));
        text.split_once("\"results\"").unwrap().1.to_owned()
    };
    for builtin in ["burst", "batch", "recurring"] {
        let exporting = results(&format!("{builtin} --export-workload exported.csv"));
        assert!(folder.text("exported.csv").starts_with("arrival_seconds,duration_seconds,due_seconds\n"));
        assert_eq!(results("exported.csv"), exporting, "{builtin}");
    }
}

/// Adds a job for each of the last 30 minutes.
async fn finished_jobs(workspace: &Workspace) {
    let now = jiff::Timestamp::now();
    for n in 0..30 {
        let at = |seconds_ago: i64| now - jiff::SignedDuration::from_secs(seconds_ago);
        let ago = 60 * n;
        let states = [("ENQUEUED", at(ago + 20)), ("PROCESSING", at(ago + 10)), ("SUCCEEDED", at(ago))];
        let states = states.map(|(state, at)| format!(r#"{{"state":"{state}","createdAt":"{at}"}}"#)).join(",");
        let json = format!(r#"{{"jobSignature":"com.example.Mail.send(java.lang.Long)","jobHistory":[{states}]}}"#);
        let updated = at(ago).as_millisecond();
        let values = format!("'{n}', 1, '{json}', 'x', 'SUCCEEDED', {updated}, {updated}, NULL, NULL");
        workspace.sql(&format!("INSERT INTO jobrunr_jobs VALUES ({values})")).await;
    }
}

#[tokio::test]
async fn history_of_a_storage_is_a_workload() {
    let workspace = Workspace::new().await;
    workspace.file("demand.yaml", DEMAND);
    finished_jobs(&workspace).await;
    let simulate = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        transcript(&workspace.command(&arguments).output().unwrap())
    };
    let text = simulate("simulate -f demand.yaml --workload history --since PT2H --export-workload history.csv");
    assert!(text.starts_with("history of default: 30 jobs in "), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the last PT2H were read: JobRunr may have deleted older ones"), "{text}");
    let csv = std::fs::read_to_string(workspace.directory.path().join("history.csv")).unwrap();
    assert!(csv.starts_with("arrival_seconds,duration_seconds,due_seconds,kind\n0,10,,"), "{csv}");
    assert!(!csv.contains("Mail") && csv.lines().count() == 31, "{csv}");
    let named = simulate("simulate -f demand.yaml --workload history --names --export-workload history.csv");
    assert!(named.ends_with("[exit 0]"), "{named}");
    let csv = std::fs::read_to_string(workspace.directory.path().join("history.csv")).unwrap();
    assert!(csv.contains("com.example.Mail.send"), "{csv}");
    workspace.file("orders.yaml", &DEMAND.replace("metric: demand", "storage: orders, metric: demand"));
    let other = simulate("simulate -f orders.yaml -f demand.yaml --workload history");
    let words = other.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "trigger 0 (demand) is for storage orders, but the history is that of default: its jobs count";
    assert_eq!(words.matches(note).count(), 1, "{other}");
    assert_eq!(words.matches("but the history is that of").count(), 1, "{other}");
    let none = simulate("simulate -f demand.yaml --workload history --storage orders");
    assert!(none.contains("--storage is `orders`, which is not configured; configured: default"), "{none}");
}

#[tokio::test]
async fn recommendation_names_its_storage() {
    let workspace = Workspace::new().await;
    finished_jobs(&workspace).await;
    let recommend = |arguments: &str, variable: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut command =
            workspace.command(&[&["recommend", "--output", "yaml", "--max-pods", "2"], &*arguments].concat());
        command.env_remove("JOBRUNR_SCALER_URL").env(variable, "jdbc:sqlite:jobs.db");
        transcript(&command.output().unwrap())
    };
    let orders = "JOBRUNR_SCALER_STORAGES_ORDERS_URL";
    let check = |text: String, expected: bool| {
        assert!(text.contains("metric: demand") && text.ends_with("[exit 0]"), "{text}");
        assert_eq!(text.contains("\n        storage: orders\n"), expected, "{text}");
    };
    check(recommend("--workload history", orders), true);
    check(recommend("--workload history --storage orders", orders), true);
    check(recommend("--workload burst --storage orders", orders), true);
    check(recommend("--workload history", "JOBRUNR_SCALER_URL"), false);
}

#[test]
fn what_is_not_simulated_is_said() {
    let folder = Folder::new();
    let others = "    - type: cron\n      metadata: {timezone: UTC, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: '2'}\n    \
                  - type: external\n      metadata: {scalerAddress: 'scaler:9090', metric: enqueued-count, targetValue: '9', \
                  priority: '1'}\n";
    folder.file("others.yaml", &format!("{DEMAND}{others}"));
    folder.file("jobs.csv", "arrival_seconds,duration_seconds\n0,30\n");
    assert_snapshot!("not_simulated", folder.simulate("-f others.yaml --workload jobs.csv"));
}

#[test]
fn triggers_of_several_storages_are_noted() {
    let folder = Folder::new();
    let other =
        "    - {type: external, metadata: {scalerAddress: 'a:1', metric: demand, targetValue: '8', storage: orders}}\n";
    folder.file("two.yaml", &format!("{DEMAND}{other}"));
    folder.file("one.yaml", &format!("{DEMAND}{}", other.replace("storage: orders", "storage: default")));
    folder.file("jobs.csv", "arrival_seconds,duration_seconds\n0,30\n");
    let note = "the triggers are for several storages (default, orders), and all jobs count for each of them";
    for (file, expected) in [("two.yaml", true), ("one.yaml", false)] {
        let said = folder.simulate(&format!("-f {file} --workload jobs.csv"));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(said.contains(note), expected, "{said}");
    }
}

#[test]
fn misspelled_fields_are_noted() {
    let folder = Folder::new();
    folder.file("jobs.csv", "arrival_seconds,duration_seconds\n0,30\n");
    folder.file("slip.yaml", &DEMAND.replace("cooldownPeriod", "cooldownperiod"));
    let said = folder.simulate("-f slip.yaml --workload jobs.csv --output json");
    let note = r#""notes":["line 7: KEDA has no field spec.cooldownperiod; did you mean `cooldownPeriod`?"]"#;
    assert!(said.contains(note), "{said}");
}

/// The names of the results in JSON.
fn names(json: &str) -> Vec<&str> {
    let results = json.split_once("\"results\"").unwrap().1;
    results.split("{\"name\":\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
}

#[test]
fn versions_of_a_scaled_object_can_be_told_apart() {
    let folder = Folder::new();
    folder.file("jobs.csv", "arrival_seconds,duration_seconds\n0,30\n");
    let object = DEMAND.replace("metadata: {name: worker}", "metadata: {name: jobrunr-workers}");
    for name in ["old", "new"] {
        std::fs::create_dir(folder.0.path().join(name)).unwrap();
        folder.file(&format!("{name}/scaledobject.yaml"), &object);
    }
    folder.file("new/scaledobject2.yaml", &object);
    folder.file("all.yaml", &[object.as_str(); 3].join("---\n"));
    let versions = "-f old/scaledobject.yaml -f new/scaledobject.yaml -f new/scaledobject2.yaml --workload jobs.csv";
    assert_snapshot!("versions", folder.simulate(versions));
    let json = folder.simulate("-f all.yaml -f old/scaledobject.yaml --workload jobs.csv --output json");
    let expected = ["", " (all.yaml)", " (all.yaml, 3)", " (old/scaledobject.yaml)"];
    assert_eq!(names(&json), expected.map(|end| format!("jobrunr-workers{end}")));
}

#[test]
fn scaled_objects_of_other_scalers_are_left_out() {
    let folder = Folder::new();
    folder.file("jobs.csv", "arrival_seconds,duration_seconds\n0,30\n");
    let kafka = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: consumer}\nspec:\n  \
                 scaleTargetRef: {name: consumer}\n  triggers: [{type: kafka, metadata: {topic: mail}}]\n";
    let wrong = DEMAND.replace("targetValue: '8'", "targetValue: 'many'");
    let paused = DEMAND
        .replace("{name: worker}\nspec", "{name: paused, annotations: {autoscaling.keda.sh/paused: 'true'}}\nspec");
    let modified = kafka.replace("spec:", "spec:\n  advanced: {scalingModifiers: {target: '2', formula: lag * 2}}");
    let modified = modified.replace("{type: kafka", "{name: lag, type: kafka");
    folder.file("some.yaml", &[kafka, &modified, DEMAND].join("---\n"));
    folder.file("none.yaml", kafka);
    folder.file("wrong.yaml", &[kafka, &wrong, &paused, DEMAND].join("---\n"));
    let arguments = ["-f some.yaml", "-f none.yaml -f demand.yaml", "-f none.yaml", "-f wrong.yaml"];
    let said = arguments.map(|files| {
        let said = folder.simulate(&format!("{files} --workload jobs.csv --output json"));
        let (json, rest) = said.split_once("[standard error]").unwrap();
        let simulated = if json.contains("results") { names(json) } else { Vec::new() };
        format!("$ simulate {files}\nsimulated: {simulated:?}\n{rest}")
    });
    assert_snapshot!("foreign", said.join("\n\n"));
}

#[test]
fn errors_say_what_to_do() {
    let folder = Folder::new();
    folder.file("jobs.csv", "arrival_seconds,duration_seconds\n0,30\n5,soon\n");
    folder.file("cron.yaml", &DEMAND.replace("external-push", "cron").replace("scalerAddress: 'scaler:9090', ", ""));
    folder.file("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n");
    let arguments = [
        "-f demand.yaml --workload jobs.csv",
        "-f demand.yaml --workload bursts",
        "-f demand.yaml --workload missing.csv",
        "-f missing.yaml -f cron.yaml -f service.yaml --workload burst",
        "-f demand.yaml --workload burst --pod-start 45s",
        "-f demand.yaml --workload burst --fixed 0",
        "--workload burst --fixed many",
        "--workload burst --fixed 1 --since PT1H",
        "--workload burst",
    ];
    let texts = arguments.map(|arguments| format!("$ simulate {arguments}\n{}", folder.simulate(arguments)));
    assert_snapshot!("errors", texts.join("\n\n"));
}

#[test]
fn recommendation_is_a_scaled_object_to_apply() {
    let folder = Folder::new();
    // A job every 5 s for half an hour, of 20 s each.
    let jobs: String = (0..360).map(|n| format!("{},20\n", n * 5)).collect();
    folder.file("jobs.csv", &format!("arrival_seconds,duration_seconds\n{jobs}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    command.current_dir(folder.0.path()).env_clear();
    command.args(["recommend", "--slo", "p95 latency <= PT20S", "--workload", "jobs.csv", "-f", "demand.yaml"]);
    command.args(["--workers-per-pod", "2", "--pod-start", "PT10S", "--max-pods", "6"]);
    let run = |output: &str| {
        let mut command_ = Command::new(command.get_program());
        command_.args(command.get_args()).current_dir(folder.0.path()).env_clear().args(["--output", output]);
        transcript(&command_.output().unwrap())
    };
    assert_snapshot!("recommend", run("table"));
    let yaml = run("yaml");
    folder.file("recommended.yaml", yaml.strip_suffix("\n[exit 0]").unwrap());
    let simulated = folder.simulate("-f recommended.yaml --workload jobs.csv --output json");
    assert!(simulated.contains("\"jobs_done\":360"), "{simulated}");
}
