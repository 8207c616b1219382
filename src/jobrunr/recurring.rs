//! Recurring jobs: which of them need a server, and when.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::schedule::{Schedule, parse_zone};

/// When JobRunr's master writes the next run of a recurring job into the jobs table (`ProcessRecurringJobsTask`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planning {
    /// JobRunr 8: as soon as there is none, however far ahead. A definition without a run waits for a master.
    AheadOfTime,
    /// JobRunr 5 to 7: within the poll interval before its instant, and never later. A master that starts late has
    /// missed the run.
    AtItsTime,
}

impl Planning {
    /// The planning of a major version of JobRunr.
    #[must_use]
    pub fn of_version(major: u32) -> Self {
        if 8 <= major { Self::AheadOfTime } else { Self::AtItsTime }
    }
}

/// A row of `jobrunr_recurring_jobs`, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The job's id; `jobs.recurringJobId` of its runs.
    pub id: Arc<str>,
    /// When it runs, or why that is not known.
    pub timing: Result<Timing, Arc<str>>,
}

/// When a recurring job runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    schedule: Schedule,
    zone: TimeZone,
    created_at: Timestamp,
}

/// The part of `jobAsJson` that says when the job runs. All of JobRunr's mappers write these names.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    schedule_expression: Option<String>,
    zone_id: Option<String>,
    created_at: Option<String>,
}

impl Definition {
    /// Reads a row. `created_at_millis` is the column, for JSON without an instant of its own. Nothing in a row is an
    /// error: a schedule that is not understood becomes a reason.
    #[must_use]
    pub fn parse(id: &str, json: &str, created_at_millis: Option<i64>) -> Self {
        let json = serde_json::from_str(json).map_err(|error| format!("its jobAsJson is not readable: {error}"));
        let timing = json.and_then(|json| Timing::new(json, created_at_millis));
        Self { id: id.trim_end().into(), timing: timing.map_err(Arc::from) }
    }

    /// Reads a row whose `jobAsJson` is so long that only its beginning and its end were moved. What says when the job runs
    /// is near one of them, whichever mapper wrote it; what is long are the job's arguments, in between.
    #[must_use]
    pub fn parse_ends(id: &str, first: &str, last: &str, created_at_millis: Option<i64>) -> Self {
        let json = Json::from_ends(first, last);
        let timing = if json.schedule_expression.is_some() {
            Timing::new(json, created_at_millis)
        } else {
            Err("its jobAsJson is very long, and neither its beginning nor its end has a scheduleExpression".to_owned())
        };
        Self { id: id.trim_end().into(), timing: timing.map_err(Arc::from) }
    }
}

impl Json {
    /// What the two ends of an object say. A name inside of a nested object is not taken for one of the object's own: behind
    /// the latter the text ends well as an object, behind the former it does not.
    fn from_ends(first: &str, last: &str) -> Self {
        let mut json = Self::default();
        // It ends in the middle, with an error that is expected.
        let _ = (&mut json).deserialize(&mut serde_json::Deserializer::from_str(first));
        for name in ["\"scheduleExpression\"", "\"zoneId\"", "\"createdAt\""] {
            for (at, _) in last.match_indices(name) {
                let end: Option<Self> = last.get(at..).and_then(|end| serde_json::from_str(&format!("{{{end}")).ok());
                json.fill(end.unwrap_or_default());
            }
        }
        json
    }

    fn fill(&mut self, other: Self) {
        self.schedule_expression = self.schedule_expression.take().or(other.schedule_expression);
        self.zone_id = self.zone_id.take().or(other.zone_id);
        self.created_at = self.created_at.take().or(other.created_at);
    }
}

/// Keeps what was read before the text ends.
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
        let expression = json.schedule_expression.ok_or("its jobAsJson has no scheduleExpression")?;
        let schedule = Schedule::parse(&expression).map_err(|error| error.to_string())?;
        let zone = json.zone_id.as_deref().unwrap_or("Z");
        let zone = parse_zone(zone).map_err(|error| error.to_string())?;
        let in_json = json.created_at.and_then(|text| text.parse().ok());
        let in_column = created_at_millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let created_at = in_json.or(in_column).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Self { schedule, zone, created_at })
    }

    /// The first run strictly after an instant.
    fn next_after(&self, instant: Timestamp) -> Result<Timestamp, String> {
        self.schedule.next_after(&self.zone, self.created_at, instant).map_err(|error| error.to_string())
    }
}

/// A recurring job at the instant of a read.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurringJob {
    /// Its id.
    pub id: Arc<str>,
    /// Whether a run of it is in the jobs table and not done: AWAITING, SCHEDULED, ENQUEUED or PROCESSING. Such a run
    /// is counted as the job that it is.
    pub has_run: bool,
    /// The next run as JobRunr computes it, or one that a master may still have to write: see [`Recurring::new`].
    pub next_at: Result<Timestamp, Arc<str>>,
}

/// The recurring jobs of a storage at the instant of a read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurring {
    /// When the master writes their runs.
    pub planning: Planning,
    /// The jobs, in the order of their ids.
    pub jobs: Vec<RecurringJob>,
    /// What a person should know about how they are read: that they are not, or that the version was guessed.
    pub note: Option<Arc<str>>,
}

impl Recurring {
    /// Puts definitions and runs together, at `now`.
    ///
    /// JobRunr 5 to 7 write a run only when a master looks within a poll interval before its instant, and nobody catches up
    /// on it later. So an instant that has passed counts for `hold` more, the poll interval of a server that lives: it is
    /// not taken away before it has looked. Where none lives nobody can have seen the instant, and it is gone. So is one
    /// from before the job was defined.
    #[must_use]
    pub fn new(
        planning: Planning,
        definitions: &[Arc<Definition>],
        with_run: &BTreeSet<String>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Self {
        let since = match planning {
            Planning::AheadOfTime => now,
            Planning::AtItsTime => now.checked_sub(hold).unwrap_or(Timestamp::MIN),
        };
        let next = |timing: &Timing| timing.next_after(since.max(timing.created_at.min(now))).map_err(Arc::from);
        let job = |definition: &Arc<Definition>| RecurringJob {
            id: definition.id.clone(),
            has_run: with_run.contains(&*definition.id),
            next_at: definition.timing.as_ref().map_err(Clone::clone).and_then(next),
        };
        Self { planning, jobs: definitions.iter().map(job).collect(), note: None }
    }

    /// The jobs that need a server now, although no row of the jobs table says so: their next run has to be written.
    pub fn due(&self, now: Timestamp, look_ahead: SignedDuration) -> impl Iterator<Item = &RecurringJob> {
        let until = now.checked_add(look_ahead).unwrap_or(Timestamp::MAX);
        self.jobs.iter().filter(move |job| {
            !job.has_run
                && job.next_at.as_ref().is_ok_and(|next| self.planning == Planning::AheadOfTime || *next <= until)
        })
    }

    /// The next instant beyond the look-ahead at which a job without a run will need a server, and that job.
    #[must_use]
    pub fn next(&self, now: Timestamp, look_ahead: SignedDuration) -> Option<(Timestamp, &Arc<str>)> {
        if self.planning == Planning::AheadOfTime {
            return None;
        }
        let until = now.checked_add(look_ahead).unwrap_or(Timestamp::MAX);
        let waiting = self.jobs.iter().filter(|job| !job.has_run);
        let later = waiting.filter_map(|job| Some((*job.next_at.as_ref().ok()?, &job.id)));
        later.filter(|(at, _)| until < *at).min()
    }

    /// The jobs whose schedule cannot be computed, and why. Only their runs in the jobs table are known.
    pub fn unknown(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.jobs.iter().filter_map(|job| Some((&job.id, job.next_at.as_ref().err()?)))
    }
}

#[cfg(test)]
mod tests {
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

    fn recurring(planning: Planning, expression: &str, has_run: bool, now: &str) -> Recurring {
        let with_run = if has_run { BTreeSet::from(["a".to_owned()]) } else { BTreeSet::new() };
        let hold = SignedDuration::from_secs(15);
        Recurring::new(planning, &[definition("a", expression)], &with_run, at(now), hold)
    }

    #[test]
    fn an_instant_that_nobody_can_have_seen_is_gone() {
        let due = |expression: &str, now: &str, hold: i64| {
            let (definitions, hold) = ([definition("a", expression)], SignedDuration::from_secs(hold));
            let recurring = Recurring::new(Planning::AtItsTime, &definitions, &BTreeSet::new(), at(now), hold);
            recurring.due(at(now), SignedDuration::from_secs(30)).count()
        };
        // While no server lives.
        assert_eq!(due("0 3 * * *", "2026-11-24T02:00:05Z", 0), 0);
        assert_eq!(due("0 3 * * *", "2026-11-24T02:00:05Z", 15), 1);
        // From before the job was defined, at 20:00:03.
        assert_eq!(due("0 21 * * *", "2026-11-23T20:00:08Z", 15), 0);
        assert_eq!(due("5 0 21 * * *", "2026-11-23T20:00:08Z", 15), 1);
    }

    #[test]
    fn a_run_that_nobody_has_written_needs_a_server() {
        let check = |planning, expression: &str, has_run, now: &str, due: usize, next: Option<&str>| {
            let recurring = recurring(planning, expression, has_run, now);
            let look_ahead = SignedDuration::from_mins(1);
            assert_eq!(recurring.due(at(now), look_ahead).count(), due, "{expression} {now}");
            assert_eq!(recurring.next(at(now), look_ahead).map(|(at, _)| at), next.map(at), "{expression} {now}");
        };
        use Planning::{AheadOfTime, AtItsTime};
        // JobRunr 8 writes it however far ahead it is, and until then nobody else does.
        check(AheadOfTime, "0 3 * * *", false, "2026-11-23T20:00:00Z", 1, None);
        check(AheadOfTime, "0 3 * * *", true, "2026-11-23T20:00:00Z", 0, None);
        check(AheadOfTime, "com.example.MySchedule(1)", false, "2026-11-23T20:00:00Z", 0, None);
        // JobRunr 7 looks only when it is time: 03:00 in Brussels is 02:00 UTC.
        check(AtItsTime, "0 3 * * *", false, "2026-11-24T01:58:59Z", 0, Some("2026-11-24T02:00:00Z"));
        check(AtItsTime, "0 3 * * *", false, "2026-11-24T01:59:00Z", 1, None);
        check(AtItsTime, "0 3 * * *", false, "2026-11-24T02:00:00Z", 1, None);
        check(AtItsTime, "0 3 * * *", false, "2026-11-24T02:00:14.999Z", 1, None);
        check(AtItsTime, "0 3 * * *", false, "2026-11-24T02:00:15Z", 0, Some("2026-11-25T02:00:00Z"));
        check(AtItsTime, "0 3 * * *", true, "2026-11-24T02:00:00Z", 0, None);
        check(AtItsTime, "PT1H", false, "2026-11-23T20:30:00Z", 0, Some("2026-11-23T21:00:03.586044682Z"));
    }

    #[test]
    fn a_row_that_makes_no_sense_is_a_reason_and_no_error() {
        let check = |json: &str, expected: &str| {
            let error = Definition::parse("a", json, None).timing.unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        };
        check("", "its jobAsJson is not readable");
        check("[]", "its jobAsJson is not readable");
        check("{}", "no scheduleExpression");
        check(r#"{"cronExpression":"* * * * *"}"#, "no scheduleExpression");
        check(r#"{"scheduleExpression":"com.project.MySchedule(1)"}"#, "is neither a cron expression");
        check(r#"{"scheduleExpression":", * * * *"}"#, "holds no value");
        check(r#"{"scheduleExpression":"* * * * *","zoneId":"Mars/Olympus"}"#, "is no time zone");
    }

    #[test]
    fn a_long_definition_is_read_from_its_ends() {
        // The job's arguments may say anything, also at the end.
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
    fn the_column_stands_in_for_a_json_without_an_instant() {
        let json = r#"{"scheduleExpression":"PT1H"}"#;
        let timing = Definition::parse("a", json, Some(1_000)).timing.unwrap();
        assert_eq!(timing.next_after(Timestamp::UNIX_EPOCH).unwrap(), at("1970-01-01T01:00:01Z"));
    }
}
