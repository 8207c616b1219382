//! The Helm chart's values: each is explained, checked and tried. `scripts/manifests.sh` renders them.

use std::collections::BTreeMap;
use std::path::Path;

use jobrunr_scaler::config::EXAMPLE;
use serde_json::Value as Json;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s/helm").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of a tree by their paths, `image.tag` for example.
fn paths(value: &Json, before: &str, found: &mut BTreeMap<String, Json>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                paths(value, &format!("{before}.{key}"), found);
            }
        }
        _ => drop(found.insert(before.trim_start_matches('.').to_owned(), value.clone())),
    }
}

/// Every value of the chart is explained, is in the schema, and is tried with something other than its default.
#[test]
fn every_value_of_the_chart_is_documented_and_tried() {
    let values = read("jobrunr-scaler/values.yaml");
    let parse = |text: &str| serde_saphyr::from_str::<Json>(text).unwrap();
    let every = parse(&read("tests/every-value.yaml"));
    let schema: Json = serde_json::from_str(&read("jobrunr-scaler/values.schema.json")).unwrap();
    let mut defaults = BTreeMap::new();
    paths(&parse(&values), "", &mut defaults);
    assert!(50 < defaults.len(), "{defaults:?}");
    // Switches that are on have to be on for what they switch to be tried; least.yaml has them off.
    let on = ["http.enabled", "networkPolicy.enabled", "podDisruptionBudget.enabled", "serviceAccount.create"];
    // An image has a tag or a digest, and a headless Service one type and port; least.yaml has the others.
    let either = ["image.tag", "service.headless"];
    for (path, default) in &defaults {
        let tried = every.pointer(&format!("/{}", path.replace('.', "/")));
        let tried = tried.unwrap_or_else(|| panic!("every-value.yaml does not have {path}"));
        assert!(tried != default || on.contains(&path.as_str()) || either.contains(&path.as_str()), "{path}: {tried}");
        let in_schema = format!("/properties/{}", path.replace('.', "/properties/"));
        let is_open = |path: &str| path.ends_with("abels") || path.contains("labels") || path.contains("resources");
        assert!(
            schema.pointer(&in_schema).is_some() || is_open(&path.to_lowercase()),
            "the schema does not have {path}"
        );
    }
    // The keys of a storage, which are the configuration's own and the chart's for Secrets.
    let storage = schema.pointer("/definitions/storage/properties").unwrap().as_object().unwrap();
    for key in storage.keys() {
        let is_tried = every["storages"].as_object().unwrap().values().any(|storage| storage.get(key).is_some());
        assert!(is_tried && values.contains(key.as_str()), "{key}");
    }
    for key in EXAMPLE.lines().filter_map(|line| line.strip_prefix("    ")?.trim_start_matches("# ").split_once(": ")) {
        let is_key =
            key.0.bytes().all(|b| b.is_ascii_alphabetic()) && key.0.starts_with(|c: char| c.is_ascii_lowercase());
        let by_secret = ["urlFile", "passwordFile", "password", "format", "filter"];
        let is_known = storage.contains_key(key.0) || by_secret.contains(&key.0) || !is_key;
        assert!(is_known, "the chart's storages do not have {}", key.0);
    }
}
