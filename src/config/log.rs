//! What to log, and how.

use super::mistake::{did_you_mean, shown};

/// What to log, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which events, in the words of `tracing_subscriber::filter::Targets`: levels, also by module. Default `info`. Known to be
    /// valid, and to say something about the scaler itself.
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The levels of [`LogConfig::filter`].
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The module of all lines that the scaler itself logs.
const OURS: &str = "jobrunr_scaler";

pub(super) fn parse_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{} is no log format; write `text` or `json`", shown(other))),
    }
}

/// Checked by hand: `Targets` takes an unknown word for the name of a module, so that a misspelt level logs nothing.
pub(super) fn parse_filter(text: &str) -> Result<String, String> {
    // What is not shown of the whole is not shown of a part.
    let part = |part: &str| if shown(text).starts_with('`') { shown(part) } else { "a part of it".to_owned() };
    let mut has_level_for_us = false;
    let mut directives = Vec::new();
    for directive in text.split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module.trim()), level.trim().to_ascii_lowercase()),
            None => (None, directive.to_ascii_lowercase()),
        };
        if !LEVELS.contains(&level.as_str()) {
            let meant = did_you_mean(&level, LEVELS);
            return Err(no_filter(text, format_args!("{} is no level{meant}", part(&level))));
        }
        if let Some(module) = module.filter(|module| !is_module(module)) {
            return Err(no_filter(text, format_args!("{} is no name of a module", part(module))));
        }
        has_level_for_us |= module.is_none_or(|module| module.split("::").next() == Some(OURS));
        directives.push(module.map_or_else(|| level.clone(), |module| format!("{module}={level}")));
    }
    if !has_level_for_us {
        return Err(no_filter(text, format_args!("it has no level for the scaler itself, which would log nothing")));
    }
    Ok(directives.join(","))
}

fn no_filter(text: &str, cause: std::fmt::Arguments) -> String {
    let levels = LEVELS.join(", ");
    format!(
        "{} is no log filter: {cause}; write one of {levels}, and where you want it also by module, as in \
         `info,{OURS}=debug`",
        shown(text)
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
    fn filter_takes_levels_also_by_module() {
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
        check("verbose", "`verbose` is no level");
        check("inof", "did you mean `info`?");
        check("jobrunr_scaler", "`jobrunr_scaler` is no level");
        check("jobrunr_scaler=verbose", "`verbose` is no level");
        check("info,jobrunr-scaler=debug", "`jobrunr-scaler` is no name of a module");
        check("info,[span{field=1}]=debug", "is no level");
        check("sqlx=debug", "no level for the scaler itself");
        check("jobrunr_scaler2=debug", "no level for the scaler itself");
        check("info,,debug", "`` is no level");
        check("3", "`3` is no level");
    }
}
