//! The house: imports go down, never up, and no file is longer than a person wants to read.

#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test, with its place")]

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The rooms from top to bottom. A room imports rooms of lower floors only, and none beside it.
const FLOORS: [&[&str]; 18] = [
    &["cli"],
    &["demo"],
    &["explain"],
    &["protect", "simulate"],
    &["serve"],
    &["grpc", "http"],
    &["monitor"],
    &["storage"],
    &["log"],
    &["recent"],
    &["metrics"],
    &["scaling"],
    &["kubernetes"],
    &["config"],
    &["tls"],
    &["jobrunr"],
    &["clock", "connections", "debounced", "duration", "tasks", "terminal"],
    &["text", "yaml"],
];

/// Rooms with the rules of other projects, to be read by themselves: they import nothing but general tools.
const ALONE: [&str; 1] = ["kubernetes"];

/// Tools that know nothing of JobRunr, KEDA or us.
const TOOLS: [&str; 2] = ["text", "yaml"];

const MAX_LINES: usize = 450;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn source() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all: Vec<_> =
        files(&root).into_iter().map(|path| (path.strip_prefix(&root).unwrap().to_owned(), path)).collect();
    all.sort();
    all.into_iter().map(|(name, path)| (name, std::fs::read_to_string(path).unwrap())).collect()
}

/// The room of a file: its folder below `src`, or the file itself.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a text names after `crate::`, or after `super::` where that is the crate.
fn imports(path: &Path, text: &str) -> BTreeSet<String> {
    let mut prefixes = vec!["crate::"];
    if path.components().count() == 1 {
        prefixes.push("super::");
    }
    let mut found = BTreeSet::new();
    for prefix in prefixes {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let list = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap(),
                None => rest,
            };
            let items = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
            for item in items {
                let name: String = item.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                found.insert(name);
            }
        }
    }
    found
}

fn floor(room: &str) -> usize {
    let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("the room `{room}` has no floor yet: give it one in FLOORS"))
}

#[test]
fn imports_go_down() {
    let mut n_imports = 0;
    for (path, text) in source() {
        let here = room(&path);
        if ["main", "lib"].contains(&here.as_str()) {
            continue;
        }
        let rooms: BTreeSet<&str> = FLOORS.concat().into_iter().collect();
        for there in imports(&path, &text).iter().filter(|name| rooms.contains(name.as_str()) && **name != here) {
            n_imports += 1;
            assert!(floor(&here) < floor(there), "{}: `{here}` must not import `{there}`", path.display());
            let is_allowed = !ALONE.contains(&here.as_str()) || TOOLS.contains(&there.as_str());
            assert!(is_allowed, "{}: `{here}` must not import `{there}`", path.display());
        }
    }
    assert!(100 < n_imports, "{n_imports}");
}

#[test]
fn every_room_has_a_floor() {
    for (path, _) in source() {
        let room = room(&path);
        if !["main", "lib"].contains(&room.as_str()) {
            floor(&room);
        }
    }
}

#[test]
fn no_file_is_long() {
    for (path, text) in source() {
        let n_lines = text.lines().count();
        assert!(n_lines <= MAX_LINES, "{}: {n_lines} lines", path.display());
    }
}

/// Each of these shows itself in a review, and none should have to.
#[test]
fn modules_begin_with_what_they_are() {
    for (path, text) in source() {
        assert!(text.starts_with("//! "), "{} has no first line that says what it is", path.display());
    }
    let mod_files: Vec<_> = source().into_iter().filter(|(path, _)| path.ends_with("mod.rs")).collect();
    assert!(mod_files.is_empty(), "a folder's module is the file beside it: {mod_files:?}");
}

/// The files outside of `src` that are compiled in, from the project's root.
fn included() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for (path, text) in source() {
        for start in ["include_str!(\"", "include_bytes!(\""] {
            for rest in text.split(start).skip(1) {
                let mut target = Path::new("src").join(&path);
                target.pop();
                for part in Path::new(rest.split('"').next().unwrap()).components() {
                    match part {
                        Component::ParentDir => drop(target.pop()),
                        part => target.push(part),
                    }
                }
                if !target.starts_with("src") {
                    found.insert(target);
                }
            }
        }
    }
    found
}

/// Whether patterns from the root, as in a `.dockerignore`, leave a path out: the last one that names it or a folder of it decides.
fn leave_out<'a>(patterns: impl Iterator<Item = &'a str>, path: &Path) -> bool {
    let mut is_out = false;
    for line in patterns {
        let pattern =
            line.trim_start_matches('!').strip_prefix('/').unwrap_or_else(|| panic!("no `/` before `{line}`"));
        let mut parts = path.iter();
        let is_named = pattern.split('/').all(|part| parts.next().is_some_and(|name| part == "*" || name == part));
        if is_named {
            is_out = !line.starts_with('!');
        }
    }
    is_out
}

/// A file that is missing there would keep the image or the packed crate from compiling.
#[test]
fn what_is_compiled_in_reaches_the_image_and_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let (image, manifest) = (read(".dockerignore"), read("Cargo.toml"));
    let image = || image.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let list = manifest.lines().find_map(|line| line.strip_prefix("exclude = [")).unwrap();
    let package = || list.trim_end_matches(']').split(", ").map(|pattern| pattern.trim_matches('"'));
    assert!(leave_out(image(), Path::new("k8s/base/scaler.yaml")));
    assert!(leave_out(package(), Path::new("k8s/base/scaler.yaml")));
    let included = included();
    assert!(3 <= included.len(), "{included:?}");
    for path in included {
        assert!(!leave_out(image(), &path), ".dockerignore leaves out {}", path.display());
        assert!(!leave_out(package(), &path), "`exclude` in Cargo.toml leaves out {}", path.display());
    }
}
