//! The `cosmogan` binary: parses the command line, runs the command and reports an error in one line.

use std::process::ExitCode;

use clap::error::{Error as UsageError, ErrorKind};
use cosmogan::commands::Cli;
use cosmogan::{terminal, threads};

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
    threads::prepare();
    report_file_size_limits();
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

/// Lets a write beyond the file-size limit (`ulimit -f`) fail rather than end the program by a signal.
fn report_file_size_limits() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal};
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGXFSZ);
        // Blocked, it is never delivered, and the write returns an error.
        let _ = signals.thread_block();
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
    let mut line = lines.join(" ");
    for (technical, plain) in [
        (
            "invalid digit found in string",
            "give a whole number from 0 on",
        ),
        (
            "number too large to fit in target type",
            "the number is too large",
        ),
        ("invalid float literal", "give a number"),
    ] {
        line = line.replace(technical, plain);
    }
    format!("{}; see --help", line.trim_start_matches("error: "))
}
