//! The block on a terminal, as lines of text.

use jiff::{SignedDuration, Timestamp};

use super::Paint;
use crate::demo::board::{Answer, Event, State, Who};
use crate::demo::explained::shown;
use crate::demo::scaled_object::{TRIGGERS, TriggerSpec};

/// Cells of a bar: one for each job of the story.
const BAR: usize = 40;
/// The chart's cells, and what each stands for: together ten minutes.
const CHART: i32 = 50;
const CELL: SignedDuration = SignedDuration::from_secs(12);
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole block, with the latest `n_events` events.
pub(super) fn block(state: &State, now: Timestamp, speed: f64, n_events: usize, paint: Paint) -> Vec<String> {
    let clock = time(state.elapsed(now));
    let title = paint.bold("jobrunr-scaler demo");
    let pace = paint.dim(&format!("{} times as fast as real time", shown(speed)));
    let mut lines = vec![format!(" {title}   {}   {pace}", paint.bold(&clock)), String::new()];
    lines.extend(jobs(state, paint));
    lines.extend(workload(state, paint));
    lines.push(String::new());
    lines.extend(answers(state, paint));
    lines.push(String::new());
    lines.extend(chart(state, now, paint));
    lines.push(String::new());
    lines.extend(events(state, n_events, paint));
    lines
}

/// Minutes and seconds.
pub(super) fn time(elapsed: SignedDuration) -> String {
    let seconds = elapsed.as_secs().max(0);
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn jobs(state: &State, paint: Paint) -> Vec<String> {
    let counts = state.counts;
    // With `--keep` jobs become more than there are cells.
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

fn workload(state: &State, paint: Paint) -> Vec<String> {
    let replicas = state.replicas;
    let (ready, status) = (replicas.ready as usize, replicas.status as usize);
    let pods = format!("{}{}", "■ ".repeat(ready), "□ ".repeat(status.saturating_sub(ready)));
    let wanted = if replicas.spec == replicas.status { String::new() } else { format!(", {} wanted", replicas.spec) };
    let occupied = cells(state.counts.processing, state.n_workers.max(BAR as u64));
    vec![
        format!(" {:<11}{}  {ready} of {status} ready{wanted}", "pods", paint.good(&format!("{pods:<BAR$}"))),
        format!(" {:<11}{}  {} of {} busy", "workers", paint.bold(&occupied), state.counts.processing, state.n_workers),
    ]
}

/// A bar of `n` cells of [`BAR`], where `most` fills all.
fn cells(n: u64, most: u64) -> String {
    let filled = (n * BAR as u64).div_ceil(most.max(1)).min(BAR as u64) as usize;
    format!("{}{}", "█".repeat(filled), "·".repeat(BAR - filled))
}

fn answers(state: &State, paint: Paint) -> Vec<String> {
    let head =
        format!(" {:<34}{:>8}{:>9}{:>9}{:>14}", "what the scaler answers", "value", "target", "active", "pods wanted");
    let rows = TRIGGERS.iter().zip(&state.answers).map(|(trigger, answer)| row(trigger, answer, paint));
    std::iter::once(paint.dim(&head)).chain(rows).collect()
}

fn row(trigger: &TriggerSpec, answer: &Answer, paint: Paint) -> String {
    let number = |number: Option<f64>| number.map_or("-".to_owned(), shown);
    let name = format!("{} ({})", trigger.metric, trigger.metric_type_name());
    let active = match answer.active {
        Some(true) => paint.good(&format!("{:>9}", "yes")),
        Some(false) => paint.dim(&format!("{:>9}", "no")),
        None => format!("{:>9}", "-"),
    };
    let pods = answer.pods.map_or("-".to_owned(), |pods| pods.to_string());
    format!(" {name:<34}{:>8}{:>9}{active}{pods:>14}", number(answer.value), number(answer.target))
}

fn chart(state: &State, now: Timestamp, paint: Paint) -> Vec<String> {
    // The chart fills from the left; after ten minutes it moves along.
    let n_cells = i32::try_from(state.elapsed(now).as_secs() / CELL.as_secs()).unwrap_or(i32::MAX);
    let first = n_cells.saturating_sub(CHART - 1).max(0);
    let peak = state.peak().max(1);
    let level = |cell: i32| {
        let end = (state.start + CELL * (cell + 1)).min(now);
        let replicas = state.wanted_at(end) as usize;
        LEVELS[(replicas * 8).div_ceil(peak as usize).min(8)]
    };
    let line: String = (first..=n_cells).map(level).collect();
    let from = time(CELL * first);
    let to = time(CELL * (first + CHART));
    let gap = " ".repeat(CHART as usize - from.len() - to.len());
    let replicas = format!("  {} (most {})", state.replicas.spec, state.peak());
    let width = CHART as usize;
    vec![
        format!(" {:<11}{}{replicas}", "replicas", paint.blue(&format!("{line:<width$}"))),
        paint.dim(&format!(" {:<11}{from}{gap}{to}", "")),
    ]
}

fn events(state: &State, n_events: usize, paint: Paint) -> Vec<String> {
    let skipped = state.events.len().saturating_sub(n_events);
    let line = |event: &Event| {
        let who = format!("{:<5}", event.who.name());
        let who = match event.who {
            Who::Keda => paint.blue(&who),
            Who::Hpa => paint.yellow(&who),
            Who::Application | Who::Pods => paint.good(&who),
        };
        format!(" {}  {who} {}", paint.dim(&time(state.elapsed(event.at))), event.text)
    };
    state.events.iter().skip(skipped).map(line).collect()
}
