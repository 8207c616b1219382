//! The YAML file: from its text to the values that were given and their places.
//!
//! The file is read into a tree first and checked by hand, not by serde's derive: that stops at the first mistake, and its
//! texts may quote a password.
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Location, Spanned};

use super::StorageName;
use super::mistake::{Place, Report, did_you_mean};
use super::raw::{Given, Key, Raw, RawStorage, RawTls};

/// Reads a file. `None` when nothing can be said about its content, because it is missing or no YAML.
pub(super) fn read(path: &Path, report: &mut Report) -> Option<Raw> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(source) => parse(file, &source, report),
        Err(error) => {
            report.mistake(&Place::WholeFile { file }, format_args!("cannot be read: {error}"));
            None
        }
    }
}

/// `file` is the name for messages.
pub(super) fn parse(file: String, source: &str, report: &mut Report) -> Option<Raw> {
    let options = serde_saphyr::options! {
        // A snippet of the source could hold a password.
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    let mut reader = Reader { file, source, report };
    match serde_saphyr::from_str_with_options::<Option<Spanned<Node>>>(source, options) {
        Ok(None) => Some(Raw::default()),
        Ok(Some(root)) => Some(reader.root(&root)),
        Err(error) => {
            reader.syntax_error(&error);
            None
        }
    }
}

/// A part of the file.
enum Node {
    /// Nothing at all, `~` or `null`.
    Nothing,
    /// A text, with quotes and escapes resolved.
    Text(String),
    /// Something that YAML takes for a number or a truth value. What was written stands in the source: `0123` and `1e5`
    /// may be passwords, and are not to be changed.
    Plain(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

struct Reader<'a> {
    file: String,
    source: &'a str,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn root(&mut self, root: &Spanned<Node>) -> Raw {
        let mut raw = Raw::default();
        for (key, value) in self.map(root, "") {
            match key.value.as_str() {
                "listen" => raw.listen = self.text(value, "listen"),
                "http" => raw.http = self.text(value, "http"),
                "log" => self.log(value, &mut raw),
                "tls" => self.tls(value, &mut raw.tls),
                "storages" => self.storages(value, &mut raw),
                name if Key::of_file(name).is_some() => {
                    let text =
                        format!("`{name}` belongs to a storage; write it under `storages:` and the storage's name");
                    self.mistake(key.referenced, name, text);
                }
                _ => self.unknown(key, "", &["listen", "http", "log", "tls", "storages"]),
            }
        }
        raw
    }

    fn log(&mut self, node: &Spanned<Node>, raw: &mut Raw) {
        for (key, value) in self.map(node, "log") {
            match key.value.as_str() {
                "format" => raw.log_format = self.text(value, "log.format"),
                "filter" => raw.log_filter = self.text(value, "log.filter"),
                _ => self.unknown(key, "log.", &["format", "filter"]),
            }
        }
    }

    fn tls(&mut self, node: &Spanned<Node>, raw: &mut RawTls) {
        for (key, value) in self.map(node, "tls") {
            match key.value.as_str() {
                "certFile" => raw.cert_file = self.text(value, "tls.certFile"),
                "keyFile" => raw.key_file = self.text(value, "tls.keyFile"),
                "clientCaFile" => raw.client_ca_file = self.text(value, "tls.clientCaFile"),
                _ => self.unknown(key, "tls.", &["certFile", "keyFile", "clientCaFile"]),
            }
        }
    }

    fn storages(&mut self, node: &Spanned<Node>, raw: &mut Raw) {
        for (key, value) in self.map(node, "storages") {
            match key.value.parse::<StorageName>() {
                Ok(name) => {
                    let storage = self.storage(key, value, &name);
                    raw.storages.insert(name, storage);
                }
                Err(error) => self.mistake(key.referenced, "storages", error),
            }
        }
    }

    fn storage(&mut self, key: &Spanned<String>, node: &Spanned<Node>, name: &StorageName) -> RawStorage {
        let path = format!("storages.{name}");
        let mut storage = RawStorage::new(self.place(key.referenced, &path));
        let n_mistakes = self.report.n_mistakes();
        for (key, value) in self.map(node, &path) {
            let Some(known) = Key::of_file(&key.value) else {
                self.unknown(key, &format!("{path}."), &Key::ALL.map(|(_, in_file, _)| in_file));
                continue;
            };
            let path = format!("{path}.{}", key.value);
            let given = match known {
                Key::Namespaces => self.names(value, &path),
                _ => self.text(value, &path),
            };
            if let Some(given) = given {
                storage.set(known, given);
            }
        }
        storage.is_damaged = n_mistakes < self.report.n_mistakes();
        storage
    }

    /// The entries of a map; none where nothing is written.
    fn map<'n>(&mut self, node: &'n Spanned<Node>, path: &str) -> &'n [(Spanned<String>, Spanned<Node>)] {
        match &node.value {
            Node::Map(entries) => entries,
            Node::Nothing => &[],
            _ => {
                self.mistake(
                    node.referenced,
                    path,
                    "must be keys with values, each on a line of its own, as in `key: value`",
                );
                &[]
            }
        }
    }

    /// A single value; `None` where nothing is written, which means the default.
    fn text(&mut self, node: &Spanned<Node>, path: &str) -> Option<Given> {
        let text = match &node.value {
            Node::Text(text) => text.clone(),
            Node::Plain(number) => self.as_written(node.defined).unwrap_or(number).to_owned(),
            Node::Nothing => return None,
            Node::List(_) | Node::Map(_) => {
                self.mistake(node.referenced, path, "must be a single value, not a list or a map");
                return None;
            }
        };
        Some(Given { text, place: self.place(node.referenced, path) })
    }

    /// A list of names, joined by commas as the environment has them. Nothing is an empty list: that a storage is open
    /// to all namespaces is not to follow from a template that filled in nothing.
    fn names(&mut self, node: &Spanned<Node>, path: &str) -> Option<Given> {
        let place = self.place(node.referenced, path);
        match &node.value {
            Node::Nothing => Some(Given { text: String::new(), place }),
            Node::List(items) => {
                let names: Vec<String> =
                    items.iter().filter_map(|item| self.text(item, path)).map(|item| item.text).collect();
                Some(Given { text: names.join(","), place })
            }
            Node::Map(_) => {
                self.mistake(node.referenced, path, "must be a list of names, as in `[orders, shop]`");
                None
            }
            Node::Text(_) | Node::Plain(_) => self.text(node, path),
        }
    }

    /// The text of a node in the source.
    fn as_written(&self, location: Location) -> Option<&str> {
        let start = usize::try_from(location.span().byte_offset()?).ok()?;
        let length = usize::try_from(location.span().byte_len()?).ok()?;
        self.source.get(start..start.checked_add(length)?).filter(|text| !text.is_empty())
    }

    fn unknown(&mut self, key: &Spanned<String>, path: &str, known: &[&str]) {
        let name = &key.value;
        // In `{password:hunter2}` the key is all of it.
        let is_plain =
            name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let text = if is_plain {
            format!("unknown key `{name}`{}", did_you_mean(name, known.iter().copied()))
        } else {
            "a key that is no plain word; is a space missing after the colon?".to_owned()
        };
        let shown = if is_plain { name } else { "…" };
        self.mistake(key.referenced, &format!("{path}{shown}"), text);
    }

    fn syntax_error(&mut self, error: &serde_saphyr::Error) {
        use serde_saphyr::Error;
        let text = match error.without_snippet() {
            Error::DuplicateMappingKey { .. } => "this key is given twice; keep one".to_owned(),
            Error::MultipleDocuments { .. } => "only one YAML document is allowed; remove `---`".to_owned(),
            // The parser's texts are fixed, except for this one, which could show the start of a password.
            Error::ExternalMessage { msg, .. } if !msg.contains("unexpected character") => {
                format!("this is no valid YAML: {msg}")
            }
            _ => "this is no valid YAML; a text with special characters has to stand in quotes".to_owned(),
        };
        match error.location() {
            Some(location) => self.mistake(location, "", text),
            None => self.report.mistake(&Place::WholeFile { file: self.file.clone() }, text),
        }
    }

    fn mistake(&mut self, location: Location, path: &str, text: impl fmt::Display) {
        self.report.mistake(&self.place(location, path), text);
    }

    fn place(&self, location: Location, path: &str) -> Place {
        let (line, column) = (location.line(), location.column());
        Place::File { file: self.file.clone(), line, column, key: path.to_owned() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}
