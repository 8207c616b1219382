//! What the documentation shows is what there is: files shown are files, manifests shown are understood, links lead
//! somewhere.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test, with its place")]

use std::fs;
use std::path::{Path, PathBuf};

use jobrunr_scaler::scaling::{Trigger, manifest};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder with that end of its name.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(path.strip_prefix(root()).unwrap().to_str().unwrap(), end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<PathBuf> {
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    top.into_iter().chain(files("docs", ".md")).collect()
}

#[test]
fn a_file_that_is_shown_is_that_file() {
    let mut n_shown = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for shown in text.split("<!-- file: ").skip(1) {
            let (name, rest) = shown.split_once(" -->").unwrap();
            let block = rest.trim_start().split_once('\n').unwrap().1.split_once("\n```").unwrap().0;
            let file = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(block.trim_end(), file.trim_end(), "{name} in {}", page.display());
            n_shown += 1;
        }
    }
    assert!(0 < n_shown);
}

#[test]
fn every_trigger_of_a_manifest_is_one_that_we_understand() {
    let mut n_triggers = 0;
    for file in files("k8s", ".yaml") {
        // Templates are not manifests before they are rendered.
        if file.components().any(|part| part.as_os_str() == "helm") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let Ok(manifests) = manifest::read(&file.display().to_string(), &text) else { continue };
        for object in manifests.scaled_objects {
            assert_eq!(object.unknown_fields, Vec::<String>::new(), "{}", file.display());
            for trigger in object.triggers.iter().filter(|trigger| trigger.is_ours()) {
                let metadata = trigger.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                let parsed = Trigger::parse(metadata).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                assert_eq!(parsed.warnings, Vec::<String>::new(), "{}", file.display());
                n_triggers += 1;
            }
        }
    }
    assert!(3 < n_triggers, "{n_triggers}");
}

#[test]
fn links_lead_somewhere() {
    let mut n_links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', ' ']).next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(file.exists(), "{} links to {target}", page.display());
            if let Some(anchor) = anchor.filter(|_| file.extension().is_some_and(|end| end == "md")) {
                let headings: Vec<String> = anchors(&fs::read_to_string(&file).unwrap());
                assert!(headings.iter().any(|heading| heading == anchor), "{} links to {target}", page.display());
            }
            n_links += 1;
        }
    }
    assert!(3 < n_links, "{n_links}");
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| -> String {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    headings.map(anchor).collect()
}
