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
    /// Whether a read was refused because a write is blocked, so that nothing but that write wakes the task.
    is_read_refused: bool,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, backlog: Arc<Backlog>) -> Self {
        Self { stream, backlog, n_read: 0, is_turn_over: false, is_blocked: false, is_read_refused: false }
    }

    /// Ends the block of a write. HTTP/2 reads before it writes and then waits, so a refused read must be repeated.
    fn unblock(&mut self, cx: &Context<'_>) {
        self.is_blocked = false;
        if std::mem::take(&mut self.is_read_refused) {
            cx.waker().wake_by_ref();
        }
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
        self.is_read_refused = self.is_blocked;
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
        self.unblock(cx);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_blocked = true;
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces));
        self.unblock(cx);
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// Polls as HTTP/2 does: first it reads, then it writes what it has, then it waits to be woken.
    #[tokio::test(start_paused = true)]
    async fn read_that_a_blocked_write_delayed_is_repeated() {
        let (server, mut client) = duplex(4);
        let mut server = Paced::new(server, Arc::default());
        let mut unsent: &[u8] = b"answer";
        let connection = tokio::spawn(poll_fn(move |cx| {
            let mut byte = [0];
            if Pin::new(&mut server).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_ready() {
                return Poll::Ready(byte);
            }
            while !unsent.is_empty() {
                let n_written = ready!(Pin::new(&mut server).poll_write(cx, unsent)).unwrap_or(0);
                unsent = &unsent[n_written..];
            }
            Poll::Pending
        }));
        yield_now().await;
        client.write_all(b"?").await.unwrap();
        yield_now().await;
        client.read_exact(&mut [0; 6]).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(1), connection).await.unwrap().unwrap(), *b"?");
    }
}
