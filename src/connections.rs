//! The open connections of a port: their maximum, which one is closed to make room for a new one, and how much memory their
//! callers may hold.
//!
//! A new connection is always accepted. If there are too many, the least useful one is closed, see [`Worth`]. KEDA's connection,
//! which carries its streams and is always in use, comes last. No connection is closed in its first moments, so that a well-behaved
//! client gets its answer, however fast others connect.

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

/// The pause after a failed accept, for example without free descriptors. An immediate retry would fail as well.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// The assumed limit if the system sets none.
const UNLIMITED_DESCRIPTORS: usize = 1 << 20;

static NOT_ACCEPTED: RateLimitedLog = RateLimitedLog::new();
static ROOM_MADE: RateLimitedLog = RateLimitedLog::new();

/// Returns how many file descriptors this process may open (`RLIMIT_NOFILE`).
#[must_use]
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNLIMITED_DESCRIPTORS)
}

/// The open connections of one port.
pub struct Connections {
    max: usize,
    min_age: Duration,
    /// One address gets fewer than all, so that others find room without closing any. Not much fewer, because many come from one
    /// address behind a Service with source NAT, or if KEDA has a client certificate per namespace.
    max_per_peer: usize,
    memory: Memory,
    open: Mutex<Vec<Arc<Connection>>>,
}

/// One open connection. It counts until its [`Ticket`] is dropped.
struct Connection {
    peer: Arc<Peer>,
    accepted: Instant,
    usage: Mutex<Usage>,
    memory: memory::Use,
    closed: Notify,
}

/// What all connections of one address share.
struct Peer {
    address: IpAddr,
    memory: memory::Use,
}

impl Connection {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Nothing panics while it is locked.
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

/// The worth of a connection: the one that is worth least is closed first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// The client has sent nothing, or the handshake is not complete. The oldest first.
    Silent(Instant),
    /// No call was made, or it was canceled. The oldest first.
    Unused(Instant),
    /// No call is open. Those with the fewest calls first, then the longest unused.
    Idle(u64, Instant),
    /// Its first call is open, and the client has received nothing yet. The oldest first.
    Asking(Instant),
    /// A call is open, and others were answered. In the order of idle ones.
    Busy(u64, Instant),
}

#[derive(Clone, Copy, Default)]
struct Usage {
    has_begun: bool,
    n_calls: usize,
    n_answered: u64,
    /// When the client last received the first or the last part of a response.
    last_used: Option<Instant>,
}

impl Connections {
    /// A port with at most `max` connections, whose callers may hold what `memory` allows.
    ///
    /// No connection is closed within `min_age` of its start, in which a well-behaved client gets its first response. If half of all
    /// are younger and less useful so far than the one that would be closed, the next connection waits.
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
                    NOT_ACCEPTED.warn(&format!("connection not accepted: {error}"), &"unknown");
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

    /// Makes room for a connection from this address if there is none. Returns when to try again if none can be closed yet.
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
        ROOM_MADE.warn("connection closed to make room for another: too many are open", &least_useful.peer.address);
        None
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an open connection among the others, until it is dropped.
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

    /// Records that the client has begun to use the protocol.
    pub fn begun(&self) {
        self.connection.usage().has_begun = true;
    }

    /// Begins a call on the connection, which holds this much memory. Returns `None` if callers hold too much.
    #[must_use]
    pub fn call(self: &Arc<Self>, bytes: usize) -> Option<Call> {
        let held = self.hold(bytes)?;
        self.connection.usage().n_calls += 1;
        Some(Call { held, is_sending: false, is_answered: false })
    }

    /// Takes memory for a caller. Returns `None` if callers hold too much.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let mut held = Held::nothing(Arc::clone(self));
        held.more(bytes).then_some(held)
    }

    /// Returns once the connection has to be closed to make room for another.
    pub async fn closed(&self) {
        self.connection.closed.notified().await;
    }

    /// Returns once no call was open for `idle`, or for `unused` if none was answered.
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

/// An open call and its memory, until it is dropped. There can be thousands: it is small.
pub struct Call {
    held: Held,
    /// Whether HTTP/2 has taken a part of the response. It asks for the next one when the client has received that.
    is_sending: bool,
    is_answered: bool,
}

impl Call {
    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.held.ticket.peer()
    }

    /// Returns memory that is no longer needed, bytes.
    pub fn less(&mut self, bytes: usize) {
        self.held.less(bytes);
    }

    /// Records that a part of the response is being sent.
    pub fn sending(&mut self) {
        self.is_sending = true;
    }

    /// Records that the client has received the part that was being sent, if any.
    pub fn sent(&mut self) {
        if std::mem::take(&mut self.is_sending) {
            self.answered();
        }
    }

    /// Records that the client receives its response: the connection is useful.
    pub fn answered(&mut self) {
        self.is_answered = true;
        let mut usage = self.held.ticket.connection.usage();
        usage.n_answered += 1;
        usage.last_used = Some(Instant::now());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut usage = self.held.ticket.connection.usage();
        usage.n_calls -= 1;
        if self.is_answered {
            usage.last_used = Some(Instant::now());
        }
    }
}
