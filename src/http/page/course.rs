//! The last half hour of a trigger as a line: SVG that stretches to any width, with labels in HTML, which keep their size.

use std::fmt::Write;

use maud::{Markup, html};

use crate::recent::{COLUMN_SECONDS, Column, N_COLUMNS};
use crate::text::{counted, number};

/// How many columns an answer is drawn on, if nothing follows it: KEDA asks every 30 s by default.
const HOLD: usize = 12;
/// The height of the picture, and of the band that shows when the trigger was active.
const HEIGHT: f64 = 60.0;
const BAND: f64 = 4.0;

/// Returns the line of a trigger. `name` is the trigger's, for those who cannot see it.
pub(super) fn line(name: &str, columns: &[Column]) -> Markup {
    let columns = &held(columns);
    let ratios: Vec<Option<f32>> = columns.iter().map(|column| column.ratio).collect();
    let most = ratios.iter().flatten().copied().fold(0.0, f32::max);
    let top = f64::from(scale_top(most));
    let band = HEIGHT - BAND;
    html! {
        div.course {
            div.scale aria-hidden="true" { span { (number(top, 1)) } span { "0" } }
            svg role="img" aria-label={ (name) ": " (summary(columns, most)) } preserveAspectRatio="none"
                viewBox={ "0 0 " (N_COLUMNS) " " (HEIGHT) } {
                path.grid d={ "M0 " (number(HEIGHT / 2.0, 1)) "H" (N_COLUMNS) "M0 0H" (N_COLUMNS) } {}
                path.ratio d=(area(&ratios, top, band)) {}
                path.on d=(strips(columns, band, |column| column.active)) {}
                path.failed d=(strips(columns, band, |column| column.failed)) {}
                path.push d=(pushes(columns)) {}
            }
            div.times aria-hidden="true" { span { "30 min ago" } span { "now" } }
        }
    }
}

/// Returns what the line shows, in words.
fn summary(columns: &[Column], most: f32) -> String {
    let count = |is_so: fn(&Column) -> bool| columns.iter().filter(|column| is_so(column)).count() as u64;
    let minutes = |n_columns: u64| number((n_columns * COLUMN_SECONDS) as f64 / 60.0, 1);
    let mut words = format!("in the last 30 minutes value ÷ target was at most {}", number(f64::from(most), 1));
    let active = count(|column| column.active);
    if 0 < active {
        let _ = write!(words, ", active in {} minutes", minutes(active));
    }
    let (pushed, failed) = (count(|column| column.pushed), count(|column| column.failed));
    if 0 < pushed {
        let _ = write!(words, ", {}", counted(pushed, "push").replace("pushs", "pushes"));
    }
    if 0 < failed {
        let _ = write!(words, ", without an answer in {} minutes", minutes(failed));
    }
    words
}

/// The columns, those without an answer with that of an earlier one if it is not long ago.
fn held(columns: &[Column]) -> Vec<Column> {
    let mut last: Option<(usize, Column)> = None;
    let held = columns.iter().enumerate().map(|(at, column)| {
        if column.ratio.is_some() {
            last = Some((at, *column));
            return *column;
        }
        if column.failed {
            last = None;
        }
        match last.filter(|(since, _)| at - since <= HOLD) {
            Some((_, answer)) => Column { ratio: answer.ratio, active: answer.active, ..*column },
            None => *column,
        }
    });
    held.collect()
}

/// Steps, filled down to the band; a gap where nothing is known.
fn area(ratios: &[Option<f32>], top: f64, bottom: f64) -> String {
    let mut path = String::new();
    let mut last: Option<String> = None;
    for (at, ratio) in ratios.iter().enumerate() {
        let y = ratio.map(|ratio| number(bottom * (1.0 - (f64::from(ratio) / top).clamp(0.0, 1.0)), 1));
        let _ = match (&last, &y) {
            (None, Some(y)) => write!(path, "M{at} {bottom}V{y}"),
            (Some(last), Some(y)) if last != y => write!(path, "H{at}V{y}"),
            (Some(_), None) => write!(path, "H{at}V{bottom}z"),
            _ => Ok(()),
        };
        last = y;
    }
    if last.is_some() {
        let _ = write!(path, "H{}V{bottom}z", ratios.len());
    }
    path
}

/// Strips in the band where something was so.
fn strips(columns: &[Column], top: f64, is_so: fn(&Column) -> bool) -> String {
    let mut path = String::new();
    let mut began = None;
    for at in 0..=columns.len() {
        match (began, columns.get(at).is_some_and(is_so)) {
            (None, true) => began = Some(at),
            (Some(from), false) => {
                let _ = write!(path, "M{from} {top}H{at}V{HEIGHT}H{from}z");
                began = None;
            }
            _ => {}
        }
    }
    path
}

fn pushes(columns: &[Column]) -> String {
    let pushed = columns.iter().enumerate().filter(|(_, column)| column.pushed);
    pushed.fold(String::new(), |mut path, (at, _)| {
        let _ = write!(path, "M{at}.5 0V7");
        path
    })
}

/// Returns the top of a scale: 1, 2 or 5 times a power of ten, at least 1.
fn scale_top(most: f32) -> f32 {
    let mut power = 1.0_f32;
    while most.is_finite() && power * 10.0 < most {
        power *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|top| most <= *top).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(ratio: f32) -> Column {
        Column { ratio: Some(ratio), ..Column::default() }
    }

    #[test]
    fn area_has_steps_and_gaps() {
        let (none, one, two) = (None, Some(1.0), Some(2.0));
        assert_eq!(area(&[none, one, one, two, none, one], 2.0, 56.0), "M1 56V28H3V0H4V56zM5 56V28H6V56z");
        assert_eq!(area(&[none, none], 2.0, 56.0), "");
    }

    #[test]
    fn answer_is_held_until_it_is_too_old() {
        let mut columns = vec![Column::default(); 20];
        columns[2] = Column { active: true, pushed: true, ..answered(3.0) };
        let held = held(&columns);
        let is_held = |column: &Column| *column == Column { active: true, ..answered(3.0) };
        assert_eq!(held.iter().position(is_held), Some(3));
        assert_eq!(held.iter().rposition(is_held), Some(2 + HOLD));
    }

    #[test]
    fn strips_cover_what_was_so() {
        let on = |active| Column { active, ..Column::default() };
        assert_eq!(
            strips(&[on(true), on(true), on(false), on(true)], 56.0, |c| c.active),
            "M0 56H2V60H0zM3 56H4V60H3z"
        );
    }

    #[test]
    fn scale_top_is_a_round_number_above_all() {
        let check = |most: f32, expected: f32| assert_eq!(scale_top(most), expected, "{most}");
        check(0.0, 1.0);
        check(1.0, 1.0);
        check(1.1, 2.0);
        check(3.0, 5.0);
        check(7.0, 10.0);
        check(11.0, 20.0);
        check(1_000.0, 1_000.0);
        check(f32::INFINITY, 10.0);
    }
}
