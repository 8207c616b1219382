//! From our types to KEDA's messages.

use tonic::{Code, Status};

use super::proto::{GetMetricSpecResponse, GetMetricsResponse, MetricSpec, MetricValue};
use crate::jobrunr::QuestionError;
use crate::monitor::{AnswerError, AskError};
use crate::scaling::{KeyError, MetadataErrors};

/// Returns the one spec of a trigger. KEDA before 2.17 reads only the whole number, later versions the fraction if it is above 0.
pub(super) fn metric_spec(metric_name: String, target: f64) -> GetMetricSpecResponse {
    let spec = MetricSpec { metric_name, target_size: whole(target.round()).max(1), target_size_float: target };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

/// Returns the one value of a trigger. KEDA takes the whole number if the fraction is 0, so both have to agree. It is rounded up,
/// because something must not become nothing.
pub(super) fn metric_value(metric_name: String, value: f64) -> GetMetricsResponse {
    let value = MetricValue { metric_name, metric_value: whole(value.ceil()), metric_value_float: value };
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

/// Returns the name of a status code, for the metrics.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "Ok",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_name_is_the_name_of_every_code() {
        for number in 0..=16 {
            let code = Code::from_i32(number);
            assert_eq!(code_name(code), format!("{code:?}"));
        }
    }
}
