//! The Kubernetes API: lists, watches and annotates pods.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod as KubePod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ObjectMeta};
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::json;
use thiserror::Error;
use tokio::time::timeout;

use super::pods::{Cost, Pod};
use crate::text::printable;

/// The annotation that a ReplicaSet orders its pods by.
pub const ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Who owns the annotation. What another manager has written stays.
pub const FIELD_MANAGER: &str = "jobrunr-scaler-protect";
/// Pods per page of a list.
const PAGE: u32 = 500;
/// The API server ends a watch after this time, so that a connection that is dead without notice does not last.
const WATCH_SECONDS: u32 = 240;
/// A write takes no longer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A list takes no longer.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Characters of a message of the API server.
const MAX_MESSAGE: usize = 300;

/// The pods of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The namespace.
    pub namespace: String,
    /// A label selector; `None` for all pods.
    pub selector: Option<String>,
}

/// Why the API server did not do what was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClusterError {
    /// Neither a kubeconfig nor a service account.
    #[error("no Kubernetes cluster: {0}; run it in a pod with a service account, or with a kubeconfig")]
    NoCluster(String),
    /// The API server does not accept the service account's token.
    #[error("the API server does not know who asks: {0}; check the service account and its token")]
    Unknown(String),
    /// A right is missing.
    #[error(
        "the API server forbids `{verb}` on pods in the namespace `{namespace}`: {message}; give the service account the Role of \
         k8s/overlays/protect, in that namespace"
    )]
    Forbidden {
        /// The verb.
        verb: &'static str,
        /// The namespace.
        namespace: String,
        /// The API server's words.
        message: String,
    },
    /// The API server has too much to do, and says when to come back.
    #[error("the API server limits requests: {0}")]
    Limited(String),
    /// The version of a watch is too old.
    #[error("the watch has to begin again: {0}")]
    Expired(String),
    /// The pod is gone, or another one has its name.
    #[error("the pod is gone: {0}")]
    Gone(String),
    /// Somebody else manages the pod's deletion cost.
    #[error("{0}")]
    Foreign(String),
    /// The API server rejects this write: a webhook or a policy denies it, or fails.
    #[error("the API server rejects it: {0}")]
    Rejected(String),
    /// Everything else: the server is away, or fails.
    #[error("the API server does not answer: {0}")]
    Failed(String),
}

impl ClusterError {
    /// The outcome of a write, as metrics have it.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "forbidden",
            Self::Limited(_) => "limited",
            Self::Gone(_) => "gone",
            Self::Foreign(_) => "foreign",
            Self::Rejected(_) => "rejected",
            Self::NoCluster(_) | Self::Unknown(_) | Self::Expired(_) | Self::Failed(_) => "failed",
        }
    }

    /// Whether it is about one pod or one namespace, so that other pods can still be written.
    #[must_use]
    pub fn is_about_the_pod(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Gone(_) | Self::Foreign(_) | Self::Rejected(_))
    }

    fn new(error: &kube::Error, verb: &'static str, namespace: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status, verb, namespace),
            error => Self::Failed(printable(&causes(error), MAX_MESSAGE)),
        }
    }

    fn of_status(status: &Status, verb: &'static str, namespace: &str) -> Self {
        let message = printable(&status.message, MAX_MESSAGE);
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        match status.code {
            401 => Self::Unknown(message),
            // What a webhook says; rights are missing without one.
            403 if message.contains("denied the request") => Self::Rejected(message),
            403 => Self::Forbidden { verb, namespace: namespace.to_owned(), message },
            404 => Self::Gone(message),
            409 if causes.any(|cause| cause.reason == "FieldManagerConflict") => Self::Foreign(message),
            // Another pod has its name: nothing is created, and a uid cannot be changed.
            409 if message.to_ascii_lowercase().contains("uid") => Self::Gone(message),
            422 if causes.any(|cause| cause.field == "metadata.uid") => Self::Gone(message),
            410 => Self::Expired(message),
            429 => Self::Limited(message),
            // Also of a webhook that cannot be called.
            400 | 409 | 422 | 500 if verb == "patch" => Self::Rejected(format!("{}: {message}", status.code)),
            code => Self::Failed(format!("{code}: {message}")),
        }
    }
}

/// An error with its causes: the client's own words say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What a watch notifies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// A pod is new or has changed.
    Changed(Pod),
    /// A pod is gone.
    Removed(Pod),
    /// Everything up to this version was seen.
    Version,
}

/// The Kubernetes API.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Prepares a client from the kubeconfig or the pod's service account. Connects with the first request.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`]
    pub async fn infer() -> Result<Self, ClusterError> {
        let config = Config::infer().await.map_err(|error| ClusterError::NoCluster(causes(&error)))?;
        Self::new(config)
    }

    /// Prepares a client.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`]
    pub fn new(mut config: Config) -> Result<Self, ClusterError> {
        config.connect_timeout = Some(Duration::from_secs(5));
        // The store and the protector wait and try again, within the budget of writes.
        config.default_retry = false;
        config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 30));
        let client = Client::try_from(config).map_err(|error| ClusterError::NoCluster(causes(&error)))?;
        Ok(Self { client })
    }

    /// The namespace of the service account or the kubeconfig.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    fn pods(&self, namespace: &str) -> Api<KubePod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Lists the pods, and the version from which to watch them.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn list(&self, scope: &Scope) -> Result<(Vec<Pod>, String), ClusterError> {
        let api = self.pods(&scope.namespace);
        let mut params = ListParams { label_selector: scope.selector.clone(), ..ListParams::default() }.limit(PAGE);
        let mut pods = Vec::new();
        loop {
            let page = timeout(LIST_TIMEOUT, api.list_metadata(&params)).await;
            let page = page.map_err(|_| ClusterError::Failed(format!("no list within {LIST_TIMEOUT:?}")))?;
            let page = page.map_err(|error| ClusterError::new(&error, "list", &scope.namespace))?;
            pods.extend(page.items.iter().filter_map(|pod| read(&pod.metadata)));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((pods, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    /// Watches the pods from a version on, which it keeps up to date. The stream ends from time to time.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn watch<'v>(
        &self,
        scope: &'v Scope,
        version: &'v mut String,
    ) -> Result<impl Stream<Item = Result<PodEvent, ClusterError>> + use<'v>, ClusterError> {
        let params = WatchParams { label_selector: scope.selector.clone(), ..WatchParams::default() };
        let stream = self.pods(&scope.namespace).watch_metadata(&params.timeout(WATCH_SECONDS), version).await;
        let stream = stream.map_err(|error| ClusterError::new(&error, "watch", &scope.namespace))?;
        Ok(stream.filter_map(move |event| {
            let event = match event {
                Ok(event) => read_event(event, version, scope),
                Err(error) => Some(Err(ClusterError::new(&error, "watch", &scope.namespace))),
            };
            std::future::ready(event)
        }))
    }

    /// Writes a pod's deletion cost, or removes the one that we have written.
    ///
    /// # Errors
    /// [`ClusterError`]. The cost is then what it was.
    pub async fn write(&self, pod: &Pod, cost: Option<i32>) -> Result<(), ClusterError> {
        // With the uid, a later pod of the same name does not get the cost.
        let mut metadata = json!({ "name": &*pod.name, "uid": &*pod.uid });
        // Without annotations none is ours. An empty map would be one.
        if let Some(cost) = cost {
            metadata["annotations"] = json!({ ANNOTATION: cost.to_string() });
        }
        let patch = Patch::Apply(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata }));
        let (api, params) = (self.pods(&pod.namespace), PatchParams::apply(FIELD_MANAGER));
        match timeout(WRITE_TIMEOUT, api.patch_metadata(&pod.name, &params, &patch)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ClusterError::new(&error, "patch", &pod.namespace)),
            Err(_) => Err(ClusterError::Failed(format!("no answer within {WRITE_TIMEOUT:?}"))),
        }
    }
}

fn read_event(
    event: WatchEvent<PartialObjectMeta<KubePod>>,
    version: &mut String,
    scope: &Scope,
) -> Option<Result<PodEvent, ClusterError>> {
    let (metadata, is_gone) = match event {
        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod.metadata, false),
        WatchEvent::Deleted(pod) => (pod.metadata, true),
        WatchEvent::Bookmark(bookmark) => {
            *version = bookmark.metadata.resource_version;
            return Some(Ok(PodEvent::Version));
        }
        WatchEvent::Error(status) => return Some(Err(ClusterError::of_status(&status, "watch", &scope.namespace))),
    };
    if let Some(newer) = &metadata.resource_version {
        version.clone_from(newer);
    }
    let pod = read(&metadata)?;
    Some(Ok(if is_gone { PodEvent::Removed(pod) } else { PodEvent::Changed(pod) }))
}

/// Reads what matters of a pod; `None` without a name or a uid, which no pod lacks.
fn read(metadata: &ObjectMeta) -> Option<Pod> {
    let owners = metadata.owner_references.iter().flatten();
    let replica_set = owners.into_iter().find(|owner| owner.kind == "ReplicaSet" && owner.controller == Some(true));
    Some(Pod {
        namespace: metadata.namespace.as_deref()?.into(),
        name: metadata.name.as_deref()?.into(),
        uid: metadata.uid.as_deref()?.into(),
        replica_set: replica_set.map(|owner| Arc::from(owner.uid.as_str())),
        cost: cost(metadata),
        is_terminating: metadata.deletion_timestamp.is_some(),
    })
}

fn cost(metadata: &ObjectMeta) -> Cost {
    let Some(text) = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION)) else {
        return Cost::None;
    };
    let mut managers = metadata.managed_fields.iter().flatten();
    let is_ours = managers.any(|entry| {
        let manages = |fields: &FieldsV1| {
            let annotations = fields.0.get("f:metadata").and_then(|metadata| metadata.get("f:annotations"));
            annotations.is_some_and(|annotations| annotations.get(format!("f:{ANNOTATION}")).is_some())
        };
        entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.fields_v1.as_ref().is_some_and(manages)
    });
    match text.parse() {
        Ok(cost) if is_ours => Cost::Ours(cost),
        _ => Cost::Foreign,
    }
}
