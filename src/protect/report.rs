//! Which server is which pod, and what it costs, for people and scripts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::assessment::{Assessment, StorageView};
use super::order::cost_of;
use super::pods::{Cost, NamePattern, PodKey, Pods};
use crate::jobrunr::Snapshot;
use crate::text::{counted, printable};

/// Which server is which pod, and what it costs. As JSON this is an interface: fields are added, never renamed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodsReport {
    /// The servers.
    pub servers: Vec<ServerReport>,
    /// Running jobs whose server is unknown.
    pub jobs_without_server: u64,
    /// Storages that cannot list all of their running jobs.
    pub unknown_storages: Vec<String>,
    /// Pods whose cost is not in order.
    pub out_of_order: u64,
}

/// A server and its pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerReport {
    /// The storage.
    pub storage: String,
    /// The server's name, or its id if it has none.
    pub server: String,
    /// Whether it is alive.
    pub alive: bool,
    /// The namespace and the name of its pod.
    pub pod: Option<String>,
    /// Why it has no pod, or why its pod has no cost.
    pub note: Option<String>,
    /// The jobs that it runs.
    pub jobs: u64,
    /// How long they have been running in all.
    pub seconds: u64,
    /// The pod's cost.
    pub cost: Option<i32>,
    /// The cost that its jobs give it.
    pub wanted: Option<i32>,
}

impl PodsReport {
    /// Reports what the assessment of these pods shows.
    #[must_use]
    pub fn new(snapshots: &[(String, Snapshot)], pods: &Pods, pattern: &NamePattern) -> Self {
        let views: Vec<StorageView<'_>> = snapshots
            .iter()
            .map(|(name, snapshot)| StorageView { name, snapshot: Some(snapshot), is_current: true })
            .collect();
        let assessment = Assessment::new(&views, pods, pattern);
        let candidates = assessment.replica_sets.values().flatten();
        let classes: BTreeMap<&PodKey, u32> = candidates.map(|candidate| (&candidate.pod, candidate.class)).collect();
        let servers = assessment.servers.iter().map(|server| {
            let pod = server.pod.as_ref().ok().and_then(|key| pods.get(key));
            let note = match (&server.pod, pod) {
                (Err(why), _) => Some(why.to_string()),
                (_, Some(pod)) if pod.replica_set.is_none() => {
                    Some("no ReplicaSet controls the pod, and only those look at deletion costs".to_owned())
                }
                (_, Some(pod)) if pod.is_terminating => Some("the pod is stopping".to_owned()),
                (_, Some(pod)) if pod.cost == Cost::Foreign => Some("somebody else manages its cost".to_owned()),
                _ => None,
            };
            ServerReport {
                storage: server.storage.clone(),
                server: server.name.as_deref().unwrap_or(&server.id).to_owned(),
                alive: server.is_alive,
                pod: pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)),
                note,
                jobs: server.n_jobs,
                seconds: server.seconds,
                cost: pod.and_then(|pod| if let Cost::Ours(cost) = pod.cost { Some(cost) } else { None }),
                wanted: pod.and_then(|pod| cost_of(*classes.get(&pod.key())?)),
            }
        });
        Self {
            servers: servers.collect(),
            jobs_without_server: assessment.n_jobs_without_server,
            unknown_storages: assessment.unknown_storages.clone(),
            out_of_order: assessment.changes().len() as u64,
        }
    }

    /// Whether every server has its pod and every running job its server.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let has_pod = |server: &ServerReport| server.pod.is_some();
        self.servers.iter().all(has_pod) && self.jobs_without_server == 0 && self.unknown_storages.is_empty()
    }

    /// A table, and what to know about it.
    #[must_use]
    pub fn table(&self) -> String {
        let head = ["storage", "server", "pod", "jobs", "running", "cost", "wanted"].map(str::to_owned);
        let or_none = |cost: Option<i32>| cost.map_or("-".to_owned(), |cost| cost.to_string());
        let mut rows = vec![head];
        let mut notes = Vec::new();
        for server in &self.servers {
            let name = printable(&server.server, 80);
            if let Some(note) = &server.note {
                notes.push(format!("{name}: {note}"));
            }
            rows.push([
                server.storage.clone(),
                if server.alive { name } else { format!("{name} (dead)") },
                server.pod.clone().unwrap_or_else(|| "?".to_owned()),
                server.jobs.to_string(),
                format!("{} s", server.seconds),
                or_none(server.cost),
                or_none(server.wanted),
            ]);
        }
        if 0 < self.jobs_without_server {
            let jobs = counted(self.jobs_without_server, "running job");
            notes.push(format!("{jobs} without a known server: no cost falls until that changes"));
        }
        for storage in &self.unknown_storages {
            notes.push(format!("{storage}: not all running jobs are known: no cost falls until that changes"));
        }
        notes.push(match self.out_of_order {
            0 => "all costs are in order".to_owned(),
            n => format!("{} out of order", counted(n, "cost")),
        });
        aligned(&rows) + "\n" + &notes.join("\n") + "\n"
    }
}

/// Rows with columns of the same width.
fn aligned(rows: &[[String; 7]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column).unwrap_or(0)));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
