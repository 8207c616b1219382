//! How many rows one read looks at.

use std::time::Duration;

/// How many rows one read looks at, so that its cost does not grow with the tables. Not configurable: tests lower the bounds
/// to reach them with small tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// Index entries that one scan passes to count due jobs; at least the count limit. JobRunr's indexes contain the state or
    /// the instant, never both: in either index, very many jobs that are not due may come first.
    pub due_jobs: u64,
    /// Index entries that the scan for the next scheduled job passes. If the job is not among them, polling finds it once it is
    /// due.
    pub later_jobs: u64,
    /// Jobs per state that are read to see which recurring jobs have an active run.
    pub runs: u64,
    /// Rows of servers, newest heartbeat first. Rows of dead servers stay while no server is alive.
    pub servers: u64,
    /// Definitions of recurring jobs. JobRunr recommends at most a hundred for its open-source version.
    pub definitions: u64,
    /// Total bytes of all definitions.
    pub definition_bytes: usize,
    /// Full scans take at most one part in this many of the time.
    pub full_scan_share: u32,
    /// A full scan is repeated at the latest after this time, however long it takes.
    pub full_scan_interval: Duration,
    /// A long queue is counted at most once in this time. The HPA looks every 15 s, and whether there are 9,000 jobs or 9,100 makes
    /// no difference to it.
    pub long_count_interval: Duration,
}

impl Default for ReadBounds {
    fn default() -> Self {
        Self {
            due_jobs: 10_000,
            later_jobs: 1_000,
            runs: 1_000,
            servers: 1_000,
            definitions: 10_000,
            definition_bytes: 8 * 1024 * 1024,
            full_scan_share: 20,
            full_scan_interval: Duration::from_secs(30),
            long_count_interval: Duration::from_secs(5),
        }
    }
}
