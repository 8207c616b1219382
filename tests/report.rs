//! The HTML report: as a document, and in a real browser.

#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test, with its place")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use scraper::{ElementRef, Html, Selector};
use serde_json::Value;
use tempfile::TempDir;

#[path = "report/browser.rs"]
mod browser;

use browser::Browser;

/// A name that a manifest can have, as nobody checks it before Kubernetes does.
const HOSTILE: &str = r#"</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\u202e{{7*7}}"#;

/// A folder with a report of two ScaledObjects and fixed pods, one of them with a hostile name, and its JSON.
struct Reported {
    folder: TempDir,
    json: Value,
}

impl Reported {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = |name: &str| {
            format!(
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: \"{name}\"}}\nspec:\n  scaleTargetRef: \
                 {{name: w}}\n  maxReplicaCount: 20\n  triggers:\n    - type: external-push\n      metadata: {{scalerAddress: \
                 'scaler:9090', metric: demand, targetValue: '8'}}\n    - type: cron\n      name: \"{name}\"\n      metadata: \
                 {{a: b}}\n"
            )
        };
        std::fs::write(folder.path().join("plain.yaml"), manifest("orders")).unwrap();
        std::fs::write(folder.path().join("hostile.yaml"), manifest(HOSTILE)).unwrap();
        let arguments = "-f plain.yaml -f hostile.yaml --fixed 4 --workload burst --report report.html";
        Self { json: run(folder.path(), &format!("simulate {arguments}")), folder }
    }

    /// What is recommended for a job every 5 s for half an hour, of 20 s each.
    fn recommended() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jobs: String = (0..360).map(|n| format!("{},20\n", n * 5)).collect();
        std::fs::write(folder.path().join("jobs.csv"), format!("arrival_seconds,duration_seconds\n{jobs}")).unwrap();
        let arguments = "--workload jobs.csv --workers-per-pod 2 --pod-start PT10S --max-pods 6 --report report.html";
        Self { json: run(folder.path(), &format!("recommend {arguments}")), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("report.html")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }
}

/// Runs the program in a folder, and returns its JSON.
fn run(folder: &Path, arguments: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    command.current_dir(folder).env_clear().args(arguments.split_whitespace()).args(["--output", "json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn select<'a>(html: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    html.select(&Selector::parse(selector).unwrap()).collect()
}

#[test]
fn report_is_valid_html_that_needs_nothing_else() {
    for reported in [Reported::new(), Reported::recommended()] {
        let text = reported.text();
        let html = Html::parse_document(&text);
        assert!(html.errors.is_empty(), "{:?}", html.errors);
        for forbidden in ["http:", "https:", "//", "url(", "@import", "<link", "src=", "<script", "<iframe"] {
            // The hostile name is the only text with some of them, and it is escaped.
            let place = text.replace("src=x onerror", "").find(forbidden);
            assert!(place.is_none(), "{forbidden} in {:?}", &text[place.unwrap()..][..60]);
        }
        let ids: Vec<&str> = select(&html, "[id]").iter().map(|element| element.attr("id").unwrap()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(3 < ids.len());
    }
}

#[test]
fn recommendation_is_reported_with_its_reasons_front_and_manifest() {
    let reported = Reported::recommended();
    let html = Html::parse_document(&reported.text());
    let texts =
        |selector: &str| -> Vec<String> { select(&html, selector).iter().map(|e| e.text().collect()).collect() };
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("section[aria-labelledby=why] li"), strings(&reported.json["reasons"]));
    assert_eq!(texts("pre"), [reported.json["manifest"].as_str().unwrap()]);
    let rows = texts("section[aria-labelledby=front] tbody tr");
    assert_eq!(rows.iter().filter(|row| row.contains("(chosen)")).count(), 1);
    let dots = select(&html, "section[aria-labelledby=front] svg path.dots");
    assert_eq!(dots.len(), rows.len());
    let n_front = reported.json["front"].as_array().unwrap().len();
    assert!(n_front <= rows.len() && rows.len() <= n_front + 1, "{n_front} {}", rows.len());
    // The part that was not tuned on, as after a simulation.
    let names: Vec<String> = texts("section[aria-labelledby=comparison] tbody th");
    assert_eq!(names, ["recommended", "guide's three"]);
}

#[test]
fn names_never_become_markup() {
    let reported = Reported::new();
    let html = Html::parse_document(&reported.text());
    let known = "html head meta title style body main h1 h2 p ul li section div table thead tbody tr th td caption data figure \
                 figcaption strong span svg path rect details summary footer";
    let known: HashSet<&str> = known.split_whitespace().collect();
    let attributes = "lang charset name content class id aria-labelledby aria-describedby aria-label aria-hidden role tabindex \
                      scope value title style viewBox preserveAspectRatio d x width height";
    let attributes: HashSet<&str> = attributes.split_whitespace().collect();
    for element in select(&html, "*") {
        assert!(known.contains(element.value().name()), "{}", element.html());
        for (name, _) in element.value().attrs() {
            assert!(attributes.contains(name), "{name} in {}", element.html());
        }
    }
    let shown = reported.json["results"][1]["name"].as_str().unwrap().replace('\u{202e}', "\u{fffd}");
    assert!(shown.contains("<script>"), "{shown}");
    let headings: Vec<String> = select(&html, "h2").iter().map(|h| h.text().collect()).collect();
    assert!(headings.contains(&shown), "{headings:?}");
    assert!(!reported.text().contains('\u{202e}'));
}

#[test]
fn figures_are_those_of_the_json() {
    let reported = Reported::new();
    let html = Html::parse_document(&reported.text());
    let rows = select(&html, "section:first-of-type tbody tr");
    let results = reported.json["results"].as_array().unwrap();
    assert_eq!(rows.len(), results.len());
    let data = Selector::parse("data").unwrap();
    for (row, result) in rows.iter().zip(results) {
        let mut n_figures = 0;
        for cell in row.select(&data) {
            let field = cell.attr("title").unwrap();
            let expected = field.split('.').fold(result, |value, key| &value[key]).as_f64().unwrap();
            let exact: f64 = cell.attr("value").unwrap().parse().unwrap();
            assert_eq!(exact, expected, "{field}");
            let shown: String = cell.text().collect();
            let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
            let scale = match unit {
                "min" => 60.0,
                "h" => 3600.0,
                "%" => 0.01,
                _ => 1.0,
            };
            let rounded = number.parse::<f64>().unwrap() * scale;
            assert!((rounded - exact).abs() <= 0.0501 * scale, "{field}: {shown} is {exact}");
            n_figures += 1;
        }
        assert_eq!(n_figures, 12);
    }
    // The tables of the charts: all jobs are in the table of the waits.
    for (index, result) in results.iter().enumerate() {
        let rows =
            select(&html, &format!("section[aria-labelledby=policy-{index}] details div.scroll:last-child tbody tr"));
        let jobs = rows.iter().map(|row| row.text().last().unwrap().parse::<u64>().unwrap()).sum::<u64>();
        assert_eq!(jobs, result["jobs_done"].as_u64().unwrap());
    }
}

#[test]
fn report_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    command.current_dir(folder.path()).env_clear();
    let output = command
        .args(["simulate", "--fixed", "1", "--workload", "batch", "--report", "missing/report.html"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("missing/report.html: cannot write the report: No such file"), "{error}");
}

#[test]
fn report_is_right_in_a_browser() {
    for (name, reported) in [("simulated", Reported::new()), ("recommended", Reported::recommended())] {
        is_right_in_a_browser(name, &reported.file());
    }
}

fn is_right_in_a_browser(name: &str, file: &Path) {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut browser = Browser::start();
    browser.open(file);
    for (width, on) in [(380, "light"), (380, "dark"), (1280, "light"), (1280, "dark"), (700, "print")] {
        browser.show(width, on);
        for open in ["false", "true"] {
            browser.evaluate(&format!("document.querySelectorAll('details').forEach((d) => {{ d.open = {open}; }})"));
            let problems = browser.evaluate(include_str!("report/check.js"));
            assert_eq!(problems, serde_json::json!([]), "{name}, {width} px, {on}, details open: {open}");
        }
        browser.screenshot(&pictures.join(format!("{name}-{width}-{on}.png")));
    }
    // A pointer gets values, and the keyboard gets everywhere.
    let hints = browser.evaluate("document.querySelectorAll('svg rect.hint > title').length");
    assert!(hints.as_u64().is_some_and(|n| 100 < n), "{hints}");
    assert_eq!(browser.complaints(file), Vec::<String>::new());
}

/// The checks themselves find what they are there for.
#[test]
fn checks_in_the_browser_find_defects() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.html");
    let bad = "<!DOCTYPE html><title>x</title><main><h1>a</h1><h3>b</h3><p style='color:#aaa'>pale</p><svg></svg>\
               <table><tr><th>x</table><div style='width:500px;height:9px'>wide</div><script>nothing()</script>\
               <img src='missing.png'></main>";
    std::fs::write(&file, bad).unwrap();
    let mut browser = Browser::start();
    browser.show(380, "light");
    browser.open(&file);
    let problems = browser.evaluate(include_str!("report/check.js")).to_string();
    for expected in
        ["px wide", "beyond the edge", "no lang", "skips a level", "no name", "no alt", "without scope", "contrast 2.3"]
    {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
    let complaints = browser.complaints(&file).join("\n");
    assert!(complaints.contains("nothing is not defined") && complaints.contains("missing.png"), "{complaints}");
}
