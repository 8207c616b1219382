//! The running storages by name, and the answer to a trigger.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::{AskError, Monitor};
use crate::clock::Clock;
use crate::jobrunr::{QuestionError, Snapshot};
use crate::scaling::{Decision, Trigger, decide};
use crate::storage::Finding;

/// A running storage that triggers may name.
#[derive(Clone)]
pub struct StorageHandle {
    /// Its monitor.
    pub monitor: Monitor,
    /// The namespaces that may use it; `None` for all.
    pub namespaces: Option<Arc<[String]>>,
    /// Ends its streams, with OK: when the server stops, and when the storage is changed or removed.
    pub end: CancellationToken,
    /// What was found when the storage was started, once that is known.
    pub findings: Arc<OnceLock<Findings>>,
}

/// What was found when a storage was checked.
#[derive(Clone, Debug)]
pub struct Findings {
    /// When that was.
    pub at: Timestamp,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// The running storages by name. Clones share them.
#[derive(Clone, Default)]
pub struct StorageHandles(Arc<BTreeMap<String, StorageHandle>>);

/// Why a trigger has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AnswerError {
    /// No storage has that name.
    #[error("`storage` is `{storage}`, which is not configured; there are: {known}")]
    UnknownStorage {
        /// The name.
        storage: String,
        /// The names of the configured storages.
        known: String,
    },
    /// No storage of that name is open to the namespace. Whether there is one is not said.
    #[error(
        "`storage` is `{storage}`, which is not configured, or not open to the namespace `{namespace}`; open to it are: {open}"
    )]
    ForbiddenStorage {
        /// The name.
        storage: String,
        /// The namespace.
        namespace: String,
        /// The names of the storages that are open to the namespace.
        open: String,
    },
    /// The storage does not answer.
    #[error("storage `{storage}`: {cause}")]
    NoAnswer {
        /// The storage.
        storage: String,
        /// Why.
        cause: AskError,
    },
    /// The storage answers, but not to this trigger's question.
    #[error("storage `{storage}`: {cause}")]
    Question {
        /// The storage.
        storage: String,
        /// Why.
        cause: QuestionError,
    },
}

impl StorageHandle {
    fn is_open_to(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|allowed| allowed.iter().any(|name| name == namespace))
    }

    /// Asks the storage, and decides. Answers as fast as [`Monitor::ask`] does.
    ///
    /// # Errors
    /// [`AnswerError::NoAnswer`] and [`AnswerError::Question`]
    pub async fn answer(&self, trigger: &Trigger, namespace: &str, clock: Clock) -> Result<Decision, AnswerError> {
        let snapshot = self.ask(trigger, namespace).await?;
        let decision = decide(trigger, &snapshot, clock.now());
        decision.map_err(|cause| AnswerError::Question { storage: trigger.storage.clone(), cause })
    }

    /// Asks the storage, as [`Monitor::ask`] does.
    ///
    /// # Errors
    /// [`AnswerError::NoAnswer`]
    pub async fn ask(&self, trigger: &Trigger, namespace: &str) -> Result<Arc<Snapshot>, AnswerError> {
        let snapshot = self.monitor.ask(&trigger.question, namespace).await;
        snapshot.map_err(|cause| AnswerError::NoAnswer { storage: trigger.storage.clone(), cause })
    }
}

impl StorageHandles {
    /// Returns the storage that a trigger of a namespace names. A storage that is not open to the namespace does not exist for it:
    /// as soon as any storage names namespaces, an unknown name and a forbidden one get the same error.
    ///
    /// # Errors
    /// [`AnswerError::UnknownStorage`] and [`AnswerError::ForbiddenStorage`]
    pub fn find(&self, name: &str, namespace: &str) -> Result<&StorageHandle, AnswerError> {
        if let Some(storage) = self.0.get(name).filter(|storage| storage.is_open_to(namespace)) {
            return Ok(storage);
        }
        let open = self.0.iter().filter(|(_, storage)| storage.is_open_to(namespace));
        let open: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
        let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
        let storage = name.to_owned();
        if self.0.values().all(|storage| storage.namespaces.is_none()) {
            return Err(AnswerError::UnknownStorage { storage, known: open });
        }
        Err(AnswerError::ForbiddenStorage { storage, namespace: namespace.to_owned(), open })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StorageHandle)> {
        self.0.iter().map(|(name, storage)| (name.as_str(), storage))
    }

    /// Returns the storage of that name, regardless of the namespaces that may use it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&StorageHandle> {
        self.0.get(name)
    }
}

impl FromIterator<(String, StorageHandle)> for StorageHandles {
    fn from_iter<I: IntoIterator<Item = (String, StorageHandle)>>(storages: I) -> Self {
        Self(Arc::new(storages.into_iter().collect()))
    }
}
