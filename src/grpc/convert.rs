//! From our words to KEDA's messages.

use tonic::Status;

use super::proto::{GetMetricSpecResponse, GetMetricsResponse, MetricSpec, MetricValue};
use crate::jobrunr::QuestionError;
use crate::monitor::{AnswerError, AskError};
use crate::scaling::{Decision, KeyError, MetadataErrors, Trigger};

/// The one spec of a trigger. KEDA before 2.17 reads the whole number only; later ones the fraction, where it is above 0.
pub(super) fn metric_spec(trigger: &Trigger, target: f64) -> GetMetricSpecResponse {
    let spec = MetricSpec {
        metric_name: trigger.metric_name(),
        target_size: whole(target.round()).max(1),
        target_size_float: target,
    };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

/// The one value of a trigger. KEDA takes the whole number where the fraction is 0, so that both have to say the same;
/// it is rounded up, since something must not become nothing.
pub(super) fn metric_value(trigger: &Trigger, decision: &Decision) -> GetMetricsResponse {
    let value = MetricValue {
        metric_name: trigger.metric_name(),
        metric_value: whole(decision.value.ceil()),
        metric_value_float: decision.value,
    };
    GetMetricsResponse { metric_values: vec![value] }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and targets are checked to be far below")]
fn whole(number: f64) -> i64 {
    number as i64
}

pub(super) fn key_status(error: &KeyError) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn metadata_status(errors: &MetadataErrors) -> Status {
    Status::invalid_argument(errors.to_string())
}

pub(super) fn ask_error_status(storage: &str, error: &AskError) -> Status {
    let text = format!("storage `{storage}`: {error}");
    match error {
        AskError::Unavailable { .. } => Status::unavailable(text),
        AskError::SchemaMissing(_) => Status::failed_precondition(text),
        AskError::TooManyQuestions => Status::resource_exhausted(text),
    }
}

pub(super) fn answer_status(error: &AnswerError) -> Status {
    match error {
        AnswerError::UnknownStorage { .. } => Status::not_found(error.to_string()),
        AnswerError::ForbiddenStorage { .. } => Status::permission_denied(error.to_string()),
        AnswerError::NoAnswer { storage, cause } => ask_error_status(storage, cause),
        AnswerError::Question { cause: QuestionError::UnsupportedFilter(_), .. } => {
            Status::failed_precondition(error.to_string())
        }
        AnswerError::Question { cause: QuestionError::Rejected { .. }, .. } => {
            Status::invalid_argument(error.to_string())
        }
    }
}
