//! `cosmogan completions`: completions for shells, and manual pages.

use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Cli;
use super::output::print_written;
use crate::error::{Error, Result};
use crate::files::create_folder;
use crate::help::examples;

/// Print completions for a shell, or write manual pages
#[derive(Debug, Args)]
#[command(after_help = examples(&[
    "cosmogan completions bash > ~/.local/share/bash-completion/completions/cosmogan",
    "cosmogan completions man --out ~/.local/share/man/man1",
]))]
pub(super) struct CompletionsArguments {
    /// bash, elvish, fish, powershell or zsh; man for manual pages
    #[arg(value_enum, value_name = "SHELL", hide_possible_values = true)]
    form: Form,
    /// Output folder of the manual pages, for man
    #[arg(long, value_name = "DIR", required_if_eq("form", "man"))]
    out: Option<PathBuf>,
}

/// The values of SHELL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
    Man,
}

impl CompletionsArguments {
    pub(super) fn run(self) -> Result<()> {
        let shell = match (self.form, &self.out) {
            (Form::Man, Some(folder)) => return write_manual(folder),
            (_, Some(_)) | (Form::Man, None) => {
                return Err(Error::usage(
                    "--out",
                    "is for manual pages; completions are printed",
                    "use `cosmogan completions man --out DIR`, or leave it out",
                ));
            }
            (Form::Bash, None) => Shell::Bash,
            (Form::Elvish, None) => Shell::Elvish,
            (Form::Fish, None) => Shell::Fish,
            (Form::PowerShell, None) => Shell::PowerShell,
            (Form::Zsh, None) => Shell::Zsh,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "cosmogan", &mut script);
        match stdout().write_all(&script) {
            // The reader, such as `head`, has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::file(
                "standard output",
                error,
                "redirect it to a writable file",
            )),
            _ => Ok(()),
        }
    }
}

/// Writes one page for the program and one for each command.
fn write_manual(folder: &Path) -> Result<()> {
    create_folder(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Error::file(folder, error, "choose a writable folder for --out"))?;
    print_written(folder, "cosmogan.1 and a page for each command");
    Ok(())
}
