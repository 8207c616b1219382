//! The carbon margin at the end of an expression, as in `0 3 * * * [PT2H/PT4H]`.
//!
//! JobRunr may run such a job a margin earlier or later than the schedule says, but the schedule's own instant is the
//! same with and without. Facts from JobRunr's `CarbonAwareScheduleMargin`, which looks for brackets in its own way.

use super::ScheduleError;
use super::java_duration;
use super::java_text;

/// The expression without its margin, which is checked.
pub(super) fn strip(expression: &str) -> Result<&str, ScheduleError> {
    if let Some(margin) = find(expression)
        && !is_valid(margin)
    {
        return Err(ScheduleError::Margin(margin.to_owned()));
    }
    // JobRunr wants a slash somewhere, not in the brackets: `*/5 * * * * []` is valid, and `5 * * * * []` is not.
    match expression.rfind('[') {
        Some(start) if expression.contains('/') && expression.contains(']') => {
            Ok(java_text::trim(&expression[..start]))
        }
        _ => Ok(expression),
    }
}

/// The text after the last opening bracket, up to a closing one if it follows. None for `[]`, which is no margin.
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
