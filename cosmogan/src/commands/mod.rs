//! The command line: one file per subcommand.

mod completions;
mod compress;
mod crop;
mod dataset;
mod demo;
mod doctor;
mod evaluate;
mod explore;
mod figures;
mod generate;
mod import;
mod kernels;
mod maker;
mod maps;
mod origins;
mod output;
mod profile;
mod shapes;
mod simulate;
mod stats;
mod train;
mod tune;
mod verify;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::Result;
use crate::help::{examples, with_short_help};

/// Weak-lensing convergence maps from a generative adversarial network
#[derive(Debug, Parser)]
#[command(name = "cosmogan", version, max_term_width = 100)]
#[command(after_help = examples(&[
    "cosmogan generate --count 16 --out maps.npy",
    "cosmogan demo",
    "cosmogan generate --help",
]))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArguments),
    Simulate(simulate::SimulateArguments),
    Crop(crop::CropArguments),
    Dataset(dataset::DatasetArguments),
    Train(train::TrainArguments),
    Compress(compress::CompressArguments),
    Import(import::ImportArguments),
    Generate(generate::GenerateArguments),
    Stats(stats::StatsArguments),
    Evaluate(evaluate::EvaluateArguments),
    #[command(subcommand)]
    Explore(explore::ExploreCommand),
    Shapes(shapes::ShapesArguments),
    Verify(verify::VerifyArguments),
    Profile(profile::ProfileArguments),
    Tune(tune::TuneArguments),
    Kernels(kernels::KernelsArguments),
    Doctor(doctor::DoctorArguments),
    Completions(completions::CompletionsArguments),
}

/// The command and its subcommands, in which a negative number is a value and not an unknown flag.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| match argument.get_action().takes_values() {
            true => argument.allow_negative_numbers(true),
            false => argument,
        })
        .mut_subcommands(with_negative_numbers)
}

impl Cli {
    /// Parses a command line, which starts with the name of the program.
    ///
    /// `-h` shows the common flags of a command, `--help` all flags, in one layout.
    ///
    /// # Errors
    /// If the arguments are wrong, or ask for help or the version.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> std::result::Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        // -1 is a value, so that each flag says what it allows.
        let mut command = with_negative_numbers(Self::command());
        if arguments.iter().any(|argument| argument == "-h") {
            command = with_short_help(command);
        }
        let matches = command.try_get_matches_from_mut(arguments)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// Runs the subcommand.
    ///
    /// # Errors
    /// Those of the subcommand.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Demo(arguments) => arguments.run(),
            Command::Simulate(arguments) => arguments.run(),
            Command::Crop(arguments) => arguments.run(),
            Command::Dataset(arguments) => arguments.run(),
            Command::Train(arguments) => arguments.run(),
            Command::Compress(arguments) => arguments.run(),
            Command::Import(arguments) => arguments.run(),
            Command::Generate(arguments) => arguments.run(),
            Command::Stats(arguments) => arguments.run(),
            Command::Evaluate(arguments) => arguments.run(),
            Command::Explore(command) => command.run(),
            Command::Shapes(arguments) => arguments.run(),
            Command::Verify(arguments) => arguments.run(),
            Command::Profile(arguments) => arguments.run(),
            Command::Tune(arguments) => arguments.run(),
            Command::Kernels(arguments) => arguments.run(),
            Command::Doctor(arguments) => arguments.run(),
            Command::Completions(arguments) => arguments.run(),
        }
    }
}
