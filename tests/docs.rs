//! The documentation, read as a person would use it: manifests and configurations work, references are complete, links
//! lead somewhere.

#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test, with its place")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jobrunr_scaler::config::{Config, EXAMPLE, Loaded};
use jobrunr_scaler::kubernetes::manifest::{self, ScaledObject};
use jobrunr_scaler::metrics::Metrics;
use jobrunr_scaler::scaling::{Metric, Trigger};

#[path = "docs/agree.rs"]
mod agree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page, and the text of it.
struct Page {
    /// From the project's root.
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { path, text }
    }

    /// The README and all of `docs/`.
    fn all() -> Vec<Self> {
        let docs = ["docs", "docs/databases"].into_iter().flat_map(|folder| {
            let entries = std::fs::read_dir(root().join(folder)).unwrap();
            entries.map(move |entry| Path::new(folder).join(entry.unwrap().file_name()))
        });
        let docs = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
        let mut pages: Vec<Self> = docs.chain([PathBuf::from("README.md")]).map(Self::read).collect();
        pages.sort_by(|a, b| a.path.cmp(&b.path));
        pages
    }

    /// Fenced blocks: their words behind the fence, where they begin, and what is in them without its indentation.
    fn blocks(&self) -> Vec<(String, String, String)> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, String, String, String)> = None;
        for (n, line) in self.text.lines().enumerate() {
            let is_fence = line.trim_start().starts_with("```");
            match &mut open {
                None if is_fence => {
                    let indent = line.len() - line.trim_start().len();
                    let place = format!("{}:{}", self.path.display(), n + 1);
                    open = Some((indent, line.trim_start_matches([' ', '`']).to_owned(), place, String::new()));
                }
                Some(_) if is_fence => blocks.extend(open.take().map(|(_, info, place, text)| (info, place, text))),
                Some((indent, .., text)) => {
                    text.push_str(line.get(*indent..).unwrap_or_default());
                    text.push('\n');
                }
                None => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path.display());
        blocks
    }

    /// The text outside of fenced blocks, line by line.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            inside ^= is_fence;
            !inside && !is_fence
        })
    }

    /// The cells of all rows of tables, without the rules beneath their heads.
    fn rows(&self) -> Vec<Vec<&str>> {
        let rows = self.prose().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
        rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    /// What a link after `#` may be, as GitHub makes it of the headings.
    fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        let slug = |heading: &str| {
            let kept = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(slug).collect()
    }

    /// The targets of relative links.
    fn links(&self) -> Vec<&str> {
        let targets = self.prose().flat_map(|line| line.split("](").skip(1));
        let targets = targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        targets.filter(|target| !target.contains("://")).collect()
    }
}

/// The ScaledObjects of a block; a list of triggers alone is put into one.
fn scaled_objects(place: &str, block: &str) -> Vec<ScaledObject> {
    let frame = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: x\nspec:\n  scaleTargetRef:\n    \
                 name: x\n  maxReplicaCount: 1\n";
    let block = if block.starts_with("triggers:") {
        let indented: Vec<String> = block.lines().map(|line| format!("  {line}")).collect();
        format!("{frame}{}", indented.join("\n"))
    } else {
        block.to_owned()
    };
    manifest::read(place, &block).unwrap_or_else(|error| panic!("{place}: {error}")).scaled_objects
}

#[test]
fn every_scaled_object_is_valid_and_gives_no_warning() {
    let mut metrics = Vec::new();
    for page in Page::all() {
        let is_keda = |block: &str| block.contains("kind: ScaledObject") || block.starts_with("triggers:");
        for (_, place, block) in page.blocks().iter().filter(|(.., block)| is_keda(block)) {
            for object in scaled_objects(place, block) {
                // KEDA's own triggers are what is moved away from: they may be as people have them.
                if object.triggers.iter().all(manifest::TriggerSpec::is_ours) {
                    assert_eq!(manifest::warnings(&object), Vec::<String>::new(), "{place}");
                }
                for trigger in object.triggers.iter().filter(|trigger| trigger.is_ours()) {
                    let metadata = trigger.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                    let trigger = Trigger::parse(metadata).unwrap_or_else(|errors| panic!("{place}: {errors}"));
                    assert_eq!(trigger.warnings, Vec::<String>::new(), "{place}");
                    metrics.push(trigger.metric);
                }
            }
        }
    }
    assert!(metrics.contains(&Metric::Demand), "no ScaledObject was found: {metrics:?}");
}

fn load(yaml: &str, variables: &[(&str, &str)]) -> Loaded {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, yaml.as_bytes()).unwrap();
    let variables = variables.iter().map(|(name, value)| (format!("JOBRUNR_SCALER_{name}"), (*value).to_owned()));
    Config::load(Some(file.path()), variables).unwrap_or_else(|errors| panic!("{yaml}\n{errors}"))
}

#[test]
fn every_configuration_loads() {
    let mut n_configurations = 0;
    for page in Page::all() {
        for (_, place, block) in page.blocks().iter().filter(|(info, ..)| info == "yaml configuration") {
            assert_eq!(load(block, &[]).warnings, Vec::<String>::new(), "{place}");
            n_configurations += 1;
        }
    }
    assert!(0 < n_configurations);
}

#[test]
fn the_reference_has_every_metric_and_key_of_a_trigger() {
    let page = Page::read("docs/triggers.md");
    let first_cells: Vec<&str> = page.rows().into_iter().map(|row| row[0]).collect();
    for name in Metric::ALL.map(Metric::name).iter().chain(&Trigger::KEYS) {
        assert!(first_cells.contains(&format!("`{name}`").as_str()), "docs/triggers.md has no row for `{name}`");
    }
}

#[test]
fn the_reference_states_the_defaults_of_a_trigger() {
    let page = Page::read("docs/triggers.md");
    let metadata = |more: &[(&str, &str)]| {
        let mut metadata = BTreeMap::from([("metric", "demand"), ("targetValue", "auto")]);
        metadata.extend(more.iter().copied());
        Trigger::parse(metadata).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let rows = page.rows();
    let rows = rows.iter().filter(|row| row.len() == 4);
    let defaults: Vec<(&str, &str)> = rows.filter_map(|row| Some((code(row[0])?, code(row[1])?))).collect();
    assert!(4 < defaults.len(), "{defaults:?}");
    for default in defaults {
        // A key that belongs to another gets a warning, whatever its value.
        let given = Trigger { warnings: Vec::new(), ..metadata(&[default]) };
        assert_eq!(given, Trigger { warnings: Vec::new(), ..metadata(&[]) }, "{default:?}");
    }
}

/// What stands in a cell as code.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.split_once('`').map(|(code, _)| code)
}

#[test]
fn the_reference_has_every_key_of_the_configuration() {
    let page = Page::read("docs/configuration.md");
    let rows = page.rows();
    let documented: Vec<&str> = rows.iter().filter_map(|row| code(row[0])?.rsplit('.').next()).collect();
    let lines = EXAMPLE.lines().map(|line| line.trim_start().trim_start_matches("# "));
    let keys = lines.filter_map(|line| line.split_once(": ")).map(|(key, _)| key);
    let keys: Vec<&str> = keys.filter(|key| key.chars().all(|c| c.is_ascii_alphabetic())).collect();
    let keys: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    assert!(keys.contains(&"heartbeatMultiplicand") && keys.contains(&"namespaces"), "{keys:?}");
    for key in keys {
        assert!(documented.contains(&key), "docs/configuration.md has no row for `{key}`");
    }
}

#[test]
fn variables_and_defaults_of_the_configuration_are_as_documented() {
    let page = Page::read("docs/configuration.md");
    let urls = [("URL", "jdbc:postgresql://h/db"), ("URL", "mongodb://h/")];
    let bare = urls.map(|url| format!("{:?}", load("", &[url]).config));
    let mut n_defaults = 0;
    for row in page.rows() {
        let Some(variable) = row.get(2).and_then(|cell| code(cell)?.strip_prefix("JOBRUNR_SCALER_")) else { continue };
        let default = code(row[1]);
        let is_address = matches!(variable, "URL" | "URL_FILE" | "PASSWORD" | "PASSWORD_FILE");
        if is_address {
            continue;
        }
        // In SQL the address names the database.
        let (url, bare) = if variable == "DATABASE" { (urls[1], &bare[1]) } else { (urls[0], &bare[0]) };
        // A certificate goes with its key.
        let tls = [("TLS_CERT_FILE", "a"), ("TLS_KEY_FILE", "a")].into_iter().filter(|_| variable.starts_with("TLS_"));
        let others = tls.filter(|(other, _)| *other != variable);
        let given: Vec<_> = [url, (variable, default.unwrap_or("a"))].into_iter().chain(others).collect();
        let Loaded { config, warnings } = load("", &given);
        let is_unknown = warnings.iter().any(|warning| warning.contains("is unknown"));
        assert!(!is_unknown, "{variable}: {warnings:?}");
        if default.is_some() {
            assert_eq!(&format!("{config:?}"), bare, "{variable}");
            n_defaults += 1;
        }
    }
    assert!(8 < n_defaults, "{n_defaults}");
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut pages = Page::all();
    pages.extend(["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(Page::read));
    let mut broken = Vec::new();
    for page in &pages {
        for link in page.links() {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.path.clone() } else { beside(&page.path, file) };
            let leads_there = || match anchor {
                Some(anchor) => Page::read(&target).anchors().iter().any(|known| known == anchor),
                None => true,
            };
            let works = root().join(&target).exists() && leads_there();
            if !works {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What mdBook makes a site of.
#[test]
fn the_site_has_every_page() {
    let summary = Page::read("docs/SUMMARY.md");
    let links = summary.links();
    for page in Page::all().iter().filter(|page| page.path.starts_with("docs")) {
        let name = page.path.strip_prefix("docs").unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || links.contains(&name), "docs/SUMMARY.md does not have {name}");
    }
}

/// A path beside another one, `..` resolved.
fn beside(path: &Path, link: &str) -> PathBuf {
    let mut target = path.parent().unwrap().to_owned();
    for part in Path::new(link).components() {
        match part {
            std::path::Component::ParentDir => drop(target.pop()),
            part => target.push(part),
        }
    }
    target
}

/// Every manifest below a folder.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.extension().and_then(|end| end.to_str()) {
        _ if path.is_dir() => manifests(&path),
        Some("yaml") => vec![path],
        _ => Vec::new(),
    });
    found.collect()
}

/// The manifests that are there to be applied hold what the scaler understands.
#[test]
fn every_trigger_of_the_manifests_is_understood() {
    let mut n_triggers = 0;
    for path in manifests(&root().join("k8s")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(manifests) = manifest::read(&path.display().to_string(), &text) else { continue };
        for object in manifests.scaled_objects {
            assert_eq!(object.unknown_fields, Vec::<String>::new(), "{}", path.display());
            for trigger in object.triggers.iter().filter(|trigger| trigger.is_ours()) {
                let metadata = trigger.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                let parsed = Trigger::parse(metadata).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert_eq!(parsed.warnings, Vec::<String>::new(), "{}", path.display());
                n_triggers += 1;
            }
        }
    }
    assert!(5 < n_triggers, "{n_triggers}");
}

/// The configuration of the overlay is one that the program takes.
#[test]
fn the_configuration_of_the_manifests_loads() {
    let text = std::fs::read_to_string(root().join("k8s/overlays/storages/config.yaml")).unwrap();
    let config = load(&text, &[]).config;
    assert_eq!(config.storages.len(), 2);
    assert!(config.storages.values().all(|storage| storage.namespaces.is_some()));
}

/// Alerts, dashboard and documentation name the metrics that exist, and the documentation all of them.
#[test]
fn metrics_are_documented_and_those_that_are_named_exist() {
    let names = Metrics::names();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let monitoring = ["alerts.yaml", "dashboard.json"].map(|name| Page::read(format!("k8s/monitoring/{name}")).text);
    let in_monitoring = monitoring.iter().flat_map(|text| {
        let starts = text.match_indices("jobrunr_scaler_").map(|(at, _)| &text[at..]);
        starts.map(|rest| rest.split(|c| !is_part(c)).next().unwrap())
    });
    let in_monitoring: Vec<&str> = in_monitoring.collect();
    assert!(30 <= in_monitoring.len(), "{in_monitoring:?}");
    let page = Page::read("docs/metrics.md");
    let rows = page.rows();
    let documented = rows.iter().filter(|row| row.len() == 3).filter_map(|row| code(row[0]));
    let documented: Vec<String> = documented.map(|name| format!("jobrunr_scaler_{name}")).collect();
    assert!(10 < documented.len(), "{documented:?}");
    for name in in_monitoring.into_iter().chain(documented.iter().map(String::as_str)) {
        assert!(names.iter().any(|known| known == name.trim_end_matches("_bucket")), "{name}");
    }
    for name in &names {
        assert!(documented.contains(name), "docs/metrics.md has no row for {name}");
    }
}
