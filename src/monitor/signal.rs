//! A wake-up for one task.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use tokio::sync::Notify;

/// Wakes the one task that waits for it, now or when it waits next. However many come meanwhile count as one.
#[derive(Debug, Default)]
pub(super) struct Signal {
    notify: Notify,
    came: AtomicBool,
}

impl Signal {
    pub(super) fn send(&self) {
        self.came.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub(super) async fn received(&self) {
        self.notify.notified().await;
    }

    /// Takes what was sent, so that nobody is woken for it any longer. Returns whether it was sent since this was last called,
    /// whether it has woken anybody or not.
    pub(super) fn take(&self) -> bool {
        let _ = self.notify.notified().now_or_never();
        self.came.swap(false, Ordering::AcqRel)
    }
}
