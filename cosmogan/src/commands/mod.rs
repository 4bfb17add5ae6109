//! The command line: one file per subcommand, each thin.

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Weak-lensing convergence maps from a generative adversarial network.
#[derive(Debug, Parser)]
#[command(name = "cosmogan", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Command {}

impl Cli {
    /// Runs the subcommand to its end.
    pub fn run(self) -> Result<()> {
        match self.command {}
    }
}
