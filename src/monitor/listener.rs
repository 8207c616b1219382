//! The task that hears of new jobs where the database tells of them. Polling goes on beside it: what is not heard is seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use crate::storage::{Listener, Storage, StorageError};

/// How often to look whether the database has learnt to tell.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Waits between attempts after a failure: doubled from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// How often to look whether anybody still wants to hear.
const WATCH_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(name: String, storage: Arc<dyn Storage>, shared: Arc<Shared>, stop: CancellationToken) {
    stop.run_until_cancelled(listen_for_ever(&name, storage.as_ref(), &shared)).await;
}

async fn listen_for_ever(storage_name: &str, storage: &dyn Storage, shared: &Shared) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        shared.until_watched().await;
        match storage.listen().await {
            Ok(None) => sleep(LOOK_AGAIN_AFTER).await,
            Ok(Some(listener)) => {
                info!(storage = storage_name, "the database tells of new jobs at once");
                shared.set_listening(storage_name, true);
                let end = hear(listener, shared).await;
                shared.set_listening(storage_name, false);
                backoff = FIRST_BACKOFF;
                if let Err(error) = end {
                    warn!(storage = storage_name, %error, "the database tells of new jobs no more; polling goes on");
                    sleep(backoff).await;
                }
            }
            // The reader says what is wrong with the database.
            Err(_) => {
                sleep(backoff).await;
                backoff = (backoff * 2).min(LOOK_AGAIN_AFTER);
            }
        }
    }
}

/// Passes on what the database tells, until it fails or nobody watches any more.
async fn hear(mut listener: Box<dyn Listener>, shared: &Shared) -> Result<(), StorageError> {
    // Whatever came before it listened has been told to nobody.
    shared.nudged.notify_one();
    while shared.is_watched() {
        // Nothing is lost by giving up waiting: what was told meanwhile is still there.
        if let Ok(changed) = timeout(WATCH_EVERY, listener.changed()).await {
            changed?;
            shared.nudged.notify_one();
        }
    }
    Ok(())
}
