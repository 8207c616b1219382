//! A trigger, parsed from the metadata that KEDA sends with every call.

mod error;
mod intended;
mod metadata;
mod settings;
mod warnings;

use super::{Metric, Promise, Reason, Target};
use crate::jobrunr::{Question, Snapshot};
pub use error::{MetadataErrors, MetadataProblem};
use metadata::MetadataReader;
pub use settings::Settings;

/// A trigger of a ScaledObject that names this scaler.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// The name of the storage in our configuration.
    pub storage: String,
    /// What is measured.
    pub metric: Metric,
    /// The HPA's target, in the metric's unit.
    pub target: Target,
    /// The trigger is active above this value, in the metric's unit.
    pub activation_target: f64,
    /// How long jobs may wait, for metrics of work.
    pub promise: Promise,
    /// Which jobs are counted, and how far ahead.
    pub question: Question,
    /// Whether jobs count that wait for a mutex, which JobRunr Pro has.
    pub include_blocked: bool,
    /// Whether the trigger stays active while jobs that match its filter are being processed.
    pub keep_while_processing: bool,
    /// Whether the value is at least what keeps a pod for each server that runs a job.
    pub keep_busy_pods: bool,
    /// Whether streams also send when the trigger becomes inactive, for clients other than KEDA.
    pub push_inactive: bool,
    /// What in the metadata is valid but likely not intended.
    pub warnings: Vec<String>,
}

impl Trigger {
    /// The metadata keys that this scaler reads.
    pub const KEYS: [&'static str; 17] = metadata::KEYS;

    /// The metadata keys that KEDA itself reads and also sends.
    pub const KEDA_KEYS: [&'static str; 7] = metadata::KEDA_KEYS;

    /// The warning about a `metricType` in the metadata.
    pub const MISPLACED_METRIC_TYPE: &'static str =
        "`metricType` in the metadata is ignored: it belongs one level up, beside `type`";

    /// Parses the metadata of an `external` or `external-push` trigger.
    ///
    /// # Errors
    /// All errors at once, each with its key, its value and what is allowed. Unknown keys are not errors, because KEDA sends its
    /// own as well; they become [`warnings`](Self::warnings).
    pub fn parse<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MetadataErrors> {
        let mut reader = MetadataReader::new(metadata)?;
        let storage = reader.storage();
        let metric = reader.metric();
        let target = reader.target(metric);
        let activation_target = reader.activation_target();
        let promise = reader.promise(metric);
        let is_work = promise.max_latency.is_some() || metric.is_some_and(Metric::is_estimate);
        let keep_busy_pods = reader.keep_busy_pods(metric);
        let question = Question {
            filter: reader.filter(),
            look_ahead: reader.look_ahead(),
            demand: metric == Some(Metric::Demand),
            work: is_work,
            running: is_work || keep_busy_pods,
        };
        let include_blocked = reader.include_blocked();
        let (keep_while_processing, push_inactive) = (reader.keep_while_processing(), reader.push_inactive());
        let warnings = reader.warnings(metric, target);
        match (metric, target) {
            (Some(metric), Some(target)) if reader.is_valid() => {
                let mut trigger = Self {
                    storage,
                    metric,
                    target,
                    activation_target,
                    promise,
                    question,
                    include_blocked,
                    keep_while_processing,
                    keep_busy_pods,
                    push_inactive,
                    warnings,
                };
                trigger.warnings.extend(warnings::rarely_intended(&trigger));
                Ok(trigger)
            }
            _ => Err(reader.into_errors()),
        }
    }

    /// Returns the metric's name towards KEDA: stable, and of `[a-z0-9-]` only, because the HPA puts it into a URL. KEDA prepends
    /// the index of the trigger, so that the names of two triggers of a ScaledObject differ.
    #[must_use]
    pub fn metric_name(&self) -> String {
        format!("jobrunr-{}-{}", self.storage, self.metric)
    }

    /// Returns what distinguishes it from other triggers of its ScaledObject with the same storage, metric and filter.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::of(self)
    }

    /// Warns about a latency target below the poll interval of the live servers, or below JobRunr's default if there is none. Not
    /// among the [`warnings`](Self::warnings), because it takes more than the metadata to know.
    #[must_use]
    pub fn latency_warning(&self, snapshot: Option<&Snapshot>) -> Option<String> {
        warnings::below_poll_interval(self, snapshot)
    }

    /// Returns the target at the instant of a snapshot, and how it was computed unless it is fixed. See [`Target::at`].
    #[must_use]
    pub fn target_at(&self, snapshot: Option<&Snapshot>) -> (f64, Option<Reason>) {
        self.target.at(&self.question.filter, snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computed_target_without_workers_per_pod_gets_a_warning() {
        let check = |metadata: &str, expected: &[&str]| {
            let trigger = Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap();
            assert_eq!(trigger.warnings, expected, "{metadata}");
        };
        check("metric=demand targetValue=8", &[]);
        check("metric=demand targetValue=auto workersPerPod=8", &[]);
        check(
            "metric=demand targetValue=auto",
            &[
                "`workersPerPod` is missing: with `targetValue: auto`, a scaler that has not seen a server, for example after a restart \
               at zero pods, assumes 8; set it to the number of workers of a pod",
            ],
        );
    }
}
