//! `cosmogan train`: maps in, a generator out.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::data::{DataPrecision, MapFile, Survey};
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::preset::{TrainingConfig, with_overrides};
use crate::model::{ModelConfig, Preset};
use crate::train::checkpoint::{self, DataIdentity, RunIdentity};
use crate::train::run::{self, Length, RunFolder, RunOptions};
use crate::train::{Selection, SelectionOptions};

/// Train a generator on convergence maps
#[derive(Debug, Args)]
pub(super) struct TrainArguments {
    /// Training maps: .npy or FITS, (N, H, W) with H = W = the model's output_size, or larger with --crops
    #[arg(long, value_name = "MAPS")]
    data: PathBuf,
    /// Run folder for weights, checkpoint, log and pictures
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Model and training settings by name [default: paper, or those of the run that is resumed]
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// TOML file with settings that replace the preset's
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Crops of each map in an epoch, at places and in mirror images that every epoch draws anew
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    crops: Option<u64>,
    /// What the training maps are rounded to: f16 halves what they take on a GPU [default: f32]
    #[arg(long, value_enum, value_name = "FORMAT")]
    data_precision: Option<DataPrecision>,
    /// Total passes over the data, counted from the run's first step
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Total steps, counted from the run's first
    #[arg(long)]
    steps: Option<u64>,
    /// Maps per step [default: the preset's, 64; tiny has 16]
    #[arg(long)]
    batch: Option<usize>,
    /// Keep a moving average of the generator with this decay per step, as average.safetensors; it is what pictures show
    /// and --select scores [default: the preset's, 0: none]
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    average: Option<f64>,
    /// Seed of weights, order, latents and label flips [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArguments,
    /// Go on with the run in --out, bit for bit as if it had never stopped
    #[arg(long)]
    resume: bool,
    /// Steps between lines of log.jsonl; a GPU does not wait for its processor in between
    #[arg(long, default_value_t = 1, value_name = "STEPS")]
    log_every: u64,
    /// Steps between pictures of the same 16 latents; 0 for one per epoch
    #[arg(long, default_value_t = 0, value_name = "STEPS")]
    preview_every: u64,
    /// Development maps: near the end of the run generators are scored by the χ² distance of their power spectra to
    /// those of these maps, and the best is kept as best.safetensors
    #[arg(long, value_name = "MAPS")]
    select: Option<PathBuf>,
    /// Passes over the data, at the end of the run, in which generators are scored
    #[arg(long, default_value_t = 2, value_name = "EPOCHS", requires = "select", value_parser = at_least_one())]
    select_epochs: u64,
    /// Steps between scores
    #[arg(long, default_value_t = 1, value_name = "STEPS", requires = "select", value_parser = at_least_one())]
    select_every: u64,
    /// Maps that each generator is judged by
    #[arg(long, default_value_t = 6400, value_name = "MAPS", requires = "select", value_parser = at_least_one())]
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
        let backend = self.device.open()?;
        let maps = MapFile::open(&self.data)?;
        let crops = self.crops.map(|crops| crops as usize);
        let crops = crops.or(earlier.as_ref().and_then(|earlier| earlier.crops));
        maps.require_extents(model.output_size, model.c_dim, crops.is_some())?;
        let survey = Survey::of(&maps)?;
        let known = earlier.as_ref().map(|earlier| earlier.data_precision);
        let data_precision = self.data_precision.or(known).unwrap_or_default();
        data_precision.require_range(&survey)?;
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
        let taken = match crops {
            None => format!("{} maps", maps.count()),
            Some(crops) => format!(
                "{crops} crops an epoch of each of {} maps of {}×{},",
                maps.count(),
                maps.height(),
                maps.width()
            ),
        };
        eprintln!(
            "training on {taken} of {size}×{size} on {}",
            backend.description(),
            size = model.output_size,
        );
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
            time_limit: None,
        };
        let selection = match &self.select {
            None => None,
            Some(path) => Some(self.selection(path, &options.identity, &folder)?),
        };
        run::train(&options, &maps, selection, &backend)?;
        Ok(())
    }

    /// Scores by the maps at `path`, which must not show the matter that the networks of `run` are trained on.
    fn selection(&self, path: &Path, run: &RunIdentity, folder: &RunFolder) -> Result<Selection> {
        let selection = Selection::new(
            SelectionOptions {
                epochs: self.select_epochs,
                every: self.select_every,
                maps: self.select_maps as usize,
            },
            &MapFile::open(path)?,
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
                    "has maps of the box of seed {seed}, as has {}",
                    self.data.display()
                ),
                "give --select maps of other boxes",
            ));
        }
        Ok(selection)
    }

    /// What the flags say, if anything.
    fn length(&self) -> Result<Option<Length>> {
        match (self.steps, self.epochs) {
            (Some(0), _) => Err(Error::usage("--steps", "0 steps", "give 1 or more")),
            (_, Some(0)) => Err(Error::usage("--epochs", "0 epochs", "give 1 or more")),
            (steps, epochs) => Ok(steps.map(Length::Steps).or(epochs.map(Length::Epochs))),
        }
    }

    /// The run that is to be resumed, if there is one; a run that is not to be resumed is protected.
    fn earlier_run(&self, folder: &RunFolder) -> Result<Option<RunIdentity>> {
        let path = folder.checkpoint();
        match (path.exists(), self.resume) {
            (true, true) => Ok(Some(checkpoint::identity(&path)?)),
            (true, false) => Err(Error::file(
                folder.path(),
                "holds a run already",
                "add --resume to go on with it, or choose another --out",
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

    /// What the flags say; where they say nothing, the run to be resumed; where there is none, the paper.
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
            // A preset repeated at a resume does not mean its batch, which an earlier --batch may have replaced.
            training.batch = earlier.training.batch;
        }
        if let Some(decay) = self.average {
            training.average = decay;
            if let Some(problem) = training.problem() {
                return Err(Error::usage("--average", problem, "give 0.999, say"));
            }
        } else if let Some(earlier) = earlier
            && self.config.is_none()
        {
            training.average = earlier.training.average;
        }
        Ok((model, training))
    }
}
