//! `jobrunr-scaler next-run`: when JobRunr runs a schedule next.

use std::io::{self, BufRead, Write};

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::jobrunr::schedule::{NoNextRun, Schedule, ScheduleError, ZoneError, parse_zone};

/// The maximum number of runs per question: enough for one per minute for almost a week, without flooding the output by a typo.
const MAX_RUNS: usize = 10_000;

/// Print the next runs of a recurring job, as JobRunr 8.7.1 computes them
#[derive(Clone, Debug, clap::Args)]
pub struct NextRunArgs {
    /// The schedule expression, such as "0 3 * * *", "0 0 L * *", "PT15M" or "0 3 * * * [PT2H/PT4H]"
    #[arg(required_unless_present = "stdin", allow_hyphen_values = true)]
    pub expression: Option<String>,

    /// The zone id of the recurring job, such as Europe/Brussels, UTC or +05:45
    #[arg(long, default_value = "UTC", allow_hyphen_values = true)]
    pub zone: String,

    /// When the recurring job was created; intervals start there [default: the same as --from]
    #[arg(long, value_name = "INSTANT")]
    pub created_at: Option<String>,

    /// Print the runs after this instant, such as 2026-03-29T00:30:00Z [default: now]
    #[arg(long, value_name = "INSTANT")]
    pub from: Option<String>,

    /// How many runs to print, 1 to 10000
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true)]
    pub count: String,

    /// Read questions from standard input, one per line: expression, zone, createdAt, from and count, separated by tabs (write
    /// a tab in an expression as \t). Each is answered with one line: the runs, or ERROR and the reason
    #[arg(long, conflicts_with_all = ["expression", "zone", "created_at", "from", "count"])]
    pub stdin: bool,
}

/// Why a question has no answer. Each message fits on one line.
#[derive(Debug, thiserror::Error)]
enum NextRunError {
    #[error("the schedule is invalid: {0}")]
    Schedule(#[from] ScheduleError),
    #[error("the zone is invalid: {0}")]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    NoNextRun(#[from] NoNextRun),
    #[error("`{text}` is not an instant for {name}; use for example `2026-03-29T00:30:00Z`")]
    Instant { name: &'static str, text: String },
    #[error("`{0}` is not a valid count; use 1 to {MAX_RUNS}")]
    Count(String),
    #[error(
        "a line must have 5 columns separated by tabs (expression, zone, createdAt, from, count), but this one has {0}"
    )]
    Columns(usize),
    #[error("the line is not UTF-8")]
    NotUtf8,
}

/// Writes the runs to `output`, one RFC 3339 instant in UTC per line. Without `--from`, the search starts at `now`. With
/// `--stdin`, an invalid line gets an answer like any other and is not an error.
///
/// # Errors
/// The question is invalid, or input or output fail.
pub fn run(
    args: &NextRunArgs,
    input: impl BufRead,
    mut output: impl Write,
    now: Timestamp,
) -> Result<(), NextRunFailure> {
    match &args.expression {
        Some(expression) if !args.stdin => print_runs(expression, args, &mut output, now),
        _ => Ok(answer_lines(input, &mut output)?),
    }
}

/// Why the command fails as a whole.
#[derive(Debug, thiserror::Error)]
pub enum NextRunFailure {
    /// The question is invalid.
    #[error("{0}")]
    Question(String),
    /// Input or output fail.
    #[error("cannot read the questions or write the runs: {0}")]
    Output(#[from] io::Error),
}

impl From<NextRunError> for NextRunFailure {
    fn from(error: NextRunError) -> Self {
        Self::Question(error.to_string())
    }
}

fn print_runs(
    expression: &str,
    args: &NextRunArgs,
    mut output: impl Write,
    now: Timestamp,
) -> Result<(), NextRunFailure> {
    let from = args.from.as_deref().map_or(Ok(now), |text| parse_instant("from", text))?;
    let created_at = args.created_at.as_deref().map_or(Ok(from), |text| parse_instant("created-at", text))?;
    for run in next_runs(expression, &args.zone, created_at, from, &args.count)? {
        writeln!(output, "{}", format_instant(run))?;
    }
    Ok(output.flush()?)
}

/// Answers each line with one line.
fn answer_lines(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    while 0 < input.read_until(b'\n', &mut line)? {
        match answer_line(&line) {
            Ok(runs) => {
                let runs: Vec<String> = runs.into_iter().map(format_instant).collect();
                writeln!(output, "{}", runs.join("\t"))?;
            }
            Err(error) => writeln!(output, "ERROR\t{}", on_one_line(&error.to_string()))?,
        }
        line.clear();
    }
    output.flush()
}

fn answer_line(line: &[u8]) -> Result<Vec<Timestamp>, NextRunError> {
    let line = std::str::from_utf8(line).map_err(|_| NextRunError::NotUtf8)?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let columns: Vec<&str> = line.split('\t').collect();
    let [expression, zone, created_at, from, count] = *columns.as_slice() else {
        return Err(NextRunError::Columns(columns.len()));
    };
    let created_at = parse_instant("createdAt", created_at)?;
    let from = parse_instant("from", from)?;
    // No valid expression contains a backslash.
    next_runs(&expression.replace("\\t", "\t"), zone, created_at, from, count)
}

fn next_runs(
    expression: &str,
    zone: &str,
    created_at: Timestamp,
    from: Timestamp,
    count: &str,
) -> Result<Vec<Timestamp>, NextRunError> {
    let schedule = Schedule::parse(expression)?;
    let zone = parse_zone(zone)?;
    let count = parse_count(count)?;
    let mut runs = Vec::with_capacity(count);
    let mut current = from;
    while runs.len() < count {
        current = schedule.next_after(&zone, created_at, current)?;
        runs.push(current);
    }
    Ok(runs)
}

fn parse_instant(name: &'static str, text: &str) -> Result<Timestamp, NextRunError> {
    text.parse().map_err(|_| NextRunError::Instant { name, text: text.to_owned() })
}

fn parse_count(text: &str) -> Result<usize, NextRunError> {
    let count = text.parse().ok().filter(|count| (1..=MAX_RUNS).contains(count));
    count.ok_or_else(|| NextRunError::Count(text.to_owned()))
}

/// Formats an instant like Java's `Instant.toString`: the fraction of a second has no, three, six or nine digits.
fn format_instant(instant: Timestamp) -> String {
    let utc = Offset::UTC.to_datetime(instant);
    let nanoseconds = utc.subsec_nanosecond();
    let fraction = match nanoseconds {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    let sign = if utc.year() < 0 { "-" } else { "" };
    format!(
        "{sign}{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        utc.year().unsigned_abs(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

/// Replaces control characters: a reason that quotes its input must stay on one line.
fn on_one_line(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
