//! The report for machines.

use std::io;

use super::Report;

/// The report as JSON: on one line each where reports follow one another.
///
/// # Errors
/// None that can be thought of: all keys are texts.
pub(super) fn text(report: &Report, on_one_line: bool) -> io::Result<String> {
    let text = if on_one_line { serde_json::to_string(report) } else { serde_json::to_string_pretty(report) };
    Ok(text? + "\n")
}
