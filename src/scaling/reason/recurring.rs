//! Reasons that have to do with recurring jobs.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::as_text;
use crate::text::plural;

/// A reason that has to do with recurring jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum RecurringReason {
    /// JobRunr 8 has not created the next run of a recurring job yet.
    #[serde(rename = "recurringRunMissing")]
    RunMissing {
        /// The recurring job's id.
        #[serde(serialize_with = "as_text")]
        job: Arc<str>,
    },
    /// A recurring job runs within the look-ahead. JobRunr up to 7 creates the run only then.
    #[serde(rename = "recurringRunDue")]
    RunDue {
        /// The recurring job's id.
        #[serde(serialize_with = "as_text")]
        job: Arc<str>,
        /// When it runs.
        #[serde(serialize_with = "as_text")]
        at: Timestamp,
    },
    /// The instant of a recurring job has just passed. For one poll interval, a live server may still create the run.
    #[serde(rename = "recurringRunOverdue")]
    RunOverdue {
        /// The recurring job's id.
        #[serde(serialize_with = "as_text")]
        job: Arc<str>,
        /// When it was due.
        #[serde(serialize_with = "as_text")]
        at: Timestamp,
    },
    /// Further recurring jobs need a server too.
    #[serde(rename = "recurringRunsMore")]
    MoreRuns {
        /// How many.
        jobs: usize,
    },
    /// The next run of a recurring job is not known.
    #[serde(rename = "recurringUnknown")]
    Unknown {
        /// The recurring job's id.
        #[serde(serialize_with = "as_text")]
        job: Arc<str>,
        /// Why it is not known.
        #[serde(serialize_with = "as_text")]
        cause: Arc<str>,
    },
    /// The next runs of further recurring jobs are not known either.
    #[serde(rename = "recurringUnknownMore")]
    MoreUnknown {
        /// How many.
        jobs: usize,
    },
    /// Recurring jobs are read in a limited way, or not at all.
    #[serde(rename = "recurringNote")]
    Note {
        /// The limitation.
        #[serde(serialize_with = "as_text")]
        text: Arc<str>,
    },
    /// The trigger has a filter, and the definitions of recurring jobs do not say whether it matches.
    #[serde(rename = "recurringUnfiltered")]
    Unfiltered,
    /// The next run of a recurring job beyond the look-ahead, which JobRunr has not created yet.
    #[serde(rename = "nextRecurring")]
    Next {
        /// The recurring job's id.
        #[serde(serialize_with = "as_text")]
        job: Arc<str>,
        /// When it runs.
        #[serde(serialize_with = "as_text")]
        at: Timestamp,
        /// When the trigger starts to count it.
        #[serde(serialize_with = "as_text")]
        counts_from: Timestamp,
    },
}

impl fmt::Display for RecurringReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = |jobs: usize| format!("{jobs} more recurring job{}", plural(jobs as u64));
        match self {
            Self::RunMissing { job } => {
                write!(f, "recurring job `{job}` has no next run: JobRunr creates it as soon as a server is alive")
            }
            Self::RunDue { job, at } => write!(f, "recurring job `{job}` runs at {at}: a server must be alive by then"),
            Self::RunOverdue { job, at } => {
                write!(
                    f,
                    "recurring job `{job}` was due at {at}: a server may still create the run for one poll interval"
                )
            }
            Self::MoreRuns { jobs } => write!(f, "and {}", more(*jobs)),
            Self::Unknown { job, cause } => {
                write!(f, "recurring job `{job}` counts only while JobRunr has a pending run of it: {cause}")
            }
            Self::MoreUnknown { jobs } => write!(f, "and so do {}", more(*jobs)),
            Self::Note { text } => f.write_str(text),
            Self::Unfiltered => {
                f.write_str("recurring jobs are counted regardless of the filter, which their definitions do not have")
            }
            Self::Next { job, at, counts_from } => {
                write!(f, "next: recurring job `{job}` runs at {at} and counts from {counts_from} on")
            }
        }
    }
}
