//! What a person sees: a block that is redrawn on a terminal, lines anywhere else.

mod block;
mod paint;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::board::{Board, Event, State};
use super::explained::shown;
use crate::clock::Clock;
use block::{block, time};
pub(super) use paint::Paint;

/// How often the terminal's block is redrawn, by the machine's clock.
const REDRAW: Duration = Duration::from_millis(125);
/// How often lines look for something new, by the machine's clock.
const LOOK: Duration = Duration::from_millis(25);
/// A line with the numbers comes at most this often, and where nothing changes only at each fourth time.
const LINE_EVERY: SignedDuration = SignedDuration::from_secs(15);
const SAME_LINES_LEFT_OUT: u32 = 3;
/// Events in the block while it is redrawn: it has to fit into 24 lines.
const LATEST_EVENTS: usize = 6;

/// Shows the board.
pub(super) struct View {
    board: Arc<Board>,
    clock: Clock,
    speed: f64,
    style: Style,
}

enum Style {
    /// How many lines stand there from the last time.
    Redrawn {
        n_lines: usize,
    },
    Lines(Lines),
}

/// What the lines have told already.
#[derive(Default)]
struct Lines {
    n_events: usize,
    next_line: Option<Timestamp>,
    last: String,
    n_left_out: u32,
}

impl View {
    pub(super) fn new(board: Arc<Board>, clock: Clock, speed: f64) -> Self {
        let style =
            if io::stdout().is_terminal() { Style::Redrawn { n_lines: 0 } } else { Style::Lines(Lines::default()) };
        Self { board, clock, speed, style }
    }

    /// Colours, or none where they are not wanted.
    pub(super) fn paint(&self) -> Paint {
        Paint::new(matches!(self.style, Style::Redrawn { .. }))
    }

    /// Shows what happens until dropped.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        let pause = if matches!(self.style, Style::Redrawn { .. }) { REDRAW } else { LOOK };
        let mut looks = tokio::time::interval(pause);
        loop {
            looks.tick().await;
            self.show(LATEST_EVENTS)?;
        }
    }

    /// Shows how it ended, with all that happened.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.show(usize::MAX)
    }

    fn show(&mut self, n_events: usize) -> io::Result<()> {
        let (state, now) = (self.board.state(), self.clock.now());
        let paint = self.paint();
        let mut out = io::stdout().lock();
        match &mut self.style {
            Style::Redrawn { n_lines } => {
                let lines = block(&state, now, self.speed, n_events, paint);
                redraw(&mut out, *n_lines, &lines)?;
                *n_lines = lines.len();
            }
            Style::Lines(lines) => lines.show(&mut out, &state, now)?,
        }
        out.flush()
    }
}

/// Leaves the terminal as it was.
impl Drop for View {
    fn drop(&mut self) {
        if let Style::Redrawn { .. } = self.style {
            // There is nobody left to tell if the terminal is gone.
            let _ = write!(io::stdout(), "\x1b[?7h\x1b[?25h").and_then(|()| io::stdout().flush());
        }
    }
}

/// Writes the lines over the `n_lines` that stand there. The cursor is hidden, and long lines are cut instead of wrapped:
/// a wrapped one would count as two.
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
    fn show(&mut self, out: &mut impl Write, state: &State, now: Timestamp) -> io::Result<()> {
        for event in state.events.iter().skip(self.n_events) {
            writeln!(out, "{}", event_line(state, event))?;
        }
        self.n_events = state.events.len();
        let Some(next_line) = self.next_line else {
            writeln!(out, " time   scheduled  enqueued  processing  done  replicas  ready  usage  latency")?;
            self.next_line = Some(now);
            return Ok(());
        };
        if now < next_line {
            return Ok(());
        }
        self.next_line = Some(now + LINE_EVERY);
        let line = numbers(state);
        if line == self.last && self.n_left_out < SAME_LINES_LEFT_OUT {
            self.n_left_out += 1;
            return Ok(());
        }
        writeln!(out, " {}  {line}", time(state.elapsed(now)))?;
        (self.last, self.n_left_out) = (line, 0);
        Ok(())
    }
}

fn event_line(state: &State, event: &Event) -> String {
    format!(" {}  * {:<5} {}", time(state.elapsed(event.at)), event.who.name(), event.text)
}

fn numbers(state: &State) -> String {
    let (counts, replicas) = (state.counts, state.replicas);
    let value = |metric: &str| state.value(metric).map_or("-".to_owned(), shown);
    format!(
        "{:>9}  {:>8}  {:>10}  {:>4}  {:>8}  {:>5}  {:>5}  {:>7}",
        counts.scheduled,
        counts.enqueued,
        counts.processing,
        counts.succeeded,
        replicas.spec,
        replicas.ready,
        value("worker-usage"),
        value("enqueued-latency"),
    )
}
