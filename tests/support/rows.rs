//! The rows of JobRunr's tables, in few words.

use jiff::{SignedDuration, Timestamp};

/// A row of the jobs table.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) state: String,
    pub(crate) updated_ago: SignedDuration,
    pub(crate) scheduled_in: Option<SignedDuration>,
    pub(crate) priority: i32,
    pub(crate) server_tag: String,
    pub(crate) dynamic_queue: Option<String>,
    /// JobRunr Pro's mutex, which a job in state PROCESSING holds.
    pub(crate) mutex: Option<String>,
    pub(crate) recurring_job: Option<String>,
    /// Its `jobAsJson`.
    pub(crate) json: String,
    /// Its `jobSignature`.
    pub(crate) kind: String,
    pub(crate) version: i32,
}

/// Returns a job that entered its state `updated_ago` seconds ago.
pub(crate) fn job(state: &str, updated_ago: f64) -> Job {
    Job {
        state: state.to_owned(),
        updated_ago: seconds(updated_ago),
        scheduled_in: None,
        priority: 0,
        server_tag: "DEFAULT".to_owned(),
        dynamic_queue: None,
        mutex: None,
        recurring_job: None,
        json: "{}".to_owned(),
        kind: "App.run()".to_owned(),
        version: 1,
    }
}

/// Returns a job in state SCHEDULED that is due in `due_in` seconds.
pub(crate) fn scheduled(due_in: f64) -> Job {
    job("SCHEDULED", 3600.0).due_in(due_in)
}

impl Job {
    /// Sets the record.
    pub(crate) fn json(mut self, json: impl Into<String>) -> Self {
        self.json = json.into();
        self
    }

    pub(crate) fn kind(mut self, kind: &str) -> Self {
        self.kind = kind.to_owned();
        self
    }

    /// Sets `scheduledAt`, which JobRunr 8 keeps after the job has left SCHEDULED.
    pub(crate) fn due_in(mut self, due_in: f64) -> Self {
        self.scheduled_in = Some(seconds(due_in));
        self
    }

    pub(crate) fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    pub(crate) fn tag(mut self, tag: &str) -> Self {
        self.server_tag = tag.to_owned();
        self
    }

    /// Makes it a run of a recurring job.
    pub(crate) fn run_of(mut self, recurring_job: &str) -> Self {
        self.recurring_job = Some(recurring_job.to_owned());
        self
    }

    pub(crate) fn queue(mut self, queue: &str) -> Self {
        self.dynamic_queue = Some(queue.to_owned());
        self
    }

    pub(crate) fn mutex(mut self, mutex: &str) -> Self {
        self.mutex = Some(mutex.to_owned());
        self
    }
}

/// A row of the background job servers' table.
#[derive(Clone, Debug)]
pub(crate) struct ServerRow {
    pub(crate) workers: i32,
    pub(crate) poll_seconds: i32,
    pub(crate) heartbeat_ago: SignedDuration,
    pub(crate) occupied: Option<i32>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) tags: Option<String>,
}

/// Returns a server with its workers, its poll interval and its last heartbeat, in seconds.
pub(crate) fn server(workers: i32, poll_seconds: i32, heartbeat_ago: f64) -> ServerRow {
    ServerRow {
        workers,
        poll_seconds,
        heartbeat_ago: seconds(heartbeat_ago),
        occupied: None,
        id: None,
        name: Some("pod".to_owned()),
        tags: None,
    }
}

impl ServerRow {
    pub(crate) fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    pub(crate) fn name(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }

    pub(crate) fn occupied(mut self, workers: i32) -> Self {
        self.occupied = Some(workers);
        self
    }

    pub(crate) fn tags(mut self, tags: &str) -> Self {
        self.tags = Some(tags.to_owned());
        self
    }
}

pub(crate) fn seconds(seconds: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(seconds)
}

/// How instants are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTC wall clock, `2026-11-23 20:00:00.000000`.
    WallClock,
    /// UTC wall clock with its offset, for PostgreSQL's `timestamptz`.
    Zoned,
    /// SQLite: epoch milliseconds, the JDBC driver's default.
    Millis,
    /// SQLite: epoch seconds.
    Seconds,
    /// SQLite: text in UTC.
    Text,
    /// SQLite: a Julian day; at noon exactly it is stored as an integer.
    JulianDay,
}

impl Encoding {
    /// The forms that SQLite's JDBC driver writes.
    pub(crate) const OF_SQLITE: [Self; 4] = [Self::Millis, Self::Seconds, Self::Text, Self::JulianDay];

    /// An SQL literal.
    pub(crate) fn literal(self, instant: Timestamp) -> String {
        let wall_clock = instant.strftime("%Y-%m-%d %H:%M:%S%.6f");
        match self {
            Self::WallClock => format!("'{wall_clock}'"),
            Self::Zoned => format!("'{wall_clock}+00'"),
            Self::Millis => instant.as_millisecond().to_string(),
            Self::Seconds => instant.as_second().to_string(),
            Self::Text => format!("'{}'", instant.strftime("%Y-%m-%d %H:%M:%S%.3f")),
            Self::JulianDay => {
                let day = instant.as_millisecond() as f64 / 86_400_000.0 + 2_440_587.5;
                format!("{day:?}")
            }
        }
    }
}
