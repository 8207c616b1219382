//! Workloads as CSV: `arrival_seconds,duration_seconds[,due_seconds][,kind]`.

use std::io::{Read, Write};

use super::{Job, Kinds, MAX_JOBS, Workload};
use crate::simulate::Millis;
use crate::simulate::result::seconds;
use crate::text::printable;
use crate::text::suggest::did_you_mean;

const COLUMNS: [&str; 4] = ["arrival_seconds", "duration_seconds", "due_seconds", "kind"];
/// The kind of jobs in a file without that column.
const DEFAULT_KIND: &str = "job";
/// The longest name of a kind, in bytes: what a history writes, 200 characters and `…`.
const MAX_KIND: usize = 200 * 4 + 3;
/// Ten years, in seconds.
const MAX_SECONDS: f64 = 10.0 * 366.0 * 86_400.0;
/// The longest duration: what fits into 32 bits of milliseconds, rounded down to 49 days.
pub(in crate::simulate) const MAX_DURATION: u32 = 49 * 86_400 * 1_000;

/// Why a file is not a workload.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The file cannot be read or written.
    #[error("{file}: {cause}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// A line is not CSV.
    #[error("{file}:{line}: not CSV: {cause}")]
    Format {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        cause: String,
    },
    /// The first line has not the columns of a workload.
    #[error("{file}:1: {message}; the first line must be arrival_seconds,duration_seconds[,due_seconds][,kind]")]
    Header {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A value is invalid.
    #[error("{file}:{line}: {column} is `{value}`; allowed {allowed}")]
    Value {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// There are too many jobs.
    #[error("{file}:{line}: a workload has at most {MAX_JOBS} jobs")]
    TooMany {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
    },
}

/// The place of each column in a line.
struct Places {
    arrival: usize,
    duration: usize,
    due: Option<usize>,
    kind: Option<usize>,
}

/// Reads a workload. `file` is its name, for messages and results. Lines can be in any order.
///
/// # Errors
/// [`CsvError`], for the first line with an error.
pub fn read_csv(file: &str, input: impl Read) -> Result<Workload, CsvError> {
    // Every line ends with a line feed, so that lines can be counted. A carriage return before it is trimmed.
    let (terminator, input) = (csv::Terminator::Any(b'\n'), input.chain(b"\n".as_slice()));
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.trim(csv::Trim::All).flexible(true).terminator(terminator).from_reader(input);
    let header = reader.byte_headers().map_err(|error| csv_error(file, 1, error))?;
    let (places, n_columns) = (places(file, header)?, header.len());
    let mut lines = Lines { file, places, n_columns, kinds: Kinds::default(), jobs: Vec::new() };
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            // An empty line that ends with a carriage return.
            Ok(true) if record.len() == 1 && record[0].is_empty() => {}
            Ok(true) => lines.add(line_of(&reader, &record), &record)?,
            Ok(false) => break,
            Err(error) => return Err(csv_error(file, reader.position().line(), error)),
        }
    }
    Ok(Workload::new(file, lines.jobs, lines.kinds.into_names()))
}

/// The line in which a record begins. The position that the reader gives a record is before the empty lines that it skips.
fn line_of<R: Read>(reader: &csv::Reader<R>, record: &csv::ByteRecord) -> u64 {
    let n_within = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
    reader.position().line().saturating_sub(1 + n_within)
}

fn csv_error(file: &str, line: u64, error: csv::Error) -> CsvError {
    let file = file.to_owned();
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(cause) => CsvError::Io { file, cause },
        _ => CsvError::Format { file, line, cause: text },
    }
}

fn places(file: &str, header: &csv::ByteRecord) -> Result<Places, CsvError> {
    let error = |message| CsvError::Header { file: file.to_owned(), message };
    let mut found = [None; COLUMNS.len()];
    for (place, name) in header.iter().enumerate() {
        // Spreadsheets put a byte order mark first.
        let name = String::from_utf8_lossy(name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name)).into_owned();
        let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
            let hint = did_you_mean(&name, COLUMNS);
            return Err(error(format!("the column `{}` is unknown{hint}", printable(&name, 80))));
        };
        if found[column].replace(place).is_some() {
            return Err(error(format!("the column {} is there twice", COLUMNS[column])));
        }
    }
    let [arrival, duration, due, kind] = found;
    match (arrival, duration) {
        (Some(arrival), Some(duration)) => Ok(Places { arrival, duration, due, kind }),
        (arrival, _) => {
            let missing = if arrival.is_none() { COLUMNS[0] } else { COLUMNS[1] };
            Err(error(format!("the column {missing} is missing")))
        }
    }
}

struct Lines<'a> {
    file: &'a str,
    places: Places,
    n_columns: usize,
    kinds: Kinds,
    jobs: Vec<Job>,
}

impl Lines<'_> {
    fn add(&mut self, line: u64, record: &csv::ByteRecord) -> Result<(), CsvError> {
        if MAX_JOBS <= self.jobs.len() {
            return Err(CsvError::TooMany { file: self.file.to_owned(), line });
        }
        if record.len() != self.n_columns {
            let cause = format!("{} values, but the first line has {} columns", record.len(), self.n_columns);
            return Err(CsvError::Format { file: self.file.to_owned(), line, cause });
        }
        let value = |place: usize| record.get(place).unwrap_or_default();
        let arrival = self.number(line, 0, value(self.places.arrival), MAX_SECONDS)?;
        let duration = self.number(line, 1, value(self.places.duration), f64::from(MAX_DURATION) / 1000.0)?;
        let due = match self.places.due.map(value).filter(|due| !due.is_empty()) {
            Some(due) => self.number(line, 2, due, MAX_SECONDS)?,
            None => arrival,
        };
        let kind = self.kind(line, self.places.kind.map_or(DEFAULT_KIND.as_bytes(), value))?;
        // At most `MAX_DURATION`.
        self.jobs.push(Job { arrival, due, duration: duration as u32, kind });
        Ok(())
    }

    /// Parses seconds into milliseconds.
    fn number(&self, line: u64, column: usize, value: &[u8], max: f64) -> Result<Millis, CsvError> {
        let number: Option<f64> = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let number = number.filter(|number| (0.0..=max).contains(number));
        let allowed = || format!("are seconds from 0 to {max}, with a decimal point: 12.5");
        // In range, by the filter.
        number
            .map(|seconds| (seconds * 1000.0).round() as Millis)
            .ok_or_else(|| self.error(line, column, value, allowed()))
    }

    fn kind(&mut self, line: u64, value: &[u8]) -> Result<u32, CsvError> {
        let name = std::str::from_utf8(value).ok().filter(|name| name.len() <= MAX_KIND);
        let Some(name) = name else {
            let allowed = format!("is a name in UTF-8 of at most {MAX_KIND} bytes");
            return Err(self.error(line, 3, value, allowed));
        };
        let name = if name.is_empty() { DEFAULT_KIND } else { name };
        self.kinds
            .number(name)
            .ok_or_else(|| self.error(line, 3, value, format!("are at most {} different kinds", super::MAX_KINDS)))
    }

    fn error(&self, line: u64, column: usize, value: &[u8], allowed: String) -> CsvError {
        CsvError::Value {
            file: self.file.to_owned(),
            line,
            column: COLUMNS[column],
            value: printable(&String::from_utf8_lossy(value), 80),
            allowed,
        }
    }
}

/// Writes a workload so that [`read_csv`] reads the same jobs.
///
/// # Errors
/// The output cannot be written.
pub fn write_csv(workload: &Workload, output: impl Write) -> Result<(), std::io::Error> {
    let mut writer = csv::Writer::from_writer(output);
    let has_kinds = workload.kinds.iter().any(|kind| kind != DEFAULT_KIND);
    let n_columns = if has_kinds { COLUMNS.len() } else { COLUMNS.len() - 1 };
    writer.write_record(&COLUMNS[..n_columns])?;
    for job in &workload.jobs {
        let due = if job.is_scheduled() { seconds(job.due).to_string() } else { String::new() };
        let kind = workload.kinds.get(job.kind as usize).map_or(DEFAULT_KIND, String::as_str);
        let values = [&seconds(job.arrival).to_string(), &seconds(job.duration.into()).to_string(), &due, kind];
        writer.write_record(&values[..n_columns])?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Workload, String> {
        read_csv("w.csv", text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn csv_is_read_in_any_order() {
        let text =
            "kind,duration_seconds,arrival_seconds,due_seconds\r\nmail,0.25,10,\r\n\"a, b\",3,1.5,60\r\n,1,10,10\n";
        let workload = read(text).unwrap();
        assert_eq!(workload.kinds, ["mail", "a, b", "job"]);
        let job = |arrival, due, duration, kind| Job { arrival, due, duration, kind };
        let expected = [job(1500, 60_000, 3000, 1), job(10_000, 10_000, 250, 0), job(10_000, 10_000, 1000, 2)];
        assert_eq!(workload.jobs, expected);
        assert_eq!(read("\u{feff}arrival_seconds, duration_seconds\n1, 2\n").unwrap().jobs.len(), 1);
        assert_eq!(read("arrival_seconds,duration_seconds\n").unwrap().jobs, []);
    }

    #[test]
    fn csv_error_names_line_column_and_what_is_allowed() {
        let check = |text: &str, expected: &str| assert_eq!(read(text).unwrap_err(), expected, "{text:?}");
        let header = "the first line must be arrival_seconds,duration_seconds[,due_seconds][,kind]";
        check("", &format!("w.csv:1: the column arrival_seconds is missing; {header}"));
        check("arrival_seconds\n", &format!("w.csv:1: the column duration_seconds is missing; {header}"));
        check(
            "arrival_seconds,duration\n",
            &format!("w.csv:1: the column `duration` is unknown; did you mean `duration_seconds`?; {header}"),
        );
        check("kind,kind\n", &format!("w.csv:1: the column kind is there twice; {header}"));
        let start = "arrival_seconds,duration_seconds,due_seconds\n1,2,3\n";
        let seconds = "allowed are seconds from 0 to 316224000, with a decimal point: 12.5";
        check(&format!("{start}1,2,x\n"), &format!("w.csv:3: due_seconds is `x`; {seconds}"));
        check(&format!("{start}-1,2,\n"), &format!("w.csv:3: arrival_seconds is `-1`; {seconds}"));
        check(&format!("{start}4,5,6\n7,8,\n1,2,x"), &format!("w.csv:5: due_seconds is `x`; {seconds}"));
        check(&format!("{start}\n\r\nNaN,2,\r\n"), &format!("w.csv:5: arrival_seconds is `NaN`; {seconds}"));
        check(
            &format!("{start}1,1e9,\n"),
            "w.csv:3: duration_seconds is `1e9`; allowed are seconds from 0 to 4233600, with a decimal point: 12.5",
        );
        check(&format!("{start}1,2\n"), "w.csv:3: not CSV: 2 values, but the first line has 3 columns");
    }

    proptest! {
        #[test]
        fn csv_reads_what_it_writes(
            jobs in prop::collection::vec((0_i64..10_000_000, 0_i64..10_000_000, 0..=MAX_DURATION, 0_u32..4), 0..50)
        ) {
            let job = |(arrival, wait, duration, kind): (i64, i64, u32, u32)| {
                Job { arrival, due: arrival + wait % 3 * wait, duration, kind }
            };
            let long = "é".repeat(200) + "…";
            let kinds = ["job", "Mail.send(java.lang.Long, \"x\")", "é\n", &long].map(str::to_owned).to_vec();
            let workload = Workload::new("w", jobs.into_iter().map(job).collect(), kinds);
            let mut text = Vec::new();
            write_csv(&workload, &mut text).unwrap();
            let read = read_csv("w", text.as_slice()).unwrap();
            let named = |workload: &Workload| -> Vec<(Job, String)> {
                let named = |job: &Job| (Job { kind: 0, ..*job }, workload.kinds[job.kind as usize].trim().to_owned());
                workload.jobs.iter().map(named).collect()
            };
            prop_assert_eq!(named(&read), named(&workload));
        }
    }
}
