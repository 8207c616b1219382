//! The time of a read. A read has several statements; together they may take little longer than one may, because a database that does
//! not respond has to be noticed by then.

use tokio::time::{Duration, Instant};

use super::StorageError;
use super::backend::Backend;

/// How much longer than one statement all statements of a read may take; the monitor waits a second longer than one. What no answer
/// can do without may take the longer time.
const SLACK: Duration = Duration::from_millis(500);
const MOST_SLACK: Duration = Duration::from_millis(900);
/// What an answer can do without is not begun with less than this part of the statement timeout.
const LEAST_PART: f64 = 0.2;
/// No statement is begun with less than this time, or that part.
const LEAST_TIME: Duration = Duration::from_millis(50);

/// A backend whose statements get the time that is left of a read.
pub(super) struct TimedBackend {
    backend: Box<dyn Backend>,
    statement_timeout: Duration,
    /// The limit that the backend has.
    limit: Duration,
    began: Instant,
}

impl TimedBackend {
    pub(super) fn new(backend: Box<dyn Backend>, statement_timeout: Duration) -> Self {
        Self { backend, statement_timeout, limit: statement_timeout, began: Instant::now() }
    }

    /// Begins a read.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Returns whether there is time for a statement that an answer can do without.
    pub(super) fn has_time(&self) -> bool {
        self.statement_timeout.mul_f64(LEAST_PART) <= self.left(SLACK)
    }

    fn left(&self, slack: Duration) -> Duration {
        let end = self.statement_timeout.saturating_add(slack);
        end.saturating_sub(self.began.elapsed()).min(self.statement_timeout)
    }

    /// Returns the backend for one statement, limited to the time that is left. Most databases need a statement to change the limit:
    /// one after a slow statement, and one at the next read.
    ///
    /// # Errors
    /// [`StorageError::TimedOut`] if too little is left, after which the connection remains usable.
    pub(super) async fn statement(&mut self) -> Result<&mut dyn Backend, StorageError> {
        let part = self.statement_timeout.mul_f64(LEAST_PART);
        let left = self.left(SLACK).max(self.left(MOST_SLACK).min(part));
        if left < part.min(LEAST_TIME) {
            return Err(StorageError::TimedOut(format!(
                "{:?}, of which other queries used most",
                self.statement_timeout
            )));
        }
        if left != self.limit {
            self.backend.set_time_limit(left).await?;
            self.limit = left;
        }
        Ok(self.backend.as_mut())
    }

    /// Returns the backend for what runs no statement.
    pub(super) fn as_ref(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        self.backend.close().await;
    }
}
