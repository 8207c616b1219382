//! Failed commands and their exit codes.

use std::io;

use super::check::CheckError;
use super::grants_sql::GrantsSqlError;
use super::health::HealthError;
use super::help::ManError;
use super::model_args::ModelError;
use super::next_run::NextRunFailure;
use super::notify_sql::NotifySqlError;
use crate::config::ConfigErrors;
use crate::demo::DemoError;
use crate::explain::ExplainError;

/// Why a command failed. The cause decides the exit code.
#[derive(Debug)]
pub enum CommandError {
    /// The configuration is invalid: exit code 64 (`EX_USAGE` of sysexits.h).
    Configuration(ConfigErrors),
    /// Anything else, with its message: exit code 1.
    Failed(String),
    /// The command has already reported the problem: exit code 1.
    Reported,
    /// The reader of the output has closed it, for example `head`: exit code 0.
    OutputClosed,
}

impl CommandError {
    /// Returns the exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 64,
            Self::Failed(_) | Self::Reported => 1,
            Self::OutputClosed => 0,
        }
    }

    /// Returns the message to print to standard error, if any.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Configuration(problems) => Some(problems.to_string()),
            Self::Failed(text) => Some(text.clone()),
            Self::Reported | Self::OutputClosed => None,
        }
    }
}

impl From<ConfigErrors> for CommandError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Configuration(errors)
    }
}

impl From<io::Error> for CommandError {
    /// Converts an error of writing the output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Converts errors of commands: an invalid configuration and a closed output are kept apart from the rest.
macro_rules! from_errors {
    ($($error:ident { $($special:ident),* }),* $(,)?) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                match error {
                    $($error::$special(cause) => cause.into(),)*
                    other => Self::Failed(other.to_string()),
                }
            }
        })*
    };
}

from_errors! {
    ExplainError { Configuration, Output },
    CheckError { Configuration, Output },
    DemoError { Config, Output },
    ModelError { Configuration, Output },
    HealthError { Configuration },
    GrantsSqlError { Configuration },
    NotifySqlError { Configuration },
    NextRunFailure { Output },
    ManError {},
}
