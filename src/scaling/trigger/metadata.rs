//! Reads the values in a trigger's metadata, and collects all problems.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::Trigger;
use super::error::{MAX_CHARS, MAX_KEYS, MetadataErrors, MetadataProblem};
use super::intended::{self, Unit};
use crate::duration;
use crate::jobrunr::Filter;
use crate::scaling::target::DEFAULT_WORKERS;
use crate::scaling::{Metric, Promise, Target};
use crate::text::{printable, suggest};

const STORAGE: &str = "storage";
const METRIC: &str = "metric";
pub(super) const TARGET: &str = "targetValue";
pub(super) const ACTIVATION_TARGET: &str = "activationTargetValue";
const PRIORITY: &str = "priority";
const SERVER_TAG: &str = "serverTag";
const DYNAMIC_QUEUE: &str = "dynamicQueue";
pub(super) const SCHEDULED_IN: &str = "scheduledIn";
pub(super) const KEEP_WHILE_PROCESSING: &str = "keepWhileProcessing";
pub(super) const KEEP_BUSY_PODS: &str = "keepBusyPods";
pub(super) const INCLUDE_BLOCKED: &str = "includeBlocked";
pub(super) const PUSH_INACTIVE: &str = "pushInactive";
pub(super) const TARGET_USAGE: &str = "targetUsage";
pub(super) const WORKERS_PER_POD: &str = "workersPerPod";
pub(super) const MAX_LATENCY: &str = "maxLatency";
pub(super) const POD_START: &str = "podStart";
pub(super) const SERVICE_TIME: &str = "serviceTime";

/// The keys that this scaler reads.
pub(super) const KEYS: [&str; 17] = [
    STORAGE,
    METRIC,
    TARGET,
    ACTIVATION_TARGET,
    PRIORITY,
    SERVER_TAG,
    DYNAMIC_QUEUE,
    SCHEDULED_IN,
    KEEP_WHILE_PROCESSING,
    KEEP_BUSY_PODS,
    INCLUDE_BLOCKED,
    PUSH_INACTIVE,
    TARGET_USAGE,
    WORKERS_PER_POD,
    MAX_LATENCY,
    POD_START,
    SERVICE_TIME,
];

/// The keys that KEDA itself reads and also sends (KEDA `pkg/scalers/external_scaler.go`).
pub(super) const KEDA_KEYS: [&str; 7] =
    ["scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"];

/// KEDA prints targets with three decimals. A smaller target becomes 0, which the HPA rejects.
const MIN_TARGET: f64 = 0.001;
/// A larger target does not fit KEDA's 64-bit number of thousandths.
const MAX_TARGET: f64 = 9.0e15;
/// A usage is at most 1, so a larger target would never ask for a pod.
const MAX_USAGE: f64 = 1.0;
/// What durations of a promise are allowed. Less than a second is less than a read takes.
const MAX_LATENCIES: DurationRange =
    (SignedDuration::from_secs(1), SignedDuration::from_hours(7 * 24), "PT1S to P7D", "PT5M");
const POD_STARTS: DurationRange = (SignedDuration::ZERO, SignedDuration::from_hours(1), "PT0S to PT1H", "PT45S");
const SERVICE_TIMES: DurationRange =
    (SignedDuration::from_millis(1), SignedDuration::from_hours(31 * 24), "PT0.001S to P31D", "PT2S");
/// A longer look-ahead is a mistake.
const LOOK_AHEADS: DurationRange =
    (SignedDuration::ZERO, SignedDuration::from_hours(366 * 24), "PT0S to P366D", "PT2M");
/// No pod has more.
const MAX_WORKERS_PER_POD: u32 = 100_000;
/// Outside this range a usage is a mistake: a percentage, or a number of jobs.
const TARGET_USAGES: std::ops::RangeInclusive<f64> = 0.01..=10.0;
/// The longest name of a storage, as in the configuration.
const MAX_STORAGE_CHARS: usize = 40;
/// Unknown keys that the warnings name; further ones are counted.
const MAX_NAMED: usize = 5;

/// The look-ahead if the metadata has none.
pub(super) const DEFAULT_LOOK_AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// The value of a target that is computed from the workers of a pod.
pub(super) const AUTO: &str = "auto";

/// The shortest and the longest duration allowed, both in words, and an example.
type DurationRange = (SignedDuration, SignedDuration, &'static str, &'static str);

/// The values in the metadata, and the problems found so far.
pub(super) struct MetadataReader<'a> {
    values: BTreeMap<&'a str, &'a str>,
    problems: Vec<MetadataProblem>,
}

impl<'a> MetadataReader<'a> {
    /// Takes metadata of any size.
    ///
    /// # Errors
    /// [`MetadataProblem::TooManyKeys`]. Nothing else is then checked.
    pub(super) fn new(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MetadataErrors> {
        let mut reader = Self { values: BTreeMap::new(), problems: Vec::new() };
        let mut metadata = metadata.into_iter();
        for (key, value) in metadata.by_ref().take(MAX_KEYS) {
            reader.take(key, value.trim());
        }
        match metadata.count() {
            0 => Ok(reader),
            n_more => Err(MetadataErrors(vec![MetadataProblem::TooManyKeys { n_keys: MAX_KEYS + n_more }])),
        }
    }

    fn take(&mut self, key: &'a str, value: &'a str) {
        let n_chars = key.chars().count();
        if MAX_CHARS < n_chars {
            if !self.problems.iter().any(|problem| matches!(problem, MetadataProblem::LongKey { .. })) {
                self.problems.push(MetadataProblem::LongKey { key: shortened(key), n_chars });
            }
            return;
        }
        match KEYS.into_iter().find(|ours| *ours == key) {
            Some(ours) if MAX_CHARS < value.chars().count() => {
                self.invalid(ours, value, format!("at most {MAX_CHARS} characters"));
                // It is invalid, but not missing.
                self.values.insert(key, "");
            }
            _ => drop(self.values.insert(key, value)),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn into_errors(self) -> MetadataErrors {
        MetadataErrors(self.problems)
    }

    pub(super) fn storage(&mut self) -> String {
        let name = self.text(STORAGE).unwrap_or("default");
        let is_allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if MAX_STORAGE_CHARS < name.len() || !name.bytes().all(is_allowed) {
            let allowed = format!("the name of a storage: at most {MAX_STORAGE_CHARS} characters of a-z, 0-9 and `-`");
            self.invalid(STORAGE, name, allowed);
        }
        name.to_owned()
    }

    pub(super) fn include_blocked(&mut self) -> bool {
        self.boolean(INCLUDE_BLOCKED, false)
    }

    pub(super) fn keep_while_processing(&mut self) -> bool {
        self.boolean(KEEP_WHILE_PROCESSING, true)
    }

    /// Reads whether busy pods are kept. Only a number of jobs can be raised to a number of pods.
    pub(super) fn keep_busy_pods(&mut self, metric: Option<Metric>) -> bool {
        let keeps = self.boolean(KEEP_BUSY_PODS, false);
        if keeps && metric.is_some_and(|metric| !metric.counts_jobs()) {
            let allowed = format!("\"false\"; \"true\" is for metrics that count jobs: {}", counting_metrics());
            self.invalid(KEEP_BUSY_PODS, "true", allowed);
        }
        keeps
    }

    pub(super) fn push_inactive(&mut self) -> bool {
        self.boolean(PUSH_INACTIVE, false)
    }

    /// Returns the value of a key. An empty one counts as missing.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied().filter(|value| !value.is_empty())
    }

    fn missing(&mut self, key: &'static str, allowed: String) {
        let hint = self
            .values
            .keys()
            .find(|other| !KEYS.contains(other) && suggest::closest(other, [key]).is_some())
            .map(|other| format!("; did you mean `{key}` where `{}` is written?", shortened(other)))
            .unwrap_or_default();
        self.add(key, MetadataProblem::Missing { key, allowed, hint });
    }

    fn invalid(&mut self, key: &'static str, value: &str, allowed: impl Into<String>) {
        self.add(key, MetadataProblem::Invalid { key, value: shortened(value), allowed: allowed.into() });
    }

    /// Adds a problem. Only the first one about a key is reported.
    fn add(&mut self, key: &'static str, problem: MetadataProblem) {
        if !self.problems.iter().any(|problem| problem.key() == Some(key)) {
            self.problems.push(problem);
        }
    }

    pub(super) fn metric(&mut self) -> Option<Metric> {
        let allowed = || {
            let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
            format!("one of {}", names.join(", "))
        };
        let Some(name) = self.text(METRIC) else {
            self.missing(METRIC, allowed());
            return None;
        };
        let metric = Metric::from_name(name);
        if metric.is_none() {
            let hint = suggest::did_you_mean(name, Metric::ALL.map(Metric::name));
            self.invalid(METRIC, name, format!("{}{hint}", allowed()));
        }
        metric
    }

    fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<f64>, allowed: &str) -> Option<f64> {
        let text = self.text(key)?;
        if let Some(number) = text.parse().ok().filter(|number| range.contains(number)) {
            return Some(number);
        }
        let likely = match intended::number(text, self.unit(key)).filter(|number| range.contains(number)) {
            None if text.eq_ignore_ascii_case(AUTO) && allowed.contains(AUTO) => Some(AUTO.to_owned()),
            number => number.map(|number| number.to_string()),
        };
        self.invalid(key, text, format!("{allowed}{}", suggest::hint(likely)));
        None
    }

    fn unit(&self, key: &str) -> Unit {
        match self.text(METRIC).and_then(Metric::from_name) {
            _ if key == TARGET_USAGE => Unit::Ratio,
            Some(Metric::WorkerUsage) => Unit::Ratio,
            Some(metric) if metric.is_time() => Unit::Seconds,
            _ => Unit::Count,
        }
    }

    /// Reads the target: a number, or `auto` if the metric counts jobs.
    pub(super) fn target(&mut self, metric: Option<Metric>) -> Option<Target> {
        let is_auto = self.text(TARGET) == Some(AUTO);
        let usage = self.number(TARGET_USAGE, TARGET_USAGES, "a ratio from 0.01 to 10, such as \"0.8\"");
        let workers_per_pod = self.workers_per_pod();
        match metric {
            Some(metric) if is_auto && !metric.counts_jobs() => {
                let allowed = format!("a number; {AUTO} is for metrics that count jobs: {}", counting_metrics());
                self.invalid(TARGET, AUTO, allowed);
                return None;
            }
            _ if is_auto => return Some(Target::Auto { usage: usage.unwrap_or(1.0), workers_per_pod }),
            _ => {}
        }
        let (most, allowed) = match metric {
            Some(Metric::WorkerUsage) => (MAX_USAGE, "a ratio from 0.001 to 1, such as \"0.8\"; a usage is at most 1"),
            Some(metric) if metric.counts_jobs() => {
                (MAX_TARGET, "a number from 0.001 to 9e15, such as \"300\" or \"0.8\", or \"auto\"")
            }
            _ => (MAX_TARGET, "a number from 0.001 to 9e15, such as \"300\" or \"0.8\""),
        };
        if self.text(TARGET).is_none() {
            self.missing(TARGET, allowed.to_owned());
            return None;
        }
        self.number(TARGET, MIN_TARGET..=most, allowed).map(Target::Fixed)
    }

    fn workers_per_pod(&mut self) -> Option<u32> {
        let text = self.text(WORKERS_PER_POD)?;
        let workers = text.parse().ok().filter(|workers| (1..=MAX_WORKERS_PER_POD).contains(workers));
        if workers.is_none() {
            self.invalid(WORKERS_PER_POD, text, format!("a whole number from 1 to {MAX_WORKERS_PER_POD}"));
        }
        workers
    }

    pub(super) fn activation_target(&mut self) -> f64 {
        self.number(ACTIVATION_TARGET, 0.0..=MAX_TARGET, "a number of at least 0; the trigger is active above it")
            .unwrap_or(0.0)
    }

    pub(super) fn filter(&mut self) -> Filter {
        let priority = self.text(PRIORITY).and_then(|text| {
            let parsed = text.parse::<i32>().ok().filter(|priority| 0 <= *priority);
            if parsed.is_none() {
                self.invalid(PRIORITY, text, "a whole number from 0, which is the highest priority");
            }
            parsed
        });
        let (server_tag, dynamic_queue) = (self.filter_text(SERVER_TAG), self.filter_text(DYNAMIC_QUEUE));
        Filter { priority, server_tag, dynamic_queue, ..Filter::default() }
    }

    fn filter_text(&mut self, key: &'static str) -> Option<Arc<str>> {
        let text = self.text(key)?;
        if !text.chars().any(char::is_control) {
            return Some(text.into());
        }
        self.invalid(key, text, format!("at most {MAX_CHARS} characters, none of them a control character"));
        None
    }

    pub(super) fn look_ahead(&mut self) -> SignedDuration {
        self.duration(SCHEDULED_IN, LOOK_AHEADS).unwrap_or(DEFAULT_LOOK_AHEAD)
    }

    fn duration(&mut self, key: &'static str, (least, most, range, example): DurationRange) -> Option<SignedDuration> {
        let text = self.text(key)?;
        let is_allowed = |length: &SignedDuration| (least..=most).contains(length);
        let parsed = duration::parse(text).ok().filter(is_allowed);
        if parsed.is_none() {
            let hint = suggest::hint(intended::duration(text).filter(is_allowed).map(duration::format));
            self.invalid(key, text, format!("an ISO-8601 duration from {range}, such as {example}{hint}"));
        }
        parsed
    }

    /// Reads how long jobs may wait, and what is known of pods and jobs.
    pub(super) fn promise(&mut self, metric: Option<Metric>) -> Promise {
        let max_latency = self.duration(MAX_LATENCY, MAX_LATENCIES);
        if let (Some(text), Some(metric)) = (self.text(MAX_LATENCY), metric)
            && metric != Metric::Demand
        {
            self.invalid(MAX_LATENCY, text, format!("only with `{METRIC}: {}`; here it is {metric}", Metric::Demand));
        }
        Promise {
            max_latency,
            pod_start: self.duration(POD_START, POD_STARTS).unwrap_or(Promise::default().pod_start),
            service_time: self.duration(SERVICE_TIME, SERVICE_TIMES),
        }
    }

    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        match self.text(key) {
            None => default,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => {
                self.invalid(key, text, "\"true\" or \"false\"");
                default
            }
        }
    }

    pub(super) fn warnings(&self, metric: Option<Metric>, target: Option<Target>) -> Vec<String> {
        let mut unknown = self.values.keys().filter(|key| !KEYS.contains(key) && !KEDA_KEYS.contains(key));
        let mut warnings: Vec<String> = unknown.by_ref().take(MAX_NAMED).map(|key| unknown_key(key)).collect();
        match unknown.count() {
            0 => {}
            1 => warnings.push("and 1 more key is unknown and ignored".to_owned()),
            n_more => warnings.push(format!("and {n_more} more keys are unknown and ignored")),
        }
        if metric.is_some_and(|metric| !metric.looks_ahead()) && self.values.contains_key(SCHEDULED_IN) {
            warnings.push(format!("`{SCHEDULED_IN}` has no effect here: it belongs to scheduled-count and demand"));
        }
        let is_estimate = self.text(MAX_LATENCY).is_some() || metric.is_some_and(Metric::is_estimate);
        let without_effect = [POD_START, SERVICE_TIME].into_iter().filter(|key| self.values.contains_key(key));
        warnings.extend(without_effect.filter(|_| !is_estimate).map(|key| {
            format!("`{key}` has no effect here: it belongs to `{MAX_LATENCY}`, expected-latency and drain-time")
        }));
        if let Some(Target::Auto { workers_per_pod: None, .. }) = target {
            warnings.push(format!(
                "`{WORKERS_PER_POD}` is missing: with `{TARGET}: {AUTO}`, a scaler that has not seen a server, for example after a \
                 restart at zero pods, assumes {DEFAULT_WORKERS}; set it to the number of workers of a pod"
            ));
        }
        if let Some(Target::Fixed(_)) = target {
            // At zero pods, an estimate needs the workers of a pod.
            let keys = if is_estimate { &[TARGET_USAGE][..] } else { &[TARGET_USAGE, WORKERS_PER_POD] };
            let without_effect = keys.iter().filter(|key| self.values.contains_key(*key));
            warnings.extend(
                without_effect.map(|key| format!("`{key}` has no effect here: it belongs to `{TARGET}: {AUTO}`")),
            );
        }
        warnings
    }
}

/// Lists the metrics whose value is a number of jobs.
fn counting_metrics() -> String {
    let counting = Metric::ALL.into_iter().filter(|metric| metric.counts_jobs());
    counting.map(Metric::name).collect::<Vec<_>>().join(", ")
}

/// Warns about a key that neither this scaler nor KEDA reads.
fn unknown_key(key: &str) -> String {
    // KEDA takes the value of such a key from the environment of the scaled container.
    if let Some(plain) = key.strip_suffix("FromEnv") {
        let known = KEYS.contains(&plain);
        let remedy = if known { format!(": write `{plain}` with its value instead") } else { String::new() };
        return format!("`{}` is unknown and ignored{remedy}", shortened(key));
    }
    if key == "metricType" {
        return Trigger::MISPLACED_METRIC_TYPE.to_owned();
    }
    let hint = suggest::did_you_mean(key, KEYS);
    format!("`{}` is unknown and ignored{hint}", shortened(key))
}

/// Returns untrusted text for an error or a log: it may be huge, and may try to forge lines.
fn shortened(text: &str) -> String {
    printable(text, 80)
}
