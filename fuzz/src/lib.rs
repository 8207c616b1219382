//! What is done with an input, for each parser of what comes from outside. `scripts/fuzz.sh` lets libFuzzer make inputs up;
//! `tests/fuzz.rs` tries some with every run of the tests, so that this stays in step with the parsers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jobrunr_scaler::config::{Address, Config};
use jobrunr_scaler::duration;
use jobrunr_scaler::jobrunr::schedule::{Schedule, parse_zone};
use jobrunr_scaler::kubernetes::manifest::{self, job_warnings, warnings};
use jobrunr_scaler::scaling::Trigger;

/// Addresses of databases. What is printed of one is one line.
pub fn address(text: &str) {
    match Address::parse(text) {
        Ok((address, warnings)) => {
            let printed = format!("{address}");
            for line in warnings.iter().chain([&printed]) {
                assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
            }
            if let Some(server) = address.server() {
                assert!(!server.hosts.is_empty() && !server.database.is_empty());
                assert!(server.hosts.iter().all(|(host, port)| !host.is_empty() && *port != 0));
                assert_eq!(server.tls.client_cert.is_some(), server.tls.client_key.is_some());
            }
        }
        // No error quotes the address, which may hold a password.
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

/// The configuration: lines of variables at the start, then the file.
pub fn configuration(text: &str) {
    // Files of this machine are none of the input.
    if text.to_ascii_lowercase().contains("file") {
        return;
    }
    let n_variables = text.lines().take_while(|line| line.starts_with("JOBRUNR_SCALER_")).count();
    let variables = text.lines().take(n_variables).filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let yaml: String = text.split_inclusive('\n').skip(n_variables).collect();
    match Config::parse("config.yaml", &yaml, variables) {
        Ok(loaded) => {
            assert!(!loaded.config.storages.is_empty());
            for storage in loaded.config.storages.values() {
                assert!(storage.refresh <= storage.max_staleness);
            }
        }
        Err(errors) => assert!(!errors.problems().is_empty()),
    }
}

/// Manifests as `explain` reads them, with the warnings about what they hold.
pub fn manifest(text: &str) {
    match manifest::read("manifest.yaml", text) {
        Ok(manifests) => {
            for object in &manifests.scaled_objects {
                let _ = warnings(object);
                for trigger in &object.triggers {
                    let _ = Trigger::parse(trigger.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())));
                }
            }
            for job in &manifests.scaled_jobs {
                let _ = job_warnings(job);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Instants near the ends of what there is, near clock changes, and in between; seconds since 1970.
const INSTANTS: [i64; 6] = [-377_705_116_799, -1, 1_711_846_800, 1_730_000_000, 1_730_019_599, 253_402_207_200];

/// Schedules of recurring jobs, the zones they are in, and durations: an expression and a zone on a line each.
pub fn schedule(text: &str) {
    let mut lines = text.lines();
    let (expression, zone) = (lines.next().unwrap_or_default(), lines.next().unwrap_or("UTC"));
    if let Ok(duration) = duration::parse(expression) {
        assert_eq!(duration::parse(&duration::format(duration)), Ok(duration));
    }
    let zone = parse_zone(zone);
    let (Ok(schedule), Ok(zone)) = (Schedule::parse(expression), zone) else { return };
    let created_at = Timestamp::from_second(1_700_000_000).unwrap_or_default();
    for second in INSTANTS {
        let now = Timestamp::from_second(second).unwrap_or_default();
        let Ok(next) = schedule.next_after(&zone, created_at, now) else { continue };
        assert!(now < next, "{expression:?}: {next} is not after {now}");
        if let Ok(second) = schedule.next_after(&zone, created_at, next) {
            assert!(next < second, "{expression:?}: {second} is not after {next}");
        }
    }
}

/// Trigger metadata: `key=value` on each line, as KEDA sends a map.
pub fn trigger(text: &str) {
    let metadata: BTreeMap<&str, &str> = text.lines().map(|line| line.split_once('=').unwrap_or((line, ""))).collect();
    match Trigger::parse(metadata) {
        Ok(trigger) => {
            // The HPA puts it into a URL.
            let name = trigger.metric_name();
            assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')), "{name}");
            let (target, _) = trigger.target_at(None);
            assert!(target.is_finite() && 0.0 < target, "{target}");
            assert!(trigger.activation_target.is_finite() && 0.0 <= trigger.activation_target);
            assert!(!trigger.question.look_ahead.is_negative());
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}
