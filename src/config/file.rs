//! Reads the YAML file: from its text to raw values and their origins.
use std::fmt;
use std::path::Path;

use super::StorageName;
use super::problem::{Diagnostics, Origin};
use super::raw::{RawConfig, RawStorage, RawTls, RawValue, StorageKey};
use crate::text::suggest::did_you_mean;
use crate::yaml::{self, Entry, Node, Position, SyntaxError, SyntaxErrorKind, Value};

/// Reads a file. `None` if nothing is known about its content, because it is missing or not YAML.
pub(super) fn read(path: &Path, diagnostics: &mut Diagnostics) -> Option<RawConfig> {
    let file = path.display().to_string();
    #[expect(clippy::disallowed_methods, reason = "a small local file; `serve` re-reads it beside its calls")]
    match std::fs::read_to_string(path) {
        Ok(text) => parse(file, &text, diagnostics),
        Err(error) => {
            diagnostics.problem(&Origin::WholeFile { file }, format_args!("cannot be read: {error}"));
            None
        }
    }
}

/// Reads the text of a file. `file` is its name in messages.
pub(super) fn parse(file: String, text: &str, diagnostics: &mut Diagnostics) -> Option<RawConfig> {
    let mut reader = Reader { file, text, diagnostics };
    match yaml::document(text) {
        Ok(root) => Some(root.map(|root| reader.root(&root)).unwrap_or_default()),
        Err(error) => {
            reader.syntax_error(&error);
            None
        }
    }
}

struct Reader<'a> {
    file: String,
    text: &'a str,
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn root(&mut self, root: &Node) -> RawConfig {
        let mut raw = RawConfig::default();
        for Entry { key, at, node } in self.mapping(root, "") {
            match key.as_str() {
                "listen" => raw.listen = self.value(node, "listen"),
                "http" => self.http(node, &mut raw),
                "log" => self.log(node, &mut raw),
                "tls" => self.tls(node, &mut raw.tls),
                "storages" => self.storages(node, &mut raw),
                name if StorageKey::of_file(name).is_some() => {
                    let text =
                        format!("`{name}` belongs to a storage; write it under `storages:` and the storage's name");
                    self.problem(*at, name, text);
                }
                _ => self.unknown_key(key, *at, "", &["listen", "http", "log", "tls", "storages"]),
            }
        }
        raw
    }

    /// An address alone, or a mapping.
    fn http(&mut self, node: &Node, raw: &mut RawConfig) {
        if !matches!(node.value, Value::Mapping(_)) {
            raw.http = self.value(node, "http");
            return;
        }
        for Entry { key, at, node } in self.mapping(node, "http") {
            match key.as_str() {
                "address" => raw.http = self.value(node, "http.address"),
                "page" => raw.page = self.value(node, "http.page"),
                _ => self.unknown_key(key, *at, "http.", &["address", "page"]),
            }
        }
    }

    fn log(&mut self, node: &Node, raw: &mut RawConfig) {
        for Entry { key, at, node } in self.mapping(node, "log") {
            match key.as_str() {
                "format" => raw.log_format = self.value(node, "log.format"),
                "filter" => raw.log_filter = self.value(node, "log.filter"),
                _ => self.unknown_key(key, *at, "log.", &["format", "filter"]),
            }
        }
    }

    fn tls(&mut self, node: &Node, raw: &mut RawTls) {
        for Entry { key, at, node } in self.mapping(node, "tls") {
            match key.as_str() {
                "certFile" => raw.cert_file = self.value_or_empty(node, "tls.certFile"),
                "keyFile" => raw.key_file = self.value_or_empty(node, "tls.keyFile"),
                "clientCaFile" => raw.client_ca_file = self.value_or_empty(node, "tls.clientCaFile"),
                _ => self.unknown_key(key, *at, "tls.", &["certFile", "keyFile", "clientCaFile"]),
            }
        }
    }

    fn storages(&mut self, node: &Node, raw: &mut RawConfig) {
        for Entry { key, at, node } in self.mapping(node, "storages") {
            match key.parse::<StorageName>() {
                Ok(name) => {
                    let storage = self.storage(*at, node, &name);
                    raw.storages.insert(name, storage);
                }
                Err(error) => self.problem(*at, "storages", error),
            }
        }
    }

    fn storage(&mut self, at: Position, node: &Node, name: &StorageName) -> RawStorage {
        let path = format!("storages.{name}");
        let mut storage = RawStorage::new(self.origin(at, &path));
        let n_problems = self.diagnostics.n_problems();
        for Entry { key: name, at, node } in self.mapping(node, &path) {
            let Some(key) = StorageKey::of_file(name) else {
                self.unknown_key(name, *at, &format!("{path}."), &StorageKey::ALL.map(|(_, in_file, _)| in_file));
                continue;
            };
            let path = format!("{path}.{name}");
            let value = match key {
                StorageKey::Namespaces => self.names(node, &path),
                _ => self.value(node, &path),
            };
            if let Some(value) = value {
                storage.set(key, value);
            }
        }
        storage.has_errors = n_problems < self.diagnostics.n_problems();
        storage
    }

    /// The entries of a mapping; none if the value is empty.
    fn mapping<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Entry] {
        match &node.value {
            Value::Mapping(entries) => return entries,
            Value::Null => {}
            _ => self.problem(node.at, path, "must be keys with values, each on its own line, such as `key: value`"),
        }
        &[]
    }

    /// A single value; `None` if it is empty, which means the default.
    fn value(&mut self, node: &Node, path: &str) -> Option<RawValue> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Flag(flag) => self.written_or(node, flag),
            Value::Whole(number) => self.written_or(node, number),
            Value::Number(number) => self.written_or(node, number),
            Value::Null => return None,
            Value::List(_) | Value::Mapping(_) => {
                self.problem(node.at, path, "must be a single value, not a list or a mapping");
                return None;
            }
        };
        Some(RawValue { text, origin: self.origin(node.at, path) })
    }

    /// A single value, or an empty one where that does not mean the default.
    fn value_or_empty(&mut self, node: &Node, path: &str) -> Option<RawValue> {
        match node.value {
            Value::Null => Some(RawValue { text: String::new(), origin: self.origin(node.at, path) }),
            _ => self.value(node, path),
        }
    }

    /// What is written in the file, or `parsed` if that is unknown.
    fn written_or(&self, node: &Node, parsed: &dyn fmt::Display) -> String {
        node.written(self.text).map_or_else(|| parsed.to_string(), str::to_owned)
    }

    /// A list of names, joined by commas as in the environment. An empty value is an empty list: a template that filled in
    /// nothing must not open a storage to all namespaces.
    fn names(&mut self, node: &Node, path: &str) -> Option<RawValue> {
        match &node.value {
            Value::List(nodes) => {
                let names: Vec<String> =
                    nodes.iter().filter_map(|node| self.value(node, path)).map(|name| name.text).collect();
                Some(RawValue { text: names.join(","), origin: self.origin(node.at, path) })
            }
            Value::Mapping(_) => {
                self.problem(node.at, path, "must be a list of names, such as `[orders, shop]`");
                None
            }
            _ => self.value_or_empty(node, path),
        }
    }

    fn unknown_key(&mut self, name: &str, at: Position, path: &str, known: &[&str]) {
        // In `{password:hunter2}` the key is all of it.
        let is_plain =
            name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let text = if is_plain {
            format!("unknown key `{name}`{}", did_you_mean(name, known.iter().copied()))
        } else {
            "the key is not a plain word; is a space missing after the colon?".to_owned()
        };
        let shown = if is_plain { name } else { "…" };
        self.problem(at, &format!("{path}{shown}"), text);
    }

    fn syntax_error(&mut self, error: &SyntaxError) {
        let text = match &error.kind {
            SyntaxErrorKind::DuplicateKey => "this key is given twice; keep one".to_owned(),
            SyntaxErrorKind::MultipleDocuments => "only one YAML document is allowed; remove `---`".to_owned(),
            SyntaxErrorKind::Fixed(message) => format!("this is not valid YAML: {message}"),
            // The message may show the start of a password.
            SyntaxErrorKind::Other => "this is not valid YAML; quote texts with special characters".to_owned(),
        };
        match error.at {
            Some(at) => self.problem(at, "", text),
            None => self.diagnostics.problem(&Origin::WholeFile { file: self.file.clone() }, text),
        }
    }

    fn problem(&mut self, at: Position, path: &str, text: impl fmt::Display) {
        self.diagnostics.problem(&self.origin(at, path), text);
    }

    fn origin(&self, at: Position, path: &str) -> Origin {
        Origin::File { file: self.file.clone(), line: at.line, column: at.column, key: path.to_owned() }
    }
}
