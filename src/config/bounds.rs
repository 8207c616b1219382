//! How much one read looks at.

use std::time::Duration;

/// How much one read looks at, so that it does not grow with the tables. Not configurable: tests lower the bounds, to meet
/// them with small tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// Jobs that one look passes to count those that are due; at least the count limit. JobRunr's indexes know the state
    /// or the instant, never both: whichever is walked, very many jobs that are not meant may be in the way.
    pub due_jobs: u64,
    /// Jobs that the look passes which finds the next scheduled one. Where it is not among them, polling finds it when it is due.
    pub later_jobs: u64,
    /// Jobs of each state that are looked at to see which recurring jobs have an active run.
    pub runs: u64,
    /// Server rows, newest heartbeat first. Rows of dead servers stay while no server lives.
    pub servers: u64,
    /// Definitions of recurring jobs. The open-source version is sold as being good for a hundred.
    pub definitions: u64,
    /// Bytes of all definitions together.
    pub definition_bytes: usize,
    /// Scans of everything take one part in so many of the time.
    pub full_scan_share: u32,
    /// However long a scan of everything takes, it is repeated this often.
    pub full_scan_interval: Duration,
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
        }
    }
}
