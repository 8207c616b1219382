//! A connection that reads no more than it can process.
//!
//! HTTP/2 reads all that has arrived and spawns a task per call before any of them runs, and it continues to read while the client
//! reads no response. Both would let a client use as much memory as it sends bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes that are read before the calls in them are processed: some hundred calls.
const TURN_BYTES: usize = 16 * 1024;

/// The calls of a connection whose tasks have not run yet.
#[derive(Default)]
pub(super) struct Backlog {
    n_calls: AtomicUsize,
    reader: AtomicWaker,
}

impl Backlog {
    /// Adds a call until the returned value is dropped.
    pub(super) fn add(self: &Arc<Self>) -> InBacklog {
        self.n_calls.fetch_add(1, Ordering::AcqRel);
        InBacklog(Arc::clone(self))
    }
}

/// A call whose task has not run yet.
pub(super) struct InBacklog(Arc<Backlog>);

impl Drop for InBacklog {
    fn drop(&mut self) {
        if self.0.n_calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.reader.wake();
        }
    }
}

/// Reads in turns, and not while the client does not read what is written.
pub(super) struct Paced<S> {
    stream: S,
    backlog: Arc<Backlog>,
    n_read: usize,
    /// Whether the calls of this turn were spawned.
    is_turn_over: bool,
    is_blocked: bool,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, backlog: Arc<Backlog>) -> Self {
        Self { stream, backlog, n_read: 0, is_turn_over: false, is_blocked: false }
    }

    /// Whether to continue to read. If not, the task is woken when it can.
    fn has_turn(&mut self, cx: &Context<'_>) -> bool {
        if self.n_read < TURN_BYTES {
            return true;
        }
        if !std::mem::replace(&mut self.is_turn_over, true) {
            cx.waker().wake_by_ref();
            return false;
        }
        self.backlog.reader.register(cx.waker());
        if self.backlog.n_calls.load(Ordering::Acquire) != 0 {
            return false;
        }
        (self.n_read, self.is_turn_over) = (0, false);
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A blocked task is woken when it can write again.
        if self.is_blocked || !self.has_turn(cx) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.n_read += buffer.filled().len() - before;
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_blocked = true;
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.is_blocked = false;
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_blocked = true;
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces));
        self.is_blocked = false;
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
