//! Applies a changed configuration while serving. An invalid one is rejected, and the previous one stays in use.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{info, warn};

use super::storages::Storages;
use super::storages_by_name;
use crate::config::{Config, ConfigErrors, Loaded, Origin, Problem, variables};
use crate::debounced::Debounced;
use crate::metrics::Metrics;

/// How often the configuration is loaded. Contents are compared, those of files that it names as well.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Follows the file, and reloads on SIGHUP. Never returns.
pub(super) async fn follow(
    file: Option<PathBuf>,
    mut hangup: Signal,
    config: Config,
    mut storages: Storages,
    metrics: &Metrics,
) {
    let mut reload = Reload::new(config);
    loop {
        let is_requested = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(CHECK_INTERVAL) => false,
        };
        let loaded = Config::load_to_connect(file.as_deref(), variables());
        match reload.action(loaded, is_requested) {
            None => {}
            Some(ReloadAction::Unchanged) => {
                info!("configuration unchanged");
                metrics.record_reload(true);
            }
            Some(ReloadAction::Apply { loaded, needs_restart }) => {
                for warning in &loaded.warnings {
                    warn!("{warning}");
                }
                for key in needs_restart {
                    warn!("`{key}` has changed, which requires a restart; the rest of the configuration is applied");
                }
                storages.follow(&storages_by_name(loaded.config));
                info!("configuration applied");
                metrics.record_reload(true);
            }
            Some(ReloadAction::Reject(errors)) => {
                for Problem { origin, text } in errors.problems() {
                    match origin {
                        Origin::Unknown => warn!("{text}"),
                        origin => warn!("{origin}: {text}"),
                    }
                }
                warn!(problems = errors.problems().len(), "new configuration rejected; the previous one stays in use");
                metrics.record_reload(false);
            }
        }
    }
}

/// What to do with a loaded configuration.
#[derive(Debug)]
enum ReloadAction {
    /// It is in use already.
    Unchanged,
    Apply {
        loaded: Box<Loaded>,
        needs_restart: Vec<&'static str>,
    },
    Reject(ConfigErrors),
}

/// Compares loaded configurations.
struct Reload {
    in_use: Config,
    /// A configuration, or its errors.
    last: Debounced<Result<Config, String>>,
}

impl Reload {
    fn new(in_use: Config) -> Self {
        Self { last: Debounced::new(Ok(in_use.clone())), in_use }
    }

    /// Returns what to do, if anything: once per change that has settled, and whenever a reload is requested.
    fn action(&mut self, loaded: Result<Loaded, ConfigErrors>, is_requested: bool) -> Option<ReloadAction> {
        let content = match &loaded {
            Ok(loaded) => Ok(loaded.config.clone()),
            Err(errors) => Err(errors.to_string()),
        };
        if is_requested {
            self.last.accept(content);
        } else if !self.last.observe(&content) {
            return None;
        }
        Some(match loaded {
            Err(errors) => ReloadAction::Reject(errors),
            Ok(loaded) if loaded.config == self.in_use => ReloadAction::Unchanged,
            Ok(loaded) => {
                let old = std::mem::replace(&mut self.in_use, loaded.config.clone());
                ReloadAction::Apply { needs_restart: needs_restart(&old, &loaded.config), loaded: Box::new(loaded) }
            }
        })
    }
}

/// Returns the keys that have changed but cannot change while serving.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("listen", old.listen != new.listen),
        ("http", (old.http, old.page) != (new.http, new.page)),
        ("log", old.log != new.log),
        ("tls", old.tls != new.tls),
    ];
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a configuration as if it was loaded from a file.
    fn loaded(url: &str, listen: &str) -> Result<Loaded, ConfigErrors> {
        let variables = [("URL", url), ("LISTEN", listen)];
        Config::load(None, variables.map(|(name, value)| (format!("JOBRUNR_SCALER_{name}"), value.to_owned())))
    }

    fn action(reload: &mut Reload, url: &str, is_requested: bool) -> String {
        match reload.action(loaded(url, "127.0.0.1:1"), is_requested) {
            None => "nothing".to_owned(),
            Some(ReloadAction::Unchanged) => "unchanged".to_owned(),
            Some(ReloadAction::Apply { loaded, .. }) => format!("apply {}", loaded.config.storages["default"].address),
            Some(ReloadAction::Reject(_)) => "reject".to_owned(),
        }
    }

    #[test]
    fn reload_applies_only_settled_files() {
        let mut reload = Reload::new(loaded("sqlite:a", "127.0.0.1:1").unwrap().config);
        for (url, expected) in [
            ("sqlite:a", "nothing"),
            ("sqlite:b", "nothing"),
            ("sqlite:b", "apply sqlite:b"),
            ("sqlite:b", "nothing"),
            // Written in two steps.
            ("sql", "nothing"),
            ("sqlite:c", "nothing"),
            ("sqlite:c", "apply sqlite:c"),
            ("sql", "nothing"),
            ("sql", "reject"),
            ("sql", "nothing"),
            ("mysql://h", "nothing"),
            ("mysql://h", "reject"),
            ("sqlite:c", "nothing"),
            ("sqlite:c", "unchanged"),
            ("sqlite:c", "nothing"),
        ] {
            assert_eq!(action(&mut reload, url, false), expected, "{url}");
        }
    }

    #[test]
    fn reload_on_request_is_immediate() {
        let mut reload = Reload::new(loaded("sqlite:a", "127.0.0.1:1").unwrap().config);
        for (url, expected) in [
            ("sqlite:a", "unchanged"),
            ("sqlite:b", "apply sqlite:b"),
            ("sqlite:b", "unchanged"),
            ("sql", "reject"),
            ("sql", "reject"),
        ] {
            assert_eq!(action(&mut reload, url, true), expected, "{url}");
        }
    }

    #[test]
    fn reload_names_keys_that_need_a_restart_and_applies_the_rest() {
        let mut reload = Reload::new(loaded("sqlite:a", "127.0.0.1:1").unwrap().config);
        let Some(ReloadAction::Apply { loaded, needs_restart }) =
            reload.action(loaded("sqlite:b", "127.0.0.1:2"), true)
        else {
            panic!("it is new");
        };
        assert_eq!(needs_restart, ["listen"]);
        assert_eq!(loaded.config.storages["default"].address.to_string(), "sqlite:b");
    }
}
