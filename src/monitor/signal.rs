//! A wake-up for one task.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use tokio::sync::Notify;

/// Wakes the one task that waits for it, now or when it waits next. Several signals before that count as one.
#[derive(Debug, Default)]
pub(super) struct Signal {
    notify: Notify,
    was_sent: AtomicBool,
}

impl Signal {
    pub(super) fn send(&self) {
        self.was_sent.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub(super) async fn received(&self) {
        self.notify.notified().await;
    }

    /// Clears the signal, so that it wakes nobody. Returns whether it was sent since the last call, whether or not it has
    /// woken the task.
    pub(super) fn take(&self) -> bool {
        let _ = self.notify.notified().now_or_never();
        self.was_sent.swap(false, Ordering::AcqRel)
    }
}
