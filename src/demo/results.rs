//! The results, and whether they are as expected.

use jiff::{SignedDuration, Timestamp};

use super::state::Measurements;
use super::view::Paint;
use crate::text::counted;

/// One line of the results.
struct Line {
    name: String,
    found: String,
    /// Whether it is as expected; `None` if nothing is.
    good: Option<bool>,
}

/// Returns the results as text, and those that were not expected.
pub(super) fn results(measured: &Measurements, paint: Paint) -> (String, Vec<String>) {
    let lines = lines(measured);
    let mut text = format!("{}\n", paint.bold("Results"));
    for line in &lines {
        let mark = match line.good {
            Some(true) => paint.good("✓"),
            Some(false) => paint.bad("✗"),
            None => " ".to_owned(),
        };
        text.push_str(&format!(" {mark} {:<38}{}\n", line.name, line.found));
    }
    let unexpected = lines.into_iter().filter(|line| line.good == Some(false));
    (text, unexpected.map(|line| format!("{}: {}", line.name, line.found)).collect())
}

fn lines(measured: &Measurements) -> Vec<Line> {
    let story = &measured.story;
    let (scheduled, due) = measured.first_work.unzip();
    let wanted = counted(story.n_pods.into(), "pod");
    let all_pods = measured.scalings.iter().find(|(_, replicas)| *replicas == story.n_pods).map(|(at, _)| *at);
    let zero = measured.zero_after_work();
    let line = |name: &str, found, good| Line { name: name.to_owned(), found, good };
    vec![
        line(
            "jobs done",
            format!("{} of {}", measured.counts().succeeded, measured.n_made),
            Some(is_all_done(measured)),
        ),
        line("jobs interrupted by scaling down", measured.n_interrupted.to_string(), Some(measured.n_interrupted == 0)),
        line("jobs scheduled → pods wanted", between(scheduled, first_scaling(measured)), None),
        line("first pod ready", relative(measured.first_ready, due), Some(is_before(measured.first_ready, due))),
        line(&format!("{wanted} wanted"), relative(all_pods, due), Some(is_before(all_pods, due))),
        line("first job started", relative(measured.first_start, due), None),
        line("most pods wanted", measured.peak().to_string(), Some(measured.peak() == story.n_pods)),
        line("last job done → zero pods", between(measured.all_done, zero), Some(has_cooled_down(measured))),
        line(
            "woken from zero for the recurring job",
            relative(measured.woken_again(), measured.run_at),
            Some(is_before(measured.woken_again(), measured.run_at)),
        ),
        line("recurring job done", relative(measured.run_done, measured.run_at), Some(measured.run_done.is_some())),
    ]
}

fn is_all_done(measured: &Measurements) -> bool {
    measured.n_made == measured.story.batch.n_jobs && measured.counts().succeeded == measured.n_made
}

/// The cooldown begins with the last poll that found a trigger active, up to a polling interval before the last job was done.
fn has_cooled_down(measured: &Measurements) -> bool {
    let waited = measured.zero_after_work().zip(measured.all_done).map(|(zero, done)| zero.duration_since(done));
    waited.is_some_and(|waited| measured.story.cooldown / 2 < waited)
}

fn is_before(at: Option<Timestamp>, due: Option<Timestamp>) -> bool {
    at.zip(due).is_some_and(|(at, due)| at < due)
}

fn first_scaling(measured: &Measurements) -> Option<Timestamp> {
    measured.scalings.first().map(|(at, _)| *at)
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    from.zip(to).map_or_else(never, |(from, to)| seconds(to.duration_since(from)))
}

/// An instant relative to the one at which jobs or a run are due.
fn relative(at: Option<Timestamp>, due: Option<Timestamp>) -> String {
    at.zip(due).map_or_else(never, |(at, due)| {
        let early = due.duration_since(at);
        let side = if early.is_negative() { "after" } else { "before" };
        format!("{} {side} the due time", seconds(early.abs()))
    })
}

fn never() -> String {
    "never".to_owned()
}

fn seconds(duration: SignedDuration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
