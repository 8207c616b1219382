//! Charts as inline SVG, stretched to any width; their labels are HTML, which keeps its size.

use std::fmt::Write;

use maud::{Markup, html};

/// A chart of columns of equal width.
pub(super) struct Chart {
    /// What is shown, in a few words.
    pub(super) title: &'static str,
    /// What a person who cannot see it should know.
    pub(super) summary: String,
    /// Drawn in this order.
    pub(super) marks: Vec<Marks>,
    /// The number of columns.
    pub(super) columns: usize,
    /// The top of the scale, from [`scale_top`].
    pub(super) top: f64,
    /// The unit of the scale: a suffix of its labels.
    pub(super) unit: &'static str,
    /// Labels below the chart, with their places from 0 to 1.
    pub(super) ticks: Vec<(f64, String)>,
    /// What a part of the chart says when a person points at it. Parts have equal widths.
    pub(super) hints: Vec<String>,
    /// A vertical line with its label, at a place from 0 to 1.
    pub(super) line: Option<(f64, String)>,
}

/// A row of values.
pub(super) struct Marks {
    /// The CSS class with its color.
    pub(super) class: &'static str,
    /// Its name in the legend.
    pub(super) label: &'static str,
    pub(super) shape: Shape,
    /// One value per column.
    pub(super) values: Vec<f64>,
}

/// How values are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A line in steps.
    Line,
    /// Steps, filled down to zero.
    Area,
    /// A bar for each column.
    Bars,
}

impl Chart {
    pub(super) fn render(&self) -> Markup {
        html! {
            figure {
                figcaption {
                    strong { (self.title) }
                    span.legend {
                        @for marks in &self.marks {
                            span.key { span.swatch.(marks.class).line[marks.shape == Shape::Line] {} (marks.label) }
                        }
                        @if let Some((_, label)) = &self.line { span.key { span.swatch.limit.line {} (label) } }
                    }
                }
                div.plot {
                    div.scale aria-hidden="true" {
                        @for part in [1.0, 0.5, 0.0] { span { (label(self.top * part)) (self.unit) } }
                    }
                    (self.svg())
                    div.ticks aria-hidden="true" {
                        @for (place, label) in &self.ticks { span style={ "left:" (percent(*place)) } { (label) } }
                    }
                }
            }
        }
    }

    fn svg(&self) -> Markup {
        let columns = self.columns;
        let hint_width = columns as f64 / self.hints.len().max(1) as f64;
        html! {
            svg role="img" aria-label={ (self.title) ": " (self.summary) } viewBox={ "0 0 " (columns) " 100" }
                preserveAspectRatio="none" {
                path.grid d={ "M0 50H" (columns) "M0 0H" (columns) } {}
                @for marks in &self.marks {
                    path.(marks.class).area[marks.shape != Shape::Line].line[marks.shape == Shape::Line]
                        d=(marks.path(self.top)) {}
                }
                @if let Some((place, _)) = &self.line {
                    path.limit.line d={ "M" (coordinate(place * columns as f64)) " 0V100" } {}
                }
                @for (index, hint) in self.hints.iter().enumerate() {
                    rect.hint x=(coordinate(index as f64 * hint_width)) width=(coordinate(hint_width)) height="100" {
                        title { (hint) }
                    }
                }
            }
        }
    }
}

impl Marks {
    /// Returns the path in a coordinate system of one unit per column and 100 from top to bottom.
    fn path(&self, top: f64) -> String {
        let mut path = String::new();
        let height = |value: f64| coordinate(100.0 - (value / top * 100.0).clamp(0.0, 100.0));
        let mut last = None;
        for (column, &value) in self.values.iter().enumerate() {
            let y = height(value);
            let _ = match (self.shape, &last) {
                (Shape::Bars, _) if 0.0 < value => write!(path, "M{column}.05 100V{y}h.9V100z"),
                (Shape::Bars, _) => Ok(()),
                (Shape::Line, None) => write!(path, "M0 {y}"),
                (Shape::Area, None) => write!(path, "M0 100V{y}"),
                (_, Some(last)) if *last == y => Ok(()),
                (_, Some(_)) => write!(path, "H{column}V{y}"),
            };
            last = Some(y);
        }
        let _ = match self.shape {
            Shape::Line => write!(path, "H{}", self.values.len()),
            Shape::Area => write!(path, "H{}V100z", self.values.len()),
            Shape::Bars => Ok(()),
        };
        path
    }
}

/// Returns the top of a scale for these values: 2, 4, 6, 8 or 10 times a power of ten, so that its middle is a plain number too.
pub(super) fn scale_top(values: impl IntoIterator<Item = f64>) -> f64 {
    let most = values.into_iter().fold(1.0, f64::max);
    let power = 10.0_f64.powf(most.log10().ceil() - 1.0).max(1.0);
    (most / power / 2.0).ceil() * 2.0 * power
}

fn label(value: f64) -> String {
    crate::text::number(value, 1)
}

/// A place from 0 to 1 as CSS has it.
pub(super) fn percent(place: f64) -> String {
    format!("{}%", coordinate(place * 100.0))
}

fn coordinate(value: f64) -> String {
    crate::text::number(value, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_top_is_a_plain_number_above_all_values() {
        let check = |most: f64, expected: f64| assert_eq!(scale_top([0.0, most]), expected, "{most}");
        check(0.0, 2.0);
        check(1.0, 2.0);
        check(2.0, 2.0);
        check(3.0, 4.0);
        check(10.0, 10.0);
        check(11.0, 20.0);
        check(401.0, 600.0);
        check(1000.0, 1000.0);
        check(9999.0, 10_000.0);
    }

    #[test]
    fn path_has_a_step_where_the_value_changes() {
        let check = |shape: Shape, expected: &str| {
            let marks = Marks { class: "waiting", label: "", shape, values: vec![0.0, 2.0, 2.0, 9.0] };
            assert_eq!(marks.path(4.0), expected);
        };
        check(Shape::Line, "M0 100H1V50H3V0H4");
        check(Shape::Area, "M0 100V100H1V50H3V0H4V100z");
        check(Shape::Bars, "M1.05 100V50h.9V100zM2.05 100V50h.9V100zM3.05 100V0h.9V100z");
    }
}
