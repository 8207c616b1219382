//! `jobrunr-scaler completions` and `jobrunr-scaler man`: what a shell and `man` want to know of the command line.

use clap::CommandFactory;
use clap_complete::Shell;
use thiserror::Error;

use super::Args;
use crate::text::joined;

/// The options of `completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The options of `man`.
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// The command that the page is about; without one, the program
    pub command: Option<String>,
}

/// Why there is no manual page.
#[derive(Debug, Error)]
pub enum ManError {
    /// There is no such command.
    #[error("`{asked}` is not a command; there are: {known}")]
    UnknownCommand {
        /// What was asked for.
        asked: String,
        /// The commands.
        known: String,
    },
    /// The page cannot be written.
    #[error("cannot write the manual page: {0}")]
    Write(#[from] std::io::Error),
}

/// Returns the script that completes this program's command line in a shell.
#[must_use]
pub fn completions(args: &CompletionsArgs) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "jobrunr-scaler", &mut script);
    script
}

/// Returns a manual page, in roff.
///
/// # Errors
/// [`ManError`]
pub fn man(args: &ManArgs) -> Result<Vec<u8>, ManError> {
    let mut program = Args::command();
    // Gives the commands their full names.
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| ManError::UnknownCommand {
            asked: name.clone(),
            known: joined(program.get_subcommands().map(clap::Command::get_name), ", "),
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn completions_know_every_command_in_every_shell() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(&CompletionsArgs { shell: *shell })).unwrap();
            for command in Args::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn man_has_a_page_for_every_command() {
        let page = |command: Option<&str>| man(&ManArgs { command: command.map(str::to_owned) });
        assert!(String::from_utf8(page(None).unwrap()).unwrap().contains("explain"));
        for command in Args::command().get_subcommands() {
            let page = String::from_utf8(page(Some(command.get_name())).unwrap()).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
        }
        let error = page(Some("explode")).unwrap_err().to_string();
        assert!(error.starts_with("`explode` is not a command; there are: serve, explain, "), "{error}");
    }
}
