//! Takes up a changed configuration while serving, and keeps the old one where the new one is wrong.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{info, warn};

use super::storages::Storages;
use super::storages_by_name;
use crate::config::{Config, ConfigErrors, Loaded, Origin, Problem, variables};
use crate::metrics::Metrics;

/// How often to look. What is compared is what the file says, and the file of an address too.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Follows the file, and SIGHUP. Never returns.
pub(super) async fn follow(
    file: Option<PathBuf>,
    mut hangup: Signal,
    config: Config,
    mut storages: Storages,
    metrics: &Metrics,
) {
    let mut looks = Looks::new(config);
    loop {
        let is_asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let seen = Config::load_to_connect(file.as_deref(), variables());
        match looks.judge(seen, is_asked) {
            Verdict::Nothing => {}
            Verdict::AsBefore => {
                info!("the configuration is as before");
                metrics.record_reload(true);
            }
            Verdict::TakeUp { loaded, needs_restart } => {
                for warning in &loaded.warnings {
                    warn!("{warning}");
                }
                for key in needs_restart {
                    warn!("`{key}` has changed, which needs a restart; the rest of the configuration is taken up");
                }
                storages.follow(&storages_by_name(loaded.config));
                info!("the configuration is taken up");
                metrics.record_reload(true);
            }
            Verdict::Refuse(errors) => {
                for Problem { origin, text } in errors.problems() {
                    match origin {
                        Origin::Unknown => warn!("{text}"),
                        origin => warn!("{origin}: {text}"),
                    }
                }
                warn!(problems = errors.problems().len(), "the new configuration is not taken up, the old one stays");
                metrics.record_reload(false);
            }
        }
    }
}

/// What to do about a configuration that was seen.
#[derive(Debug)]
enum Verdict {
    Nothing,
    /// It is the one in use, which is worth a word.
    AsBefore,
    TakeUp {
        loaded: Box<Loaded>,
        needs_restart: Vec<&'static str>,
    },
    Refuse(ConfigErrors),
}

/// What was seen, for comparing.
type Seen = Result<Config, String>;

/// Judges what is seen. Somebody may be half done with writing the file, so that only what is seen twice in a row counts,
/// unless somebody asks.
struct Looks {
    in_use: Config,
    last: Seen,
    /// What was judged last.
    judged: Seen,
}

impl Looks {
    fn new(in_use: Config) -> Self {
        Self { last: Ok(in_use.clone()), judged: Ok(in_use.clone()), in_use }
    }

    fn judge(&mut self, seen: Result<Loaded, ConfigErrors>, is_asked: bool) -> Verdict {
        let key = match &seen {
            Ok(loaded) => Ok(loaded.config.clone()),
            Err(errors) => Err(errors.to_string()),
        };
        let is_settled = std::mem::replace(&mut self.last, key.clone()) == key;
        let is_known = self.judged == key;
        if !is_asked && (!is_settled || is_known) {
            return Verdict::Nothing;
        }
        self.judged = key;
        match seen {
            Err(errors) => Verdict::Refuse(errors),
            Ok(loaded) if loaded.config == self.in_use => Verdict::AsBefore,
            Ok(loaded) => {
                let old = std::mem::replace(&mut self.in_use, loaded.config.clone());
                Verdict::TakeUp { needs_restart: needs_restart(&old, &loaded.config), loaded: Box::new(loaded) }
            }
        }
    }
}

/// The keys that have changed and cannot change while serving.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("listen", old.listen != new.listen),
        ("http", old.http != new.http),
        ("log", old.log != new.log),
        ("tls", old.tls != new.tls),
    ];
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file says, loaded as if it had come from one.
    fn seen(url: &str, listen: &str) -> Result<Loaded, ConfigErrors> {
        let variables = [("URL", url), ("LISTEN", listen)];
        Config::load(None, variables.map(|(name, value)| (format!("JOBRUNR_SCALER_{name}"), value.to_owned())))
    }

    fn verdict(looks: &mut Looks, url: &str, is_asked: bool) -> String {
        match looks.judge(seen(url, "127.0.0.1:1"), is_asked) {
            Verdict::Nothing => "nothing".to_owned(),
            Verdict::AsBefore => "as before".to_owned(),
            Verdict::TakeUp { loaded, .. } => format!("take up {}", loaded.config.storages["default"].address),
            Verdict::Refuse(_) => "refuse".to_owned(),
        }
    }

    #[test]
    fn what_is_seen_twice_is_judged_once() {
        let mut looks = Looks::new(seen("sqlite:a", "127.0.0.1:1").unwrap().config);
        for (url, expected) in [
            ("sqlite:a", "nothing"),
            ("sqlite:b", "nothing"),
            ("sqlite:b", "take up sqlite:b"),
            ("sqlite:b", "nothing"),
            // Half written, and then whole.
            ("sql", "nothing"),
            ("sqlite:c", "nothing"),
            ("sqlite:c", "take up sqlite:c"),
            ("sql", "nothing"),
            ("sql", "refuse"),
            ("sql", "nothing"),
            ("mysql://h", "nothing"),
            ("mysql://h", "refuse"),
            ("sqlite:c", "nothing"),
            ("sqlite:c", "as before"),
            ("sqlite:c", "nothing"),
        ] {
            assert_eq!(verdict(&mut looks, url, false), expected, "{url}");
        }
    }

    #[test]
    fn whoever_asks_gets_an_answer_at_once() {
        let mut looks = Looks::new(seen("sqlite:a", "127.0.0.1:1").unwrap().config);
        for (url, expected) in [
            ("sqlite:a", "as before"),
            ("sqlite:b", "take up sqlite:b"),
            ("sqlite:b", "as before"),
            ("sql", "refuse"),
            ("sql", "refuse"),
        ] {
            assert_eq!(verdict(&mut looks, url, true), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_change_is_named_and_the_rest_taken_up() {
        let mut looks = Looks::new(seen("sqlite:a", "127.0.0.1:1").unwrap().config);
        let Verdict::TakeUp { loaded, needs_restart } = looks.judge(seen("sqlite:b", "127.0.0.1:2"), true) else {
            panic!("it is new");
        };
        assert_eq!(needs_restart, ["listen"]);
        assert_eq!(loaded.config.storages["default"].address.to_string(), "sqlite:b");
    }
}
