//! The report for people.

use std::fmt::Write;

use super::report::{Report, ScaledObjectReport, StorageReport, TriggerReport};
use crate::terminal::{BOLD, DIM, GREEN, RED, YELLOW, painted, paragraph};
use crate::text::{counted, number, printable};

/// In place of a value that is not known.
const NONE: &str = "–";

/// Returns the report as text, one block per ScaledObject.
pub(super) fn text(report: &Report) -> String {
    let objects = report.scaled_objects.iter().map(block);
    let storages = report.storages.iter().map(storage_block);
    let blocks: Vec<String> = objects.chain(storages).collect();
    blocks.join("\n")
}

fn storage_block(storage: &StorageReport) -> String {
    let mut text = String::new();
    paragraph(&mut text, "", &format!("storage {}: {}", storage.name, storage.activation), str::to_owned);
    for warning in &storage.warnings {
        paragraph(&mut text, "  ", &format!("warning: {warning}"), |line| painted(line, YELLOW));
    }
    text
}

fn block(object: &ScaledObjectReport) -> String {
    let replicas = object.replicas;
    let name = painted(&printable(&format!("{}/{}", object.namespace, object.name), usize::MAX), BOLD);
    let assumed = if replicas.assumed { " (assumed: no --replicas)" } else { "" };
    let now = format!("{} now{assumed}", counted(replicas.now.into(), "replica"));
    let wanted = painted(&format!("{} wanted", replicas.wanted), BOLD);
    let mut text = format!("{name}: {now}, {wanted} (min {}, max {})\n", replicas.min, replicas.max);
    for sentence in &object.summary {
        paragraph(&mut text, "  ", sentence, str::to_owned);
    }
    for needs in &object.needs_keda {
        let words = format!("needs KEDA {}: {}", needs.version, needs.because);
        paragraph(&mut text, "  ", &words, str::to_owned);
    }
    text.push('\n');
    triggers(&mut text, object);
    if !object.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &object.warnings {
        paragraph(&mut text, "  ", &format!("warning: {warning}"), |line| painted(line, YELLOW));
    }
    text
}

const HEADINGS: [&str; 7] = ["#", "metric", "value", "target", "metricType", "active", "pods"];
/// Numbers are aligned to the right.
const TO_THE_RIGHT: [bool; 7] = [false, false, true, true, false, false, true];
const ACTIVE: usize = 5;

fn triggers(text: &mut String, object: &ScaledObjectReport) {
    let rows: Vec<[String; 7]> = object.triggers.iter().map(cells).collect();
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = line(&HEADINGS.map(str::to_owned), &widths, |_, cell| cell.to_owned());
    let _ = writeln!(text, "{}", painted(&headings, DIM));
    for (trigger, row) in object.triggers.iter().zip(&rows) {
        let colored = |column: usize, cell: &str| match trigger.active {
            Some(true) if column == ACTIVE => painted(cell, GREEN),
            _ => cell.to_owned(),
        };
        let _ = writeln!(text, "{}", line(row, &widths, colored));
        details(text, trigger);
    }
}

fn cells(trigger: &TriggerReport) -> [String; 7] {
    let shown = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), |value| number(value, 3));
    let metric = trigger.metric.as_deref().unwrap_or(&trigger.kind);
    let active = trigger.active.map_or(NONE, |active| if active { "yes" } else { "no" });
    [
        trigger.index.to_string(),
        printable(metric, usize::MAX),
        shown(trigger.value),
        shown(trigger.target),
        trigger.metric_type.to_owned(),
        active.to_owned(),
        trigger.pods_wanted.map_or_else(|| NONE.to_owned(), |pods| pods.to_string()),
    ]
}

/// Returns one line of the table. Cells are painted after padding, because colors have no width.
fn line(cells: &[String; 7], widths: &[usize; 7], paint: impl Fn(usize, &str) -> String) -> String {
    let padded = cells.iter().zip(widths).zip(TO_THE_RIGHT).enumerate().map(|(column, ((cell, width), right))| {
        let cell = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
        paint(column, &cell)
    });
    format!("  {}", padded.collect::<Vec<_>>().join("  "))
}

fn details(text: &mut String, trigger: &TriggerReport) {
    const INDENT: &str = "     ";
    for reason in &trigger.reasons {
        paragraph(text, INDENT, reason, str::to_owned);
    }
    if let Some(error) = &trigger.error {
        paragraph(text, INDENT, &format!("error: {error}"), |line| painted(line, RED));
    }
    for warning in &trigger.warnings {
        paragraph(text, INDENT, &format!("warning: {warning}"), |line| painted(line, YELLOW));
    }
}
