//! The HPA's target: a number, or as many jobs as a pod has workers.

use std::fmt;

use serde::Serialize;

use super::Reason;
use crate::jobrunr::{Filter, Server, Snapshot};

/// Workers of a JobRunr server with one CPU and platform threads (`BackgroundJobServerThreadType`); with virtual threads it has
/// twice as many. Too small a number costs an additional pod, too large a number lets jobs wait.
pub(super) const DEFAULT_WORKERS: u64 = 8;

/// The HPA's target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A number, in the metric's unit.
    Fixed(f64),
    /// The workers of one pod times `usage`.
    Auto {
        /// The fraction of a pod's workers to plan for.
        usage: f64,
        /// The workers of a pod, until a server has been seen.
        workers_per_pod: Option<u32>,
    },
}

impl Target {
    /// Whether the target may change from one snapshot to the next.
    #[must_use]
    pub fn is_auto(self) -> bool {
        matches!(self, Self::Auto { .. })
    }

    /// The workers of a pod as the metadata say, if they do.
    pub(super) fn workers_per_pod(self) -> Option<u32> {
        match self {
            Self::Fixed(_) => None,
            Self::Auto { workers_per_pod, .. } => workers_per_pod,
        }
    }

    /// Returns the target at the instant of a snapshot, and how it was computed unless it is fixed. While a server is alive, or its
    /// row is still there, all replicas of the scaler return the same. At zero pods, those do that have seen the same servers.
    #[must_use]
    pub fn at(self, filter: &Filter, snapshot: Option<&Snapshot>) -> (f64, Option<Reason>) {
        let (usage, metadata) = match self {
            Self::Fixed(target) => return (target, None),
            Self::Auto { usage, workers_per_pod } => (usage, workers_per_pod),
        };
        let (workers_per_pod, source) = workers_per_pod(filter, snapshot, metadata);
        #[expect(clippy::cast_precision_loss, reason = "workers are far below 2^53")]
        let target = (workers_per_pod as f64 * usage).max(0.001);
        (target, Some(Reason::Target { workers_per_pod, usage, source }))
    }
}

/// Where the number of workers of a pod comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "camelCase")]
pub enum WorkersSource {
    /// The live servers, which all have that many.
    LiveServers {
        /// How many servers.
        servers: usize,
    },
    /// The smallest of the live servers.
    SmallestLiveServer {
        /// How many servers.
        servers: usize,
    },
    /// The last server seen, which is dead and has left its row.
    DeadServer,
    /// The last server seen, which has stopped and left nothing.
    StoppedServer,
    /// `workersPerPod` in the trigger's metadata.
    Metadata,
    /// JobRunr's default.
    Default,
}

impl fmt::Display for WorkersSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LiveServers { servers: 1 } => f.write_str("as the live server has"),
            Self::LiveServers { servers } => write!(f, "as each of the {servers} live servers has"),
            Self::SmallestLiveServer { servers } => write!(f, "as the smallest of the {servers} live servers has"),
            Self::DeadServer => f.write_str("as the last server seen had"),
            Self::StoppedServer => f.write_str(
                "as the last server seen had, which has stopped since; a scaler that has not seen it uses workersPerPod",
            ),
            Self::Metadata => f.write_str("from workersPerPod, because no server has been seen"),
            Self::Default => {
                f.write_str("JobRunr's default for one CPU, because no server has been seen; set workersPerPod")
            }
        }
    }
}

/// The workers of one pod, and where the number comes from.
///
/// If live servers differ in size, the smallest decides: there are then enough pods, whatever the size of the next one.
pub(super) fn workers_per_pod(
    filter: &Filter,
    snapshot: Option<&Snapshot>,
    metadata: Option<u32>,
) -> (u64, WorkersSource) {
    let counts = |server: &&Server| 0 < server.worker_pool_size && server.is_for(filter);
    let live = || snapshot.into_iter().flat_map(Snapshot::live_servers).filter(counts);
    if let Some(smallest) = live().map(|server| server.worker_pool_size).min() {
        let servers = live().count();
        let are_equal = live().all(|server| server.worker_pool_size == smallest);
        let source = if are_equal {
            WorkersSource::LiveServers { servers }
        } else {
            WorkersSource::SmallestLiveServer { servers }
        };
        return (smallest, source);
    }
    // A server that was killed leaves its row, which may be older than what is remembered.
    let row = snapshot.and_then(|snapshot| snapshot.servers.iter().find(counts));
    let remembered = snapshot.and_then(|snapshot| snapshot.last_seen_servers.smallest_for(filter));
    let remembered = remembered.filter(|seen| row.is_none_or(|row| row.last_heartbeat <= seen.at));
    match (remembered, row, metadata) {
        (Some(seen), _, _) => (seen.server.worker_pool_size, WorkersSource::StoppedServer),
        (None, Some(row), _) => (row.worker_pool_size, WorkersSource::DeadServer),
        (None, None, Some(workers)) => (workers.into(), WorkersSource::Metadata),
        (None, None, None) => (DEFAULT_WORKERS, WorkersSource::Default),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::jobrunr::LastSeenServers;

    fn snapshot(read_at: Timestamp, servers: Vec<Server>, last_seen_servers: LastSeenServers) -> Snapshot {
        Snapshot {
            read_at,
            heartbeat_multiplicand: 4,
            servers,
            last_seen_servers,
            queues: BTreeMap::new(),
            recurring: None,
            service_times: None,
            running: None,
            notes: Vec::new(),
        }
    }

    fn tagged(tag: Option<&str>) -> Filter {
        Filter { server_tag: tag.map(Into::into), ..Filter::default() }
    }

    #[test]
    fn target_is_computed_from_the_servers() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let server = |workers: u64, heartbeat_seconds_ago: i64, tags: Option<&str>| Server {
            worker_pool_size: workers,
            poll_interval: SignedDuration::from_secs(15),
            last_heartbeat: now - SignedDuration::from_secs(heartbeat_seconds_ago),
            server_tags: tags.map(str::to_owned),
            ..Server::default()
        };
        let check =
            |servers: Vec<Server>, tag: Option<&str>, usage: f64, given: Option<u32>, target: f64, why: &str| {
                let snapshot = snapshot(now, servers, LastSeenServers::default());
                let filter = tagged(tag);
                let (at, reason) = Target::Auto { usage, workers_per_pod: given }.at(&filter, Some(&snapshot));
                assert_eq!(at, target, "{why}");
                assert_eq!(reason.unwrap().to_string(), format!("target: {why}"));
            };
        let live = |workers| server(workers, 1, None);
        check(vec![live(8)], None, 1.0, Some(3), 8.0, "8 workers per pod, as the live server has");
        check(vec![live(8)], None, 0.8, None, 6.4, "8 workers per pod × targetUsage 0.8, as the live server has");
        check(vec![live(4), live(4)], None, 1.0, None, 4.0, "4 workers per pod, as each of the 2 live servers has");
        check(
            vec![live(16), live(1), live(8)],
            None,
            1.0,
            None,
            1.0,
            "1 worker per pod, as the smallest of the 3 live servers has",
        );
        let (dead, older) = (server(16, 61, None), server(4, 99, None));
        check(vec![dead.clone(), older], None, 1.0, Some(3), 16.0, "16 workers per pod, as the last server seen had");
        check(vec![live(8), dead], None, 1.0, None, 8.0, "8 workers per pod, as the live server has");
        let tagged = vec![server(2, 1, Some("DEFAULT")), server(32, 1, Some("gpu,DEFAULT"))];
        check(tagged, Some("gpu"), 1.0, None, 32.0, "32 workers per pod, as the live server has");
        check(
            vec![live(0)],
            None,
            1.0,
            Some(3),
            3.0,
            "3 workers per pod, from workersPerPod, because no server has been seen",
        );
        let default =
            "8 workers per pod, JobRunr's default for one CPU, because no server has been seen; set workersPerPod";
        check(vec![], None, 1.0, None, 8.0, default);
        assert_eq!(Target::Fixed(3.5).at(&Filter::default(), None), (3.5, None));
    }

    const KINDS: [Option<&str>; 3] = [None, Some("SERVER=1,DEFAULT"), Some("SERVER=2,gpu")];

    prop_compose! {
        /// The row of a server that is alive, or has been dead for an hour or more.
        fn row()(workers in 0_u64..5, kind in 0_usize..3, is_alive: bool) -> (u64, usize, bool) { (workers, kind, is_alive) }
    }

    proptest! {
        /// Servers come, stop and crash. Once no live one is left for a filter, the target keeps its value.
        #[test]
        fn target_stays_when_the_last_server_stops(
            reads in prop::collection::vec(prop::collection::vec(row(), 0..4), 1..8)
        ) {
            let mut seen = LastSeenServers::default();
            let mut before: [Option<f64>; 3] = [None; 3];
            for (second, rows) in (0_i64..).zip(reads) {
                let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(second + 1);
                let server = |(worker_pool_size, kind, is_alive): (u64, usize, bool)| Server {
                    worker_pool_size,
                    poll_interval: SignedDuration::from_secs(15),
                    last_heartbeat: if is_alive { now } else { Timestamp::UNIX_EPOCH },
                    server_tags: KINDS[kind].map(str::to_owned),
                    ..Server::default()
                };
                let mut snapshot = snapshot(now, rows.into_iter().map(server).collect(), LastSeenServers::default());
                seen.update(&snapshot);
                snapshot.last_seen_servers = seen.clone();
                for (before, tag) in before.iter_mut().zip([None, Some("DEFAULT"), Some("gpu")]) {
                    let filter = tagged(tag);
                    let (target, reason) = Target::Auto { usage: 1.0, workers_per_pod: Some(7) }.at(&filter, Some(&snapshot));
                    let lives = snapshot.live_servers().any(|server| 0 < server.worker_pool_size && server.is_for(&filter));
                    if lives {
                        *before = Some(target);
                    } else if let Some(before) = before {
                        prop_assert_eq!(target, *before, "{:?} {:?}", tag, reason);
                    }
                }
            }
        }
    }
}
