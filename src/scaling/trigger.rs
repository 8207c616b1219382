//! A trigger, parsed from the metadata that KEDA sends along with every call.

mod error;
mod intended;
mod metadata;
mod settings;
mod warnings;

use super::{Metric, Reason, Target};
use crate::jobrunr::{Question, Snapshot};
pub use error::{MetadataError, MetadataErrors};
use metadata::Reader;
pub use settings::Settings;

/// What one trigger of a ScaledObject asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Name of the storage in our configuration.
    pub storage: String,
    /// What is measured.
    pub metric: Metric,
    /// The value that the HPA steers for, in the metric's unit.
    pub target: Target,
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

impl Trigger {
    /// The keys of the metadata that mean something to us.
    pub const KEYS: [&'static str; 12] = metadata::KEYS;

    /// The keys of the metadata that KEDA itself reads, and sends along all the same.
    pub const KEDA_KEYS: [&'static str; 7] = metadata::KEDA_KEYS;

    /// The warning about a `metricType` in the metadata.
    pub const MISPLACED_METRIC_TYPE: &'static str =
        "`metricType` in the metadata is ignored: it belongs one level up, beside `type`";

    /// Reads the metadata of an `external` or `external-push` trigger.
    ///
    /// # Errors
    /// All mistakes at once, each with its key, its value and what is allowed. Unknown keys are no error, since KEDA
    /// sends its own along; they become [`warnings`](Self::warnings).
    pub fn parse<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MetadataErrors> {
        let mut reader = Reader::new(metadata)?;
        let storage = reader.storage();
        let metric = reader.metric();
        let target = reader.target(metric);
        let activation_target = reader.activation_target();
        let question = Question {
            filter: reader.filter(),
            look_ahead: reader.look_ahead(),
            demand: metric == Some(Metric::Demand),
        };
        let (keep_while_processing, push_inactive) = (reader.keep_while_processing(), reader.push_inactive());
        let warnings = reader.warnings(metric, target);
        match (metric, target) {
            (Some(metric), Some(target)) if reader.is_fine() => {
                let mut trigger = Self {
                    storage,
                    metric,
                    target,
                    activation_target,
                    question,
                    keep_while_processing,
                    push_inactive,
                    warnings,
                };
                trigger.warnings.extend(warnings::rarely_intended(&trigger));
                Ok(trigger)
            }
            _ => Err(reader.into_errors()),
        }
    }

    /// The metric's name towards KEDA: stable, and made of `[a-z0-9-]` only, since the HPA puts it into a URL.
    /// KEDA itself adds the index of the trigger, so that two triggers of a ScaledObject never collide.
    #[must_use]
    pub fn metric_name(&self) -> String {
        format!("jobrunr-{}-{}", self.storage, self.metric)
    }

    /// Distinguishes it from other triggers of its ScaledObject with the same storage, metric and filter.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::of(self)
    }

    /// Warns of a target for latencies that is below the poll interval of the live servers, JobRunr's default where none is
    /// known. Not among the [`warnings`](Self::warnings), since the metadata alone do not tell.
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
    fn a_computed_target_without_workers_per_pod_is_warned_of() {
        let check = |metadata: &str, expected: &[&str]| {
            let trigger = Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap();
            assert_eq!(trigger.warnings, expected, "{metadata}");
        };
        check("metric=demand targetValue=8", &[]);
        check("metric=demand targetValue=auto workersPerPod=8", &[]);
        check(
            "metric=demand targetValue=auto",
            &[
                "`workersPerPod` is missing: with `targetValue: auto` a scaler that has seen no server, such as one that was \
               restarted at zero pods, takes 8; set it to the workers of a pod",
            ],
        );
    }
}
