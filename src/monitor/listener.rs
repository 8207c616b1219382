//! The task that receives notifications of new jobs, if the database sends them. They complement polling, which sees what
//! they miss.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use super::pace::Backoff;
use crate::storage::{Storage, StorageError};
use crate::tasks::catch_panic;

/// The shortest and the longest wait between attempts to listen.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// How often to check whether anybody still watches.
const WATCHED_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the listener of a storage until `stop`.
pub(super) async fn run(name: String, storage: Arc<dyn Storage>, shared: Arc<Shared>, stop: CancellationToken) {
    stop.run_until_cancelled(listen_while_watched(&name, storage.as_ref(), &shared)).await;
}

/// Listens while somebody watches and reads succeed. The reader finds whether the database notifies at all, so that no
/// connection is opened for nothing; and while reads fail, only the reader tries to connect.
async fn listen_while_watched(storage_name: &str, storage: &dyn Storage, shared: &Shared) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut logged_cause = String::new();
    let mut state = shared.state.clone();
    loop {
        shared.until_watched().await;
        if state.wait_for(|state| state.notifies && state.failure.is_none()).await.is_err() {
            // The reader has ended, so this task ends as well.
            return;
        }
        let listening = catch_panic(forward_notifications(storage_name, storage, shared, &mut backoff)).await;
        shared.set_listening(false);
        let Err(error) = listening.unwrap_or_else(|cause| Err(StorageError::Panicked(cause))) else { continue };
        let cause = error.to_string();
        if backoff.has_been_steady() || logged_cause != cause {
            warn!(storage = storage_name, %error, "LISTEN failed; falling back to polling");
            logged_cause = cause;
        }
        sleep(backoff.record_failure()).await;
    }
}

/// Forwards notifications until the connection fails or nobody watches any longer.
async fn forward_notifications(
    storage_name: &str,
    storage: &dyn Storage,
    shared: &Shared,
    backoff: &mut Backoff,
) -> Result<(), StorageError> {
    let Some(mut listener) = storage.listen().await? else {
        return Err(StorageError::Rejected("the trigger of notify-sql is gone".to_owned()));
    };
    info!(storage = storage_name, "LISTEN connected; new jobs are seen at once");
    backoff.record_success();
    shared.set_listening(true);
    // Notifications from before it listened are lost.
    shared.notified.send();
    while shared.is_watched() {
        // A timeout loses nothing: a notification that arrived meanwhile is kept.
        if let Ok(changed) = timeout(WATCHED_CHECK_INTERVAL, listener.changed()).await {
            changed?;
            shared.notified.send();
        }
    }
    Ok(())
}
