//! Where answers come from: the database, or a running scaler that is asked as KEDA asks it.

mod local;
mod remote;

pub(super) use local::Local;
pub(super) use remote::{Remote, parse_address};

use super::input::parse_trigger;
use super::report::StorageReport;
use crate::jobrunr::Snapshot;
use crate::kubernetes::manifest::{ScaledObject, TriggerSpec};
use crate::scaling::{Reason, Trigger};

/// What a source says about a trigger.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// The metric's name towards KEDA, without the index of the trigger. `None` if GetMetricSpec fails: KEDA then has no fallback.
    pub(super) metric_name: Option<String>,
    /// The target. Known even if the database is away.
    pub(super) target: Option<f64>,
    /// What in the metadata is likely not intended.
    pub(super) warnings: Vec<String>,
    /// The value, or why there is none.
    pub(super) reading: Result<Reading, String>,
}

impl Reply {
    /// The reply of a trigger for which GetMetricSpec fails.
    fn error(error: String, warnings: Vec<String>) -> Self {
        Self { metric_name: None, target: None, warnings, reading: Err(error) }
    }
}

/// The value of a trigger, and what comes with it.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) value: f64,
    pub(super) active: bool,
    /// `None` if the source does not say.
    pub(super) truncated: Option<bool>,
    /// Why, in words.
    pub(super) reasons: Vec<String>,
    /// The same with its numbers. Empty if the source does not say.
    pub(super) details: Vec<Reason>,
}

/// Where answers come from.
pub(super) enum Source {
    Local(Box<Local>),
    Remote(Remote),
}

impl Source {
    /// Describes the storages that were read; a running scaler does not tell.
    pub(super) async fn storages(&self) -> Vec<StorageReport> {
        match self {
            Self::Local(local) => local.storages().await,
            Self::Remote(_) => Vec::new(),
        }
    }

    /// Answers for a trigger. Its metadata is parsed once, here.
    pub(super) async fn reply(&self, object: &ScaledObject, spec: &TriggerSpec) -> Reply {
        match (self, parse_trigger(spec)) {
            (Self::Local(local), Ok(trigger)) => local.reply(object, trigger).await,
            (Self::Local(_), Err(errors)) => Reply::error(errors.to_string(), Vec::new()),
            (Self::Remote(remote), trigger) => remote.reply(object, spec, trigger.ok()).await,
        }
    }
}

/// Returns an error about the namespace, and that it was assumed if it was.
fn namespace_error(object: &ScaledObject, error: String) -> String {
    if object.namespace.is_some() {
        return error;
    }
    let assumed = object.namespace_or_default();
    format!("{error}; the manifest has no metadata.namespace, so that `{assumed}` is assumed; give --namespace")
}

/// What in a trigger's metadata is likely not intended.
fn warnings(mut trigger: Trigger, snapshot: Option<&Snapshot>) -> Vec<String> {
    let latency = trigger.latency_warning(snapshot);
    trigger.warnings.extend(latency);
    trigger.warnings
}
