//! The report for people.

use std::fmt::Write;

use super::outcome::replicas_text;
use super::{Report, ScaledObjectReport, StorageReport, TriggerReport};
use crate::terminal::{Colour, Style, paragraph, plain};

/// Where a value is not known.
const NONE: &str = "–";

/// The report as text, one block a ScaledObject.
pub(super) fn text(report: &Report, style: Style) -> String {
    let objects = report.scaled_objects.iter().map(|object| block(object, style));
    let storages = report.storages.iter().map(|storage| storage_block(storage, style));
    let blocks: Vec<String> = objects.chain(storages).collect();
    blocks.join("\n")
}

fn storage_block(storage: &StorageReport, style: Style) -> String {
    let mut text = String::new();
    paragraph(&mut text, "", &format!("storage {}: {}", storage.name, storage.activation), |line| line.to_owned());
    for warning in &storage.warnings {
        paragraph(&mut text, "  ", &format!("warning: {warning}"), |line| style.paint(line, Colour::Yellow));
    }
    text
}

fn block(object: &ScaledObjectReport, style: Style) -> String {
    let replicas = object.replicas;
    let name = style.paint(&plain(&format!("{}/{}", object.namespace, object.name)), Colour::Bold);
    let assumed = if replicas.assumed { " (assumed: no --replicas)" } else { "" };
    let now = format!("{} now{assumed}", replicas_text(replicas.now));
    let wanted = style.paint(&format!("{} wanted", replicas.wanted), Colour::Bold);
    let mut text = format!("{name}: {now}, {wanted} (min {}, max {})\n", replicas.min, replicas.max);
    for sentence in &object.outcome {
        paragraph(&mut text, "  ", sentence, |line| line.to_owned());
    }
    for needs in &object.needs_keda {
        let words = format!("needs KEDA {}: {}", needs.version, needs.because);
        paragraph(&mut text, "  ", &words, |line| line.to_owned());
    }
    text.push('\n');
    triggers(&mut text, object, style);
    if !object.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &object.warnings {
        paragraph(&mut text, "  ", &format!("warning: {warning}"), |line| style.paint(line, Colour::Yellow));
    }
    text
}

const HEADINGS: [&str; 7] = ["#", "metric", "value", "target", "metricType", "active", "pods"];
/// Numbers stand at the right of their column.
const TO_THE_RIGHT: [bool; 7] = [false, false, true, true, false, false, true];
const ACTIVE: usize = 5;

fn triggers(text: &mut String, object: &ScaledObjectReport, style: Style) {
    let rows: Vec<[String; 7]> = object.triggers.iter().map(cells).collect();
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = line(&HEADINGS.map(str::to_owned), &widths, |_, cell| cell.to_owned());
    let _ = writeln!(text, "{}", style.paint(&headings, Colour::Dim));
    for (trigger, row) in object.triggers.iter().zip(&rows) {
        let coloured = |column: usize, cell: &str| match trigger.active {
            Some(true) if column == ACTIVE => style.paint(cell, Colour::Green),
            _ => cell.to_owned(),
        };
        let _ = writeln!(text, "{}", line(row, &widths, coloured));
        details(text, trigger, style);
    }
}

fn cells(trigger: &TriggerReport) -> [String; 7] {
    let number = |number: Option<f64>| number.map_or_else(|| NONE.to_owned(), shown);
    let metric = trigger.metric.as_deref().unwrap_or(&trigger.kind);
    let active = trigger.active.map_or(NONE, |active| if active { "yes" } else { "no" });
    [
        trigger.index.to_string(),
        plain(metric),
        number(trigger.value),
        number(trigger.target),
        trigger.metric_type.to_owned(),
        active.to_owned(),
        trigger.pods_wanted.map_or_else(|| NONE.to_owned(), |pods| pods.to_string()),
    ]
}

/// One line of the table. Cells are painted after they are padded, since colours have no width.
fn line(cells: &[String; 7], widths: &[usize; 7], paint: impl Fn(usize, &str) -> String) -> String {
    let padded = cells.iter().zip(widths).zip(TO_THE_RIGHT).enumerate().map(|(column, ((cell, width), right))| {
        let cell = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
        paint(column, &cell)
    });
    format!("  {}", padded.collect::<Vec<_>>().join("  "))
}

fn details(text: &mut String, trigger: &TriggerReport, style: Style) {
    const INDENT: &str = "     ";
    for reason in &trigger.reasons {
        paragraph(text, INDENT, reason, |line| line.to_owned());
    }
    if let Some(error) = &trigger.error {
        paragraph(text, INDENT, &format!("error: {error}"), |line| style.paint(line, Colour::Red));
    }
    for warning in &trigger.warnings {
        paragraph(text, INDENT, &format!("warning: {warning}"), |line| style.paint(line, Colour::Yellow));
    }
}

/// A number as people write it: no trailing zeros, at most three decimals.
fn shown(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
