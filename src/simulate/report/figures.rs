//! The tables. A cell shows a rounded figure, and carries the exact one of the JSON.

use maud::{Markup, html};

use super::columns::Columns;
use super::{bound, clock, name};
use crate::simulate::table::seconds;
use crate::simulate::{Simulation, SimulationResult};
use crate::text::number;

/// A column of the comparison.
struct Column {
    heading: &'static str,
    /// The field of the JSON.
    field: &'static str,
    figure: fn(&SimulationResult) -> f64,
    show: fn(f64) -> String,
}

impl Column {
    const fn new(
        heading: &'static str,
        field: &'static str,
        figure: fn(&SimulationResult) -> f64,
        show: fn(f64) -> String,
    ) -> Self {
        Self { heading, field, figure, show }
    }
}

const COLUMNS: [Column; 12] = [
    Column::new("wait, median", "latency_seconds.p50", |r| r.latency_seconds.p50, seconds),
    Column::new("mean", "latency_seconds.mean", |r| r.latency_seconds.mean, seconds),
    Column::new("95 %", "latency_seconds.p95", |r| r.latency_seconds.p95, seconds),
    Column::new("99 %", "latency_seconds.p99", |r| r.latency_seconds.p99, seconds),
    Column::new("longest", "latency_seconds.max", |r| r.latency_seconds.max, seconds),
    Column::new(
        "too long",
        "share_above_slo",
        |r| r.share_above_slo,
        |share| format!("{} %", number(share * 100.0, 1)),
    ),
    Column::new("pod-hours", "pod_hours", |r| r.pod_hours, |hours| number(hours, 2)),
    Column::new("most pods", "max_pods", |r| r.max_pods.into(), whole),
    Column::new("woken", "activations", |r| r.activations as f64, whole),
    Column::new("done", "jobs_done", |r| r.jobs_done as f64, whole),
    Column::new("interrupted", "jobs_interrupted", |r| r.jobs_interrupted as f64, whole),
    Column::new("run twice", "jobs_run_twice", |r| r.jobs_run_twice as f64, whole),
];

fn whole(figure: f64) -> String {
    number(figure, 0)
}

/// The policies side by side.
pub(super) fn comparison(simulation: &Simulation) -> Markup {
    let slo = seconds(simulation.workload.slo_seconds);
    html! {
        p.soft id="comparison-about" {
            "How long jobs waited, and what it took. Too long: the share that waited longer than " (slo)
            ". Woken: starts from zero pods. Interrupted: stopped because the pod was removed, and retried."
        }
        div.scroll role="region" tabindex="0" aria-label="Policies side by side, as a table" {
            table aria-describedby="comparison-about" {
                thead { tr { th scope="col" { "policy" } @for column in &COLUMNS { th scope="col" { (column.heading) } } } }
                tbody {
                    @for result in &simulation.results {
                        tr {
                            th scope="row" { (name(&result.name)) (trouble(result)) }
                            @for column in &COLUMNS {
                                @let figure = (column.figure)(result);
                                td { data value=(figure) title=(column.field) { ((column.show)(figure)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Jobs that were not done, if there are any: that matters more than all other figures.
fn trouble(result: &SimulationResult) -> Markup {
    html! {
        @for (n, field, what) in [(result.jobs_failed, "jobs_failed", "given up"), (result.jobs_unfinished, "jobs_unfinished", "never done")] {
            @if 0 < n { " " span.bad { "(" data value=(n) title=(field) { (n) } " " (what) ")" } }
        }
    }
}

/// What the charts of a policy show, as tables.
pub(super) fn details(result: &SimulationResult, columns: &Columns) -> Markup {
    html! {
        details {
            summary { "The charts as tables: " (name(&result.name)) }
            div.charts {
                (over_time(result, columns))
                (waits(result))
            }
        }
    }
}

fn over_time(result: &SimulationResult, columns: &Columns) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label={ "Over time, " (name(&result.name)) } {
            table {
                caption { "Over time: the most of each span" }
                thead {
                    tr { @for heading in ["from", "to", "waiting", "running", "wanted", "pods"] { th scope="col" { (heading) } } }
                }
                tbody {
                    @for row in 0..columns.waiting.len() {
                        @let (from, to) = columns.span(row);
                        tr {
                            td { (clock(from)) }
                            td { (clock(to)) }
                            @for values in [&columns.waiting, &columns.running, &columns.wanted, &columns.pods] {
                                td { (whole(values[row])) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn waits(result: &SimulationResult) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label={ "Waits, " (name(&result.name)) } {
            table {
                caption { "Waits: the jobs that waited up to this long, but longer than the row above" }
                thead { tr { th scope="col" { "up to" } th scope="col" { "jobs" } } }
                tbody { @for (wait, jobs) in &result.series.waits { tr { td { (bound(*wait)) } td { (jobs) } } } }
            }
        }
    }
}
