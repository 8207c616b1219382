//! What came out, and whether it is what the guide says.

use jiff::{SignedDuration, Timestamp};

use super::board::State;
use super::view::Paint;
use super::work::STORY;

/// The pods that the guide's 40 scheduled jobs get, at 8 a pod.
const GUIDES_PODS: u32 = 5;

/// One line of the summary.
struct Line {
    name: &'static str,
    found: String,
    /// Whether it is as it should be; `None` where anything may come out.
    good: Option<bool>,
}

/// The summary as text, and what did not come out.
pub(super) fn summary(state: &State, paint: Paint) -> (String, Vec<String>) {
    let lines = lines(state);
    let mut text = format!("\n{}\n", paint.bold("What came out"));
    for line in &lines {
        let mark = match line.good {
            Some(true) => paint.good("✓"),
            Some(false) => paint.bad("✗"),
            None => " ".to_owned(),
        };
        text.push_str(&format!(" {mark} {:<38}{}\n", line.name, line.found));
    }
    let bad = lines.into_iter().filter(|line| line.good == Some(false));
    (text, bad.map(|line| format!("{}: {}", line.name, line.found)).collect())
}

fn lines(state: &State) -> Vec<Line> {
    let due = state.first_work.map(|(_, due)| due);
    let asked_for_work = state.first_work.map(|(at, _)| at);
    let pods_in_time = state.scalings.iter().find(|(at, n)| *n == GUIDES_PODS && due.is_some_and(|due| *at < due));
    let zero = state.zero_after_work();
    let line = |name, found, good| Line { name, found, good };
    vec![
        line("jobs done", format!("{} of {}", state.counts.succeeded, state.n_made), Some(is_all_done(state))),
        line("jobs cut by scaling in", state.n_cut.to_string(), Some(state.n_cut == 0)),
        line("jobs scheduled → pod started", between(asked_for_work, woken(state)), None),
        line("jobs scheduled → first pod ready", between(asked_for_work, state.first_ready), Some(is_ready(state))),
        line(
            "5 pods before the jobs were due",
            pods_in_time.map_or("no".to_owned(), |(at, _)| format!("yes, {}", before(due, *at))),
            Some(pods_in_time.is_some()),
        ),
        line("first job began", state.first_start.map_or("never".to_owned(), |at| before(due, at)), None),
        line("most pods", state.peak().to_string(), Some(GUIDES_PODS < state.peak())),
        line("last job done → zero pods", between(state.all_done, zero), Some(zero.is_some())),
        line(
            "at zero, woken for the recurring job",
            state.woken_again().map_or("never".to_owned(), |at| before(state.run_at, at)),
            Some(state.woken_again().is_some_and(|at| state.run_at.is_some_and(|due| at < due))),
        ),
        line("recurring job done", lateness(state), Some(state.run_done.is_some())),
    ]
}

fn is_all_done(state: &State) -> bool {
    state.n_made == STORY.n_jobs && state.counts.succeeded == state.n_made
}

/// Whether a pod was there when the jobs were due.
fn is_ready(state: &State) -> bool {
    matches!((state.first_ready, state.first_work), (Some(ready), Some((_, due))) if ready < due)
}

fn woken(state: &State) -> Option<Timestamp> {
    state.scalings.first().map(|(at, _)| *at)
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => seconds(to.duration_since(from)),
        _ => "never".to_owned(),
    }
}

fn before(due: Option<Timestamp>, at: Timestamp) -> String {
    let early = due.map_or(SignedDuration::ZERO, |due| due.duration_since(at));
    let side = if early.is_negative() { "after" } else { "before" };
    format!("{} {side} their time", seconds(early.abs()))
}

fn lateness(state: &State) -> String {
    match (state.run_at, state.run_done) {
        (Some(at), Some(done)) => {
            format!("{} after its time", seconds(done.duration_since(at).max(SignedDuration::ZERO)))
        }
        _ => "never".to_owned(),
    }
}

fn seconds(duration: SignedDuration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
