//! The running storages, which follow the configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::StorageConfig;
use crate::metrics::Metrics;
use crate::monitor::{Findings, Monitor, MonitorSettings, StorageHandle, StorageHandles};
use crate::storage::{Level, check};
use crate::tasks::Tasks;

/// How much longer than its statement timeout a read may take before its connection is given up.
const STATEMENT_SLACK: Duration = Duration::from_secs(1);
/// Calls that began before a storage was changed get their answers from the old one. None takes longer than this.
const LONGEST_CALL: Duration = Duration::from_secs(1);

/// The running storages. All end when it is dropped.
pub(super) struct Storages {
    clock: Clock,
    metrics: Metrics,
    tasks: Tasks,
    /// Ends the streams, but no reader: calls in flight still get their answers.
    stop: CancellationToken,
    running: BTreeMap<String, Running>,
    handles: watch::Sender<StorageHandles>,
}

struct Running {
    config: StorageConfig,
    handle: StorageHandle,
    stop_reading: CancellationToken,
}

impl Storages {
    /// Starts these storages. `stop` ends their streams.
    pub(super) fn start(
        configs: &BTreeMap<String, StorageConfig>,
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        stop: CancellationToken,
    ) -> Self {
        let (running, handles) = (BTreeMap::new(), watch::Sender::new(StorageHandles::default()));
        let mut storages = Self { clock, metrics, tasks, stop, running, handles };
        storages.follow(configs);
        storages
    }

    /// Returns the storages that triggers may name, now and after changes.
    pub(super) fn handles(&self) -> watch::Receiver<StorageHandles> {
        self.handles.subscribe()
    }

    /// Starts new storages, ends removed ones, and restarts changed ones. Unchanged ones keep their connections and streams.
    pub(super) fn follow(&mut self, configs: &BTreeMap<String, StorageConfig>) {
        let mut old = std::mem::take(&mut self.running);
        for (name, config) in configs {
            let kept = old.remove(name).filter(|running| {
                let is_same = running.config == *config;
                if !is_same {
                    running.end(name, "changed");
                }
                is_same
            });
            let running = kept.unwrap_or_else(|| self.begin(name, config));
            self.running.insert(name.clone(), running);
        }
        let handles = self.running.iter().map(|(name, running)| (name.clone(), running.handle.clone())).collect();
        // Before the old ones end, so that clients that reconnect find the new ones.
        self.handles.send_replace(handles);
        for (name, running) in &old {
            running.end(name, "removed");
            self.metrics.remove_storage(name);
        }
    }

    fn begin(&self, name: &str, config: &StorageConfig) -> Running {
        info!(storage = name, address = %config.address, prefix = config.table_prefix.as_str(), "storage");
        let stop_reading = CancellationToken::new();
        let handle = StorageHandle {
            end: self.stop.child_token(),
            ..start_storage(name, config, self.clock, &self.metrics, &self.tasks, &stop_reading)
        };
        let (name, findings) = (name.to_owned(), Arc::clone(&handle.findings));
        let checking = check_once(name, config.clone(), self.clock, findings);
        tokio::spawn(stop_reading.clone().run_until_cancelled_owned(checking));
        Running { config: config.clone(), handle, stop_reading }
    }
}

/// Checks a storage once, so that problems are logged before the first trigger asks. Nothing depends on the result.
async fn check_once(name: String, config: StorageConfig, clock: Clock, into: Arc<OnceLock<Findings>>) {
    let check = check(&config, || clock.now()).await;
    if check.is_healthy() {
        info!(storage = name, "{}", check.summary());
    } else {
        warn!(storage = name, "{}", check.summary());
    }
    let findings = check.findings();
    for finding in findings.iter().filter(|finding| finding.level == Level::Warning) {
        warn!(storage = name, "{}: {}", finding.topic, finding.text);
    }
    // Nobody else sets it.
    let _ = into.set(Findings { at: clock.now(), findings });
}

impl Drop for Storages {
    fn drop(&mut self) {
        self.running.values().for_each(|running| running.stop_reading.cancel());
    }
}

impl Running {
    fn end(&self, name: &str, why: &str) {
        info!(storage = name, "storage {why}; its streams end, and KEDA reconnects");
        self.handle.end.cancel();
        let stop_reading = self.stop_reading.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LONGEST_CALL).await;
            stop_reading.cancel();
        });
    }
}

/// Starts the monitor of a storage. `stop` ends both its reader and its streams.
#[must_use]
pub fn start_storage(
    name: &str,
    storage: &StorageConfig,
    clock: Clock,
    metrics: &Metrics,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> StorageHandle {
    let settings = MonitorSettings {
        refresh: storage.refresh,
        max_staleness: storage.max_staleness,
        read_timeout: storage.statement_timeout.saturating_add(STATEMENT_SLACK),
    };
    let source = Arc::new(storage.clone());
    let monitor = Monitor::start(name.to_owned(), source, settings, clock, metrics, tasks, stop.clone());
    let namespaces = storage.namespaces.as_deref().map(Arc::from);
    StorageHandle { monitor, namespaces, end: stop.clone(), findings: Arc::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::SignedDuration;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Config;
    use crate::jobrunr::{Filter, Question};

    #[tokio::test]
    async fn storage_that_is_removed_during_a_read_does_not_come_back() {
        // It accepts connections and never answers.
        let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://jobrunr@{}/jobrunr", database.local_addr().unwrap());
        let loaded = Config::load(None, HashMap::from([("JOBRUNR_SCALER_URL".to_owned(), url)])).unwrap();
        let config = loaded.config.storages.into_values().next().unwrap();
        let config = StorageConfig { connect_timeout: Duration::from_millis(300), ..config };
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let orders = BTreeMap::from([("orders".to_owned(), config)]);
        let mut storages = Storages::start(&orders, Clock::System, metrics.clone(), Tasks::default(), stop);
        let orders = storages.handles().borrow().get("orders").unwrap().clone();
        let question = Question { filter: Filter::default(), look_ahead: SignedDuration::ZERO, ..Question::default() };
        let mut watcher = orders.monitor.watch(question, "shop").unwrap();
        watcher.changed().await;
        let is_shown = || metrics.text().unwrap().contains("storage=\"orders\"");
        assert!(is_shown());
        storages.follow(&BTreeMap::new());
        watcher.changed().await;
        assert!(!is_shown(), "{}", metrics.text().unwrap());
    }
}
