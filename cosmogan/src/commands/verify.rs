//! `cosmogan verify`: every operator against the oracle, every model against a reference.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_oracle::Case;
use serde::Serialize;

use crate::device::{Device, DeviceArguments};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::model::Preset;
use crate::progress::Progress;
use crate::verify::{Check, conformance, model_cases, print_table, reference};

/// Elements of each output that are compared at most: the oracle's plain loops would take minutes for all.
const SAMPLE: usize = 400;

/// Check every operator against the oracle, and training steps against a reference
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Check the operators at the shapes of this preset's model [default: paper; tiny on simt]
    #[arg(long, value_enum, conflicts_with = "reference")]
    preset: Option<Preset>,
    /// Maps in a batch, for the model's shapes
    #[arg(
        long,
        default_value_t = 2,
        value_name = "N",
        conflicts_with = "reference"
    )]
    batch: usize,
    /// Random cases of each operator, besides the model's
    #[arg(
        long,
        default_value_t = 20,
        value_name = "N",
        conflicts_with = "reference"
    )]
    random: usize,
    /// Seed of all operands and of the random cases
    #[arg(long, default_value_t = 0, conflicts_with = "reference")]
    seed: u64,
    /// Check this case only, as printed in the table; may be given several times
    #[arg(long, value_name = "LINE", conflicts_with = "reference")]
    case: Vec<String>,
    /// Replay the reference sets in this folder instead
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    /// Write what this engine computed for the reference sets, under their own tensor names
    #[arg(long, value_name = "OUT", requires = "reference")]
    dump: Option<PathBuf>,
    /// Write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The JSON form of a verification.
#[derive(Serialize)]
struct Outcome<'a> {
    version: &'static str,
    device: String,
    passed: bool,
    checks: &'a [Check],
}

impl VerifyArguments {
    pub(super) fn run(self) -> Result<()> {
        let (backend, checks) = match &self.reference {
            Some(folder) => self.replay(folder)?,
            None => self.conform()?,
        };
        print_table(&checks);
        let failed = checks.iter().filter(|check| !check.passed).count();
        println!(
            "{} passed, {failed} failed on {}",
            checks.len() - failed,
            backend.description()
        );
        if let Some(path) = &self.json {
            write_json(path, backend.description(), &checks, failed == 0)?;
        }
        if failed > 0 {
            return Err(Error::CheckFailed(format!(
                "{failed} of {} checks failed; the table above names them",
                checks.len()
            )));
        }
        Ok(())
    }
}

impl VerifyArguments {
    fn replay(&self, folder: &Path) -> Result<(Arc<dyn Backend>, Vec<Check>)> {
        let backend = self.device.open()?;
        let mut checks = Vec::new();
        for set in reference::find(folder)? {
            checks.extend(set.check(&backend, self.dump.as_deref())?);
        }
        Ok((backend, checks))
    }

    fn conform(&self) -> Result<(Arc<dyn Backend>, Vec<Check>)> {
        let backend = self.device.open_checked()?;
        let cases = self.cases()?;
        let mut progress = Progress::new("verifying", cases.len() as u64);
        let mut checks = Vec::new();
        for case in &cases {
            let arithmetic = conformance::arithmetic(self.device.precision);
            checks.push(conformance::check(case, &backend, &arithmetic, SAMPLE)?);
            progress.advance(1, case);
        }
        progress.finish("");
        Ok((backend, checks))
    }

    fn cases(&self) -> Result<Vec<Case>> {
        if !self.case.is_empty() {
            let parse = |line: &String| {
                line.parse().map_err(|problem: String| {
                    Error::usage(
                        "--case",
                        problem,
                        "paste a line of the table, from the operator's name to the seed",
                    )
                })
            };
            return self.case.iter().map(parse).collect();
        }
        if self.batch == 0 {
            return Err(Error::usage("--batch", "0 maps", "give 1 or more"));
        }
        let preset = self.preset.unwrap_or(match self.device.device {
            // At the paper's shapes a processor would take hours, kernel by kernel and thread by thread.
            Device::Simt(_) => Preset::Tiny,
            _ => Preset::Paper,
        });
        let mut cases = model_cases(&preset.model(), self.batch, self.seed);
        cases.extend(Case::random_set(self.random, self.seed));
        Ok(cases)
    }
}

fn write_json(path: &Path, device: String, checks: &[Check], passed: bool) -> Result<()> {
    let outcome = Outcome {
        version: env!("CARGO_PKG_VERSION"),
        device,
        passed,
        checks,
    };
    let mut json = serde_json::to_string_pretty(&outcome).expect("plain data has a JSON form");
    json.push('\n');
    write_atomically(path, json.as_bytes())
}
