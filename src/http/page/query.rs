//! What a link selects.

use std::fmt;

use url::form_urlencoded::{Serializer, parse};

use super::view::{State, TriggerView};
use crate::text::printable;

/// The longest value that is looked for, in characters: that of a name in Kubernetes.
const MAX_VALUE: usize = 253;

/// The selection of a link. Unknown keys are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) namespace: Option<String>,
    pub(super) scaled_object: Option<String>,
    pub(super) storage: Option<String>,
    pub(super) state: Option<State>,
    /// The first trigger to show.
    pub(super) from: usize,
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (key, value) in parse(text.as_bytes()) {
            let value = Some(printable(&value, MAX_VALUE)).filter(|value| !value.is_empty());
            match key.as_ref() {
                "namespace" => query.namespace = value,
                "scaledObject" => query.scaled_object = value,
                "storage" => query.storage = value,
                "state" => query.state = value.and_then(|value| State::of_name(&value)),
                "from" => query.from = value.and_then(|value| value.parse().ok()).unwrap_or_default(),
                _ => {}
            }
        }
        query
    }

    /// The link to one ScaledObject, which can be sent to a colleague.
    pub(super) fn of_scaled_object(namespace: &str, name: &str) -> Self {
        let (namespace, scaled_object) = (Some(namespace.to_owned()), Some(name.to_owned()));
        Self { namespace, scaled_object, ..Self::default() }
    }

    pub(super) fn from(&self, from: usize) -> Self {
        Self { from, ..self.clone() }
    }

    /// Whether everything is selected.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self { from: self.from, ..Self::default() }
    }

    pub(super) fn selects(&self, trigger: &TriggerView) -> bool {
        self.selects_key(&trigger.namespace, &trigger.scaled_object)
            && self.selects_storage(&trigger.storage)
            && self.state.is_none_or(|state| trigger.state == state)
    }

    pub(super) fn selects_storage(&self, storage: &str) -> bool {
        self.storage.as_ref().is_none_or(|wanted| wanted == storage)
    }

    pub(super) fn selects_key(&self, namespace: &str, scaled_object: &str) -> bool {
        let is = |wanted: &Option<String>, actual: &str| wanted.as_ref().is_none_or(|wanted| wanted == actual);
        is(&self.namespace, namespace) && is(&self.scaled_object, scaled_object)
    }
}

impl fmt::Display for Query {
    /// The link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut link = Serializer::new(String::new());
        let parts = [
            ("namespace", self.namespace.clone()),
            ("scaledObject", self.scaled_object.clone()),
            ("storage", self.storage.clone()),
            ("state", self.state.map(|state| state.name().to_owned())),
            ("from", (0 < self.from).then(|| self.from.to_string())),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                link.append_pair(key, &value);
            }
        }
        let link = link.finish();
        if link.is_empty() { f.write_str("/") } else { write!(f, "/?{link}") }
    }
}
