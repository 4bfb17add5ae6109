//! The one binary: parse, run, report an error in one line.

use std::process::ExitCode;

use clap::Parser;
use cosmogan::commands::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cosmogan: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
