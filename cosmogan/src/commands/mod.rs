//! The command line: one file per subcommand, each thin.

mod compress;
mod crop;
mod dataset;
mod demo;
mod doctor;
mod evaluate;
mod explore;
mod figures;
mod generate;
mod kernels;
mod maker;
mod origins;
mod profile;
mod shapes;
mod simulate;
mod stats;
mod train;
mod tune;
mod verify;

use std::path::Path;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files::write_atomically;

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
    Demo(demo::DemoArguments),
    Simulate(simulate::SimulateArguments),
    Crop(crop::CropArguments),
    Dataset(dataset::DatasetArguments),
    Train(train::TrainArguments),
    Compress(compress::CompressArguments),
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
}

impl Cli {
    /// Runs the subcommand to its end.
    ///
    /// # Errors
    /// Whatever the subcommand reports.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Demo(arguments) => arguments.run(),
            Command::Simulate(arguments) => arguments.run(),
            Command::Crop(arguments) => arguments.run(),
            Command::Dataset(arguments) => arguments.run(),
            Command::Train(arguments) => arguments.run(),
            Command::Compress(arguments) => arguments.run(),
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
        }
    }
}

/// Writes `value` for programs.
fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::file(path, error, "report this as a bug"))?;
    json.push(b'\n');
    write_atomically(path, &json)
}
