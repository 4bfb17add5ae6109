//! The `cosmogan` binary: parses the command line, runs the command and reports an error in one line.

use std::process::ExitCode;

use clap::error::{Error as UsageError, ErrorKind};
use cosmogan::commands::Cli;
use cosmogan::terminal;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        // --help, --version and a missing subcommand print in full and are not reported as errors in one line.
        Err(answer)
            if !answer.use_stderr()
                || answer.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            answer.exit()
        }
        Err(error) => {
            terminal::message(format_args!("cosmogan: {}", in_one_line(&error)));
            return ExitCode::from(2);
        }
    };
    match cli.run() {
        Ok(()) => match terminal::failure() {
            None => ExitCode::SUCCESS,
            Some(error) => {
                terminal::message(format_args!(
                    "cosmogan: stdout: cannot write: {error}; check where it leads"
                ));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            terminal::message(format_args!("cosmogan: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

/// The error and clap's hints in one line, without the usage text.
fn in_one_line(error: &UsageError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join(" ");
    format!("{}; see --help", line.trim_start_matches("error: "))
}
