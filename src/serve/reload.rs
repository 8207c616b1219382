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
            Some(ReloadAction::Unchanged { needs_restart }) => {
                info!("configuration unchanged");
                report(&needs_restart, metrics);
            }
            Some(ReloadAction::Apply { loaded, needs_restart }) => {
                for warning in &loaded.warnings {
                    warn!("{warning}");
                }
                storages.follow(&storages_by_name(loaded.config));
                info!("configuration applied");
                report(&needs_restart, metrics);
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

/// Reports whether all of the configuration is in use.
fn report(needs_restart: &[&str], metrics: &Metrics) {
    for key in needs_restart {
        warn!(
            "`{key}` differs from what it was at the start, and needs a restart; the rest of the configuration is in use"
        );
    }
    metrics.record_reload(needs_restart.is_empty());
}

/// What to do with a loaded configuration. `needs_restart` are the keys that are not in use as they are in it.
#[derive(Debug)]
enum ReloadAction {
    /// It was applied already.
    Unchanged {
        needs_restart: Vec<&'static str>,
    },
    Apply {
        loaded: Box<Loaded>,
        needs_restart: Vec<&'static str>,
    },
    Reject(ConfigErrors),
}

/// Compares loaded configurations.
struct Reload {
    at_start: Config,
    applied: Config,
    /// A configuration, or its errors.
    last: Debounced<Result<Config, String>>,
}

impl Reload {
    fn new(at_start: Config) -> Self {
        Self { last: Debounced::new(Ok(at_start.clone())), applied: at_start.clone(), at_start }
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
            Ok(loaded) => {
                let needs_restart = needs_restart(&self.at_start, &loaded.config);
                if loaded.config == self.applied {
                    ReloadAction::Unchanged { needs_restart }
                } else {
                    self.applied = loaded.config.clone();
                    ReloadAction::Apply { needs_restart, loaded: Box::new(loaded) }
                }
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
            Some(ReloadAction::Unchanged { .. }) => "unchanged".to_owned(),
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
        // Of a change that was reported before as well; not of one that was taken back.
        for (url, listen, expected) in [
            ("sqlite:b", "127.0.0.1:2", vec!["listen"]),
            ("sqlite:c", "127.0.0.1:2", vec!["listen"]),
            ("sqlite:d", "127.0.0.1:1", vec![]),
        ] {
            let Some(ReloadAction::Apply { loaded, needs_restart }) = reload.action(loaded(url, listen), true) else {
                panic!("it is new");
            };
            assert_eq!(needs_restart, expected);
            assert_eq!(loaded.config.storages["default"].address.to_string(), url);
        }
        let unchanged = reload.action(loaded("sqlite:d", "127.0.0.1:1"), true);
        assert!(matches!(unchanged, Some(ReloadAction::Unchanged { needs_restart }) if needs_restart.is_empty()));
    }
}
