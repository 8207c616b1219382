//! The pages, the manifests and the program say the same.

use std::collections::BTreeSet;

use jobrunr_scaler::config::Config;
use jobrunr_scaler::kubernetes::hpa::{Hpa, MetricReading, Replicas};
use jobrunr_scaler::kubernetes::manifest;
use jobrunr_scaler::storage::grants_sql;
use serde_json::Value as Json;

use super::{Page, load, manifests, root};

/// The pages, and what else people read.
fn pages() -> Vec<Page> {
    let mut pages = Page::all();
    let more = ["CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "config.example.yaml"];
    let chart =
        ["README.md", "values.yaml", "templates/NOTES.txt"].map(|name| format!("k8s/helm/jobrunr-scaler/{name}"));
    pages.extend(more.map(Page::read));
    pages.extend(chart.map(Page::read));
    pages.extend(manifests(&root().join("k8s")).into_iter().map(Page::read));
    pages
}

fn parse(yaml: &str) -> Json {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

/// The ScaledObject that is recommended.
fn recommended() -> Json {
    parse(&Page::read("k8s/scaledobject.yaml").text)
}

#[test]
fn one_scaled_object_is_recommended() {
    let block = |page: &str, start: &str| {
        let blocks = Page::read(page).blocks();
        let found = blocks.into_iter().map(|(.., block)| block).find(|block| block.starts_with(start));
        parse(&found.unwrap_or_else(|| panic!("{page} has no block that starts with {start}")))
    };
    let recommended = recommended();
    assert_eq!(block("docs/scale-to-zero.md", "apiVersion: keda.sh"), recommended);
    assert_eq!(block("README.md", "apiVersion: keda.sh"), recommended);
    // With TLS, the trigger has two more lines.
    let mut with_tls = parse(&Page::read("k8s/overlays/tls/scaledobject.yaml").text);
    let trigger = with_tls.pointer_mut("/spec/triggers/0").unwrap();
    assert!(trigger.as_object_mut().unwrap().remove("authenticationRef").is_some());
    assert!(trigger["metadata"].as_object_mut().unwrap().remove("enableTLS").is_some());
    assert_eq!(with_tls, recommended);
    // What Helm prints is its trigger.
    let notes = Page::read("k8s/helm/jobrunr-scaler/templates/NOTES.txt").text;
    for (key, value) in recommended["spec"]["triggers"][0]["metadata"].as_object().unwrap() {
        let value = if value.as_str().unwrap().bytes().all(|b| b.is_ascii_digit()) {
            value.to_string()
        } else {
            value.as_str().unwrap().to_owned()
        };
        assert!(key == "scalerAddress" || notes.contains(&format!("{key}: {value}\n")), "NOTES.txt: {key}: {value}");
    }
}

/// The manifests with the trigger `demand`: what is recommended, and what follows it.
fn demand_manifests() -> Vec<(&'static str, manifest::ScaledObject)> {
    let paths =
        ["k8s/scaledobject.yaml", "k8s/overlays/tls/scaledobject.yaml", "k8s/overlays/example/scaledobject.yaml"];
    let read = |path: &'static str| {
        let mut objects = manifest::read(path, &Page::read(path).text).unwrap().scaled_objects;
        assert_eq!(objects.len(), 1, "{path}");
        (path, objects.remove(0))
    };
    paths.map(read).into()
}

#[test]
fn recommended_scaled_object_has_no_warning() {
    for (path, object) in demand_manifests() {
        assert_eq!(manifest::warnings(&object), Vec::<String>::new(), "{path}");
    }
}

/// Kubernetes' own limit would make pods late: each doubling takes 15 s.
#[test]
fn recommended_scaled_object_grows_in_one_step() {
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    for (path, object) in demand_manifests() {
        let (rules, trigger) = (object.rules, &object.triggers[0]);
        let target: f64 = trigger.metadata["targetValue"].parse().unwrap();
        let max = rules.bounds.max;
        for wanted in 1..=max {
            let mut hpa = Hpa::new(rules.bounds.hpa_min(), max, object.behavior.clone());
            let value = Some(target * f64::from(wanted));
            let reading = MetricReading { metric_type: trigger.metric_type.unwrap(), target, value };
            let outcome = hpa.sync(now, Replicas { spec: 1, status: 1, ready: 1 }, &[reading]);
            assert_eq!(outcome.replicas, wanted, "{path}: {outcome:?}");
        }
    }
}

/// Long jobs have a workload of their own beside it.
#[test]
fn the_workload_has_one_name() {
    let name = recommended()["spec"]["scaleTargetRef"]["name"].as_str().unwrap().to_owned();
    let mut n_seen = 0;
    for page in pages() {
        let lines: Vec<&str> = page.text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "scaleTargetRef:") {
            let words: Vec<&str> = pair[1].split_whitespace().take(2).collect();
            let is_named = words == ["name:", name.as_str()] || words == ["name:", "long-jobs"];
            assert!(is_named, "{}: {}", page.path.display(), pair[1]);
            n_seen += 1;
        }
    }
    assert!(5 < n_seen, "{n_seen}");
    let example = Page::read("k8s/overlays/example/application.yaml").text;
    assert!(example.contains(&format!("kind: Deployment\nmetadata:\n  name: {name}\n")));
}

/// `2.9 to 2.21` and the like: what stands before and after ` to `.
fn ranges(line: &str) -> Vec<(&str, &str)> {
    let is_version = |c: char| c.is_ascii_digit() || c == '.';
    let ends = line.match_indices(" to ").map(|(at, to)| {
        let before = &line[..at];
        let start =
            before.rfind(|c| !is_version(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let after = &line[at + to.len()..];
        let end = after.find(|c| !is_version(c)).unwrap_or(after.len());
        (&before[start..], after[..end].trim_end_matches('.'))
    });
    ends.filter(|(from, to)| !from.is_empty() && !to.is_empty()).collect()
}

#[test]
fn one_range_of_keda_is_supported() {
    let readme = Page::read("README.md").text;
    let row = readme.lines().find(|line| line.starts_with("| KEDA |")).unwrap();
    let [(least, most)] = ranges(row)[..] else { panic!("{row}") };
    let mut n_seen = 0;
    for page in pages() {
        // A row about some of the versions is about those.
        for line in page.text.lines().filter(|line| line.contains("KEDA") && !line.starts_with("| 2.")) {
            for range in ranges(line).into_iter().filter(|(from, to)| from.starts_with("2.") && to.starts_with("2.")) {
                assert_eq!(range, (least, most), "{}: {line}", page.path.display());
                n_seen += 1;
            }
            // As a condition for all of it, not for one of its features.
            if let Some((before, _)) = line.split_once(" or later runs already") {
                assert!(before.ends_with(&format!("KEDA {least}")), "{}: {line}", page.path.display());
                n_seen += 1;
            }
        }
    }
    assert!(3 < n_seen, "{n_seen}");
    let compatibility = Page::read("docs/compatibility.md").text;
    assert!(compatibility.contains(&format!("| before {least} | not supported |")));
    assert!(compatibility.contains(&format!("| {most}.0 | run")));
}

#[test]
fn the_same_versions_of_jobrunr_are_supported_everywhere() {
    let takes = |version: u32| {
        let env = [("URL", "sqlite:/jr.db".to_owned()), ("JOBRUNR_VERSION", version.to_string())];
        Config::load(None, env.map(|(name, value)| (format!("JOBRUNR_SCALER_{name}"), value))).is_ok()
    };
    let least = (1..10).find(|version| takes(*version)).unwrap();
    let readme = Page::read("README.md").text;
    assert!(readme.contains(&format!("| JobRunr | {least}, ")));
    for page in pages() {
        for line in page.text.lines().filter(|line| !line.contains("not supported")) {
            for older in 1..least {
                let names = [
                    format!("JobRunr {older} "),
                    format!("JobRunr {older}."),
                    format!("| {older} to "),
                    format!("{older} to 99"),
                ];
                let named = names.iter().find(|name| line.contains(name.as_str()));
                assert_eq!(named, None, "{}: {line}", page.path.display());
            }
        }
    }
}

/// The tables that are read, and how many they are.
#[test]
fn the_tables_that_are_read_are_told_as_they_are() {
    let config = load("", &[("URL", "postgres://u@h/db")]).config.storages.into_values().next().unwrap();
    let sql = grants_sql(&config, None).owner;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = |text: &str| -> BTreeSet<String> {
        let words =
            text.split(|c| !is_name(c)).filter(|word| word.starts_with("jobrunr_") && *word != "jobrunr_scaler");
        words.map(str::to_owned).collect()
    };
    let granted = words(&sql);
    let page = Page::read("docs/databases.md");
    let rows = page.rows();
    let (_, table) = rows.split_at(rows.iter().position(|row| row[..] == ["table", "needed for"]).unwrap() + 1);
    let table = table.iter().take_while(|row| row[0].starts_with("`jobrunr_"));
    let mut documented: BTreeSet<String> = table.flat_map(|row| words(row[0])).collect();
    // A view, which is only looked for.
    assert!(documented.remove("jobrunr_jobs_stats"));
    assert_eq!(granted, documented);
    let numbers = ["one", "two", "three", "four", "five", "six"];
    for page in pages() {
        for (number, word) in numbers.iter().enumerate().filter(|(number, _)| number + 1 != granted.len()) {
            let wrong =
                [format!("{word} tables"), format!("{word} of JobRunr's tables"), format!("{} tables", number + 1)];
            let said = wrong.iter().find(|wrong| page.text.contains(wrong.as_str()));
            assert_eq!(said, None, "{}", page.path.display());
        }
    }
}

/// What a page says to type gives what the next step needs.
#[test]
fn steps_follow_from_one_another() {
    // The Secret is in no kustomization, so it comes first.
    let mut n_seen = 0;
    for page in pages() {
        let Some(at) = page.text.find("kubectl apply -k k8s/base") else { continue };
        let before = &page.text[..at];
        let makes_secret = ["apply -f k8s/base/secret.yaml", "create secret generic jobrunr-scaler "];
        assert!(makes_secret.iter().any(|command| before.contains(command)), "{}", page.path.display());
        n_seen += 1;
    }
    assert!(1 < n_seen, "{n_seen}");
    // The variables in the README are enough for the commands that follow, which read the database.
    let readme = Page::read("README.md").text;
    let (before, after) = readme.split_once("jobrunr-scaler check\n").unwrap();
    assert!(after.contains("jobrunr-scaler explain -f k8s/scaledobject.yaml"));
    let exports = before.lines().filter_map(|line| line.trim().strip_prefix("export ")?.split_once('='));
    let env: Vec<(String, String)> = exports.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(env.len(), 3, "{env:?}");
    Config::load_to_connect(None, env).unwrap_or_else(|errors| panic!("{errors}"));
}
