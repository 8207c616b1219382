//! Supervision of long-lived tasks: a task that panics ends the process, or is caught and restarted, so that no process seems
//! to work while one of its tasks is dead.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use thiserror::Error;
use tokio::sync::watch;
use tracing::error;

/// A long-lived task has failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the task `{task}` failed: {cause}")]
pub struct TaskFailed {
    /// The task's name.
    pub task: String,
    /// The panic's message, or the error.
    pub cause: String,
}

/// The long-lived tasks of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks(watch::Sender<Option<TaskFailed>>);

impl Tasks {
    /// Spawns a task. If it panics, [`failed`](Self::failed) returns.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let (tasks, name) = (self.clone(), name.into());
        tokio::spawn(async move {
            if let Err(cause) = catch_panic(task).await {
                tasks.fail(name, format!("it panicked: {cause}"));
            }
        });
    }

    /// Reports that a task has failed.
    pub fn fail(&self, task: impl Into<String>, cause: impl Into<String>) {
        let failed = TaskFailed { task: task.into(), cause: cause.into() };
        error!(task = failed.task, cause = failed.cause, "task failed");
        // Only the first failure is reported.
        self.0.send_if_modified(|first| first.is_none() && first.replace(failed).is_none());
    }

    /// Waits until a task fails. Returns the first failure.
    pub async fn failed(&self) -> TaskFailed {
        let mut failed = self.0.subscribe();
        loop {
            let first = failed.borrow_and_update().clone();
            if let Some(first) = first {
                return first;
            }
            if failed.changed().await.is_err() {
                // Cannot happen: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Runs a future; a panic becomes an error with the panic's message. The future's changes before the panic remain: the caller
/// drops what it has changed, or ensures that it is consistent.
///
/// # Errors
/// The panic's message.
pub async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failed_reports_a_task_that_panics_and_none_that_returns() {
        let tasks = Tasks::default();
        tasks.spawn("short", async {});
        assert_eq!(timeout(Duration::from_secs(60), tasks.failed()).await.ok(), None);
        let number = 7;
        tasks.spawn("reader of orders", async move { panic!("number {number}") });
        let first = tasks.failed().await;
        assert_eq!(first.to_string(), "the task `reader of orders` failed: it panicked: number 7");
        tasks.fail("http", "no more files");
        assert_eq!(tasks.failed().await, first);
    }

    #[tokio::test]
    async fn catch_panic_returns_the_message() {
        assert_eq!(catch_panic(async { 1 }).await, Ok(1));
        assert_eq!(catch_panic(async { panic!("fixed text") }).await, Err::<(), _>("fixed text".to_owned()));
        assert_eq!(catch_panic(async { std::panic::panic_any(1) }).await, Err::<(), _>("no message".to_owned()));
    }
}
