//! The results for people: a table and a small chart, 80 columns wide.

use std::fmt::Write;

use super::{Simulation, SimulationResult, WorkloadSummary};
use crate::duration;
use crate::terminal::{BOLD, DIM, RED, WIDTH, YELLOW, painted, paragraph};
use crate::text::{counted, number, printable};

/// The most characters of a name beside a chart.
const MAX_NAME: usize = 22;
/// So many characters around the place where names differ.
const DIFFERENCE: usize = 3;
/// The numbers of the table, with their widths.
const HEADINGS: [(&str, usize); 8] =
    [("p50", 9), ("p95", 9), ("p99", 9), ("max", 9), ("above", 7), ("pod-hours", 10), ("pods", 5), ("woken", 6)];
/// Eighths of a line's height, and none.
const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Returns the results as text.
#[must_use]
pub fn table(simulation: &Simulation) -> String {
    let workload = &simulation.workload;
    let mut text = String::new();
    heading(&mut text, workload);
    let names = short_names(&simulation.results, MAX_NAME);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    // Short names get a column, long ones a line.
    let is_wide = WIDTH < 2 + width + HEADINGS.iter().map(|(_, width)| width).sum::<usize>();
    let column = if is_wide { 4 } else { width };
    let headings: String = HEADINGS.iter().map(|(heading, width)| format!("{heading:>width$}")).collect();
    let _ = writeln!(text, "{}", painted(&format!("  {:<column$}{headings}", ""), DIM));
    let row_names = if is_wide { &short_names(&simulation.results, WIDTH - 2) } else { &names };
    for (result, name) in simulation.results.iter().zip(row_names) {
        if is_wide {
            let _ = writeln!(text, "  {}", painted(name, BOLD));
            let _ = writeln!(text, "  {:<column$}{}", "", cells(result));
        } else {
            let _ = writeln!(text, "  {}{}", painted(&format!("{name:<column$}"), BOLD), cells(result));
        }
    }
    text.push('\n');
    charts(&mut text, simulation, &names, width);
    for result in &simulation.results {
        remarks(&mut text, result);
    }
    text
}

/// Returns the names of at most `max` characters, such that what differs stays visible.
fn short_names(results: &[SimulationResult], max: usize) -> Vec<String> {
    let names: Vec<Vec<char>> = results.iter().map(|result| result.name.chars().collect()).collect();
    let mut short: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let others = names.iter().enumerate().filter(|(other, _)| *other != index);
        let n_alike = |other: &[char]| name.iter().zip(other).take_while(|(a, b)| a == b).count();
        let differs_at = others.map(|(_, other)| n_alike(other)).max().unwrap_or_default();
        let mut shortened = shortened(name, max, differs_at);
        if short.contains(&shortened) {
            // Different names can have the same ends. They come in the order of the policies.
            shortened = printable(&format!("{}: {shortened}", index + 1), max - 1);
        }
        short.push(shortened);
    }
    short
}

/// Cuts the end of a name, or its middle if the place where it differs from others would be lost.
fn shortened(name: &[char], max: usize, differs_at: usize) -> String {
    let text = |part: &[char]| part.iter().collect::<String>();
    if name.len() <= max {
        return printable(&text(name), max);
    }
    if differs_at + DIFFERENCE < max {
        return printable(&text(name), max - 1);
    }
    let n_first = max * 2 / 5;
    let n_rest = max - n_first - 2;
    let rest = differs_at.saturating_sub(DIFFERENCE).min(name.len() - n_rest);
    format!("{}{}", printable(&text(name), n_first), printable(&text(&name[rest..]), n_rest))
}

/// Returns the results as a table in Markdown.
#[must_use]
pub fn markdown(simulation: &Simulation) -> String {
    let mut text = "| policy | p50 | p95 | max | pod-hours | pods | woken | interrupted | run twice |\n".to_owned();
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for result in &simulation.results {
        let latency = &result.latency_seconds;
        let undone = result.jobs_undone();
        let undone = if 0 < undone { format!(" ({} never done)", counted(undone, "job")) } else { String::new() };
        let _ = writeln!(
            text,
            "| {}{undone} | {} | {} | {} | {} | {} | {} | {} | {} |",
            printable(&result.name, usize::MAX).replace('|', "\\|"),
            seconds(latency.p50),
            seconds(latency.p95),
            seconds(latency.max),
            number(result.pod_hours, 1),
            result.max_pods,
            result.activations,
            result.jobs_interrupted,
            result.jobs_run_twice,
        );
    }
    text
}

fn heading(text: &mut String, workload: &WorkloadSummary) {
    let slo = duration::format(jiff::SignedDuration::from_secs_f64(workload.slo_seconds));
    let words = format!(
        "{}: {} in {}, which run for {} hours in all. Waits are from due to start; above: the share that waited longer than {slo}.",
        workload.name,
        counted(workload.jobs as u64, "job"),
        seconds(workload.seconds),
        number(workload.job_hours, 1),
    );
    lines(text, &words);
    for note in &workload.notes {
        lines(text, note);
    }
    text.push('\n');
}

/// Appends words, wrapped to the width of the table.
fn lines(text: &mut String, words: &str) {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if WIDTH < line.chars().count() + 1 + word.chars().count() && !line.is_empty() {
            let _ = writeln!(text, "{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&printable(word, WIDTH));
    }
    let _ = writeln!(text, "{line}");
}

fn cells(result: &SimulationResult) -> String {
    let latency = &result.latency_seconds;
    let cells = [
        seconds(latency.p50),
        seconds(latency.p95),
        seconds(latency.p99),
        seconds(latency.max),
        format!("{} %", number(result.share_above_slo * 100.0, 1)),
        number(result.pod_hours, 1),
        result.max_pods.to_string(),
        result.activations.to_string(),
    ];
    cells.iter().zip(HEADINGS).map(|(cell, (_, width))| format!("{cell:>width$}")).collect()
}

/// A time in the unit that suits it.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{} s", number(seconds, 1)),
        ..6000.0 => format!("{} min", number(seconds / 60.0, 1)),
        _ => format!("{} h", number(seconds / 3600.0, 1)),
    }
}

/// The replicas over time, one line per policy, all on the same scale.
fn charts(text: &mut String, simulation: &Simulation, names: &[String], width: usize) {
    let most = simulation.results.iter().map(|result| result.max_pods).max().unwrap_or_default();
    let end = simulation.workload.seconds;
    let columns = WIDTH - 2 - width - 2;
    let title = format!("pods wanted, from 0 to {}; █ is {most}", seconds(end));
    let _ = writeln!(text, "  {}", painted(&title, DIM));
    for (result, name) in simulation.results.iter().zip(names) {
        let _ = writeln!(text, "  {name:<width$}  {}", chart(&result.replicas, end, most, columns));
    }
}

fn chart(replicas: &[(f64, u32)], end: f64, most: u32, columns: usize) -> String {
    let mut changes = replicas.iter().peekable();
    let mut current = 0;
    let column = |number: usize| {
        let until = end * (number + 1) as f64 / columns as f64;
        let mut largest = current;
        while let Some((_, replicas)) = changes.next_if(|(at, _)| *at < until) {
            largest = largest.max(*replicas);
            current = *replicas;
        }
        let eighths = (f64::from(largest) / f64::from(most.max(1)) * 8.0).ceil() as usize;
        BLOCKS[eighths.min(8)]
    };
    (0..columns).map(column).collect()
}

/// What the table has no column for, if there is anything.
fn remarks(text: &mut String, result: &SimulationResult) {
    let counts = [
        (result.jobs_interrupted, "interrupted because the pod was removed, and retried"),
        (result.jobs_run_twice, "started again while the first run was still going"),
        (result.jobs_failed, "given up after too many interruptions"),
        (result.jobs_unfinished, "never done"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| 0 < *n).map(|(n, what)| format!("{} {what}", counted(*n, "job"))).collect();
    if !counts.is_empty() {
        let words = format!("{}: {}", result.name, counts.join("; "));
        let style = if 0 < result.jobs_undone() { RED } else { YELLOW };
        paragraph(text, "  ", &words, |line| painted(line, style));
    }
    for note in &result.notes {
        paragraph(text, "  ", &format!("{}: {note}", result.name), str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_differ_where_the_names_do() {
        let check = |names: &[&str], expected: &[&str]| {
            let result = |name: &&str| SimulationResult { name: (*name).to_owned(), ..SimulationResult::default() };
            let results: Vec<SimulationResult> = names.iter().map(result).collect();
            assert_eq!(short_names(&results, 22), expected);
        };
        check(&["fixed-2", "worker (latency.yaml)"], &["fixed-2", "worker (latency.yaml)"]);
        check(&["jobrunr-workers (old/scaledobject.yaml)"], &["jobrunr-workers (old/…"]);
        let versions = [
            "jobrunr-workers",
            "jobrunr-workers (new/scaledobject.yaml)",
            "jobrunr-workers (new/scaledobject2.yaml)",
            "jobrunr-workers (old/scaledobject2.yaml)",
        ];
        check(
            &versions,
            &["jobrunr-workers", "jobrunr-…object.yaml)", "jobrunr-…bject2.yaml)", "jobrunr-workers (old/…"],
        );
        let twins = ["workers (a/scaledobject-one.yaml)", "workers (a/scaledobject-two.yaml)"];
        let others = ["workers (b/scaledobject-one.yaml)", "workers (b/scaledobject-two.yaml)"];
        check(
            &[twins, others].concat(),
            &["workers …ct-one.yaml)", "workers …ct-two.yaml)", "3: workers …ct-one.ya…", "4: workers …ct-two.ya…"],
        );
    }

    #[test]
    fn seconds_have_a_unit_that_suits_them() {
        let check = |value: f64, expected: &str| assert_eq!(seconds(value), expected);
        check(0.0, "0 s");
        check(59.94, "59.9 s");
        check(99.9, "99.9 s");
        check(100.0, "1.7 min");
        check(6000.0, "1.7 h");
    }

    #[test]
    fn chart_shows_the_largest_number_of_each_column() {
        let check = |replicas: &[(f64, u32)], expected: &str| assert_eq!(chart(replicas, 8.0, 8, 8), expected);
        check(&[(0.0, 0)], "········");
        check(&[(0.0, 8)], "████████");
        check(&[(0.0, 0), (1.0, 1), (2.0, 4), (5.5, 8), (5.6, 0)], "·▁▄▄▄█··");
    }
}
