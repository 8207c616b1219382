//! The pods, and which of them a server is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Characters of a host name: Linux cuts the pod's name to them.
const MAX_HOST_NAME: usize = 63;

/// The key of a pod: its namespace and its name.
pub type PodKey = (Arc<str>, Arc<str>);

/// A pod, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid, which a later pod of the same name does not have.
    pub uid: Arc<str>,
    /// The uid of the ReplicaSet that controls it. No other controller looks at deletion costs.
    pub replica_set: Option<Arc<str>>,
    /// Its deletion cost.
    pub cost: Cost,
    /// Whether it has been told to stop.
    pub is_terminating: bool,
}

impl Pod {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> PodKey {
        (Arc::clone(&self.namespace), Arc::clone(&self.name))
    }
}

/// A pod's deletion cost: the annotation `controller.kubernetes.io/pod-deletion-cost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cost {
    /// It has none, which counts as 0.
    #[default]
    None,
    /// Written by us.
    Ours(i32),
    /// Written by somebody else, so that it stays as it is.
    Foreign,
}

/// How a server's name comes from the name of its pod: the text with `*` in the place of the pod's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    before: String,
    after: String,
}

/// A pattern without exactly one `*`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a pattern of server names; write `*` once, in the place of the pod's name, for example `*.workers.svc`"
)]
pub struct NamePatternError(String);

impl Default for NamePattern {
    /// The server's name is the pod's.
    fn default() -> Self {
        Self { before: String::new(), after: String::new() }
    }
}

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('*') {
            Some((before, after)) if !after.contains('*') => {
                Ok(Self { before: before.to_owned(), after: after.to_owned() })
            }
            _ => Err(NamePatternError(crate::text::printable(text, 80))),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}", self.before, self.after)
    }
}

impl NamePattern {
    /// Returns the name of the pod that a server's name contains.
    fn pod_name<'n>(&self, server: &'n str) -> Option<&'n str> {
        server.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str()).filter(|name| !name.is_empty())
    }
}

/// Finds pods by the names of their servers.
pub struct PodNames<'a> {
    pattern: &'a NamePattern,
    by_name: HashMap<&'a str, Vec<&'a Pod>>,
    /// Pods with a name longer than a host name, by what is left of it.
    by_cut_name: HashMap<&'a str, Vec<&'a Pod>>,
}

/// Why a server has no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoPod {
    /// JobRunr 5 and older do not record the name of a server.
    NoName,
    /// The name does not match the pattern.
    NoMatch,
    /// There is no pod of that name among those that are watched.
    NotFound,
    /// Several pods have the name: of several namespaces, or with names that begin with the same 63 characters.
    Ambiguous,
}

impl fmt::Display for NoPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoName => "it has no name: JobRunr before 6.0 does not record it",
            Self::NoMatch => "its name does not match the pattern of --server-name",
            Self::NotFound => {
                "no pod has its name: it may run in another namespace or outside of the cluster, its pod may lack the labels of \
                 --selector, or it has a name of its own (spec.hostname, JOBRUNR_BACKGROUNDJOBSERVER_NAME): see --server-name"
            }
            Self::Ambiguous => "several pods have its name",
        })
    }
}

impl<'a> PodNames<'a> {
    /// Indexes pods by name.
    pub fn new(pattern: &'a NamePattern, pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut by_name: HashMap<&str, Vec<&Pod>> = HashMap::new();
        let mut by_cut_name: HashMap<&str, Vec<&Pod>> = HashMap::new();
        for pod in pods {
            by_name.entry(&pod.name).or_default().push(pod);
            if let Some(cut) = pod.name.get(..MAX_HOST_NAME).filter(|cut| cut.len() < pod.name.len()) {
                by_cut_name.entry(cut).or_default().push(pod);
            }
        }
        Self { pattern, by_name, by_cut_name }
    }

    /// Returns the pod of a server.
    ///
    /// # Errors
    /// [`NoPod`]
    pub fn find(&self, server: Option<&str>) -> Result<&'a Pod, NoPod> {
        let name = self.pattern.pod_name(server.ok_or(NoPod::NoName)?).ok_or(NoPod::NoMatch)?;
        let found = self.by_name.get(name).or_else(|| self.by_cut_name.get(name));
        match found.map(Vec::as_slice).unwrap_or_default() {
            [] => Err(NoPod::NotFound),
            [pod] => Ok(pod),
            _ => Err(NoPod::Ambiguous),
        }
    }
}

/// The pods that are watched.
pub type Pods = BTreeMap<PodKey, Pod>;

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str) -> Pod {
        Pod {
            namespace: namespace.into(),
            name: name.into(),
            uid: name.into(),
            replica_set: Some("rs".into()),
            cost: Cost::None,
            is_terminating: false,
        }
    }

    #[test]
    fn server_is_found_by_the_name_of_its_pod() {
        let long = "a".repeat(81);
        let twins = ["b".repeat(63) + "-1", "b".repeat(63) + "-2"];
        let pods = [
            pod("shop", "workers-5f7c9d-x2x4z"),
            pod("shop", &long),
            pod("shop", &twins[0]),
            pod("shop", &twins[1]),
            pod("shop", "same"),
            pod("other", "same"),
        ];
        let check = |pattern: &str, server: Option<&str>, expected: Result<&str, NoPod>| {
            let pattern = pattern.parse().unwrap();
            let found = PodNames::new(&pattern, &pods).find(server).map(|pod| pod.name.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{pattern} {server:?}");
        };
        check("*", Some("workers-5f7c9d-x2x4z"), Ok("workers-5f7c9d-x2x4z"));
        check("*", Some(&long[..63]), Ok(&long));
        // JOBRUNR_BACKGROUNDJOBSERVER_NAME from metadata.name is whole.
        check("*", Some(&long), Ok(&long));
        check("*", Some(&twins[0][..63]), Err(NoPod::Ambiguous));
        check("*", Some("same"), Err(NoPod::Ambiguous));
        check("*", Some("laptop"), Err(NoPod::NotFound));
        check("*", None, Err(NoPod::NoName));
        // setHostnameAsFQDN.
        let fqdn = "workers-5f7c9d-x2x4z.jobs.shop.svc.cluster.local";
        check("*.jobs.shop.svc.cluster.local", Some(fqdn), Ok("workers-5f7c9d-x2x4z"));
        check("*.jobs.shop.svc.cluster.local", Some("workers-5f7c9d-x2x4z"), Err(NoPod::NoMatch));
        check("jobrunr/*", Some("jobrunr/workers-5f7c9d-x2x4z"), Ok("workers-5f7c9d-x2x4z"));
        check("jobrunr/*", Some("jobrunr/"), Err(NoPod::NoMatch));
    }

    #[test]
    fn pattern_has_one_place_for_the_name() {
        for text in ["", "pod", "*-*", "**"] {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
        assert_eq!("a*b".parse::<NamePattern>().unwrap().to_string(), "a*b");
    }
}
