//! The one binary: parse, run, report an error in one line.

use std::process::ExitCode;

use clap::Parser;
use clap::error::{Error as UsageError, ErrorKind};
use cosmogan::commands::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are answers, not complaints; so is help for who says nothing.
        Err(answer)
            if !answer.use_stderr()
                || answer.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            answer.exit()
        }
        Err(error) => {
            eprintln!("cosmogan: {}", in_one_line(&error));
            return ExitCode::from(2);
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cosmogan: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

/// What is wrong and what would be right, without the usage that follows.
fn in_one_line(error: &UsageError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join(" ");
    format!("{}; --help says more", line.trim_start_matches("error: "))
}
