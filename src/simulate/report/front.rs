//! What was recommended, and why: the candidates that no other beats, as a chart and a table.

use maud::{Markup, html};

use super::chart::{percent, scale_top};
use crate::simulate::recommend::{Rated, Recommendation};
use crate::simulate::table::seconds;
use crate::text::number;

pub(super) fn recommendation(found: &Recommendation) -> Markup {
    html! {
        section aria-labelledby="why" {
            h2 id="why" { "Why" }
            ul { @for reason in &found.reasons { li { (reason) } } }
        }
        section aria-labelledby="front" {
            h2 id="front" { "Candidates that no other beats" }
            p {
                "Of " (found.candidates) " candidates on the part that they were tuned on: no other has both a shorter wait and a lower \
                 cost, unless it interrupts more jobs than the chosen one."
            }
            (chart(found))
            (table(found))
        }
        section aria-labelledby="manifest" {
            h2 id="manifest" { "The ScaledObject" }
            pre tabindex="0" role="region" aria-label="The ScaledObject, as YAML" { (found.manifest) }
        }
        h2 { "On the part that it was not tuned on" }
    }
}

fn is_chosen(found: &Recommendation, rated: &Rated) -> bool {
    rated.candidate == found.chosen.candidate
}

/// Pod-hours from left to right, the promised wait from bottom to top.
fn chart(found: &Recommendation) -> Markup {
    let front = found.front_and_chosen();
    let points: Vec<(f64, f64, &Rated)> =
        front.iter().map(|rated| (rated.pod_hours, found.promise.wait(&rated.latency_seconds), rated)).collect();
    let limit = found.promise.limit as f64 / 1000.0;
    let right = scale_top(points.iter().map(|(pod_hours, ..)| *pod_hours));
    let top = scale_top(points.iter().map(|(_, wait, _)| *wait).chain([limit]));
    let height = |wait: f64| number(100.0 - wait / top * 100.0, 2);
    let across = |pod_hours: f64| number(pod_hours / right * 100.0, 2);
    let summary = format!(
        "{} candidates; the chosen one costs {} pod-hours, with a wait of {}",
        points.len(),
        number(found.chosen.pod_hours, 1),
        seconds(found.promise.wait(&found.chosen.latency_seconds)),
    );
    html! {
        figure {
            figcaption {
                strong { "Wait (" (found.promise.percentile) ") and pod-hours" }
                span.legend {
                    span.key { span.swatch.chosen {} "chosen" }
                    span.key { span.swatch.tried {} "other" }
                    span.key { span.swatch.limit.line {} "promise: up to " (seconds(limit)) }
                }
            }
            div.plot {
                div.scale aria-hidden="true" { @for part in [1.0, 0.5, 0.0] { span { (seconds(top * part)) } } }
                svg role="img" aria-label={ "Wait and pod-hours: " (summary) } viewBox="0 0 100 100" preserveAspectRatio="none" {
                    path.grid d="M0 50H100M0 0H100" {}
                    path.limit.line d={ "M0 " (height(limit)) "H100" } {}
                    @for (pod_hours, wait, rated) in &points {
                        // A line without a length, so that it stays round.
                        path.dots.chosen[is_chosen(found, rated)].tried[!is_chosen(found, rated)]
                            d={ "M" (across(*pod_hours)) " " (height(*wait)) "h0" } {
                            title { (number(*pod_hours, 2)) " pod-hours, " (seconds(*wait)) }
                        }
                    }
                }
                div.ticks aria-hidden="true" {
                    @for part in [0.0, 0.25, 0.5, 0.75] {
                        span style={ "left:" (percent(part)) } { (number(right * part, 1)) @if part == 0.0 { " pod-hours" } }
                    }
                }
            }
        }
    }
}

fn table(found: &Recommendation) -> Markup {
    let headings = [
        "candidate",
        "pod-hours",
        "wait",
        "longest wait",
        "interrupted",
        "target",
        "maxLatency",
        "scheduledIn",
        "cooldown",
        "window",
        "removed per min",
        "min",
        "max",
    ];
    html! {
        div.scroll role="region" tabindex="0" aria-label="Candidates that no other beats, as a table" {
            table {
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody {
                    @for (index, rated) in found.front_and_chosen().iter().enumerate() {
                        @let (candidate, latency) = (&rated.candidate, &rated.latency_seconds);
                        tr {
                            th scope="row" { (index + 1) @if is_chosen(found, rated) { " (chosen)" } }
                            td { data value=(rated.pod_hours) { (number(rated.pod_hours, 2)) } }
                            td { (seconds(found.promise.wait(latency))) }
                            td { (seconds(latency.max)) }
                            td { (rated.jobs_interrupted) }
                            td { (candidate.target) }
                            td { @if candidate.max_latency == 0 { "–" } @else { (candidate.max_latency) " s" } }
                            td { (candidate.scheduled_in) " s" }
                            td { (candidate.cooldown) " s" }
                            td { (candidate.stabilization) " s" }
                            td { (candidate.removed_per_minute) }
                            td { (candidate.min) }
                            td { (candidate.max) }
                        }
                    }
                }
            }
        }
    }
}
