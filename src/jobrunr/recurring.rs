//! Recurring jobs: which of them need a server, and when.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::schedule::{Schedule, parse_zone};

/// When JobRunr's master creates the next run of a recurring job (`ProcessRecurringJobsTask`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunScheduling {
    /// JobRunr 8: as soon as the job has no run, however far ahead that run is. A definition without a run waits for a master.
    Ahead,
    /// JobRunr 5 to 7: within the poll interval before the run is due, and never later. A master that starts late misses the
    /// run.
    JustInTime,
}

impl RunScheduling {
    /// Returns how a major version of JobRunr does it.
    #[must_use]
    pub fn of_version(major: u32) -> Self {
        if 8 <= major { Self::Ahead } else { Self::JustInTime }
    }
}

/// The definition of a recurring job, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The job's id, which its runs name as their `recurringJobId`.
    pub id: Arc<str>,
    /// When it runs, or why that is unknown.
    pub timing: Result<Timing, Arc<str>>,
}

/// When a recurring job runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    schedule: Schedule,
    zone: TimeZone,
    created_at: Timestamp,
}

/// The fields of `jobAsJson` that say when the job runs. All of JobRunr's JSON mappers write these names.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    schedule_expression: Option<String>,
    zone_id: Option<String>,
    created_at: Option<String>,
}

impl Definition {
    /// Parses a definition. `created_at_millis` stands in for a JSON without `createdAt`, ms since 1970. Never fails: a
    /// schedule that cannot be computed becomes a reason.
    #[must_use]
    pub fn parse(id: &str, json: &str, created_at_millis: Option<i64>) -> Self {
        let json =
            serde_json::from_str(json).map_err(|error| format!("its definition is not readable as JSON: {error}"));
        let timing = json.and_then(|json| Timing::new(json, created_at_millis));
        Self { id: id.trim_end().into(), timing: timing.map_err(Arc::from) }
    }

    /// Parses a definition whose JSON is so long that only its two ends were read. The fields that say when the job runs are
    /// near one of them, with every mapper; the job's arguments, which make it long, are in between.
    #[must_use]
    pub fn parse_ends(id: &str, first: &str, last: &str, created_at_millis: Option<i64>) -> Self {
        let json = Json::from_ends(first, last);
        let timing = if json.schedule_expression.is_some() {
            Timing::new(json, created_at_millis)
        } else {
            Err("its definition is very long, and neither its beginning nor its end has a scheduleExpression"
                .to_owned())
        };
        Self { id: id.trim_end().into(), timing: timing.map_err(Arc::from) }
    }
}

impl Json {
    /// Reads the two ends of a JSON object. A field of a nested object is not mistaken for one of the object's own: after the
    /// latter the text ends as an object must, after the former it does not.
    fn from_ends(first: &str, last: &str) -> Self {
        let mut json = Self::default();
        // The text stops in the middle, so an error is expected.
        let _ = (&mut json).deserialize(&mut serde_json::Deserializer::from_str(first));
        for name in ["\"scheduleExpression\"", "\"zoneId\"", "\"createdAt\""] {
            for (at, _) in last.match_indices(name) {
                let end: Option<Self> = last.get(at..).and_then(|end| serde_json::from_str(&format!("{{{end}")).ok());
                json.fill(end.unwrap_or_default());
            }
        }
        json
    }

    /// Takes the fields that are still missing from another one.
    fn fill(&mut self, other: Self) {
        self.schedule_expression = self.schedule_expression.take().or(other.schedule_expression);
        self.zone_id = self.zone_id.take().or(other.zone_id);
        self.created_at = self.created_at.take().or(other.created_at);
    }
}

/// Deserializes in place, so that the fields read before the text stops are kept.
impl<'de> DeserializeSeed<'de> for &mut Json {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Json {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a recurring job")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "scheduleExpression" => self.schedule_expression = map.next_value()?,
                "zoneId" => self.zone_id = map.next_value()?,
                "createdAt" => self.created_at = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl Timing {
    fn new(json: Json, created_at_millis: Option<i64>) -> Result<Self, String> {
        let expression = json.schedule_expression.ok_or("its definition has no scheduleExpression")?;
        let schedule = Schedule::parse(&expression).map_err(|error| error.to_string())?;
        let zone = json.zone_id.as_deref().unwrap_or("Z");
        let zone = parse_zone(zone).map_err(|error| error.to_string())?;
        let in_json = json.created_at.and_then(|text| text.parse().ok());
        let in_column = created_at_millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let created_at = in_json.or(in_column).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Self { schedule, zone, created_at })
    }

    /// Returns the first run strictly after an instant.
    fn next_after(&self, instant: Timestamp) -> Result<Timestamp, String> {
        self.schedule.next_after(&self.zone, self.created_at, instant).map_err(|error| error.to_string())
    }
}

/// A recurring job at the instant of a read.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurringJob {
    /// Its id.
    pub id: Arc<str>,
    /// Whether a run of it exists that is not finished: AWAITING, SCHEDULED, ENQUEUED or PROCESSING. Such a run is counted as
    /// the job that it is.
    pub has_run: bool,
    /// The next run as JobRunr computes it, or the one that a master can still create: see [`Recurring::new`].
    pub next_at: Result<Timestamp, Arc<str>>,
    /// Until when a job without a run needs no server although JobRunr creates runs ahead: see [`MissingRuns`](super::MissingRuns).
    pub excused_until: Option<Timestamp>,
}

/// The recurring jobs of a storage at the instant of a read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurring {
    /// When the master creates their runs.
    pub scheduling: RunScheduling,
    /// The jobs, in the order of their ids.
    pub jobs: Vec<RecurringJob>,
    /// A warning about how they are read: that they are not, or that JobRunr's version is a guess.
    pub note: Option<Arc<str>>,
}

impl Recurring {
    /// Combines definitions and runs, as of `now`.
    ///
    /// JobRunr 5 to 7 create a run only if a master polls within the poll interval before the run is due; nothing catches up
    /// on it later. So a due time that has passed counts for `grace` more, the poll interval of a live server, so that the
    /// server is not taken away before it has polled. If no server is alive, nobody can have seen the due time, and the run
    /// is missed. So is one from before the job was defined.
    #[must_use]
    pub fn new(
        scheduling: RunScheduling,
        definitions: &[Arc<Definition>],
        with_run: &BTreeSet<String>,
        now: Timestamp,
        grace: SignedDuration,
    ) -> Self {
        let since = match scheduling {
            RunScheduling::Ahead => now,
            RunScheduling::JustInTime => now.checked_sub(grace).unwrap_or(Timestamp::MIN),
        };
        let next = |timing: &Timing| timing.next_after(since.max(timing.created_at.min(now))).map_err(Arc::from);
        let job = |definition: &Arc<Definition>| RecurringJob {
            id: definition.id.clone(),
            has_run: with_run.contains(&*definition.id),
            next_at: definition.timing.as_ref().map_err(Clone::clone).and_then(next),
            excused_until: None,
        };
        Self { scheduling, jobs: definitions.iter().map(job).collect(), note: None }
    }

    /// Returns from when on a job needs a server so that its next run is created; `None` if it does not.
    fn needed_from(&self, job: &RecurringJob) -> Option<Timestamp> {
        let next_at = job.next_at.as_ref().ok().filter(|_| !job.has_run)?;
        Some(match self.scheduling {
            RunScheduling::Ahead => job.excused_until.unwrap_or(Timestamp::MIN),
            RunScheduling::JustInTime => *next_at,
        })
    }

    /// The jobs that need a server now because their next run still has to be created.
    pub fn due(&self, now: Timestamp, look_ahead: SignedDuration) -> impl Iterator<Item = &RecurringJob> {
        let until = now.checked_add(look_ahead).unwrap_or(Timestamp::MAX);
        self.jobs.iter().filter(move |job| self.needed_from(job).is_some_and(|from| from <= until))
    }

    /// Returns the next instant beyond the look-ahead at which a job without a run needs a server, and that job's id.
    #[must_use]
    pub fn next(&self, now: Timestamp, look_ahead: SignedDuration) -> Option<(Timestamp, &Arc<str>)> {
        let until = now.checked_add(look_ahead).unwrap_or(Timestamp::MAX);
        let needed = self.jobs.iter().filter_map(|job| Some((self.needed_from(job)?, &job.id)));
        needed.filter(|(at, _)| until < *at).min()
    }

    /// The jobs whose schedule cannot be computed, and why. Of these only existing runs are counted.
    pub fn unknown(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.jobs.iter().filter_map(|job| Some((&job.id, job.next_at.as_ref().err()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::RunScheduling::{Ahead, JustInTime};
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn definition(id: &str, expression: &str) -> Arc<Definition> {
        let json = serde_json::json!({
            "version": 0, "jobName": "x", "id": id, "scheduleExpression": expression, "zoneId": "Europe/Brussels",
            "createdBy": "API", "createdAt": "2026-11-23T20:00:03.586044682Z"
        });
        Arc::new(Definition::parse(&format!("{id:<128}"), &json.to_string(), Some(0)))
    }

    fn recurring(scheduling: RunScheduling, expression: &str, has_run: bool, now: &str) -> Recurring {
        let with_run = if has_run { BTreeSet::from(["a".to_owned()]) } else { BTreeSet::new() };
        let grace = SignedDuration::from_secs(15);
        Recurring::new(scheduling, &[definition("a", expression)], &with_run, at(now), grace)
    }

    #[test]
    fn due_drops_a_run_that_no_server_can_have_seen() {
        let due = |expression: &str, now: &str, grace: i64| {
            let (definitions, grace) = ([definition("a", expression)], SignedDuration::from_secs(grace));
            let recurring = Recurring::new(JustInTime, &definitions, &BTreeSet::new(), at(now), grace);
            recurring.due(at(now), SignedDuration::from_secs(30)).count()
        };
        // No server is alive.
        assert_eq!(due("0 3 * * *", "2026-11-24T02:00:05Z", 0), 0);
        assert_eq!(due("0 3 * * *", "2026-11-24T02:00:05Z", 15), 1);
        // From before the job was defined, at 20:00:03.
        assert_eq!(due("0 21 * * *", "2026-11-23T20:00:08Z", 15), 0);
        assert_eq!(due("5 0 21 * * *", "2026-11-23T20:00:08Z", 15), 1);
    }

    #[test]
    fn due_includes_a_run_that_has_to_be_created() {
        let check = |scheduling, expression: &str, has_run, now: &str, due: usize, next: Option<&str>| {
            let recurring = recurring(scheduling, expression, has_run, now);
            let look_ahead = SignedDuration::from_mins(1);
            assert_eq!(recurring.due(at(now), look_ahead).count(), due, "{expression} {now}");
            assert_eq!(recurring.next(at(now), look_ahead).map(|(at, _)| at), next.map(at), "{expression} {now}");
        };
        // JobRunr 8 creates it however far ahead it is; until then nothing else does.
        check(Ahead, "0 3 * * *", false, "2026-11-23T20:00:00Z", 1, None);
        check(Ahead, "0 3 * * *", true, "2026-11-23T20:00:00Z", 0, None);
        check(Ahead, "com.example.MySchedule(1)", false, "2026-11-23T20:00:00Z", 0, None);
        // JobRunr 7 creates it just in time: 03:00 in Brussels is 02:00 UTC.
        check(JustInTime, "0 3 * * *", false, "2026-11-24T01:58:59Z", 0, Some("2026-11-24T02:00:00Z"));
        check(JustInTime, "0 3 * * *", false, "2026-11-24T01:59:00Z", 1, None);
        check(JustInTime, "0 3 * * *", false, "2026-11-24T02:00:00Z", 1, None);
        check(JustInTime, "0 3 * * *", false, "2026-11-24T02:00:14.999Z", 1, None);
        check(JustInTime, "0 3 * * *", false, "2026-11-24T02:00:15Z", 0, Some("2026-11-25T02:00:00Z"));
        check(JustInTime, "0 3 * * *", true, "2026-11-24T02:00:00Z", 0, None);
        check(JustInTime, "PT1H", false, "2026-11-23T20:30:00Z", 0, Some("2026-11-23T21:00:03.586044682Z"));
    }

    #[test]
    fn definition_with_an_invalid_schedule_has_a_reason() {
        let check = |json: &str, expected: &str| {
            let error = Definition::parse("a", json, None).timing.unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        };
        check("", "its definition is not readable as JSON");
        check("[]", "its definition is not readable as JSON");
        check("{}", "no scheduleExpression");
        check(r#"{"cronExpression":"* * * * *"}"#, "no scheduleExpression");
        check(r#"{"scheduleExpression":"com.project.MySchedule(1)"}"#, "is neither a cron expression");
        check(r#"{"scheduleExpression":", * * * *"}"#, "holds no value");
        check(r#"{"scheduleExpression":"* * * * *","zoneId":"Mars/Olympus"}"#, "is not a time zone");
    }

    #[test]
    fn definition_is_read_from_the_ends_of_a_long_text() {
        // The job's arguments can contain anything, also at the end.
        let arguments = r#""jobDetails":{"jobParameters":[{"object":"\"scheduleExpression\":\"* * * * *\"","scheduleExpression":"1 1 1 1 1","createdAt":"x"}]}"#;
        let timing = r#""scheduleExpression":"0 3 * * *","zoneId":"Europe/Brussels""#;
        let created_at = r#""createdBy":"API","createdAt":"2026-11-23T20:00:03.586044682Z""#;
        let mappers = [
            ("Jackson", format!(r#"{{"version":0,"labels":[],{arguments},"id":"a",{timing},{created_at}}}"#)),
            ("Gson", format!(r#"{{"id":"a",{timing},{created_at},"version":0,{arguments}}}"#)),
            ("JSON-B", format!(r#"{{"id":"a",{timing},{arguments},{created_at}}}"#)),
            ("pretty", format!("{{\n {arguments},\n {timing} ,\n {created_at}\n}}\n")),
        ];
        for (mapper, json) in mappers {
            let whole = Definition::parse("a", &json, None);
            assert!(whole.timing.is_ok(), "{mapper}: {whole:?}");
            // Cut in the middle of the arguments.
            let (first, last) = json.split_once("\"object\"").unwrap();
            assert_eq!(Definition::parse_ends("a", first, last, None), whole, "{mapper}");
        }
        let nothing = Definition::parse_ends("a", r#"{"id":"a","x":["#, r#""]}"#, None);
        assert!(nothing.timing.unwrap_err().contains("very long"));
    }

    #[test]
    fn definition_without_created_at_takes_the_given_one() {
        let json = r#"{"scheduleExpression":"PT1H"}"#;
        let timing = Definition::parse("a", json, Some(1_000)).timing.unwrap();
        assert_eq!(timing.next_after(Timestamp::UNIX_EPOCH).unwrap(), at("1970-01-01T01:00:01Z"));
    }
}
