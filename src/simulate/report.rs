//! The results as one HTML file that needs nothing else: no network, no script, no font. Names come from manifests and files, so
//! everything is escaped (by maud) and made printable.
//!
//! - `chart`: SVG. Our own lines, because chart libraries draw text into the picture, where it shrinks with the window.
//! - `columns`: what happened over time, in as many columns as a chart has.
//! - `front`: what was recommended, and why.
//! - `figures`: the tables, whose cells carry the exact values of the JSON (`<data value>`).

mod chart;
mod columns;
mod figures;
mod front;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::recommend::Recommendation;
use super::table::seconds;
use super::{Simulation, SimulationResult, WorkloadSummary};
use crate::text::{counted, number, printable};
use chart::{Chart, Marks, Shape, scale_top};
use columns::Columns;

const STYLE: &str = include_str!("report/style.css");
const MAX_NAME: usize = 200;
/// The columns of a chart over time, the parts that say something, and the rows of its table.
const COLUMNS: usize = 240;
const HINTS: usize = 80;
const ROWS: usize = 24;
/// The steps of a time scale, in seconds.
const STEPS: [f64; 16] = [
    1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10_800.0, 14_400.0, 21_600.0, 43_200.0,
    86_400.0,
];
const MAX_TICKS: f64 = 6.0;

/// Returns the results as an HTML page.
#[must_use]
pub fn report(simulation: &Simulation) -> String {
    let workload = &simulation.workload;
    let title = format!("Simulation: {}", name(&workload.name));
    page(&title, &[about(workload), comparison(simulation), courses(simulation)])
}

/// Returns a recommendation as an HTML page: what, why, and how it compares on the part of the workload that it was not tuned on.
#[must_use]
pub fn recommendation_report(found: &Recommendation) -> String {
    let title = format!("Recommendation for {}", found.slo);
    page(
        &title,
        &[front::recommendation(found), about(&found.check.workload), comparison(&found.check), courses(&found.check)],
    )
}

fn page(title: &str, sections: &[Markup]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    @for section in sections { (section) }
                }
                footer { p { "jobrunr-scaler " (env!("CARGO_PKG_VERSION")) ". docs/simulation.md describes what is simulated." } }
            }
        }
    };
    page.into_string()
}

fn name(name: &str) -> String {
    printable(name, MAX_NAME)
}

fn about(workload: &WorkloadSummary) -> Markup {
    html! {
        p {
            (counted(workload.jobs as u64, "job")) " in " (seconds(workload.seconds)) ", which run for "
            (number(workload.job_hours, 1)) " hours in all. A wait is the time from due to start; it should be at most "
            (seconds(workload.slo_seconds)) ". Seed " (workload.seed) "."
        }
        @if !workload.notes.is_empty() {
            ul { @for note in &workload.notes { li { (name(note)) } } }
        }
    }
}

fn comparison(simulation: &Simulation) -> Markup {
    let notes: Vec<(&SimulationResult, String)> = simulation
        .results
        .iter()
        .flat_map(|result| result.notes.iter().map(move |note| (result, name(note))))
        .collect();
    html! {
        section aria-labelledby="comparison" {
            h2 id="comparison" { "Side by side" }
            (figures::comparison(simulation))
            @if !notes.is_empty() {
                ul { @for (result, note) in &notes { li { (name(&result.name)) ": " (note) } } }
            }
        }
    }
}

/// What happened over time, a section for each policy; all charts have the same scales.
fn courses(simulation: &Simulation) -> Markup {
    let end = simulation.workload.seconds.max(1.0);
    let courses: Vec<Columns> = simulation.results.iter().map(|result| Columns::new(result, end, COLUMNS)).collect();
    let all = |of: fn(&Columns) -> [&Vec<f64>; 2]| {
        scale_top(courses.iter().flat_map(move |columns| of(columns).into_iter().flatten().copied()))
    };
    let (jobs_top, pods_top) = (all(|c| [&c.waiting, &c.running]), all(|c| [&c.wanted, &c.pods]));
    let waits = simulation.results.iter().map(|result| result.series.waits.len()).max().unwrap_or_default().max(8);
    let waits_top = scale_top(simulation.results.iter().flat_map(|result| shares(result, waits)));
    html! {
        @for (index, (result, columns)) in simulation.results.iter().zip(&courses).enumerate() {
            @let id = format!("policy-{index}");
            section aria-labelledby=(id) {
                h2 id=(id) { (name(&result.name)) }
                div.charts {
                    (jobs_chart(result, columns, end, jobs_top).render())
                    (pods_chart(result, columns, end, pods_top).render())
                    (waits_chart(result, simulation.workload.slo_seconds, waits, waits_top).render())
                }
                (figures::details(result, &Columns::new(result, end, ROWS)))
            }
        }
    }
}

fn jobs_chart(result: &SimulationResult, columns: &Columns, end: f64, top: f64) -> Chart {
    let most = |values: &[f64]| number(values.iter().copied().fold(0.0, f64::max), 0);
    Chart {
        title: "Jobs waiting and running",
        summary: format!("at most {} waiting and {} running", most(&columns.waiting), most(&columns.running)),
        marks: vec![
            Marks { class: "waiting", label: "waiting", shape: Shape::Area, values: columns.waiting.clone() },
            Marks { class: "running", label: "running", shape: Shape::Line, values: columns.running.clone() },
        ],
        columns: COLUMNS,
        top,
        unit: "",
        ticks: time_ticks(end),
        hints: hints(result, end, |c, i| format!("{} waiting, {} running", c.waiting[i], c.running[i])),
        line: None,
    }
}

fn pods_chart(result: &SimulationResult, columns: &Columns, end: f64, top: f64) -> Chart {
    Chart {
        title: "Pods wanted and there",
        summary: format!("at most {} wanted, {} pod-hours", result.max_pods, number(result.pod_hours, 1)),
        marks: vec![
            Marks { class: "pods", label: "there", shape: Shape::Area, values: columns.pods.clone() },
            Marks { class: "wanted", label: "wanted", shape: Shape::Line, values: columns.wanted.clone() },
        ],
        columns: COLUMNS,
        top,
        unit: "",
        ticks: time_ticks(end),
        hints: hints(result, end, |c, i| format!("{} pods wanted, {} there", c.wanted[i], c.pods[i])),
        line: None,
    }
}

/// What parts of a chart over time say.
fn hints(result: &SimulationResult, end: f64, text: impl Fn(&Columns, usize) -> String) -> Vec<String> {
    let columns = Columns::new(result, end, HINTS);
    let hint = |part: usize| {
        let (from, to) = columns.span(part);
        format!("{} to {}: {}", clock(from), clock(to), text(&columns, part))
    };
    (0..HINTS).map(hint).collect()
}

fn waits_chart(result: &SimulationResult, slo: f64, n: usize, top: f64) -> Chart {
    let bounds: Vec<f64> = (0..n as u32).map(wait_bound).collect();
    let waits = |i: usize| result.series.waits.get(i).map_or(0, |(_, jobs)| *jobs);
    let shares = shares(result, n);
    let hint = |i: usize| {
        let share = number(shares[i], 1);
        format!("waited up to {}: {} ({share} %)", bound(bounds[i]), counted(waits(i), "job"))
    };
    let latency = &result.latency_seconds;
    let place = |i: usize| (i + 1) as f64 / n as f64;
    // The bounds grow by the square root of 2.
    let slo_place = ((slo.max(0.001) * 10.0).log2() * 2.0 + 1.0) / n as f64;
    Chart {
        title: "Waits",
        summary: format!("half of the jobs waited up to {}, 95 % up to {}", seconds(latency.p50), seconds(latency.p95)),
        marks: vec![Marks {
            class: "waits",
            label: "share of the jobs, by wait",
            shape: Shape::Bars,
            values: shares.clone(),
        }],
        columns: n,
        top,
        unit: " %",
        ticks: (0..n).step_by(6).map(|i| (place(i), bound(bounds[i]))).filter(|(place, _)| *place < 0.95).collect(),
        hints: (0..n).map(hint).collect(),
        line: (0.0..=1.0).contains(&slo_place).then(|| (slo_place, format!("wanted: up to {}", seconds(slo)))),
    }
}

/// Seconds since the start as a clock has them.
fn clock(seconds: f64) -> String {
    // Virtual time is not negative and ends within years.
    let seconds = seconds.round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A bound of waits: the first ones differ by less than a tenth of a second.
fn bound(wait: f64) -> String {
    if wait < 1.0 { format!("{} s", number(wait, 2)) } else { seconds(wait) }
}

/// The upper bound of an interval of waits, as [`Series::waits`](super::Series::waits) has them.
fn wait_bound(interval: u32) -> f64 {
    0.1 * (f64::from(interval) / 2.0).exp2()
}

/// Percent of the jobs per interval of waits.
fn shares(result: &SimulationResult, n: usize) -> Vec<f64> {
    let waits = &result.series.waits;
    let all = waits.iter().map(|(_, jobs)| *jobs).sum::<u64>().max(1) as f64;
    (0..n).map(|i| waits.get(i).map_or(0.0, |(_, jobs)| *jobs as f64 / all * 100.0)).collect()
}

fn time_ticks(end: f64) -> Vec<(f64, String)> {
    let step = STEPS
        .into_iter()
        .find(|step| end / step <= MAX_TICKS)
        .unwrap_or((end / MAX_TICKS / 86_400.0).ceil() * 86_400.0);
    let label = |at: f64| match step {
        86_400.0.. => format!("{} d", number(at / 86_400.0, 0)),
        3600.0.. => format!("{} h", number(at / 3600.0, 0)),
        60.0.. => format!("{} min", number(at / 60.0, 0)),
        _ => format!("{} s", number(at, 0)),
    };
    let ticks = (0..).map(|n| f64::from(n) * step).take_while(|at| *at <= end * 0.94);
    ticks.map(|at| (at / end, label(at))).collect()
}

#[cfg(test)]
mod tests;
