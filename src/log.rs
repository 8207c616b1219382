//! The log on standard error. Logging never blocks, and callers can neither forge nor flood it:
//!
//! - A separate thread writes. If nobody reads standard error, a bounded number of bytes is buffered and the rest dropped.
//! - Each source (a module) has a budget of bytes per minute, so that lines caused by callers do not hide the others.
//! - An event is one line of printable characters.
//!
//! Dropped lines are counted, and reported as soon as possible. `tracing-appender` bounds its queue in lines of any length,
//! does not report what it drops, and at shutdown prints to standard output if standard error is stuck.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the writer is a thread without a runtime")]

mod budget;
mod buffer;
mod line;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, Metadata, error, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::buffer::{Buffer, Dropped, Lane};
use crate::config::{LogConfig, LogFormat};
use crate::metrics::Metrics;
use crate::terminal::shows_colors;

/// How long shutdown waits until the last lines are written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// The source of lines about the log itself.
const OWN: &str = module_path!();

/// The log of this process. Dropping it writes the last lines if standard error is read.
pub struct Log(Arc<Buffer>);

impl Log {
    /// Starts to write all events to standard error. Once per process.
    ///
    /// # Panics
    /// If the operating system provides no thread, or the log was started before.
    #[must_use]
    pub fn start(config: &LogConfig, metrics: &Metrics) -> Self {
        let buffer = Arc::new(Buffer::new(metrics));
        let writer = Arc::clone(&buffer);
        std::thread::spawn(move || writer.run(io::stderr(), report));
        let filter: Targets = config.filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
        // It logs each request that fails as an error. `protect` logs an outage once.
        let filter = filter.with_target("kube_client", LevelFilter::OFF);
        let colors = shows_colors(&io::stderr());
        let builder = tracing_subscriber::fmt()
            // The filter decides.
            .with_max_level(LevelFilter::TRACE)
            .with_writer(Lines { buffer: Arc::clone(&buffer), colors })
            .with_ansi(colors)
            // It would write to standard error itself.
            .log_internal_errors(false);
        // A decision has a field of that name.
        let builder = builder.with_target(false);
        match config.format {
            LogFormat::Text => builder.finish().with(filter).init(),
            LogFormat::Json => builder.json().flatten_event(true).finish().with(filter).init(),
        }
        let panicked = Arc::clone(&buffer);
        std::panic::set_hook(Box::new(move |panic| report_panic(panic, &panicked)));
        Self(buffer)
    }

    /// Writes a line regardless of filter and budget, such as the error that ends the process.
    pub fn line(&self, text: &str) {
        self.0.push(Lane::Express, &line::one_line(format!("{text}\n").as_bytes(), false));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.finish(SHUTDOWN_TIMEOUT);
    }
}

/// Logs what was dropped.
fn report(dropped: Dropped) {
    match dropped {
        Dropped::OverBudget { source, n_lines, n_bytes } => warn!(
            source,
            lines = n_lines,
            bytes = n_bytes,
            "log lines dropped: a source may write {} bytes per minute",
            budget::BYTES_PER_MINUTE
        ),
        Dropped::Unread { n_lines } => {
            warn!(lines = n_lines, "log lines dropped: standard error was not read, or failed");
        }
    }
}

/// Logs a panic. The standard library's hook writes to standard error itself, and would block while nobody reads it.
fn report_panic(panic: &PanicHookInfo<'_>, buffer: &Buffer) {
    let thread = std::thread::current();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("no text");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(thread = thread.name().unwrap_or("unnamed"), location, backtrace, "panicked: {text}");
    // The process may end now.
    buffer.flush(SHUTDOWN_TIMEOUT);
}

/// Writes each event as a line.
struct Lines {
    buffer: Arc<Buffer>,
    colors: bool,
}

/// Receives the one write of an event.
struct Line<'a> {
    buffer: &'a Buffer,
    lane: Lane,
    colors: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { buffer: &self.buffer, lane: Lane::Free, colors: self.colors }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let lane = match metadata.target() {
            OWN => Lane::Express,
            // Off by default; an operator who turns them on wants all of them.
            _ if Level::INFO < *metadata.level() => Lane::Free,
            source => self.buffer.lane_of(source),
        };
        Line { lane, ..self.make_writer() }
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line: Cow<'_, [u8]> = line::one_line(bytes, self.colors);
        self.buffer.push(self.lane, &line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
