//! The carbon margin at the end of an expression, as in `0 3 * * * [PT2H/PT4H]`.
//!
//! JobRunr may run such a job earlier or later than scheduled, within the margin, but the scheduled instant is the same with
//! and without it. From JobRunr's `CarbonAwareScheduleMargin`, which finds the brackets in its own way.

use super::ScheduleError;
use super::java_duration;
use super::java_text;

/// Returns the expression without its margin, after checking the margin.
pub(super) fn strip(expression: &str) -> Result<&str, ScheduleError> {
    if let Some(margin) = find(expression)
        && !is_valid(margin)
    {
        return Err(ScheduleError::Margin(margin.to_owned()));
    }
    // JobRunr requires a slash anywhere, not only in the brackets: `*/5 * * * * []` is valid, and `5 * * * * []` is not.
    match expression.rfind('[') {
        Some(start) if expression.contains('/') && expression.contains(']') => {
            Ok(java_text::trim(&expression[..start]))
        }
        _ => Ok(expression),
    }
}

/// Returns the text after the last opening bracket, up to a closing one if there is one. `None` for `[]`, which is not a
/// margin.
fn find(expression: &str) -> Option<&str> {
    if !expression.contains(']') {
        return None;
    }
    let (_, after) = expression.rsplit_once('[')?;
    let margin = after.split_once(']').map_or(after, |(inside, _)| inside);
    (!margin.is_empty()).then_some(margin)
}

fn is_valid(margin: &str) -> bool {
    let Some((before, after)) = java_text::split_in_two(margin, '/') else { return false };
    [before, after]
        .into_iter()
        .all(|text| java_duration::parse_trimmed(text).is_some_and(|duration| !duration.is_negative()))
}
