//! How much memory callers may hold: a little per connection, and beyond that a limit per address and in total.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Ticket;

/// The memory that the callers of a port may hold, bytes.
pub struct Memory {
    /// Reserved for each connection, so that a new client is answered however much others hold.
    pub per_connection: usize,
    /// Shared by the connections of one address.
    pub per_peer: usize,
    /// Shared by all connections.
    pub total: usize,
    /// Held by all connections.
    held: Use,
}

impl Memory {
    /// Limits, in bytes.
    #[must_use]
    pub fn new(per_connection: usize, per_peer: usize, total: usize) -> Self {
        Self { per_connection, per_peer, total, held: Use::default() }
    }
}

/// How many bytes are held.
#[derive(Default)]
pub(super) struct Use(AtomicUsize);

impl Use {
    /// Takes bytes unless more than `limit` would be held.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Memory that a caller holds, until it is dropped.
pub struct Held {
    pub(super) ticket: Arc<Ticket>,
    /// Bytes that are reserved for its connection.
    own: usize,
    /// Bytes that are shared with others.
    shared: usize,
}

impl Held {
    pub(super) fn nothing(ticket: Arc<Ticket>) -> Self {
        Self { ticket, own: 0, shared: 0 }
    }

    /// Takes more bytes. Returns `false`, and takes none, if callers hold too much.
    #[must_use]
    pub fn more(&mut self, bytes: usize) -> bool {
        let memory = &self.ticket.connections.memory;
        let connection = &self.ticket.connection;
        if connection.memory.take(bytes, memory.per_connection) {
            self.own += bytes;
            return true;
        }
        if !connection.peer.memory.take(bytes, memory.per_peer) {
            return false;
        }
        if !memory.held.take(bytes, memory.total) {
            connection.peer.memory.give_back(bytes);
            return false;
        }
        self.shared += bytes;
        true
    }

    /// Returns bytes that are no longer needed.
    pub fn less(&mut self, bytes: usize) {
        let shared = bytes.min(self.shared);
        let own = (bytes - shared).min(self.own);
        self.give_back(own, shared);
        self.own -= own;
        self.shared -= shared;
    }

    fn give_back(&self, own: usize, shared: usize) {
        let connection = &self.ticket.connection;
        connection.memory.give_back(own);
        connection.peer.memory.give_back(shared);
        self.ticket.connections.memory.held.give_back(shared);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.own + self.shared
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.own, self.shared);
    }
}
