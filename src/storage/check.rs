//! What there is to say about a storage before anything depends on it: who may do what on which database, what of JobRunr's is
//! there, and what costs something. Nothing in here is needed for an answer.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Storage, StorageError};
use crate::config::StorageConfig;
use crate::duration;
use crate::jobrunr::{Filter, Question, Questions, Snapshot};
use crate::text::counted;

/// Clocks this far apart are said: heartbeats and latencies are off by as much.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// A read that takes longer is said.
const SLOW_READ: SignedDuration = SignedDuration::from_millis(500);
/// How far ahead jobs count as waiting: what `demand` looks at by default.
const LOOK_AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// What a connection shows besides JobRunr's rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// The database's name and version: `PostgreSQL 15.18`.
    pub product: String,
    /// The user as whom the scaler is connected; `None` where there are none.
    pub user: Option<String>,
    /// JobRunr's major version as the tables show it, 7 standing for all before 8; `None` where nothing shows it.
    pub jobrunr_version: Option<u32>,
    /// The database's clock.
    pub now: Option<Timestamp>,
    /// What the user may do besides reading, in the database's words.
    pub excess_rights: Vec<String>,
    /// Whether the database notifies of new jobs; `None` where it cannot.
    pub notifies: Option<bool>,
    /// What is odd about the tables and costs something.
    pub notes: Vec<String>,
    /// Why recurring jobs cannot be read; `None` where they can.
    pub no_recurring: Option<String>,
}

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and costs something or is rarely intended.
    Warning,
    /// Triggers of this storage get errors.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is meant.
    pub level: Level,
    /// What was looked at, in a word.
    pub topic: &'static str,
    /// What was found, and what to do about it.
    pub text: String,
}

/// What was found of a storage.
#[derive(Debug)]
pub struct Check {
    outcome: Result<Checked, StorageError>,
    address: String,
    refresh: SignedDuration,
}

/// A storage that answered.
#[derive(Debug)]
struct Checked {
    inspection: Inspection,
    /// When the database was asked for its clock, by ours.
    inspected_at: Timestamp,
    snapshot: Snapshot,
    took: SignedDuration,
}

/// Connects, looks at everything, reads once, and closes the connection. Takes as long as the configured timeouts allow.
pub async fn check(config: &StorageConfig, now: impl Fn() -> Timestamp + Send) -> Check {
    let refresh = SignedDuration::try_from(config.refresh).unwrap_or(SignedDuration::MAX);
    Check { outcome: look(config, now).await, address: config.address.to_string(), refresh }
}

async fn look(config: &StorageConfig, now: impl Fn() -> Timestamp + Send) -> Result<Checked, StorageError> {
    let mut session = config.connect().await?;
    let asked_at = now();
    let inspection = session.inspect().await?;
    // The answer was made in between.
    let halfway = now().duration_since(asked_at).checked_div(2).unwrap_or_default();
    let inspected_at = asked_at.checked_add(halfway).unwrap_or(asked_at);
    let question = Question { filter: Filter::default(), look_ahead: LOOK_AHEAD, demand: true };
    let began = now();
    let snapshot = session.read(&Questions::from_iter([question]), began).await?;
    let took = now().duration_since(began);
    session.close().await;
    Ok(Checked { inspection, inspected_at, snapshot, took })
}

impl Check {
    /// Whether triggers of this storage get answers.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Everything that was looked at, in the order in which it matters.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        match &self.outcome {
            Ok(checked) => checked.findings(&self.address, self.refresh),
            Err(error) => vec![Finding { level: Level::Problem, topic: topic(error), text: format!("{error}") }],
        }
    }

    /// All of it in one line, for the log. What is odd stands in the findings.
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
        let user = inspection.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        let mut parts = vec![
            format!("connected{user} to {}", inspection.product),
            version(inspection.jobrunr_version).to_owned(),
            counted(self.n_live_servers(), "live server"),
        ];
        match inspection.notifies {
            Some(true) => parts.push("NOTIFY installed".to_owned()),
            Some(false) => parts.push("NOTIFY not installed".to_owned()),
            None => {}
        }
        let complete = if inspection.notes.is_empty() { "complete" } else { "incomplete" };
        parts.push(format!("indexes {complete}"));
        parts.join(", ")
    }

    fn n_live_servers(&self) -> u64 {
        self.snapshot.live_servers().count() as u64
    }

    fn findings(&self, address: &str, refresh: SignedDuration) -> Vec<Finding> {
        let inspection = &self.inspection;
        let user = inspection.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        let mut findings = Findings::default();
        findings.ok("connection", format!("connected{user} to {address}: {}", inspection.product));
        if inspection.user.is_some() {
            findings.ok_or_warnings("rights", "the user can read and nothing else", self.excess_rights());
        }
        findings.ok_or_warnings("tables", "all of JobRunr's tables can be read", inspection.no_recurring.clone());
        findings.ok_or_warnings("indexes", "complete", inspection.notes.iter().cloned());
        match inspection.jobrunr_version {
            Some(_) => findings.ok("version", version(inspection.jobrunr_version).to_owned()),
            None => findings.warning(
                "version",
                "which JobRunr works here cannot be seen: recurring jobs are read as those of a version before 8; set \
                 jobrunrVersion"
                    .to_owned(),
            ),
        }
        self.clocks(&mut findings);
        match inspection.notifies {
            Some(true) => findings.ok("notify", "installed: new jobs are noticed at once".to_owned()),
            Some(false) => {
                let within = duration::format(refresh);
                let text = "new jobs are noticed within {within}; at once with what `jobrunr-scaler notify-sql` prints";
                findings.ok("notify", text.replace("{within}", &within));
            }
            None => {}
        }
        self.servers(&mut findings);
        let damaged = self.snapshot.notes.iter().filter(|note| !inspection.notes.contains(note));
        damaged.for_each(|note| findings.warning("rows", note.clone()));
        let took = format!("{} ms", self.took.as_millis());
        if SLOW_READ < self.took {
            findings.warning("read", format!("a read took {took}, which is slow: an index may be missing"));
        } else {
            findings.ok("read", format!("a read took {took}"));
        }
        findings.0
    }

    fn excess_rights(&self) -> Option<String> {
        let rights = &self.inspection.excess_rights;
        (!rights.is_empty()).then(|| {
            let rights = rights.join("; ");
            format!("the user can do more than read: {rights}. SELECT on JobRunr's tables is enough, see `jobrunr-scaler grants-sql`")
        })
    }

    fn clocks(&self, findings: &mut Findings) {
        let newest = self.snapshot.servers.iter().map(|server| server.last_heartbeat).max();
        let clocks = [
            ("database's", self.inspection.now, self.inspected_at),
            // A heartbeat that is old says nothing of a clock; one from the future does.
            ("workers'", newest.filter(|newest| self.snapshot.read_at < *newest), self.snapshot.read_at),
        ];
        let mut apart = Vec::new();
        for (whose, theirs, ours) in clocks {
            let Some(ahead) = theirs.map(|theirs| theirs.duration_since(ours)) else { continue };
            if CLOCK_TOLERANCE < ahead.abs() {
                let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
                apart.push(format!(
                    "the {whose} clock is {:.1} s {direction} the scaler's: latencies and the life of servers are off by as much",
                    ahead.abs().as_secs_f64()
                ));
            }
        }
        if self.inspection.now.is_some() || !apart.is_empty() {
            findings.ok_or_warnings("clocks", "no more than 5 s apart", apart);
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
                    "{} {verb} and no server lives: right while pods start; if pods run, look at their log, since JobRunr stops its \
                     server after lasting errors of the storage while the pod stays Ready",
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
