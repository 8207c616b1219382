//! What to log, and how.

use super::problem::quoted;
use crate::text::suggest::did_you_mean;

/// What to log, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which events, in the syntax of `tracing_subscriber::filter::Targets`: levels, also per module. Default `info`. Checked to be
    /// valid and to have a level for the scaler itself.
    pub filter: String,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The levels of [`LogConfig::filter`].
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The root module of everything that the scaler itself logs.
const OURS: &str = "jobrunr_scaler";

pub(super) fn parse_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{} is not a log format; use `text` or `json`", quoted(other))),
    }
}

/// Checks the filter by hand: `Targets` reads an unknown word as the name of a module, so that a misspelled level logs nothing.
pub(super) fn parse_filter(text: &str) -> Result<String, String> {
    // If the whole must not be shown, no part must be.
    let part = |part: &str| if quoted(text).starts_with('`') { quoted(part) } else { "a part of it".to_owned() };
    let mut has_level_for_us = false;
    let mut directives = Vec::new();
    for directive in text.split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module.trim()), level.trim().to_ascii_lowercase()),
            None => (None, directive.to_ascii_lowercase()),
        };
        if !LEVELS.contains(&level.as_str()) {
            let hint = did_you_mean(&level, LEVELS);
            return Err(invalid(text, format_args!("{} is not a level{hint}", part(&level))));
        }
        if let Some(module) = module.filter(|module| !is_module(module)) {
            return Err(invalid(text, format_args!("{} is not the name of a module", part(module))));
        }
        has_level_for_us |= module.is_none_or(|module| module.split("::").next() == Some(OURS));
        directives.push(module.map_or_else(|| level.clone(), |module| format!("{module}={level}")));
    }
    if !has_level_for_us {
        return Err(invalid(text, format_args!("it has no level for the scaler itself, which would log nothing")));
    }
    Ok(directives.join(","))
}

fn invalid(text: &str, cause: std::fmt::Arguments) -> String {
    let levels = LEVELS.join(", ");
    format!(
        "{} is not a log filter: {cause}; use one of {levels}, optionally also per module, such as `info,{OURS}=debug`",
        quoted(text)
    )
}

fn is_module(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text.split("::").all(is_part)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::Targets;

    use super::*;

    #[test]
    fn filter_accepts_levels_also_per_module() {
        for (text, expected) in [
            ("info", "info"),
            ("OFF", "off"),
            ("info,jobrunr_scaler=debug", "info,jobrunr_scaler=debug"),
            (" Warn , jobrunr_scaler::monitor = TRACE,sqlx=off", "warn,jobrunr_scaler::monitor=trace,sqlx=off"),
            ("jobrunr_scaler=error", "jobrunr_scaler=error"),
        ] {
            let filter = parse_filter(text);
            assert_eq!(filter.as_deref(), Ok(expected));
            assert!(expected.parse::<Targets>().is_ok(), "{text}");
        }
    }

    #[test]
    fn filter_that_never_logs_a_line_is_rejected() {
        let check = |text: &str, expected: &str| {
            let error = parse_filter(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("off, error, warn, info, debug, trace"), "{error}");
        };
        check("verbose", "`verbose` is not a level");
        check("inof", "did you mean `info`?");
        check("jobrunr_scaler", "`jobrunr_scaler` is not a level");
        check("jobrunr_scaler=verbose", "`verbose` is not a level");
        check("info,jobrunr-scaler=debug", "`jobrunr-scaler` is not the name of a module");
        check("info,[span{field=1}]=debug", "is not a level");
        check("sqlx=debug", "no level for the scaler itself");
        check("jobrunr_scaler2=debug", "no level for the scaler itself");
        check("info,,debug", "`` is not a level");
        check("3", "`3` is not a level");
    }
}
