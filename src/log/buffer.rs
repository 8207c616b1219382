//! Lines on their way to standard error: every thread can push, and one thread writes.

#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::budget::{self, Budget};
use crate::metrics::{LineDropped, Metrics};

/// Buffered bytes, besides those that are being written.
const MAX_BYTES: usize = 256 * 1024;
/// How often a non-blocking standard error that is full is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// The writer is notified of work; this only bounds its wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How a line is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// It is always buffered, regardless of budget and room.
    Express,
    /// It needs room.
    Free,
    /// It needs room, and the budget of this source.
    Budgeted(usize),
}

/// What was not written, for a line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// A source had used up its budget.
    OverBudget { source: String, n_lines: u64, n_bytes: u64 },
    /// Standard error was not read in time, or failed.
    Unread { n_lines: u64 },
}

/// The lines to be written.
pub(super) struct Buffer {
    state: Mutex<State>,
    changed: Condvar,
    over_budget: Counter,
    unread: Counter,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    n_lines: u64,
    is_writing: bool,
    /// The last write failed, so a report would fail too.
    is_broken: bool,
    /// Unread lines since the last report.
    n_unread: u64,
    /// One for each target of an event in the code.
    sources: Vec<(String, Budget)>,
    is_ending: bool,
}

/// What to do next.
struct Batch {
    dropped: Vec<Dropped>,
    lines: Vec<u8>,
    n_lines: u64,
}

impl Buffer {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            over_budget: metrics.lines_dropped(LineDropped::Budget),
            unread: metrics.lines_dropped(LineDropped::Unread),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of a source, with its own budget.
    pub(super) fn lane_of(&self, source: &str) -> Lane {
        let mut state = self.state();
        let known = state.sources.iter().position(|(name, _)| name == source);
        Lane::Budgeted(known.unwrap_or_else(|| {
            state.sources.push((source.to_owned(), Budget::new(Instant::now())));
            state.sources.len() - 1
        }))
    }

    /// Buffers a line, or drops it. Never waits for the writer.
    pub(super) fn push(&self, lane: Lane, line: &[u8]) {
        let mut state = self.state();
        if let Lane::Budgeted(source) = lane {
            let budget = &mut state.sources[source].1;
            let is_first = budget.report_at().is_none();
            if !budget.admit(line.len(), Instant::now()) {
                self.over_budget.inc();
                if is_first {
                    self.changed.notify_all();
                }
                return;
            }
        }
        if lane != Lane::Express && MAX_BYTES < state.lines.len() + line.len() {
            self.unread.inc();
            state.n_unread += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        state.n_lines += 1;
        self.changed.notify_all();
    }

    /// Writes what is pushed, and reports what is dropped, until [`finish`](Self::finish).
    pub(super) fn run(&self, mut output: impl Write, report: impl Fn(Dropped)) {
        while let Some(batch) = self.next_batch() {
            batch.dropped.into_iter().for_each(&report);
            let is_written = write(&mut output, &batch.lines);
            let mut state = self.state();
            state.is_writing = false;
            if !batch.lines.is_empty() {
                state.is_broken = !is_written;
            }
            if !is_written {
                self.unread.inc_by(batch.n_lines);
                state.n_unread += batch.n_lines;
            }
            self.changed.notify_all();
        }
    }

    /// Waits for something to do; `None` at the end.
    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let dropped = state.take_dropped(now);
            if !dropped.is_empty() || !state.lines.is_empty() {
                state.is_writing = true;
                let lines = std::mem::take(&mut state.lines);
                return Some(Batch { dropped, lines, n_lines: std::mem::take(&mut state.n_lines) });
            }
            if state.is_ending {
                return None;
            }
            let report_at = state.sources.iter().filter_map(|(_, budget)| budget.report_at()).min();
            let wait = report_at.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(now));
            (state, _) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all lines are written, at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        drop(self.changed.wait_timeout_while(self.state(), timeout, busy));
    }

    /// Ends the writer once everything is reported and written. Waits for that at most `timeout`.
    pub(super) fn finish(&self, timeout: Duration) {
        let mut state = self.state();
        state.is_ending = true;
        self.changed.notify_all();
        let busy = |state: &mut State| state.is_writing || !state.lines.is_empty() || state.has_dropped();
        drop(self.changed.wait_timeout_while(state, timeout, busy));
    }
}

impl State {
    /// What to report now: once per source and minute, and at the end everything.
    fn take_dropped(&mut self, now: Instant) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        if !self.is_broken && 0 < self.n_unread {
            dropped.push(Dropped::Unread { n_lines: std::mem::take(&mut self.n_unread) });
        }
        for (source, budget) in &mut self.sources {
            if budget.report_at().is_some_and(|at| at <= now || self.is_ending) {
                let budget::Dropped { n_lines, n_bytes } = budget.take_dropped();
                dropped.push(Dropped::OverBudget { source: source.clone(), n_lines, n_bytes });
            }
        }
        dropped
    }

    fn has_dropped(&self) -> bool {
        let is_over_budget = self.sources.iter().any(|(_, budget)| budget.report_at().is_some());
        is_over_budget || (!self.is_broken && 0 < self.n_unread)
    }
}

/// Returns whether all of it was written. This blocks on a pipe that nobody reads.
fn write(output: &mut impl Write, mut lines: &[u8]) -> bool {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(0) => return false,
            Ok(n_bytes) => lines = &lines[n_bytes..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody else who has the same standard error has made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(_) => return false,
        }
    }
    true
}
