//! Layout of the help texts.

use clap::{Arg, Command};

/// Heading of the flags that few users need. They are not in the short help, `-h`.
pub(crate) const ADVANCED: &str = "Advanced";

/// The examples at the end of a command's help.
pub(crate) fn examples(lines: &[&str]) -> String {
    format!("Examples:\n  {}", lines.join("\n  "))
}

/// Hides the [`ADVANCED`] flags of all commands in the short help.
///
/// Only for `-h`: as soon as the short help hides a flag, clap writes `--help` with several lines per flag.
pub(crate) fn with_short_help(command: Command) -> Command {
    let is_advanced = |argument: &Arg| argument.get_help_heading() == Some(ADVANCED);
    command
        .mut_args(|argument| {
            let hides = is_advanced(&argument);
            argument.hide_short_help(hides)
        })
        .mut_subcommands(with_short_help)
}
