//! `cosmogan train`: trains a generator on maps.

use std::path::{Path, PathBuf};

use clap::Args;
use cosmogan_base::memory;

use super::maps::MapFlags;
use crate::data::Survey;
use crate::device::{DeviceArguments, Switch};
use crate::error::{Error, Result};
use crate::help::{ADVANCED, examples};
use crate::interrupt;
use crate::model::preset::{TrainingConfig, with_overrides};
use crate::model::{ModelConfig, NetworkKind, Preset, tensors};
use crate::train::DataPrecision;
use crate::train::checkpoint::{self, DataIdentity, RunIdentity};
use crate::train::folder::RunFolder;
use crate::train::run::{self, Length, RunOptions};
use crate::train::{Changes, Selection, SelectionOptions};

/// Train a generator on convergence maps
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan train --data maps.npy --preset small --epochs 20 --out run", "cosmogan train --data maps.npy --preset small --epochs 40 --out run --resume"]))]
pub(super) struct TrainArguments {
    /// Training maps, .npy or FITS; of the model's size, or larger with --crops
    #[arg(long, value_name = "MAPS")]
    data: PathBuf,
    /// Run folder for weights, checkpoint, log and preview images
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// paper (256² maps), small (128²) or tiny (64²) [default: paper]
    #[arg(long, value_enum, hide_possible_values = true)]
    preset: Option<Preset>,
    /// TOML file with settings that replace the preset's
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Random crops of each map, new ones in every epoch [default: whole maps]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    crops: Option<u64>,
    /// Training maps in f32 or f16, half the memory [default: f32]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = ADVANCED, hide_possible_values = true)]
    data_precision: Option<DataPrecision>,
    /// Total passes over the data, including those before a resume
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Total steps, including those before a resume
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Maps per step [default: the preset's: 64, or 16 for tiny]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Decay of average.safetensors, the generator's moving average [default: paper 0, else 0.99]
    #[arg(long, value_name = "DECAY", help_heading = ADVANCED)]
    average: Option<f64>,
    /// Seed of weights, shuffling, crops, latents and label flips [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    files: MapFlags,
    #[command(flatten)]
    device: DeviceArguments,
    /// Remove the files of an earlier run in --out
    #[arg(long, conflicts_with = "resume", help_heading = ADVANCED)]
    overwrite: bool,
    /// Continue the run in --out [=device,precision,version: despite a change]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_name = "CHANGES")]
    resume: Option<Changes>,
    /// Steps between lines of log.jsonl
    #[arg(long, default_value_t = 1, value_name = "STEPS", help_heading = ADVANCED)]
    log_every: u64,
    /// Steps between preview images; 0 for one per epoch
    #[arg(long, default_value_t = 0, value_name = "STEPS", help_heading = ADVANCED)]
    preview_every: u64,
    /// Replay training steps as a CUDA graph: on or off
    #[arg(long, value_enum, default_value_t, help_heading = ADVANCED, hide_possible_values = true)]
    graphs: Switch,
    /// Development maps: keep the generator with the nearest spectra
    #[arg(long, value_name = "MAPS")]
    select: Option<PathBuf>,
    /// Last epochs, in which generators are scored
    #[arg(long, default_value_t = 2, value_name = "EPOCHS", help_heading = ADVANCED, requires = "select", value_parser = at_least_one())]
    select_epochs: u64,
    /// Steps between scores
    #[arg(long, default_value_t = 1, value_name = "STEPS", help_heading = ADVANCED, requires = "select", value_parser = at_least_one())]
    select_every: u64,
    /// Maps generated for each score
    #[arg(long, default_value_t = 6400, value_name = "MAPS", help_heading = ADVANCED, requires = "select", value_parser = at_least_one())]
    select_maps: u64,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

impl TrainArguments {
    pub(super) fn run(self) -> Result<()> {
        if self.log_every == 0 {
            return Err(Error::usage("--log-every", "0 steps", "give 1 or more"));
        }
        let length = self.length()?;
        let folder = RunFolder::new(&self.out);
        let earlier = self.earlier_run(&folder)?;
        let (model, training) = self.configuration(earlier.as_ref())?;
        // The parameters, their gradients, two moments, and a copy in host memory.
        let parameters: f64 = [NetworkKind::Generator, NetworkKind::Discriminator]
            .into_iter()
            .flat_map(|kind| tensors(kind, &model))
            .map(|tensor| {
                tensor
                    .file_dims
                    .iter()
                    .map(|&extent| extent as f64)
                    .product::<f64>()
            })
            .sum();
        let bytes = 5.0 * size_of::<f32>() as f64 * parameters;
        memory::expect_room("--config", "this model needs at least", bytes)?;
        let backend = self.device.open()?;
        let maps = self.files.open(&self.data)?;
        let crops = self.crops.map(|crops| crops as usize);
        let crops = crops.or(earlier.as_ref().and_then(|earlier| earlier.crops));
        maps.require_extents(model.output_size, model.c_dim, crops.is_some())?;
        let survey = Survey::of(&maps)?;
        let known = earlier.as_ref().map(|earlier| earlier.data_precision);
        let data_precision = self.data_precision.or(known).unwrap_or_default();
        if survey.beyond_one > 0 {
            eprintln!(
                "warning: {} of {} maps have a pixel outside [-1, 1], which the generator's tanh cannot reach",
                survey.beyond_one,
                maps.count()
            );
        }
        let identity = RunIdentity {
            model,
            training,
            seed: self
                .seed
                .or(earlier.as_ref().map(|earlier| earlier.seed))
                .unwrap_or(0),
            data: DataIdentity::of(&maps, &survey)?
                .or_as_known(earlier.as_ref().map(|earlier| &earlier.data)),
            crops,
            data_precision,
        };
        let size = model.output_size;
        let taken = match crops {
            None => format!("{} maps of {size}×{size}", maps.count()),
            Some(crops) => format!(
                "{} maps of {}×{}, each with {crops} crops of {size}×{size} per epoch,",
                maps.count(),
                maps.height(),
                maps.width()
            ),
        };
        eprintln!("training on {taken} on {}", backend.description());
        if let Some(provenance) = &identity.data.provenance {
            eprintln!("{}: {provenance}", self.data.display());
        }
        interrupt::listen();
        let options = RunOptions {
            folder: self.out.clone(),
            identity,
            mean: survey.mean,
            length: length.unwrap_or(Length::Epochs(training.epochs)),
            log_every: self.log_every,
            preview_every: self.preview_every,
            may_record: self.graphs == Switch::On,
            time_limit: None,
            overwrite: self.overwrite,
            accepted: self.resume.clone().unwrap_or_default(),
        };
        let selection = match &self.select {
            None => None,
            Some(path) => Some(self.selection(path, &options.identity, &folder)?),
        };
        run::train(&options, &maps, selection, &backend)?;
        Ok(())
    }

    /// Prepares the scoring by the maps at `path`, which must not come from the simulation boxes of the training maps.
    fn selection(&self, path: &Path, run: &RunIdentity, folder: &RunFolder) -> Result<Selection> {
        let selection = Selection::new(
            SelectionOptions {
                epochs: self.select_epochs,
                every: self.select_every,
                maps: self.select_maps as usize,
            },
            &self.files.open(path)?,
            run.model.output_size,
            run.seed,
            &folder.best(),
        )?;
        let both = (&run.data.provenance, &selection.development().provenance);
        if let (Some(training), Some(development)) = both
            && let Some(seed) = development.shared_box(training)
        {
            return Err(Error::file(
                path,
                format!(
                    "holds maps of the box of seed {seed}, and so does {}",
                    self.data.display()
                ),
                "give --select maps of other boxes",
            ));
        }
        Ok(selection)
    }

    /// The length that the flags give, if any.
    fn length(&self) -> Result<Option<Length>> {
        match (self.steps, self.epochs) {
            (Some(0), _) => Err(Error::usage("--steps", "0 steps", "give 1 or more")),
            (_, Some(0)) => Err(Error::usage("--epochs", "0 epochs", "give 1 or more")),
            (steps, epochs) => Ok(steps.map(Length::Steps).or(epochs.map(Length::Epochs))),
        }
    }

    /// The run to resume, if there is one. Without --resume, an existing run is an error.
    fn earlier_run(&self, folder: &RunFolder) -> Result<Option<RunIdentity>> {
        let path = folder.checkpoint();
        if self.overwrite {
            return Ok(None);
        }
        if let Some(file) = folder.left_over() {
            return Err(Error::file(
                file,
                "is left over from a run without a checkpoint",
                "choose another --out, or add --overwrite to remove the files of that run",
            ));
        }
        match (path.exists(), self.resume.is_some()) {
            (true, true) => Ok(Some(checkpoint::record(&path)?.identity)),
            (true, false) => Err(Error::file(
                folder.path(),
                "already holds a run",
                "add --resume to continue it, --overwrite to remove it, or choose another --out",
            )),
            (false, true) => {
                eprintln!(
                    "{}: no checkpoint yet, starting at step 0",
                    folder.path().display()
                );
                Ok(None)
            }
            (false, false) => Ok(None),
        }
    }

    /// The configuration of the flags; without flags, that of the run to resume; without a run, the paper preset.
    fn configuration(
        &self,
        earlier: Option<&RunIdentity>,
    ) -> Result<(ModelConfig, TrainingConfig)> {
        let preset = self.preset.unwrap_or(Preset::Paper);
        let (model, mut training) = match (&self.config, self.preset, earlier) {
            (Some(path), ..) => with_overrides(preset, path)?,
            (None, None, Some(earlier)) => (earlier.model, earlier.training),
            (None, ..) => (preset.model(), preset.training()),
        };
        if let Some(batch) = self.batch {
            training.batch = batch;
            if let Some(problem) = training.problem() {
                return Err(Error::usage("--batch", problem, "give 2 or more"));
            }
        } else if let Some(earlier) = earlier
            && self.config.is_none()
        {
            // A --preset repeated on --resume keeps the run's batch, which an earlier --batch may have set.
            training.batch = earlier.training.batch;
        }
        if let Some(decay) = self.average {
            training.average = decay;
            if let Some(problem) = training.problem() {
                return Err(Error::usage(
                    "--average",
                    problem,
                    "give a decay such as 0.999",
                ));
            }
        } else if let Some(earlier) = earlier
            && self.config.is_none()
        {
            training.average = earlier.training.average;
        }
        Ok((model, training))
    }
}
