//! How a command ends that did not end well.

use std::io;

use super::check::CheckError;
use super::grants_sql::GrantsSqlError;
use super::health::HealthError;
use super::next_run::NextRunFailure;
use super::notify_sql::NotifySqlError;
use crate::config::ConfigErrors;
use crate::demo::DemoError;
use crate::explain::ExplainError;

/// Why a command did not end well. The cause decides the exit code.
#[derive(Debug)]
pub enum CommandError {
    /// The configuration is wrong: exit code 64 (`EX_USAGE` of sysexits.h).
    Configuration(ConfigErrors),
    /// Anything else that is still to be printed: exit code 1.
    Failed(String),
    /// The command has shown itself what is wrong: exit code 1.
    Reported,
    /// Nobody reads the output any more, as with `head`: exit code 0.
    OutputClosed,
}

impl CommandError {
    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 64,
            Self::Failed(_) | Self::Reported => 1,
            Self::OutputClosed => 0,
        }
    }

    /// What is still to be printed to standard error.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Configuration(mistakes) => Some(mistakes.to_string()),
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
    /// An error of writing the output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("the output cannot be written: {error}")),
        }
    }
}

/// Errors of a command: a wrong configuration and a closed output are told from the rest.
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
    HealthError { Configuration },
    GrantsSqlError { Configuration },
    NotifySqlError { Configuration },
    NextRunFailure { Output },
}
