//! The block on a terminal, as lines of text.

use jiff::{SignedDuration, Timestamp};

use super::Paint;
use crate::demo::scaled_object::{PlayedObject, PlayedTrigger};
use crate::demo::state::{Actor, Event, LiveAnswer, Measurements, Workload};
use crate::kubernetes::hpa::MetricType;
use crate::text;

/// Cells of a bar: one for each job of the story.
const BAR: usize = 40;
/// The chart's cells, and what each stands for: together ten minutes.
const CHART: i32 = 50;
const CELL: SignedDuration = SignedDuration::from_secs(12);
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The lines of a block without triggers and events.
pub(super) const N_LINES: usize = 14;

/// Returns the block, with the latest `n_events` events. All of its numbers are of one instant.
pub(super) fn block(
    measured: &Measurements,
    played: &PlayedObject,
    speed: f64,
    n_events: usize,
    paint: Paint,
) -> Vec<String> {
    let shown = &measured.shown;
    let clock = time(measured.elapsed(shown.at));
    let title = paint.bold("jobrunr-scaler demo");
    let pace = paint.dim(&format!("{} times as fast as real time", text::number(speed, 2)));
    let mut lines = vec![format!(" {title}   {}   {pace}", paint.bold(&clock)), String::new()];
    lines.extend(jobs(&shown.workload, paint));
    lines.extend(pods(&shown.workload, paint));
    lines.push(String::new());
    lines.extend(answers(&played.triggers, &shown.answers, paint));
    lines.push(String::new());
    lines.extend(chart(measured, shown.at, paint));
    lines.push(String::new());
    let skipped = measured.events.len().saturating_sub(n_events);
    lines.extend(measured.events.iter().skip(skipped).map(|event| event_line(measured, event, paint)));
    lines
}

/// Returns minutes and seconds.
pub(super) fn time(elapsed: SignedDuration) -> String {
    let seconds = elapsed.as_secs().max(0);
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn jobs(workload: &Workload, paint: Paint) -> Vec<String> {
    let counts = workload.counts;
    // With `--keep` there are more jobs than cells.
    let most = counts.open().max(BAR as u64);
    let all = (counts.open() + counts.succeeded).max(BAR as u64);
    let bar = |name: &str, n: u64, bar: &str| format!(" {name:<11}{bar}  {n}");
    vec![
        bar("scheduled", counts.scheduled, &paint.blue(&cells(counts.scheduled, most))),
        bar("enqueued", counts.enqueued, &paint.yellow(&cells(counts.enqueued, most))),
        bar("processing", counts.processing, &paint.bold(&cells(counts.processing, most))),
        bar("done", counts.succeeded, &paint.good(&cells(counts.succeeded, all))),
    ]
}

fn pods(workload: &Workload, paint: Paint) -> Vec<String> {
    let replicas = workload.replicas;
    let (ready, status) = (replicas.ready as usize, replicas.status as usize);
    let pods = format!("{}{}", "■ ".repeat(ready), "□ ".repeat(status.saturating_sub(ready)));
    let wanted = if replicas.spec == replicas.status { String::new() } else { format!(", {} wanted", replicas.spec) };
    let busy = workload.counts.processing;
    let bar = cells(busy, workload.n_workers.max(BAR as u64));
    vec![
        format!(" {:<11}{}  {ready} of {status} ready{wanted}", "pods", paint.good(&format!("{pods:<BAR$}"))),
        format!(" {:<11}{}  {busy} of {} busy", "workers", paint.bold(&bar), workload.n_workers),
    ]
}

/// A bar of [`BAR`] cells, all of which `most` fills.
fn cells(n: u64, most: u64) -> String {
    let filled = (n * BAR as u64).div_ceil(most.max(1)).min(BAR as u64) as usize;
    format!("{}{}", "█".repeat(filled), "·".repeat(BAR - filled))
}

fn answers(triggers: &[PlayedTrigger], answers: &[LiveAnswer], paint: Paint) -> Vec<String> {
    let head =
        format!(" {:<34}{:>8}{:>9}{:>9}{:>14}", "what the scaler answers", "value", "target", "active", "pods wanted");
    let rows = triggers.iter().zip(answers).map(|(trigger, answer)| row(trigger, answer, paint));
    std::iter::once(paint.dim(&head)).chain(rows).collect()
}

fn row(trigger: &PlayedTrigger, answer: &LiveAnswer, paint: Paint) -> String {
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |value| text::number(value, 2));
    let metric_type = match trigger.metric_type {
        MetricType::AverageValue => "AverageValue",
        MetricType::Value => "Value",
    };
    let name = format!("{} ({metric_type})", trigger.metric);
    let active = match answer.active {
        Some(true) => paint.good(&format!("{:>9}", "yes")),
        Some(false) => paint.dim(&format!("{:>9}", "no")),
        None => format!("{:>9}", "-"),
    };
    let pods = answer.pods.map_or_else(|| "-".to_owned(), |pods| pods.to_string());
    format!(" {name:<34}{:>8}{:>9}{active}{pods:>14}", number(answer.value), number(answer.target))
}

fn chart(measured: &Measurements, now: Timestamp, paint: Paint) -> Vec<String> {
    // The chart fills from the left; after ten minutes it moves along.
    let n_cells = i32::try_from(measured.elapsed(now).as_secs() / CELL.as_secs()).unwrap_or(i32::MAX);
    let first = n_cells.saturating_sub(CHART - 1).max(0);
    let peak = measured.peak().max(1);
    let level = |cell: i32| {
        let end = (measured.story.start + CELL * (cell + 1)).min(now);
        let replicas = measured.wanted_at(end) as usize;
        LEVELS[(replicas * 8).div_ceil(peak as usize).min(8)]
    };
    let line: String = (first..=n_cells).map(level).collect();
    let from = time(CELL * first);
    let to = time(CELL * (first + CHART));
    let gap = " ".repeat(CHART as usize - from.len() - to.len());
    let replicas = format!("  {} (most {})", measured.shown.workload.replicas.spec, measured.peak());
    let width = CHART as usize;
    vec![
        format!(" {:<11}{}{replicas}", "replicas", paint.blue(&format!("{line:<width$}"))),
        paint.dim(&format!(" {:<11}{from}{gap}{to}", "")),
    ]
}

/// A line about an event.
pub(super) fn event_line(measured: &Measurements, event: &Event, paint: Paint) -> String {
    let actor = format!("{:<5}", event.actor.name());
    let actor = match event.actor {
        Actor::Keda => paint.blue(&actor),
        Actor::Hpa => paint.yellow(&actor),
        Actor::Application | Actor::Pods => paint.good(&actor),
    };
    format!(" {}  {actor} {}", paint.dim(&time(measured.elapsed(event.at))), event.text)
}
