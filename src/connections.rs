//! The open connections of a port: how many there may be, which one is closed to make room for a new one, and how much
//! memory their callers may hold.
//!
//! A new connection is always accepted. When there are too many, the one that was of the least use is closed: see `Worth`.
//! KEDA's connection, which carries its streams and is asked all the time, comes last. In its first moments no connection is
//! closed, so that a client that means well gets its answer however fast others come.

mod log;
mod memory;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

pub use log::RateLimitedLog;
pub use memory::{Held, Memory};

/// The system has no descriptors left, for example: trying again at once would only burn time.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// What is assumed where the system sets no limit.
const UNLIMITED_DESCRIPTORS: usize = 1 << 20;

static NOT_ACCEPTED: RateLimitedLog = RateLimitedLog::new();
static ROOM_MADE: RateLimitedLog = RateLimitedLog::new();

/// How many file descriptors this process may have open (`RLIMIT_NOFILE`).
#[must_use]
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNLIMITED_DESCRIPTORS)
}

/// The open connections of one port.
pub struct Connections {
    max: usize,
    min_age: Duration,
    /// One address has less than all of them, so that others find room without any being closed. It is not much less: behind
    /// a Service with source NAT, or for KEDA with a client certificate for each namespace, many come from one address.
    max_per_peer: usize,
    memory: Memory,
    open: Mutex<Vec<Arc<Connection>>>,
}

/// One open connection. It counts for as long as its [`Ticket`] lives.
struct Connection {
    peer: Arc<Peer>,
    accepted: Instant,
    usage: Mutex<Usage>,
    memory: memory::Use,
    closed: Notify,
}

/// All connections of one address share this.
struct Peer {
    address: IpAddr,
    memory: memory::Use,
}

impl Connection {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Nothing can panic while it is locked.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worth(&self) -> Worth {
        let usage = *self.usage();
        match usage.last_used {
            None if !usage.has_begun => Worth::Silent(self.accepted),
            None if usage.n_calls == 0 => Worth::Unused(self.accepted),
            None => Worth::Asking(self.accepted),
            Some(last_used) if usage.n_calls == 0 => Worth::Idle(usage.n_answered, last_used),
            Some(last_used) => Worth::Busy(usage.n_answered, last_used),
        }
    }
}

/// What a connection is worth: the one with the least is closed first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Nothing was said, or the handshake is not done; the oldest first.
    Silent(Instant),
    /// No call was ever made, or it was given up; the oldest first.
    Unused(Instant),
    /// No call is open; those that asked little first, then those that did not ask for longest.
    Idle(u64, Instant),
    /// Its first call is open, and the client took nothing of an answer yet; the oldest first.
    Asking(Instant),
    /// A call is open, not the first; otherwise as idle ones.
    Busy(u64, Instant),
}

#[derive(Clone, Copy, Default)]
struct Usage {
    has_begun: bool,
    n_calls: usize,
    n_answered: u64,
    /// When a client last began to take an answer, or had taken all of it.
    last_used: Option<Instant>,
}

impl Connections {
    /// A port that takes at most `max` connections, and lets their callers hold what `memory` has.
    ///
    /// No connection is closed within `min_age` of its beginning, in which a well-behaved client gets its first answer. Where
    /// half of all are younger, and were of less use so far than the one that had to go instead, the next one waits.
    #[must_use]
    pub fn new(max: usize, min_age: Duration, memory: Memory) -> Arc<Self> {
        let max = max.max(2);
        Arc::new(Self { max, min_age, max_per_peer: max - max / 4, memory, open: Mutex::default() })
    }

    /// Waits for the next connection, and makes room for it.
    pub async fn accept(self: &Arc<Self>, listener: &TcpListener) -> (TcpStream, Ticket) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => return (stream, self.admit(address.ip()).await),
                Err(error) => {
                    NOT_ACCEPTED.warn(&format!("a connection could not be accepted: {error}"), &"unknown");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    async fn admit(self: &Arc<Self>, address: IpAddr) -> Ticket {
        while let Some(until) = self.make_room(address, Instant::now()) {
            sleep_until(until).await;
        }
        let mut open = self.open();
        let peer = open.iter().find(|connection| connection.peer.address == address);
        let peer = peer.map(|connection| Arc::clone(&connection.peer));
        let connection = Arc::new(Connection {
            peer: peer.unwrap_or_else(|| Arc::new(Peer { address, memory: memory::Use::default() })),
            accepted: Instant::now(),
            usage: Mutex::default(),
            memory: memory::Use::default(),
            closed: Notify::new(),
        });
        open.push(Arc::clone(&connection));
        drop(open);
        Ticket { connections: Arc::clone(self), connection }
    }

    /// Makes room for a connection from this address where there is none. Gives when to try again if none is to be closed yet.
    fn make_room(&self, address: IpAddr, now: Instant) -> Option<Instant> {
        let mut open = self.open();
        let is_of_peer = |connection: &&Arc<Connection>| connection.peer.address == address;
        let is_peers_turn = self.max_per_peer <= open.iter().filter(is_of_peer).count();
        if !is_peers_turn && open.len() < self.max {
            return None;
        }
        let rivals = open.iter().filter(|connection| !is_peers_turn || is_of_peer(connection));
        let rivals: Vec<_> = rivals.map(|connection| (connection.worth(), connection)).collect();
        let (old, young): (Vec<_>, Vec<_>) = rivals.iter().partition(|(_, rival)| rival.accepted + self.min_age <= now);
        let oldest_young = young.iter().map(|(_, rival)| rival.accepted).min();
        let least_useful = old.into_iter().min_by(|a, b| a.0.cmp(&b.0));
        let n_of_less_use = young.iter().filter(|(worth, _)| least_useful.is_none_or(|least| *worth < least.0)).count();
        if let Some(oldest_young) = oldest_young.filter(|_| rivals.len() <= 2 * n_of_less_use) {
            return Some(oldest_young + self.min_age);
        }
        let least_useful = Arc::clone(least_useful?.1);
        open.retain(|connection| !Arc::ptr_eq(connection, &least_useful));
        least_useful.closed.notify_one();
        ROOM_MADE
            .warn("too many connections are open; one was closed to make room for another", &least_useful.peer.address);
        None
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection's place among the others, held for as long as it is open.
pub struct Ticket {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Ticket {
    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.connection.peer.address
    }

    /// Notes that the client has begun to speak as it should.
    pub fn begun(&self) {
        self.connection.usage().has_begun = true;
    }

    /// Begins a call on the connection.
    #[must_use]
    pub fn call(self: &Arc<Self>) -> Call {
        self.connection.usage().n_calls += 1;
        Call { ticket: Arc::clone(self), is_answered: false }
    }

    /// Takes memory for a caller; `None` where callers hold too much already.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let mut held = Held::nothing(Arc::clone(self));
        held.more(bytes).then_some(held)
    }

    /// Returns when the connection has to be closed to make room for another.
    pub async fn closed(&self) {
        self.connection.closed.notified().await;
    }

    /// Returns when no call was open for `idle`, or for `unused` if none was ever answered.
    pub async fn idle(&self, unused: Duration, idle: Duration) {
        loop {
            let usage = *self.connection.usage();
            let until = match usage.last_used {
                _ if 0 < usage.n_calls => Instant::now() + unused.min(idle),
                None => self.connection.accepted + unused,
                Some(last_used) => last_used + idle,
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.open().retain(|connection| !Arc::ptr_eq(connection, &self.connection));
    }
}

/// An open call, until it is dropped.
pub struct Call {
    ticket: Arc<Ticket>,
    is_answered: bool,
}

impl Call {
    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.ticket.peer()
    }

    /// Notes that the client takes its answer: the connection is of use.
    pub fn answered(&mut self) {
        self.is_answered = true;
        let mut usage = self.ticket.connection.usage();
        usage.n_answered += 1;
        usage.last_used = Some(Instant::now());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut usage = self.ticket.connection.usage();
        usage.n_calls -= 1;
        if self.is_answered {
            usage.last_used = Some(Instant::now());
        }
    }
}
