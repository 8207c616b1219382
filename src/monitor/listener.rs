//! The task that receives notifications of new jobs where the database sends them. Polling goes on beside it: what is not
//! heard is seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use super::pace::Backoff;
use crate::storage::{Storage, StorageError};
use crate::tasks::catch_panic;

/// Waits between attempts to listen.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// How often to look whether anybody still wants to hear.
const WATCH_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(name: String, storage: Arc<dyn Storage>, shared: Arc<Shared>, stop: CancellationToken) {
    stop.run_until_cancelled(listen_for_ever(&name, storage.as_ref(), &shared)).await;
}

/// Listens while somebody watches and reads go well. The reader finds out whether the database notifies at all, so that no
/// connection is opened in vain; and while reads fail, it alone tries to connect.
async fn listen_for_ever(storage_name: &str, storage: &dyn Storage, shared: &Shared) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut logged_cause = String::new();
    let mut state = shared.state.clone();
    loop {
        shared.until_watched().await;
        if state.wait_for(|state| state.notifies && state.failure.is_none()).await.is_err() {
            // The reader has ended, and so must this task.
            return;
        }
        let listening = catch_panic(listen(storage_name, storage, shared, &mut backoff)).await;
        shared.set_listening(false);
        let Err(error) = listening.unwrap_or_else(|cause| Err(StorageError::Panicked(cause))) else { continue };
        let cause = error.to_string();
        if backoff.has_been_steady() || logged_cause != cause {
            warn!(storage = storage_name, %error, "not listening for notifications of new jobs; polling instead");
            logged_cause = cause;
        }
        sleep(backoff.failed()).await;
    }
}

/// Passes notifications on, until the connection fails or nobody watches any longer.
async fn listen(
    storage_name: &str,
    storage: &dyn Storage,
    shared: &Shared,
    backoff: &mut Backoff,
) -> Result<(), StorageError> {
    let Some(mut listener) = storage.listen().await? else {
        return Err(StorageError::Refused("the trigger of notify-sql is gone".to_owned()));
    };
    info!(storage = storage_name, "listening for notifications of new jobs");
    backoff.succeeded();
    shared.set_listening(true);
    // What came before it listened has reached nobody.
    shared.notified.send();
    while shared.is_watched() {
        // Nothing is lost by giving up waiting: what came meanwhile is still there.
        if let Ok(changed) = timeout(WATCH_EVERY, listener.changed()).await {
            changed?;
            shared.notified.send();
        }
    }
    Ok(())
}
