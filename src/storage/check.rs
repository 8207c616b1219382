//! Checks a storage before anything depends on it: the connection, the user's rights, JobRunr's tables, clocks, and what is
//! slow. Answers do not depend on any of this.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Notifications, Storage, StorageError};
use crate::config::StorageConfig;
use crate::jobrunr::{Filter, Question, Questions, Snapshot};
use crate::text::counted;

/// Clocks further apart than this are reported: heartbeats and latencies are off by as much.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// Reads that take longer than this are reported.
const SLOW_READ: SignedDuration = SignedDuration::from_millis(500);
/// How far ahead jobs count as due: the default of `demand`.
const LOOK_AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// What a connection shows besides the jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// The database's name and version: `PostgreSQL 15.18`.
    pub product: String,
    /// The user of the connection; `None` where the database has no users.
    pub user: Option<String>,
    /// JobRunr's major version as the tables show it, 7 standing for all before 8; `None` if they do not show it.
    pub jobrunr_version: Option<u32>,
    /// The database's clock.
    pub now: Option<Timestamp>,
    /// The user's rights besides reading, in the database's words.
    pub excess_rights: Vec<String>,
    /// Whether the database notifies of new jobs.
    pub notifications: Notifications,
    /// Warnings about the tables, such as a missing index.
    pub notes: Vec<String>,
    /// Why recurring jobs cannot be read; `None` if they can.
    pub recurring_unavailable: Option<String>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but is slow or rarely intended.
    Warning,
    /// Triggers of this storage get errors.
    Problem,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its severity.
    pub level: Level,
    /// What was checked, in one word.
    pub topic: &'static str,
    /// What was found, and what to do about it.
    pub text: String,
}

/// The result of checking a storage.
#[derive(Debug)]
pub struct Check {
    outcome: Result<Checked, StorageError>,
    address: String,
    refresh: Duration,
}

/// A storage that answered.
#[derive(Debug)]
struct Checked {
    inspection: Inspection,
    /// When the database returned its time, by our clock.
    inspected_at: Timestamp,
    snapshot: Snapshot,
    took: SignedDuration,
}

/// Connects, inspects, reads once, and closes the connection. Takes as long as the configured timeouts allow.
pub async fn check(config: &StorageConfig, now: impl Fn() -> Timestamp + Send) -> Check {
    let outcome = inspect_and_read(config, now).await;
    Check { outcome, address: config.address.to_string(), refresh: config.refresh }
}

async fn inspect_and_read(config: &StorageConfig, now: impl Fn() -> Timestamp + Send) -> Result<Checked, StorageError> {
    let mut session = config.connect().await?;
    let asked_at = now();
    let inspection = session.inspect().await?;
    // Assumes that the answer was given halfway.
    let halfway = now().duration_since(asked_at).checked_div(2).unwrap_or_default();
    let inspected_at = asked_at.checked_add(halfway).unwrap_or(asked_at);
    let question = Question { filter: Filter::default(), look_ahead: LOOK_AHEAD, demand: true, ..Question::default() };
    let began = now();
    let snapshot = session.read(&Questions::from_iter([question]), began).await?;
    let took = now().duration_since(began);
    session.close().await;
    Ok(Checked { inspection, inspected_at, snapshot, took })
}

impl Check {
    /// Returns whether triggers of this storage get answers.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Everything that was checked, the most important first.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        match &self.outcome {
            Ok(checked) => checked.findings(&self.address, self.refresh),
            Err(error) => vec![Finding { level: Level::Problem, topic: topic(error), text: format!("{error}") }],
        }
    }

    /// A one-line summary, for the log. Warnings are in the findings.
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.outcome {
            Ok(checked) => checked.summary(),
            Err(error) => format!("not available: {error}"),
        }
    }
}

fn topic(error: &StorageError) -> &'static str {
    match error {
        StorageError::Schema(_) => "tables",
        StorageError::Denied(_) | StorageError::Login(_) | StorageError::Secret(_) => "login",
        _ => "connection",
    }
}

impl Checked {
    fn summary(&self) -> String {
        let inspection = &self.inspection;
        let mut parts = vec![
            format!("connected{} to {}", self.as_user(), inspection.product),
            version(inspection.jobrunr_version).to_owned(),
            counted(self.n_live_servers(), "live server"),
        ];
        match inspection.notifications {
            Notifications::Installed => parts.push("NOTIFY installed".to_owned()),
            Notifications::NotInstalled => parts.push("NOTIFY not installed".to_owned()),
            Notifications::Unsupported => {}
        }
        let complete = if inspection.notes.is_empty() { "complete" } else { "incomplete" };
        parts.push(format!("indexes {complete}"));
        parts.join(", ")
    }

    fn as_user(&self) -> String {
        self.inspection.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default()
    }

    fn n_live_servers(&self) -> u64 {
        self.snapshot.live_servers().count() as u64
    }

    fn findings(&self, address: &str, refresh: Duration) -> Vec<Finding> {
        let inspection = &self.inspection;
        let mut findings = Findings::default();
        findings.ok("connection", format!("connected{} to {address}: {}", self.as_user(), inspection.product));
        if inspection.user.is_some() {
            findings.ok_or_warnings("rights", "the user can read and nothing else", self.excess_rights());
        }
        let unavailable = inspection.recurring_unavailable.clone();
        findings.ok_or_warnings("tables", "all of JobRunr's tables can be read", unavailable);
        findings.ok_or_warnings("indexes", "complete", inspection.notes.iter().cloned());
        match inspection.jobrunr_version {
            Some(_) => findings.ok("version", version(inspection.jobrunr_version).to_owned()),
            None => findings.warning(
                "version",
                "JobRunr's version cannot be read from the database; recurring jobs are read as those of a version before 8: set \
                 jobrunrVersion"
                    .to_owned(),
            ),
        }
        self.clocks(&mut findings);
        if inspection.notifications != Notifications::Unsupported {
            findings.ok("notify", inspection.notifications.delay(refresh));
        }
        self.servers(&mut findings);
        let damaged = self.snapshot.notes.iter().filter(|note| !inspection.notes.contains(note));
        damaged.for_each(|note| findings.warning("rows", note.clone()));
        self.read_time(&mut findings);
        findings.0
    }

    fn read_time(&self, findings: &mut Findings) {
        let took = format!("{} ms", self.took.as_millis());
        if SLOW_READ < self.took {
            findings.warning("read", format!("a read took {took}, which is slow: an index may be missing"));
        } else {
            findings.ok("read", format!("a read took {took}"));
        }
    }

    fn excess_rights(&self) -> Option<String> {
        let rights = &self.inspection.excess_rights;
        (!rights.is_empty()).then(|| {
            let rights = rights.join("; ");
            format!(
                "the user can do more than read: {rights}; SELECT on JobRunr's tables is enough: see `jobrunr-scaler grants-sql`"
            )
        })
    }

    fn clocks(&self, findings: &mut Findings) {
        let newest = self.snapshot.servers.iter().map(|server| server.last_heartbeat).max();
        let clocks = [
            ("database's", self.inspection.now, self.inspected_at),
            // An old heartbeat shows nothing about a clock; one from the future does.
            ("workers'", newest.filter(|newest| self.snapshot.read_at < *newest), self.snapshot.read_at),
        ];
        let mut apart = Vec::new();
        for (whose, theirs, ours) in clocks {
            let Some(ahead) = theirs.map(|theirs| theirs.duration_since(ours)) else { continue };
            if CLOCK_TOLERANCE < ahead.abs() {
                let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
                apart.push(format!(
                    "the {whose} clock is {:.1} s {direction} the scaler's: latencies and heartbeats are off by as much",
                    ahead.abs().as_secs_f64()
                ));
            }
        }
        if self.inspection.now.is_some() || !apart.is_empty() {
            findings.ok_or_warnings("clocks", "at most 5 s apart", apart);
        }
    }

    fn servers(&self, findings: &mut Findings) {
        let n_workers: u64 = self.snapshot.live_servers().map(|server| server.worker_pool_size).sum();
        let n_live = self.n_live_servers();
        let n_waiting: u64 = self.snapshot.queues.values().flatten().map(|queue| queue.enqueued.n_jobs).sum();
        if n_live == 0 && 0 < n_waiting {
            let verb = if n_waiting == 1 { "waits" } else { "wait" };
            findings.warning(
                "servers",
                format!(
                    "{} {verb} and no server is alive: normal while pods start; if pods are running, check their log, because JobRunr \
                     stops its server after persistent storage errors while the pod stays Ready",
                    counted(n_waiting, "job")
                ),
            );
        } else {
            findings.ok("servers", format!("{}, {}", counted(n_live, "live server"), counted(n_workers, "worker")));
        }
    }
}

fn version(version: Option<u32>) -> &'static str {
    match version {
        Some(8..) => "JobRunr 8",
        Some(_) => "JobRunr 6 or 7",
        None => "JobRunr of an unknown version",
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, topic: &'static str, text: String) {
        self.0.push(Finding { level: Level::Ok, topic, text });
    }

    fn warning(&mut self, topic: &'static str, text: String) {
        self.0.push(Finding { level: Level::Warning, topic, text });
    }

    fn ok_or_warnings(&mut self, topic: &'static str, ok: &str, warnings: impl IntoIterator<Item = String>) {
        let n_before = self.0.len();
        warnings.into_iter().for_each(|warning| self.warning(topic, warning));
        if self.0.len() == n_before {
            self.ok(topic, ok.to_owned());
        }
    }
}
