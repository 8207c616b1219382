//! What a person sees while the story is played: a block that is redrawn on a terminal, lines elsewhere.

mod block;
mod paint;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fast_clock::FastClock;
use super::scaled_object::PlayedObject;
use super::state::{DemoState, Event, Measurements};
use crate::clock::TimeSource;
use crate::text;
use block::{block, event_line, time};
pub(super) use paint::Paint;

/// How often the block is redrawn, by the machine's clock.
const REDRAW_EVERY: Duration = Duration::from_millis(125);
/// How often there may be something new for a line, by the machine's clock.
const CHECK_EVERY: Duration = Duration::from_millis(25);
/// A line with the numbers is printed at most this often, and every fourth time if nothing has changed.
const LINE_EVERY: SignedDuration = SignedDuration::from_secs(15);
const SAME_LINES_LEFT_OUT: u32 = 3;
/// The lines of a block, so that it fits on a terminal of 24 lines with the cursor below it. Smaller ones get lines.
const MAX_LINES: usize = 23;

/// Shows the measurements.
pub(super) struct View {
    state: Arc<DemoState>,
    clock: &'static FastClock,
    played: PlayedObject,
    /// Lines that stay below the block.
    footer: Vec<String>,
    style: Style,
}

enum Style {
    /// The number of lines that the last block has.
    Redrawn {
        n_lines: usize,
    },
    Lines(Lines),
}

/// What the lines have shown already.
#[derive(Default)]
struct Lines {
    n_events: usize,
    next_line: Option<Timestamp>,
    last: String,
    n_left_out: u32,
}

impl View {
    pub(super) fn new(
        state: Arc<DemoState>,
        clock: &'static FastClock,
        played: PlayedObject,
        footer: Vec<String>,
    ) -> Self {
        let style = if can_redraw() { Style::Redrawn { n_lines: 0 } } else { Style::Lines(Lines::default()) };
        Self { state, clock, played, footer, style }
    }

    /// Shows what happens until dropped.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        let pause = if matches!(self.style, Style::Redrawn { .. }) { REDRAW_EVERY } else { CHECK_EVERY };
        let mut ticks = tokio::time::interval(pause);
        loop {
            ticks.tick().await;
            self.show()?;
        }
    }

    fn show(&mut self) -> io::Result<()> {
        let measured = self.state.measurements();
        let mut out = io::stdout().lock();
        match &mut self.style {
            Style::Redrawn { n_lines } => {
                let n_events =
                    MAX_LINES.saturating_sub(block::N_LINES + self.played.triggers.len() + self.footer.len());
                let mut lines = block(&measured, &self.played, self.clock.speed(), n_events, Paint::stdout());
                lines.extend(self.footer.iter().cloned());
                redraw(&mut out, *n_lines, &lines)?;
                *n_lines = lines.len();
            }
            Style::Lines(lines) => lines.show(&mut out, &measured, &self.played, self.clock.now())?,
        }
        out.flush()
    }

    /// Prints all events: in place of the block, or those that no line has shown yet.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let measured = self.state.measurements();
        let mut out = io::stdout().lock();
        match &mut self.style {
            Style::Redrawn { n_lines } => {
                let line = |event| event_line(&measured, event, Paint::stdout());
                redraw(&mut out, *n_lines, &measured.events.iter().map(line).collect::<Vec<_>>())?;
                *n_lines = 0;
            }
            Style::Lines(lines) => lines.show_events(&mut out, &measured, Timestamp::MAX)?,
        }
        out.flush()
    }
}

/// Leaves the terminal as it was.
impl Drop for View {
    fn drop(&mut self) {
        if let Style::Redrawn { .. } = self.style {
            // An error means that the terminal is gone.
            let _ = write!(io::stdout(), "\x1b[?7h\x1b[?25h").and_then(|()| io::stdout().flush());
        }
    }
}

/// Whether standard output is a terminal on which the cursor can be moved, and on which the block fits: over the top of a smaller one
/// it would be written again and again.
fn can_redraw() -> bool {
    let stdout = io::stdout();
    stdout.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") && fits(rows(&stdout))
}

/// The lines of a terminal; `None` if it does not know them.
fn rows(terminal: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    Some(usize::from(size.ws_row)).filter(|rows| 0 < *rows)
}

/// Whether the block and the cursor below it fit.
fn fits(rows: Option<usize>) -> bool {
    rows.is_none_or(|rows| MAX_LINES < rows)
}

/// Writes the lines over the last `n_lines`. The cursor is hidden. Long lines are cut instead of wrapped, because a wrapped
/// one would count as two.
fn redraw(out: &mut impl Write, n_lines: usize, lines: &[String]) -> io::Result<()> {
    write!(out, "\x1b[?25l\x1b[?7l")?;
    if 0 < n_lines {
        write!(out, "\x1b[{n_lines}A")?;
    }
    for line in lines {
        writeln!(out, "\r{line}\x1b[K")?;
    }
    write!(out, "\x1b[J")
}

impl Lines {
    fn show(
        &mut self,
        out: &mut impl Write,
        measured: &Measurements,
        played: &PlayedObject,
        now: Timestamp,
    ) -> io::Result<()> {
        // In order: the numbers of the next line are of this instant.
        self.show_events(out, measured, measured.shown.at)?;
        let Some(next_line) = self.next_line else {
            writeln!(out, "{}", heading(played))?;
            self.next_line = Some(now);
            return Ok(());
        };
        if now < next_line {
            return Ok(());
        }
        self.next_line = Some(now + LINE_EVERY);
        let line = numbers(measured);
        if line == self.last && self.n_left_out < SAME_LINES_LEFT_OUT {
            self.n_left_out += 1;
            return Ok(());
        }
        writeln!(out, " {}  {line}", time(measured.elapsed(measured.shown.at)))?;
        (self.last, self.n_left_out) = (line, 0);
        Ok(())
    }

    fn show_events(&mut self, out: &mut impl Write, measured: &Measurements, until: Timestamp) -> io::Result<()> {
        let events = measured.events.iter().skip(self.n_events);
        for event in events.take_while(|event| event.at <= until) {
            writeln!(out, "{}", plain_event_line(measured, event))?;
            self.n_events += 1;
        }
        Ok(())
    }
}

fn plain_event_line(measured: &Measurements, event: &Event) -> String {
    format!(" {}  * {:<5} {}", time(measured.elapsed(event.at)), event.actor.name(), event.text)
}

const HEADING: &str = " time   scheduled  enqueued  processing  done  replicas  ready";

fn heading(played: &PlayedObject) -> String {
    let metrics: String = played.triggers.iter().map(|trigger| format!("  {}", trigger.metric)).collect();
    format!("{HEADING}{metrics}")
}

fn numbers(measured: &Measurements) -> String {
    let workload = measured.shown.workload;
    let (counts, replicas) = (workload.counts, workload.replicas);
    let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| text::number(value, 2));
    let values: String = measured.shown.answers.iter().map(|answer| format!("  {:>6}", value(answer.value))).collect();
    format!(
        "{:>9}  {:>8}  {:>10}  {:>4}  {:>8}  {:>5}{values}",
        counts.scheduled, counts.enqueued, counts.processing, counts.succeeded, replicas.spec, replicas.ready,
    )
}
