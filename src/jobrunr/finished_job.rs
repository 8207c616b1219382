//! A finished job, from JobRunr's record of it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// A job that ran, as its record (`jobAsJson`) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedJob {
    /// What it runs: `com.example.Mail.send(java.lang.Long)`.
    pub signature: String,
    /// When it was created. If somebody requeued it after it was done, when that was.
    pub created_at: Timestamp,
    /// When it was due, if it was scheduled.
    pub due_at: Option<Timestamp>,
    /// When its last run started.
    pub started_at: Timestamp,
    /// When its last run ended.
    pub ended_at: Timestamp,
    /// How often it had failed before.
    pub n_failures: usize,
}

/// Why a record is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishedJobError {
    /// It is not JSON.
    #[error("its record is not readable as JSON: {0}")]
    Json(String),
    /// It never ran to an end: it was deleted before.
    #[error("it never ran to an end")]
    NeverRan,
}

/// The fields of a record that are needed. All of JobRunr's JSON mappers write these names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    #[serde(borrow, default)]
    job_signature: Cow<'a, str>,
    #[serde(borrow, default)]
    job_history: Vec<State<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    /// `org.jobrunr.jobs.states.EnqueuedState`.
    #[serde(borrow, rename = "@class")]
    class: Option<Cow<'a, str>>,
    #[serde(borrow)]
    created_at: Option<Instant<'a>>,
    #[serde(borrow)]
    scheduled_at: Option<Instant<'a>>,
}

/// An instant as ISO-8601, or in seconds since 1970 as Jackson writes it without JobRunr's settings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Seconds(f64),
}

impl Instant<'_> {
    fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Seconds(seconds) => {
                let micros = (seconds * 1e6).round();
                // A float-to-integer cast saturates, and the calendar ends before.
                Timestamp::from_microsecond(micros as i64).ok()
            }
        }
    }
}

impl State<'_> {
    fn is(&self, name: &str) -> bool {
        match (&self.state, &self.class) {
            (Some(state), _) => state.eq_ignore_ascii_case(name),
            (None, Some(class)) => {
                let class = class.rsplit('.').next().unwrap_or_default();
                class.strip_suffix("State").is_some_and(|state| state.eq_ignore_ascii_case(name))
            }
            (None, None) => false,
        }
    }

    fn created_at(&self) -> Option<Timestamp> {
        self.created_at.as_ref()?.timestamp()
    }
}

impl FinishedJob {
    /// Parses a record.
    ///
    /// # Errors
    /// [`FinishedJobError`]
    pub fn parse(json: &str) -> Result<Self, FinishedJobError> {
        let json: Json<'_> = serde_json::from_str(json).map_err(|error| FinishedJobError::Json(error.to_string()))?;
        let history = json.job_history.as_slice();
        let of_run = last_run(history).ok_or(FinishedJobError::NeverRan)?;
        let job = Self::of_states(json.job_signature.into_owned(), of_run);
        job.ok_or(FinishedJobError::NeverRan)
    }

    /// `states` end with the one in which the job ended.
    fn of_states(signature: String, states: &[State<'_>]) -> Option<Self> {
        let (end, before) = states.split_last()?;
        let first = states.first()?;
        let started = before.iter().rev().find(|state| state.is("PROCESSING"))?;
        // A carbon-aware job is scheduled later, once the forecast is known.
        let is_scheduled = first.is("SCHEDULED") || first.is("AWAITING");
        let scheduled = before.iter().find(|state| state.is("SCHEDULED")).filter(|_| is_scheduled);
        Some(Self {
            signature,
            created_at: first.created_at()?,
            due_at: scheduled.and_then(|state| state.scheduled_at.as_ref()?.timestamp()),
            started_at: started.created_at()?,
            ended_at: end.created_at()?,
            n_failures: before.iter().filter(|state| state.is("FAILED")).count(),
        })
    }
}

/// The states from creation, or from the last requeueing by hand, to the end of the last run.
fn last_run<'s, 'a>(history: &'s [State<'a>]) -> Option<&'s [State<'a>]> {
    let ended = |state: &State<'_>| state.is("SUCCEEDED") || state.is("FAILED");
    let end = history.iter().rposition(ended)?;
    let done = |state: &State<'_>| state.is("SUCCEEDED") || state.is("DELETED");
    let first = history[..end].iter().rposition(done).map_or(0, |before| before.saturating_add(1));
    history.get(first..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The record of a run of a recurring job, as JobRunr 8.7.1 with Jackson wrote it, shortened.
    const JACKSON: &str = r#"{"id":"0190","version":4,"jobDetails":{"className":"JrMain$Svc","methodName":"quick","jobParameters":[{"className":"java.lang.String","object":"SUCCEEDED"}],"cacheable":true},"jobHistory":[{"@class":"org.jobrunr.jobs.states.ScheduledState","state":"SCHEDULED","createdAt":"2026-11-23T20:14:32.750318393Z","scheduledAt":"2026-11-23T20:15:00Z","reason":"Ahead of time by recurring job 'a'"},{"@class":"org.jobrunr.jobs.states.EnqueuedState","state":"ENQUEUED","createdAt":"2026-11-23T20:17:10.882678435Z"},{"@class":"org.jobrunr.jobs.states.ProcessingState","state":"PROCESSING","createdAt":"2026-11-23T20:17:15.777625510Z","serverId":"3a364326","serverName":"vm","updatedAt":"2026-11-23T20:17:15.777625510Z"},{"@class":"org.jobrunr.jobs.states.SucceededState","state":"SUCCEEDED","createdAt":"2026-11-23T20:17:15.796041Z","latencyDuration":4.894947075,"processDuration":0.018070237}],"metadata":{"@class":"java.util.concurrent.ConcurrentHashMap"},"jobSignature":"JrMain$Svc.quick(java.lang.String)","jobName":"JrMain$Svc.quick(SUCCEEDED)","labels":[],"recurringJobId":"a"}"#;

    #[test]
    fn finished_job_is_read_from_its_record() {
        let job = FinishedJob::parse(JACKSON).unwrap();
        assert_eq!(job.signature, "JrMain$Svc.quick(java.lang.String)");
        assert_eq!(job.created_at, at("2026-11-23T20:14:32.750318393Z"));
        assert_eq!(job.due_at, Some(at("2026-11-23T20:15:00Z")));
        assert_eq!(job.started_at, at("2026-11-23T20:17:15.777625510Z"));
        assert_eq!(job.ended_at, at("2026-11-23T20:17:15.796041Z"));
        assert_eq!(job.n_failures, 0);
        // Other mappers leave out what names the state, or the class.
        let without = |name: &str| JACKSON.replace(&format!("\"{name}\":"), "\"x\":");
        assert_eq!(FinishedJob::parse(&without("state")).unwrap(), job);
        assert_eq!(FinishedJob::parse(&without("@class")).unwrap(), job);
    }

    fn history(states: &str) -> Result<FinishedJob, FinishedJobError> {
        let states: Vec<String> = states
            .split(' ')
            .zip(10..)
            .map(|(state, second)| {
                format!(
                    r#"{{"state":"{state}","createdAt":"2026-11-23T20:00:{second}Z","scheduledAt":"2026-11-23T21:00:00Z"}}"#
                )
            })
            .collect();
        FinishedJob::parse(&format!(r#"{{"jobSignature":"a.b()","jobHistory":[{}]}}"#, states.join(",")))
    }

    #[test]
    fn finished_job_is_the_last_run() {
        let check = |states: &str, created: i64, due: bool, started: i64, ended: i64, n_failures: usize| {
            let job = history(states).unwrap();
            let second = |at: Timestamp| at.as_second() % 60;
            let found = (second(job.created_at), job.due_at.is_some(), second(job.started_at), second(job.ended_at));
            assert_eq!((found, job.n_failures), ((created, due, started, ended), n_failures), "{states}");
        };
        check("ENQUEUED PROCESSING SUCCEEDED", 10, false, 11, 12, 0);
        check("ENQUEUED PROCESSING SUCCEEDED DELETED", 10, false, 11, 12, 0);
        check("SCHEDULED ENQUEUED PROCESSING FAILED", 10, true, 12, 13, 0);
        check("ENQUEUED PROCESSING FAILED SCHEDULED ENQUEUED PROCESSING SUCCEEDED", 10, false, 15, 16, 1);
        check("AWAITING SCHEDULED ENQUEUED PROCESSING SUCCEEDED", 10, true, 13, 14, 0);
        // Requeued by hand.
        check("SCHEDULED ENQUEUED PROCESSING SUCCEEDED ENQUEUED PROCESSING SUCCEEDED", 14, false, 15, 16, 0);
        check("ENQUEUED DELETED ENQUEUED PROCESSING SUCCEEDED DELETED", 12, false, 13, 14, 0);
        for states in ["ENQUEUED DELETED", "SUCCEEDED", "ENQUEUED PROCESSING"] {
            assert_eq!(history(states), Err(FinishedJobError::NeverRan), "{states}");
        }
        assert!(matches!(FinishedJob::parse("{\"jobHistory\":"), Err(FinishedJobError::Json(_))));
        assert!(matches!(FinishedJob::parse("{}"), Err(FinishedJobError::NeverRan)));
    }

    #[test]
    fn finished_job_reads_instants_in_seconds() {
        let job = FinishedJob::parse(
            r#"{"jobHistory":[{"state":"ENQUEUED","createdAt":1763928000.5},{"state":"PROCESSING","createdAt":1763928001},{"state":"SUCCEEDED","createdAt":1763928002.25}]}"#,
        );
        let job = job.unwrap();
        assert_eq!(job.created_at.as_millisecond(), 1_763_928_000_500);
        assert_eq!(job.ended_at.as_millisecond(), 1_763_928_002_250);
        assert_eq!(job.signature, "");
    }
}
