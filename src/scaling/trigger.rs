//! A trigger, parsed from the metadata that KEDA sends along with every call.

use std::collections::BTreeMap;
use std::fmt;

use jiff::SignedDuration;
use thiserror::Error;

use super::Metric;
use crate::jobrunr::{Filter, Question, duration};

const STORAGE: &str = "storage";
const METRIC: &str = "metric";
const TARGET: &str = "targetValue";
const ACTIVATION_TARGET: &str = "activationTargetValue";
const PRIORITY: &str = "priority";
const SERVER_TAG: &str = "serverTag";
const DYNAMIC_QUEUE: &str = "dynamicQueue";
const SCHEDULED_IN: &str = "scheduledIn";
const KEEP_WHILE_PROCESSING: &str = "keepWhileProcessing";
const PUSH_INACTIVE: &str = "pushInactive";

/// The keys that mean something to us.
const OUR_KEYS: [&str; 10] = [
    STORAGE,
    METRIC,
    TARGET,
    ACTIVATION_TARGET,
    PRIORITY,
    SERVER_TAG,
    DYNAMIC_QUEUE,
    SCHEDULED_IN,
    KEEP_WHILE_PROCESSING,
    PUSH_INACTIVE,
];

/// The keys that KEDA reads itself and sends along all the same (KEDA `pkg/scalers/external_scaler.go`).
const KEDA_KEYS: [&str; 7] =
    ["scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"];

/// KEDA writes targets with three decimals; anything below becomes 0, which the HPA refuses.
const MIN_TARGET: f64 = 0.001;
/// Above this a target no longer fits KEDA's 64-bit milli-units.
const MAX_TARGET: f64 = 9.0e15;
/// A look-ahead beyond a year is a slip of the pen.
const MAX_LOOK_AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Longer filter values cannot be in JobRunr's columns.
const MAX_FILTER_CHARS: usize = 128;

/// What one trigger of a ScaledObject asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Name of the storage in our configuration.
    pub storage: String,
    /// What is measured.
    pub metric: Metric,
    /// The value that the HPA steers for, in the metric's unit.
    pub target: f64,
    /// Active above this value, in the metric's unit.
    pub activation_target: f64,
    /// Which jobs, and how far ahead.
    pub question: Question,
    /// Stay active while jobs that this trigger can see are being processed.
    pub keep_while_processing: bool,
    /// Send the falling edge on streams, for clients other than KEDA.
    pub push_inactive: bool,
    /// What is odd about the metadata but no error.
    pub warnings: Vec<String>,
}

/// One mistake in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A key that has to be there is not.
    #[error("`{key}` is missing; allowed is {allowed}{hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What is allowed.
        allowed: String,
        /// Where a key of nearly that name is given: the question whether that was meant.
        hint: String,
    },
    /// A value that cannot be.
    #[error("`{key}` is `{value}`; allowed is {allowed}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// The value as given, shortened where it is very long.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

/// All mistakes in a trigger's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MetadataErrors(pub Vec<MetadataError>);

impl fmt::Display for MetadataErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "trigger metadata: {}", texts.join("; "))
    }
}

impl Trigger {
    /// Reads the metadata of an `external` or `external-push` trigger.
    ///
    /// # Errors
    /// All mistakes at once, each with its key, its value and what is allowed. Unknown keys are no error, since KEDA
    /// sends its own along; they become [`warnings`](Self::warnings).
    pub fn parse<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MetadataErrors> {
        let mut reader = Reader {
            values: metadata.into_iter().map(|(key, value)| (key, value.trim())).collect(),
            errors: Vec::new(),
        };
        let storage = reader.text(STORAGE).unwrap_or_else(|| "default".to_owned());
        let metric = reader.metric();
        let target = reader.target();
        let activation_target = reader.activation_target();
        let question = Question { filter: reader.filter(), look_ahead: reader.look_ahead() };
        let keep_while_processing = reader.boolean(KEEP_WHILE_PROCESSING, true);
        let push_inactive = reader.boolean(PUSH_INACTIVE, false);
        let warnings = reader.warnings(metric);
        match (metric, target) {
            (Some(metric), Some(target)) if reader.errors.is_empty() => Ok(Self {
                storage,
                metric,
                target,
                activation_target,
                question,
                keep_while_processing,
                push_inactive,
                warnings,
            }),
            _ => Err(MetadataErrors(reader.errors)),
        }
    }

    /// The metric's name towards KEDA: stable, and made of `[a-z0-9-]` only, since the HPA puts it into a URL.
    /// KEDA itself adds the index of the trigger, so that two triggers of a ScaledObject never collide.
    #[must_use]
    pub fn metric_name(&self) -> String {
        let storage: String = self
            .storage
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        format!("jobrunr-{storage}-{}", self.metric)
    }
}

/// Takes values out of the metadata and collects what is wrong with them.
struct Reader<'a> {
    values: BTreeMap<&'a str, &'a str>,
    errors: Vec<MetadataError>,
}

impl Reader<'_> {
    /// The value of a key; an empty one counts as not given.
    fn text(&self, key: &str) -> Option<String> {
        self.values.get(key).filter(|value| !value.is_empty()).map(|&value| value.to_owned())
    }

    fn missing(&mut self, key: &'static str, allowed: String) {
        let hint = self
            .values
            .keys()
            .find(|given| !OUR_KEYS.contains(given) && is_likely(given, key))
            .map(|given| format!("; did you mean `{key}` where `{given}` is written?"))
            .unwrap_or_default();
        self.errors.push(MetadataError::Missing { key, allowed, hint });
    }

    fn invalid(&mut self, key: &'static str, value: &str, allowed: impl Into<String>) {
        self.errors.push(MetadataError::Invalid { key, value: shortened(value), allowed: allowed.into() });
    }

    fn metric(&mut self) -> Option<Metric> {
        let allowed = || {
            let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
            format!("one of {}", names.join(", "))
        };
        let Some(name) = self.text(METRIC) else {
            self.missing(METRIC, allowed());
            return None;
        };
        let metric = Metric::from_name(&name);
        if metric.is_none() {
            let likely = closest(&name, Metric::ALL.iter().map(|metric| metric.name()));
            let hint = likely.map(|l| format!("; did you mean `{l}`?")).unwrap_or_default();
            self.invalid(METRIC, &name, format!("{}{hint}", allowed()));
        }
        metric
    }

    fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<f64>, allowed: &str) -> Option<f64> {
        let text = self.text(key)?;
        match text.parse::<f64>() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.invalid(key, &text, allowed);
                None
            }
        }
    }

    fn target(&mut self) -> Option<f64> {
        let allowed = "a number of at least 0.001, such as \"300\" or \"0.8\"";
        if self.text(TARGET).is_none() {
            self.missing(TARGET, allowed.to_owned());
            return None;
        }
        self.number(TARGET, MIN_TARGET..=MAX_TARGET, allowed)
    }

    fn activation_target(&mut self) -> f64 {
        self.number(ACTIVATION_TARGET, 0.0..=MAX_TARGET, "a number of at least 0; the trigger is active above it")
            .unwrap_or(0.0)
    }

    fn filter(&mut self) -> Filter {
        let priority = self.text(PRIORITY).and_then(|text| {
            let parsed = text.parse::<i32>().ok().filter(|priority| 0 <= *priority);
            if parsed.is_none() {
                self.invalid(PRIORITY, &text, "a whole number from 0, which is the highest priority");
            }
            parsed
        });
        Filter { priority, server_tag: self.filter_text(SERVER_TAG), dynamic_queue: self.filter_text(DYNAMIC_QUEUE) }
    }

    fn filter_text(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key)?;
        if text.chars().count() <= MAX_FILTER_CHARS && !text.chars().any(char::is_control) {
            return Some(text);
        }
        self.invalid(key, &text, format!("at most {MAX_FILTER_CHARS} characters, none of them a control character"));
        None
    }

    fn look_ahead(&mut self) -> SignedDuration {
        let default = SignedDuration::from_mins(1);
        let Some(text) = self.text(SCHEDULED_IN) else { return default };
        match duration::parse(&text) {
            Ok(d) if SignedDuration::ZERO <= d && d <= MAX_LOOK_AHEAD => d,
            _ => {
                self.invalid(SCHEDULED_IN, &text, "an ISO-8601 duration from PT0S to P366D, such as PT2M");
                default
            }
        }
    }

    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        match self.text(key).as_deref() {
            None => default,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => {
                let text = text.to_owned();
                self.invalid(key, &text, "\"true\" or \"false\"");
                default
            }
        }
    }

    fn warnings(&self, metric: Option<Metric>) -> Vec<String> {
        let mut warnings: Vec<String> = self.values.keys().filter_map(|key| unknown_key(key)).collect();
        if metric.is_some_and(|m| m != Metric::ScheduledCount) && self.values.contains_key(SCHEDULED_IN) {
            warnings.push(format!("`{SCHEDULED_IN}` has no effect here: it belongs to scheduled-count"));
        }
        warnings
    }
}

/// What to say about a key that is neither ours nor KEDA's.
fn unknown_key(key: &str) -> Option<String> {
    if OUR_KEYS.contains(&key) || KEDA_KEYS.contains(&key) {
        return None;
    }
    // A key that ends so holds a value that KEDA took from the environment of the scaled container.
    if let Some(plain) = key.strip_suffix("FromEnv") {
        return Some(format!("`{}` is ignored: write `{}` with its value instead", shortened(key), shortened(plain)));
    }
    if key == "metricType" {
        return Some("`metricType` in the metadata is ignored: it belongs one level up, beside `type`".to_owned());
    }
    let hint = closest(key, OUR_KEYS).map(|likely| format!(": did you mean `{likely}`?")).unwrap_or_default();
    Some(format!("`{}` is unknown and ignored{hint}", shortened(key)))
}

fn is_likely(given: &str, wanted: &str) -> bool {
    let (given, wanted) = (given.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    0.8 <= strsim::jaro_winkler(&given, &wanted)
}

/// The candidate that a misspelt word most likely stands for.
fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_ascii_lowercase();
    candidates.into_iter().filter(|candidate| is_likely(given, candidate)).max_by(|a, b| {
        let score = |c: &str| strsim::jaro_winkler(&lower, &c.to_ascii_lowercase());
        score(a).total_cmp(&score(b))
    })
}

/// A value as it may stand in an error or a log: what comes from outside may be huge, and may try to forge lines.
fn shortened(text: &str) -> String {
    const MAX: usize = 80;
    let printable = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if text.chars().count() <= MAX { printable.collect() } else { printable.take(MAX).chain(['…']).collect() }
}
