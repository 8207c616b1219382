//! Lines that are written, dropped and reported.

use std::io::{self, Error};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;
use crate::log::budget::BYTES_PER_MINUTE;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An output that takes one piece for each answer that it is given, and everything once there is nobody who gives one.
struct Gated {
    tried: Sender<()>,
    answers: Receiver<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.tried.send(());
        self.answers.recv().unwrap_or(Ok(()))?;
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A buffer and its writer, which reports into the buffer as the log does.
struct Running {
    buffer: Arc<Buffer>,
    metrics: Metrics,
    /// Says when the writer has begun to write.
    tried: Receiver<()>,
    answers: Sender<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

fn start() -> Running {
    let metrics = Metrics::default();
    let buffer = Arc::new(Buffer::new(&metrics));
    let (answers, receiver) = channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let (begun, tried) = channel();
    let output = Gated { tried: begun, answers: receiver, written: Arc::clone(&written) };
    let writer = Arc::clone(&buffer);
    thread::spawn(move || {
        let report = |dropped| writer.push(Lane::Express, format!("{dropped:?}\n").as_bytes());
        writer.run(output, report);
    });
    Running { buffer, metrics, tried, answers, written }
}

impl Running {
    fn n_dropped(&self, reason: LineDropped) -> u64 {
        self.metrics.lines_dropped(reason).get()
    }

    /// Everything that was written in the end, by lines.
    fn finish(self) -> Vec<String> {
        drop(self.answers);
        self.buffer.finish(PATIENCE);
        let text = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn line(n: usize) -> Vec<u8> {
    format!("{n:<1023}\n").into_bytes()
}

#[test]
fn buffer_takes_lines_while_nobody_reads_and_reports_dropped_ones() {
    let running = start();
    running.buffer.push(Lane::Free, &line(0));
    // The writer holds this one and is blocked.
    running.tried.recv_timeout(PATIENCE).unwrap();
    for n in 1..1_000 {
        running.buffer.push(Lane::Free, &line(n));
    }
    let n_kept = 1 + MAX_BYTES / 1_024;
    let n_lost = 1_000 - n_kept;
    assert_eq!(running.n_dropped(LineDropped::Unread), n_lost as u64);
    let written = running.finish();
    for (n, text) in written[..n_kept].iter().enumerate() {
        assert_eq!(text.trim_end(), n.to_string());
    }
    assert_eq!(written[n_kept..], [format!("Unread {{ n_lines: {n_lost} }}")]);
}

#[test]
fn buffer_gives_each_source_a_budget() {
    let running = start();
    let loud = running.buffer.lane_of("loud");
    assert_eq!(running.buffer.lane_of("loud"), loud);
    let n_fitting = BYTES_PER_MINUTE / 1_024;
    for n in 0..n_fitting + 10 {
        // Read as fast as it comes.
        let _ = running.answers.send(Ok(()));
        running.buffer.push(loud, &line(n));
        running.buffer.flush(PATIENCE);
    }
    running.buffer.push(running.buffer.lane_of("quiet"), b"quiet\n");
    assert_eq!(running.n_dropped(LineDropped::Budget), 10);
    let written = running.finish();
    let expected = format!("OverBudget {{ source: \"loud\", n_lines: 10, n_bytes: {} }}", 10 * 1_024);
    assert_eq!(written.len(), n_fitting + 2);
    assert_eq!(written[n_fitting..].iter().filter(|text| *text == "quiet").count(), 1);
    assert!(written.contains(&expected), "{:?}", &written[n_fitting..]);
}

#[test]
fn buffer_does_not_report_into_a_broken_output_until_it_works_again() {
    let running = start();
    for _ in 0..2 {
        running.answers.send(Err(Error::from(ErrorKind::BrokenPipe))).unwrap();
        running.buffer.push(Lane::Free, b"lost\n");
        running.buffer.flush(PATIENCE);
    }
    assert_eq!(running.n_dropped(LineDropped::Unread), 2);
    running.buffer.push(Lane::Free, b"whole\n");
    assert_eq!(running.finish(), ["whole", "Unread { n_lines: 2 }"]);

    let running = start();
    running.answers.send(Err(Error::from(ErrorKind::BrokenPipe))).unwrap();
    running.buffer.push(Lane::Free, b"lost\n");
    assert_eq!(running.finish(), Vec::<String>::new());
}

#[test]
fn buffer_retries_an_output_that_would_block() {
    let running = start();
    for _ in 0..2 {
        running.answers.send(Err(Error::from(ErrorKind::WouldBlock))).unwrap();
    }
    running.buffer.push(Lane::Free, b"late\n");
    assert_eq!(running.finish(), ["late"]);
}

#[test]
fn buffer_ends_in_time_while_nobody_reads() {
    let running = start();
    running.buffer.push(Lane::Free, b"never read\n");
    running.buffer.flush(Duration::from_millis(50));
    running.buffer.finish(Duration::from_millis(50));
    assert!(running.written.lock().unwrap().is_empty());
}
