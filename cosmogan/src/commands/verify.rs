//! `cosmogan verify`: every operator against the oracle, every model against a reference.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use cosmogan_oracle::Case;

use crate::device::{Device, DeviceArguments};
use crate::error::{Error, Result};
use crate::help::{ADVANCED, examples};
use crate::interrupt;
use crate::model::Preset;
use crate::progress::Progress;
use crate::verify::isolation::Isolation;
use crate::verify::{
    BYTES_PER_VALUE, Record, end_with_parent, model_cases, print_table, reference, session,
};
use cosmogan_base::memory;

/// Elements of each output that are compared at most: the oracle's plain loops would take minutes for all.
const SAMPLE: usize = 400;

/// Up to so many cases, kernels are compiled one by one as they are launched instead of all at once.
const FEW: usize = 8;

/// A list of cases: the value of `--set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CaseSet {
    /// Every operator at the shapes of a model
    Model,
    /// Random shapes of every operator
    Random,
    /// Shapes that fill tiles of Hopper kernels
    Hopper,
    /// Shapes at the edges of tiles
    Edges,
}

/// Check every operator against the oracle, and training steps against a reference
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan verify --device cpu --preset tiny", "cosmogan verify --device simt     # GPU kernels without a GPU"]))]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Cases: model, random, hopper or edges; may be given several times
    #[arg(long, value_enum, default_values_t = [CaseSet::Model, CaseSet::Random], hide_possible_values = true, conflicts_with_all = ["reference", "case"])]
    set: Vec<CaseSet>,
    /// Model with the shapes: paper, small or tiny [default: paper; tiny on simt]
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        conflicts_with = "reference"
    )]
    preset: Option<Preset>,
    /// Maps in a batch, for the model's shapes
    #[arg(
        long,
        default_value_t = 2,
        value_name = "N",
        conflicts_with = "reference"
    )]
    batch: usize,
    /// Random cases of each operator
    #[arg(
        long,
        default_value_t = 20,
        value_name = "N",
        conflicts_with = "reference"
    )]
    random: usize,
    /// Seed of the model's operands and of the random cases
    #[arg(long, default_value_t = 0, conflicts_with = "reference")]
    seed: u64,
    /// Check a case that verify or profile printed; may be given several times
    #[arg(long, value_name = "LINE", conflicts_with = "reference")]
    case: Vec<String>,
    /// Print the cases instead of running them
    #[arg(long, conflicts_with_all = ["reference", "json", "isolate"])]
    list: bool,
    /// Run cases in child processes of N cases [default: 1], which survives hangs and crashes
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        default_missing_value = "1",
        help_heading = ADVANCED,
        conflicts_with = "reference"
    )]
    isolate: Option<usize>,
    /// Kill a child process that gives no result for so long
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        requires = "isolate",
        help_heading = ADVANCED
    )]
    time_limit: u64,
    /// This is a child process of --isolate
    #[arg(long, hide = true)]
    isolated: bool,
    /// Replay the reference sets in this folder instead
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    /// Write the results for the reference sets, under the sets' tensor names
    #[arg(long, value_name = "OUT", requires = "reference", help_heading = ADVANCED)]
    dump: Option<PathBuf>,
    /// Write the table as JSON, updated after every case
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl VerifyArguments {
    pub(super) fn run(self) -> Result<()> {
        if self.list {
            for case in self.cases()? {
                println!("{case}");
            }
            return Ok(());
        }
        let mut record = Record::new(self.json.clone());
        if self.isolated {
            end_with_parent();
            self.conform(&self.cases()?, &mut record)?;
            return record.finish();
        }
        let checked = self.check(&mut record);
        // Printed for a run that stopped early, too.
        print_table(&record.outcome().checks);
        checked?;
        record.finish()?;

        let outcome = record.outcome();
        let (count, failed) = (outcome.checks.len(), outcome.failed());
        let device = outcome.device.as_deref();
        println!(
            "{} passed, {failed} failed on {}",
            count - failed,
            device.unwrap_or("a device that was not opened")
        );
        for path in [&self.dump, &self.json].into_iter().flatten() {
            println!("wrote {}", path.display());
        }
        if failed > 0 {
            return Err(Error::check_failed(format!(
                "{failed} of {count} checks failed; the table above names them"
            )));
        }
        Ok(())
    }

    fn check(&self, record: &mut Record) -> Result<()> {
        if let Some(folder) = &self.reference {
            return self.replay(folder, record);
        }
        let cases = self.cases()?;
        if let Some(isolation) = self.isolation()? {
            return isolation.run(&cases, record);
        }
        // The rows so far are printed.
        interrupt::listen();
        let done = self.conform(&cases, record)?;
        session::skip_cases(&cases, done, record)
    }

    fn replay(&self, folder: &Path, record: &mut Record) -> Result<()> {
        let backend = self.device.open()?;
        let sets = reference::find(folder)?;
        record.set_device(backend.description())?;
        session::replay(&sets, &backend, self.dump.as_deref(), record)
    }

    /// Checks `cases` up to one that loses the device. Returns how many have a row.
    fn conform(&self, cases: &[Case], record: &mut Record) -> Result<usize> {
        let backend = self.device.open_checked(cases.len() > FEW)?;
        record.set_device(backend.description())?;
        let arithmetic = cosmogan_conformance::arithmetic(self.device.precision);
        let mut progress = (!self.isolated).then(|| Progress::new("verifying", cases.len() as u64));
        let done = session::check_cases(cases, record, |case| {
            let row = cosmogan_conformance::check(case, &backend, &arithmetic, SAMPLE);
            if let Some(progress) = &mut progress {
                progress.advance(1, case);
            }
            Ok(row?)
        })?;
        if let Some(progress) = progress {
            progress.finish("");
        }
        Ok(done)
    }

    fn isolation(&self) -> Result<Option<Isolation>> {
        let Some(cases) = self.isolate else {
            return Ok(None);
        };
        if cases == 0 {
            return Err(Error::usage(
                "--isolate",
                "0 cases in a process",
                "give 1 or more",
            ));
        }
        if self.time_limit == 0 {
            return Err(Error::usage("--time-limit", "0 seconds", "give 1 or more"));
        }
        Ok(Some(Isolation {
            cases,
            time_limit: Duration::from_secs(self.time_limit),
            device: self.device,
        }))
    }

    fn cases(&self) -> Result<Vec<Case>> {
        if !self.case.is_empty() {
            let parse = |line: &String| -> Result<Case> {
                let case: Case = line.parse().map_err(|problem: String| {
                    Error::usage(
                        "--case",
                        problem,
                        "paste a case as verify or profile prints it, from the operator's name on",
                    )
                })?;
                let bytes = BYTES_PER_VALUE * case.values();
                memory::expect_room("--case", "this case needs", bytes)?;
                Ok(case)
            };
            return self.case.iter().map(parse).collect();
        }
        if self.batch == 0 {
            return Err(Error::usage("--batch", "0 maps", "give 1 or more"));
        }
        let preset = self.preset.unwrap_or(match self.device.device {
            // At the paper's shapes the executor would take hours.
            Device::Simt(_) => Preset::Tiny,
            _ => Preset::Paper,
        });
        let mut cases = Vec::new();
        for (index, set) in self.set.iter().enumerate() {
            if self.set[..index].contains(set) {
                continue;
            }
            cases.extend(match set {
                CaseSet::Model => model_cases(&preset.model(), self.batch, self.seed),
                CaseSet::Random => Case::random_set(self.random, self.seed),
                CaseSet::Hopper => Case::hopper_set(),
                CaseSet::Edges => Case::edge_set(),
            });
        }
        if cases.is_empty() {
            return Err(Error::usage("--random", "no cases", "give 1 or more"));
        }
        Ok(cases)
    }
}
