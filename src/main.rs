//! The program: parses the command line, runs the command, and exits with its code.

use std::process::ExitCode;

use clap::Parser;
use jobrunr_scaler::cli::{self, Args};

fn main() -> ExitCode {
    match cli::run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(text) = error.text() {
                eprintln!("{text}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
