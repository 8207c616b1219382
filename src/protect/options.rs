//! Which pods are protected, and how.

use super::cluster::{Cluster, Scope};
use super::pods::NamePattern;

/// Which pods are protected, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtectOptions {
    /// The namespaces of the pods; empty for the one that the process runs in.
    pub namespaces: Vec<String>,
    /// A label selector; `None` for all pods.
    pub selector: Option<String>,
    /// How a server's name comes from that of its pod.
    pub pattern: NamePattern,
    /// Writes to the API server per second.
    pub writes_per_second: u32,
    /// Whether costs stay when protection ends.
    pub keeps_costs: bool,
}

impl ProtectOptions {
    /// The pods of each namespace.
    #[must_use]
    pub fn scopes(&self, cluster: &Cluster) -> Vec<Scope> {
        let mut namespaces = self.namespaces.clone();
        if namespaces.is_empty() {
            namespaces.push(cluster.default_namespace().to_owned());
        }
        namespaces.sort();
        namespaces.dedup();
        namespaces.into_iter().map(|namespace| Scope { namespace, selector: self.selector.clone() }).collect()
    }
}
