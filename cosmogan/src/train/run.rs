//! A training run: steps, log, pictures, checkpoints, and a clean stop at any moment.
//!
//! The run folder holds `checkpoint.safetensors` (everything), `generator.safetensors` and
//! `discriminator.safetensors` (for PyTorch and `cosmogan generate`), `log.jsonl` and `previews/`; where an average is kept,
//! also `average.safetensors`; where generators are scored, also `best.safetensors` and `selection.png`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosmogan_engine::backend::Backend;

use super::average::Average;
use super::batches::Batches;
use super::checkpoint::{self, RunIdentity};
use super::log::{self, Log, LogLine, is_sound, mean_probability};
use super::map_scale::MapScale;
use super::selection::Selection;
use super::step::{RealMaps, StepInputs, StepReport, Trainer};
use crate::data::{Crop, DataPrecision, MapFile};
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically};
use crate::interrupt;
use crate::model::latents::normals;
use crate::model::network::Network;
use crate::model::preset::TrainingConfig;
use crate::model::sampler::generate;
use crate::model::{NetworkKind, weights};
use crate::progress::Progress;
use crate::report::{ColourRange, SelectionCurve, map_grid_png};
use crate::rng::Purpose;

/// At most this much work is lost when a machine dies in the middle of an epoch.
const LONGEST_TIME_BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(600);
/// Training maps that set the colour scale of the previews.
const COLOUR_SAMPLE: usize = 64;
/// Pictures in a preview, in a square.
const PREVIEW_SIDE: usize = 4;

/// How long a run is, counted from its first step, however often it was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the data.
    Epochs(u64),
    /// Steps.
    Steps(u64),
}

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run folder.
    pub folder: PathBuf,
    /// What decides the course of the run.
    pub identity: RunIdentity,
    /// Mean of all pixels of the training maps, which an averaged generator is to have.
    pub mean: f64,
    /// Its total length.
    pub length: Length,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// Steps between previews; 0 for one per epoch.
    pub preview_every: u64,
    /// Stop early, as if the length had been reached, when this much time has passed.
    pub time_limit: Option<Duration>,
}

/// The names of the files in a run folder.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Everything that a run needs to go on.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The generator's weights at the last checkpoint.
    pub fn generator(&self) -> PathBuf {
        self.0.join("generator.safetensors")
    }

    /// The discriminator's weights at the last checkpoint.
    pub fn discriminator(&self) -> PathBuf {
        self.0.join("discriminator.safetensors")
    }

    /// The generator's moving average at the last checkpoint, where one is kept.
    pub fn average(&self) -> PathBuf {
        self.0.join("average.safetensors")
    }

    /// The generator with the best score, where generators are scored.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    fn selection_plot(&self) -> PathBuf {
        self.0.join("selection.png")
    }

    fn preview(&self, step: u64) -> PathBuf {
        self.0.join(format!("previews/step-{step:07}.png"))
    }
}

/// Starts a run, or goes on with the one in the folder, and trains to its full length. With a `selection` the
/// generators at the end of the run are scored.
///
/// # Errors
/// Where files cannot be read or written, the checkpoint belongs to another run, the training diverges, or the user
/// interrupts it (after saving a checkpoint).
pub fn train(
    options: &RunOptions,
    maps: &MapFile,
    selection: Option<Selection>,
    backend: &Arc<dyn Backend>,
) -> Result<Trainer> {
    let identity = &options.identity;
    let batches = Batches::new(maps, identity)?;
    let folder = RunFolder::new(&options.folder);
    create_folder(folder.path())?;
    let mut trainer = if folder.checkpoint().exists() {
        refuse_other_run(&folder.checkpoint(), identity)?;
        checkpoint::load(&folder.checkpoint(), backend)?
    } else {
        let network = |kind| {
            let network = Network::initial(kind, identity.model, identity.seed, backend)?;
            MapScale(identity.training.map_scale).initial(network)
        };
        let trainer = Trainer::new(
            network(NetworkKind::Generator)?,
            network(NetworkKind::Discriminator)?,
            identity.training.adam(),
        )?
        .with_step_sizes(&identity.training);
        match identity.training.average {
            0.0 => trainer,
            decay => trainer.with_average(Average::new(network(NetworkKind::Generator)?, decay)),
        }
    };
    let data_is_kept = trainer.keep_data(maps, identity.data_precision)?;
    if !data_is_kept && backend.free_memory().is_some() {
        let hint = match identity.data_precision {
            DataPrecision::F32 => "; --data-precision f16 halves what they take",
            DataPrecision::F16 => "",
        };
        eprintln!(
            "{}: maps are read as steps need them, since not all of them are kept on the device, in a quarter of its free memory{hint}",
            maps.path().display()
        );
    }
    let log = Log::open(&folder.log(), trainer.steps_done())?;
    let total = match options.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs.saturating_mul(batches.steps_per_epoch()),
    };
    if let Some([_, last]) = identity.training.anneal
        && total > last
    {
        eprintln!(
            "warning: step sizes are nothing from step {last} on, and there are {total} steps"
        );
    }
    let size = identity.model.output_size;
    let sample: Vec<Crop> = (0..maps.count().min(COLOUR_SAMPLE))
        .map(Crop::first_of)
        .collect();
    let sample = batches.values(&sample)?;
    let sample: Vec<&[f32]> = sample.chunks_exact(size * size).collect();
    let mut run = Run {
        options,
        folder,
        trainer,
        data_is_kept,
        selection,
        log,
        batches,
        total,
        averaged: None,
        colours: ColourRange::spanning(&sample),
        last_checkpoint: Instant::now(),
    };
    run.save()?;
    run.finish_steps()?;
    Ok(run.trainer)
}

/// Says in which respect a checkpoint belongs to another run than the one asked for.
fn refuse_other_run(path: &Path, asked: &RunIdentity) -> Result<()> {
    let mut found = checkpoint::identity(path)?;
    // How long a run is to last is no part of what it is.
    found.training.epochs = asked.training.epochs;
    let difference = if found.model != asked.model {
        format!(
            "is of the model {} where {} is asked for",
            found.model.to_json(),
            asked.model.to_json()
        )
    } else if found.training != asked.training {
        format!(
            "was trained with {} where {} is asked for",
            settings(&found.training, &asked.training),
            settings(&asked.training, &found.training)
        )
    } else if found.seed != asked.seed {
        format!("has seed {} where {} is asked for", found.seed, asked.seed)
    } else if found.data != asked.data {
        format!(
            "was trained on {} other maps (hash {}) than the {} given (hash {})",
            found.data.count, found.data.fingerprint, asked.data.count, asked.data.fingerprint
        )
    } else if found.crops != asked.crops {
        let crops = |crops: Option<usize>| match crops {
            None => "whole maps".to_owned(),
            Some(crops) => format!("{crops} crops of each map"),
        };
        format!(
            "was trained on {} where {} are asked for",
            crops(found.crops),
            crops(asked.crops)
        )
    } else if found.data_precision != asked.data_precision {
        format!(
            "was trained on maps in {:?} where {:?} is asked for",
            found.data_precision, asked.data_precision
        )
    } else {
        return Ok(());
    };
    Err(Error::file(
        path,
        difference,
        "resume with the settings and data of that run, or choose another --out",
    ))
}

/// Those settings of `mine` that `other` has otherwise.
fn settings(mine: &TrainingConfig, other: &TrainingConfig) -> String {
    let [mine, other] = [mine, other].map(|training| serde_json::json!(training));
    let mine = mine.as_object().into_iter().flatten();
    let differing = mine.filter(|(key, value)| other[key.as_str()] != **value);
    let named: Vec<String> = differing
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    named.join(", ")
}

struct Run<'a> {
    options: &'a RunOptions,
    folder: RunFolder,
    trainer: Trainer,
    /// Whether the trainer has the maps, so that their numbers will do.
    data_is_kept: bool,
    selection: Option<Selection>,
    log: Log,
    batches: Batches<'a>,
    total: u64,
    /// The average after a step, with statistics of its own.
    averaged: Option<(u64, Network)>,
    colours: ColourRange,
    last_checkpoint: Instant,
}

impl Run<'_> {
    fn finish_steps(&mut self) -> Result<()> {
        let first = self.trainer.steps_done();
        if first >= self.total {
            eprintln!(
                "{}: this run has {first} steps already, as many as asked for",
                self.folder.path().display()
            );
            return Ok(());
        }
        let started = Instant::now();
        let mut last_line = (first, started);
        let mut message = String::new();
        let mut progress = Progress::new("training", self.total).starting_at(first);
        for step in first..self.total {
            let flipped = self.advance(step)?;
            let done = step + 1;
            let is_last = done == self.total
                || self
                    .options
                    .time_limit
                    .is_some_and(|limit| started.elapsed() >= limit);
            let ends_epoch = done % self.batches.steps_per_epoch() == 0;
            let interrupted = interrupt::requested();
            let saves = is_last
                || ends_epoch
                || interrupted
                || self.last_checkpoint.elapsed() >= LONGEST_TIME_BETWEEN_CHECKPOINTS;
            let previews = is_last || self.wants_preview(done, ends_epoch);
            let scores = self.scores(done);
            let logs = is_last || scores || done % self.options.log_every == 0;
            // Nothing is written of a step that was not looked at; the other steps need not be waited for.
            if saves || previews || logs {
                let report = self.report(done)?;
                message = format!(
                    "D loss {:.3}  G loss {:.3}",
                    report.d_loss_real + report.d_loss_fake,
                    report.g_loss
                );
                let score = scores.then(|| self.score(done)).transpose()?.flatten();
                if logs {
                    let line = self.line(&report, flipped, done, last_line, score);
                    last_line = (done, Instant::now());
                    self.log.append(&line)?;
                }
            }
            if previews {
                self.preview()?;
            }
            if saves {
                self.save()?;
            }
            progress.advance(1, &message);
            if is_last {
                break;
            }
            if interrupted {
                return Err(Error::Interrupted(format!(
                    "step {done} is saved in {}; go on with --resume",
                    self.folder.path().display()
                )));
            }
        }
        progress.finish(format_args!(
            "weights in {}",
            self.folder.generator().display()
        ));
        if let Some(best) = self.selection.as_ref().and_then(Selection::best) {
            eprintln!(
                "best score {:.4} after step {}: {}",
                best.score,
                best.step,
                self.folder.best().display()
            );
        }
        Ok(())
    }

    /// Whether the generator after step `done` is to be scored.
    fn scores(&self, done: u64) -> bool {
        let per_epoch = self.batches.steps_per_epoch();
        let selection = self.selection.as_ref();
        selection.is_some_and(|selection| selection.is_due(done, self.total, per_epoch))
    }

    /// The score of the generator after step `done`, where generators are scored.
    fn score(&mut self, done: u64) -> Result<Option<f64>> {
        self.measure_average()?;
        let generator = Self::shown(&self.averaged, &self.trainer);
        let selection = self.selection.as_mut();
        let run = &self.options.identity;
        selection
            .map(|selection| selection.consider(generator, done, run, &self.folder.best()))
            .transpose()
    }

    /// The generator that is scored and whose maps are shown: the average, once measured, where one is kept.
    fn shown<'a>(averaged: &'a Option<(u64, Network)>, trainer: &'a Trainer) -> &'a Network {
        averaged
            .as_ref()
            .map_or_else(|| trainer.generator(), |(_, network)| network)
    }

    /// Measures the average's statistics after this step, once.
    fn measure_average(&mut self) -> Result<()> {
        let done = self.trainer.steps_done();
        let known = self.averaged.as_ref().map(|(step, _)| *step);
        if let Some(average) = self.trainer.average()
            && known != Some(done)
        {
            let identity = &self.options.identity;
            let network =
                average.measured(identity.training.batch, identity.seed, self.options.mean)?;
            self.averaged = Some((done, network));
        }
        Ok(())
    }

    /// Takes a step, which the device may still be at; says whether its labels are flipped.
    fn advance(&mut self, step: u64) -> Result<bool> {
        let batch = self.batches.at(step);
        let values;
        let maps = if self.data_is_kept {
            RealMaps::Kept(&batch.maps)
        } else {
            values = self.batches.values(&batch.maps)?;
            RealMaps::Values(&values)
        };
        self.trainer.advance(StepInputs {
            maps,
            latents: &batch.latents,
            flip_labels: batch.flip_labels,
        })?;
        Ok(batch.flip_labels)
    }

    /// How the last step went, which was step `done`.
    fn report(&self, done: u64) -> Result<StepReport> {
        let report = self.trainer.report()?;
        let report = report.expect("a step was taken");
        if is_sound(&report) {
            return Ok(report);
        }
        // What is no number stays none, so that it may have become so in a step that was not looked at.
        let when = match self.options.log_every {
            1 => "at",
            _ => "at or before",
        };
        Err(Error::file(
            self.folder.path(),
            format!(
                "training diverged {when} step {done}: losses {} {} {}",
                report.d_loss_real, report.d_loss_fake, report.g_loss
            ),
            "the last checkpoint is intact; start again with a lower learning_rate in --config",
        ))
    }

    fn line(
        &self,
        report: &StepReport,
        flipped: bool,
        done: u64,
        (last_step, last_time): (u64, Instant),
        score: Option<f64>,
    ) -> LogLine {
        let maps = (done - last_step) * self.options.identity.training.batch as u64;
        LogLine {
            step: done,
            epoch: (done - 1) / self.batches.steps_per_epoch() + 1,
            d_loss_real: report.d_loss_real.into(),
            d_loss_fake: report.d_loss_fake.into(),
            g_loss: report.g_loss.into(),
            d_real: mean_probability(&report.real_logits),
            d_fake: mean_probability(&report.fake_logits),
            d_gradient_norm: report.discriminator_norm.into(),
            g_gradient_norm: report.generator_norm.into(),
            flipped,
            maps_per_second: maps as f64 / last_time.elapsed().as_secs_f64(),
            score,
        }
    }

    fn wants_preview(&self, done: u64, ends_epoch: bool) -> bool {
        match self.options.preview_every {
            0 => ends_epoch,
            every => done.is_multiple_of(every),
        }
    }

    /// The same latents every time, so that a series of previews shows one thing changing.
    fn preview(&mut self) -> Result<()> {
        self.measure_average()?;
        let generator = Self::shown(&self.averaged, &self.trainer);
        let config = generator.config();
        let count = PREVIEW_SIDE * PREVIEW_SIDE;
        let seed = self.options.identity.seed;
        let latents: Vec<f32> =
            normals(seed, Purpose::PreviewLatents, 0, count * config.z_dim).collect();
        let maps = generate(generator, &latents)?;
        let size = config.output_size;
        let maps: Vec<&[f32]> = maps.chunks_exact(size * size).collect();
        let png = map_grid_png(&maps, size, size, PREVIEW_SIDE, self.colours)?;
        write_atomically(self.folder.preview(self.trainer.steps_done()), &png)
    }

    fn save(&mut self) -> Result<()> {
        self.measure_average()?;
        let folder = &self.folder;
        checkpoint::save(&folder.checkpoint(), &self.trainer, &self.options.identity)?;
        let entries = || self.options.identity.entries();
        let save = |network: &Network, path: PathBuf| weights::save_with(network, &path, entries());
        save(self.trainer.generator(), folder.generator())?;
        save(self.trainer.discriminator(), folder.discriminator())?;
        if let Some((_, average)) = &self.averaged {
            save(average, folder.average())?;
        }
        if let Some(best) = self.selection.as_ref().and_then(Selection::best) {
            let scores = SelectionCurve {
                points: log::read(&folder.log())
                    .iter()
                    .filter_map(|line| Some((line.step, line.score?)))
                    .collect(),
                best_step: best.step,
            };
            write_atomically(folder.selection_plot(), &scores.plot()?.png)?;
        }
        self.last_checkpoint = Instant::now();
        Ok(())
    }
}
