//! The command line: one file per subcommand, each thin.

mod crop;
mod doctor;
mod generate;
mod simulate;
mod train;
mod verify;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Weak-lensing convergence maps from a generative adversarial network
#[derive(Debug, Parser)]
#[command(name = "cosmogan", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArguments),
    Generate(generate::GenerateArguments),
    Verify(verify::VerifyArguments),
    Simulate(simulate::SimulateArguments),
    Crop(crop::CropArguments),
    Doctor(doctor::DoctorArguments),
}

impl Cli {
    /// Runs the subcommand to its end.
    ///
    /// # Errors
    /// Whatever the subcommand reports.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Train(arguments) => arguments.run(),
            Command::Generate(arguments) => arguments.run(),
            Command::Verify(arguments) => arguments.run(),
            Command::Simulate(arguments) => arguments.run(),
            Command::Crop(arguments) => arguments.run(),
            Command::Doctor(arguments) => arguments.run(),
        }
    }
}
