//! The servers that were seen last.
//!
//! JobRunr deletes a server's record when the server stops, and nothing else says how many workers it had. At zero pods the
//! size of a pod is known only to a reader that has seen one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Filter, Server, Snapshot};

/// The kinds of servers remembered; beyond that number, those seen longest ago are dropped.
const MAX_KINDS: usize = 32;

/// The servers that were seen last: of each kind the smallest. Servers with the same tags are of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastSeenServers(BTreeMap<Option<String>, LastSeenServer>);

/// A server as it was when it was last alive.
#[derive(Clone, Debug, PartialEq)]
pub struct LastSeenServer {
    /// The server.
    pub server: Server,
    /// The instant of the read that saw it.
    pub at: Timestamp,
}

impl LastSeenServers {
    /// Remembers the servers that are alive at the instant of a snapshot.
    pub fn update(&mut self, snapshot: &Snapshot) {
        let mut live: BTreeMap<Option<String>, &Server> = BTreeMap::new();
        for server in snapshot.live_servers().filter(|server| 0 < server.worker_pool_size) {
            let smallest = live.entry(kind(server)).or_insert(server);
            if server.worker_pool_size < smallest.worker_pool_size {
                *smallest = server;
            }
        }
        let at = snapshot.read_at;
        self.0.extend(live.into_iter().map(|(kind, server)| (kind, LastSeenServer { server: server.clone(), at })));
        while MAX_KINDS < self.0.len() {
            let oldest = self.0.iter().min_by_key(|(_, seen)| seen.at).map(|(kind, _)| kind.clone());
            oldest.and_then(|kind| self.0.remove(&kind));
        }
    }

    /// Returns the smallest of the servers for the filter's jobs that were seen last.
    #[must_use]
    pub fn smallest_for(&self, filter: &Filter) -> Option<&LastSeenServer> {
        let serving = || self.0.values().filter(|seen| seen.server.is_for(filter));
        let last = serving().map(|seen| seen.at).max()?;
        serving().filter(|seen| seen.at == last).min_by_key(|seen| seen.server.worker_pool_size)
    }
}

/// Returns the server's tags without the one that names the server itself.
fn kind(server: &Server) -> Option<String> {
    let tags = server.server_tags.as_deref()?;
    let tags: Vec<&str> = tags.split(',').map(str::trim).filter(|tag| !tag.starts_with("SERVER=")).collect();
    Some(tags.join(","))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A snapshot with live servers, each with its number of workers and its tags.
    fn snapshot(second: i64, servers: &[(u64, Option<&str>)]) -> Snapshot {
        let server = |&(worker_pool_size, tags): &(u64, Option<&str>)| Server {
            worker_pool_size,
            poll_interval: SignedDuration::from_secs(15),
            last_heartbeat: at(second),
            server_tags: tags.map(str::to_owned),
            ..Server::default()
        };
        Snapshot {
            read_at: at(second),
            heartbeat_multiplicand: 4,
            servers: servers.iter().map(server).collect(),
            last_seen_servers: LastSeenServers::default(),
            queues: BTreeMap::new(),
            recurring: None,
            service_times: None,
            running: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn last_seen_servers_keep_the_smallest_of_each_tag() {
        let mut seen = LastSeenServers::default();
        let check = |seen: &LastSeenServers, tag: Option<&str>, expected: Option<u64>| {
            let filter = Filter { server_tag: tag.map(Into::into), ..Filter::default() };
            assert_eq!(seen.smallest_for(&filter).map(|seen| seen.server.worker_pool_size), expected, "{tag:?}");
        };
        check(&seen, None, None);
        let (small, large, gpu) =
            ((4, Some("SERVER=1,DEFAULT")), (8, Some("SERVER=2,DEFAULT")), (2, Some("SERVER=3,gpu")));
        seen.update(&snapshot(1, &[large, small, gpu, (0, Some("gpu"))]));
        check(&seen, None, Some(2));
        check(&seen, Some("DEFAULT"), Some(4));
        check(&seen, Some("gpu"), Some(2));
        check(&seen, Some("other"), None);
        // The last one seen decides; others stay for their own tags.
        seen.update(&snapshot(2, &[large]));
        seen.update(&snapshot(3, &[]));
        check(&seen, None, Some(8));
        check(&seen, Some("DEFAULT"), Some(8));
        check(&seen, Some("gpu"), Some(2));
    }

    #[test]
    fn last_seen_servers_are_bounded() {
        let mut seen = LastSeenServers::default();
        for second in 0..100 {
            seen.update(&snapshot(second, &[(8, Some(&format!("tag{second}")))]));
        }
        assert_eq!(seen.0.len(), MAX_KINDS);
        assert!(seen.0.contains_key(&Some("tag99".to_owned())));
    }
}
