//! The jobs that servers run at the instant of a read, one by one, and what their records say about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Server, Snapshot};

/// The key that only the state PROCESSING has (`ProcessingState`). In a JSON text it is unescaped only as a key or a whole value.
pub(crate) const SERVER_ID_KEY: &str = "\"serverId\"";
/// Keys that are looked at, from the end: a record may be made to have very many.
const MAX_KEYS: usize = 16;
/// Bytes of a state that is read. The longest of JobRunr's own has some hundred.
const MAX_STATE_BYTES: usize = 4_096;
/// Hexadecimal digits of a UUID.
const UUID_DIGITS: usize = 32;
/// Characters of an id that is not a UUID.
const MAX_ID_CHARACTERS: usize = 64;

/// A job in state PROCESSING.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningJob {
    /// Its id: lower case with hyphens if it is a UUID, as JobRunr's are.
    pub id: Arc<str>,
    /// Its kind: JobRunr's `jobSignature`, bounded and printable. Empty if the record has none.
    pub kind: Arc<str>,
    /// The [id](super::Server::id) of the server that runs it; `None` if the record does not show it, or names a server that has
    /// no record. The server need not be alive.
    pub server_id: Option<Arc<str>>,
    /// When it entered the state, by the server's clock; `None` if the record does not show it.
    pub started_at: Option<Timestamp>,
}

/// The jobs in state PROCESSING, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunningJobs {
    /// The jobs, in no particular order. Orphans, whose server is dead, are among them.
    pub jobs: Vec<RunningJob>,
    /// Whether there may be more jobs: the list ends at a bound, or some have not been looked up yet.
    pub is_truncated: bool,
    /// Why the jobs could not be read. The list is then empty.
    pub unread: Option<String>,
}

impl RunningJobs {
    /// Returns whether it is certain that no job runs.
    #[must_use]
    pub fn is_certainly_empty(&self) -> bool {
        self.jobs.is_empty() && self.is_complete()
    }

    /// Returns whether the list has every job that runs.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.is_truncated && self.unread.is_none()
    }

    /// Returns the jobs that these servers run.
    #[must_use]
    pub fn of_servers<'a>(&self, servers: impl Iterator<Item = &'a Server>) -> Vec<&RunningJob> {
        let ids: BTreeSet<&str> = servers.map(|server| &*server.id).collect();
        let is_theirs = |job: &&RunningJob| job.server_id.as_deref().is_some_and(|id| ids.contains(id));
        self.jobs.iter().filter(is_theirs).collect()
    }

    /// Returns the jobs by the id of their server, without those whose server is unknown.
    #[must_use]
    pub fn by_server(&self) -> BTreeMap<&str, Vec<&RunningJob>> {
        let mut servers: BTreeMap<&str, Vec<&RunningJob>> = BTreeMap::new();
        for job in &self.jobs {
            if let Some(server) = &job.server_id {
                servers.entry(server).or_default().push(job);
            }
        }
        servers
    }
}

impl Snapshot {
    /// Returns whether it is known that no job is running, as far as running jobs were asked for.
    pub(super) fn runs_nothing(&self) -> bool {
        self.running.as_ref().is_none_or(RunningJobs::is_certainly_empty)
    }
}

/// What is lost if running jobs are interrupted and have to start again, in few classes: 0 without a job, else 1 and up, a class for each
/// power of four of the seconds for which the jobs have been running. `elapsed_seconds` is what each job has been running for.
///
/// Classes are coarse so that the order of pods by them changes rarely.
#[must_use]
pub fn loss_class(elapsed_seconds: impl IntoIterator<Item = u64>) -> u32 {
    // The start of a job is worth a second.
    let loss = elapsed_seconds.into_iter().map(|seconds| seconds.saturating_add(1)).fold(0, u64::saturating_add);
    loss.checked_ilog(4).map_or(0, |power| power.saturating_add(1))
}

/// What a job's record says about where and since when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessingState {
    /// The server's id.
    pub(crate) server_id: Arc<str>,
    /// When the job entered the state.
    pub(crate) started_at: Option<Timestamp>,
}

/// A state in `jobHistory`, as every JSON mapper of JobRunr writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateObject {
    state: Option<String>,
    server_id: String,
    created_at: Option<String>,
}

impl ProcessingState {
    /// Finds the last state of a job that is being processed, in its record or in the part of it that contains the state.
    ///
    /// Users' own objects are in the record as well, before or after the history, depending on the JSON mapper. So this takes the
    /// last object that is a state PROCESSING and the last element of an array.
    pub(crate) fn find(json: &str) -> Option<Self> {
        json.rmatch_indices(SERVER_ID_KEY).take(MAX_KEYS).find_map(|(at, _)| Self::around(json, at))
    }

    /// Reads the object that contains the position.
    fn around(json: &str, at: usize) -> Option<Self> {
        let bytes = json.as_bytes();
        let first = at.saturating_sub(MAX_STATE_BYTES);
        let begin = bytes.get(first..at)?.iter().rposition(|byte| *byte == b'{')?.checked_add(first)?;
        let length = bytes.get(begin..)?.iter().take(MAX_STATE_BYTES).position(|byte| *byte == b'}')?;
        let end = begin.checked_add(length)?.checked_add(1)?;
        // The object may be all there is of the record.
        if !matches!(json.get(end..)?.trim_start().chars().next(), None | Some(']')) {
            return None;
        }
        let object: StateObject = serde_json::from_str(json.get(begin..end)?).ok()?;
        if object.state.as_deref() != Some("PROCESSING") {
            return None;
        }
        let started_at = object.created_at.and_then(|at| at.parse().ok());
        Some(Self { server_id: normalized_id(&object.server_id)?, started_at })
    }
}

/// Returns an id in the one form for all databases: a UUID in lower case with hyphens, whether it is stored as text or as bytes; any
/// other text bounded and printable. `None` if it is empty.
pub(crate) fn normalized_id(text: &str) -> Option<Arc<str>> {
    let text = text.trim();
    let digits: String = text.chars().filter(|c| *c != '-').take(UUID_DIGITS.saturating_add(1)).collect();
    if digits.len() == UUID_DIGITS && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        let digits = digits.to_ascii_lowercase();
        let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| digits.get(group).unwrap_or_default());
        return Some(groups.join("-").into());
    }
    (!text.is_empty()).then(|| crate::text::printable(text, MAX_ID_CHARACTERS).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3a364326-1111-4222-8333-444455556666";
    const B: &str = "0b0b0b0b-1111-4222-8333-444455556666";

    fn jackson(server: &str, second: u32) -> String {
        format!(
            r#"{{"@class":"org.jobrunr.jobs.states.ProcessingState","state":"PROCESSING","createdAt":"2026-11-23T20:00:{second:02}.123456789Z","serverId":"{server}","serverName":"pod-a","updatedAt":"2026-11-23T20:01:00Z"}}"#
        )
    }

    fn check(json: &str, expected: Option<&str>) {
        let found = ProcessingState::find(json);
        assert_eq!(found.as_ref().map(|state| &*state.server_id), expected, "{json}");
    }

    #[test]
    fn processing_state_is_found_in_the_records_of_every_mapper() {
        let enqueued = r#"{"state":"ENQUEUED","createdAt":"2026-11-23T19:59:00Z"}"#;
        // Jackson: the history is followed by metadata, and by names that come from the application.
        let job = format!(
            r#"{{"id":"1","jobDetails":{{"className":"a.B","jobParameters":[]}},"jobHistory":[{enqueued},{}],"metadata":{{}},"jobName":"x"}}"#,
            jackson(A, 7)
        );
        check(&job, Some(A));
        let started_at = ProcessingState::find(&job).unwrap().started_at;
        assert_eq!(started_at, Some("2026-11-23T20:00:07.123456789Z".parse().unwrap()));
        // Gson writes a class before its superclass, so that the parameters come last.
        let gson = format!(
            r#"{{"jobHistory":[{enqueued},{{"serverId":"{A}","serverName":"p","updatedAt":"2026-11-23T20:01:00Z","state":"PROCESSING","createdAt":"2026-11-23T20:00:00Z"}}],"metadata":{{}},"jobDetails":{{"jobParameters":[{{"object":{{"serverId":"user"}}}}]}}}}"#
        );
        check(&gson, Some(A));
        // Written by people, or by an object mapper of the application.
        let spaced = format!(r#"{{ "jobHistory" : [ {{ "state" : "PROCESSING", "serverId" : "{A}" }} ] }}"#);
        check(&spaced, Some(A));
        // Before JobRunr 6 a state has no name of the server. UUIDs are compared regardless of their case.
        check(&format!(r#"[{{"state":"PROCESSING","serverId":"{}"}}]"#, A.to_uppercase()), Some(A));
    }

    #[test]
    fn processing_state_is_the_last_one_of_the_history() {
        let failed = r#"{"state":"FAILED","createdAt":"2026-11-23T20:00:20Z","message":"x"}"#;
        check(&format!("[{},{failed},{}]", jackson(B, 1), jackson(A, 30)), Some(A));
        // A job that has moved on since is not running.
        check(&format!("[{},{failed}]", jackson(B, 1)), None);
        // Only the object itself, and a part of the record.
        check(&jackson(A, 1), Some(A));
        check(&format!(r#"stamp":"x"}},{}],"metadata":{{"a"#, jackson(A, 1)), Some(A));
    }

    #[test]
    fn hostile_records_show_no_server() {
        for json in
            ["", "\"serverId\"", "{\"serverId\"", "}\"serverId\"{", "{\"serverId\":1}", "null", "{\"a\":\"serverId\"}"]
        {
            check(json, None);
        }
        // As many keys as fit take no time.
        check(&SERVER_ID_KEY.repeat(1_000_000), None);
        check(&format!("{{{}", SERVER_ID_KEY.repeat(1_000_000)), None);
        // An escaped quote is no key.
        let text = jackson(B, 1).replace('"', "\\\"");
        check(&format!(r#"{{"jobHistory":[{}],"metadata":{{"note":"{text}"}}}}"#, jackson(A, 1)), Some(A));
        let user = format!(r#"{{"serverId":"{B}"}}"#);
        check(
            &format!(r#"{{"jobParameters":[{user}],"jobHistory":[{}],"metadata":{{"x":{user}}}}}"#, jackson(A, 1)),
            Some(A),
        );
        check(&format!(r#"{{"state":"PROCESSING","state":"PROCESSING","serverId":"{A}"}}"#), None);
        let long = "x".repeat(500);
        let found = ProcessingState::find(&format!(r#"{{"state":"PROCESSING","serverId":"{long}\u0007"}}"#)).unwrap();
        assert!(found.server_id.chars().count() <= MAX_ID_CHARACTERS + 1);
    }

    #[test]
    fn loss_grows_with_the_time_that_jobs_have_been_running() {
        for (elapsed, expected) in [
            (&[] as &[u64], 0),
            (&[0], 1),
            (&[2], 1),
            (&[3], 2),
            (&[0, 0, 0, 0], 2),
            (&[60], 3),
            (&[60; 4], 4),
            (&[63], 4),
            (&[u64::MAX, 5], 32),
        ] {
            assert_eq!(loss_class(elapsed.iter().copied()), expected, "{elapsed:?}");
        }
    }

    #[test]
    fn ids_are_equal_however_they_are_stored() {
        for stored in [A, "3A364326111142228333444455556666", " 3a364326-1111-4222-8333-444455556666  "] {
            assert_eq!(normalized_id(stored).as_deref(), Some(A), "{stored}");
        }
        assert_eq!(normalized_id("  "), None);
        assert_eq!(normalized_id("server-1").as_deref(), Some("server-1"));
    }
}
