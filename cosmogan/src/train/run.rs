//! A training run: steps, log, previews, checkpoints, and a clean stop at any moment.
//!
//! The run folder holds `checkpoint.safetensors` (the complete state), `generator.safetensors` and
//! `discriminator.safetensors` (for PyTorch and `cosmogan generate`), `run.json` (what determines the run, and the
//! versions, devices and precisions it was computed with), `log.jsonl` and `previews/`; if an average is kept, also
//! `average.safetensors`; if generators are scored, also `best.safetensors` and `selection.png`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosmogan_engine::backend::Backend;
use serde::Serialize;

use super::average::Average;
use super::batches::Batches;
use super::checkpoint::{self, Record, RunIdentity};
use super::folder::RunFolder;
use super::log::{self, Log, LogLine, is_sound, mean_probability};
use super::map_scale::MapScale;
use super::other_run::refuse_other_run;
use super::segment::{self, Changes, Segment};
use super::selection::Selection;
use super::step::{RealMaps, StepInputs, StepReport, Trainer};
use crate::data::{Crop, MapFile};
use crate::error::{Error, Result};
use crate::files::{write_atomically, write_json};
use crate::interrupt;
use crate::model::latents::normals;
use crate::model::network::Network;
use crate::model::sampler::generate;
use crate::model::{NetworkKind, weights};
use crate::progress::Progress;
use crate::report::{ColourRange, SelectionCurve, map_grid_png};
use crate::rng::Purpose;
use crate::train::DataPrecision;

/// Longest time between checkpoints: the most work that a crash in the middle of an epoch can lose.
const LONGEST_TIME_BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(600);
/// Training maps that determine the colour scale of the previews.
const COLOUR_SAMPLE: usize = 64;
/// Rows and columns of maps in a preview.
const PREVIEW_SIDE: usize = 4;

/// Total length of a run, counted from its first step and across interruptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the data.
    Epochs(u64),
    /// Steps.
    Steps(u64),
}

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run folder.
    pub folder: PathBuf,
    /// Everything that determines the results of the run.
    pub identity: RunIdentity,
    /// Mean of all pixels of the training maps, which an averaged generator is adjusted to.
    pub mean: f64,
    /// Total length of the run.
    pub length: Length,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// Steps between previews; 0 for one per epoch.
    pub preview_every: u64,
    /// Whether a step may be recorded as a CUDA graph and replayed.
    pub may_record: bool,
    /// Time after which the run stops, as if its length had been reached.
    pub time_limit: Option<Duration>,
    /// Whether the files of an earlier run in the folder are removed first.
    pub overwrite: bool,
    /// Changes with which an earlier run may be resumed.
    pub accepted: Changes,
}

/// Starts a run, or resumes the one in the folder, and trains to its full length. With a `selection`, the generators at
/// the end of the run are scored.
///
/// # Errors
/// If files cannot be read or written, the checkpoint belongs to another run, the training diverges, or the user
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
    let _lock = folder.lock()?;
    if options.overwrite {
        folder.clear()?;
    }
    let mut segments = Vec::new();
    let mut saved_at = None;
    let mut trainer = if folder.checkpoint().exists() {
        let (found, trainer) = checkpoint::load(&folder.checkpoint(), backend)?;
        refuse_other_run(&folder.checkpoint(), found.identity, identity)?;
        segments = found.segments;
        saved_at = Some(trainer.steps_done());
        trainer
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
    let next = Segment::starting(trainer.steps_done(), &**backend);
    let segments = segment::continued(segments, next, &options.accepted, &folder.checkpoint())?;
    if !options.may_record {
        trainer = trainer.without_recording();
    }
    let data_is_kept = trainer.keep_data(maps, identity.data_precision)?;
    if !data_is_kept && backend.free_memory().is_some() {
        let hint = match identity.data_precision {
            DataPrecision::F32 => "; --data-precision f16 halves their size",
            DataPrecision::F16 => "",
        };
        eprintln!(
            "{}: maps are read from the file at every step, because they do not fit into a quarter of the device's free memory{hint}",
            maps.path().display()
        );
    }
    let name = identity.name();
    let log = Log::open(&folder.log(), &name, trainer.steps_done())?;
    let total = match options.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs.saturating_mul(batches.steps_per_epoch()),
    };
    if let Some([_, last]) = identity.training.anneal
        && total > last
    {
        eprintln!(
            "warning: the learning rate is zero from step {last} on, but the run has {total} steps"
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
        name,
        record: Record {
            identity: identity.clone(),
            segments,
        },
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
        saved_at,
    };
    run.save()?;
    run.describe()?;
    run.finish_steps()?;
    Ok(run.trainer)
}

struct Run<'a> {
    options: &'a RunOptions,
    /// [`RunIdentity::name`].
    name: String,
    record: Record,
    folder: RunFolder,
    trainer: Trainer,
    /// Whether the trainer keeps the maps on the device, so that steps pass only the positions of crops.
    data_is_kept: bool,
    selection: Option<Selection>,
    log: Log,
    batches: Batches<'a>,
    total: u64,
    /// The measured average, and the step after which it was measured.
    averaged: Option<(u64, Network)>,
    colours: ColourRange,
    last_checkpoint: Instant,
    /// The step of the checkpoint on disk.
    saved_at: Option<u64>,
}

impl Run<'_> {
    fn finish_steps(&mut self) -> Result<()> {
        let first = self.trainer.steps_done();
        if first >= self.total {
            eprintln!(
                "{}: this run already has {first} steps; nothing to do",
                self.folder.path().display()
            );
            return Ok(());
        }
        let started = Instant::now();
        let mut last_line = (first, started);
        let mut message = String::new();
        let mut progress = Progress::new("training", self.total).starting_at(first);
        let mut told = false;
        for step in first..self.total {
            let flipped = self.advance(step)?;
            if !told && let Some(reason) = self.trainer.recording_failure() {
                told = true;
                eprintln!("steps are launched kernel by kernel, which is slower: {reason}");
            }
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
            // Reading the report waits for the device, so that only steps that write something read it.
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
                return Err(Error::interrupted(format!(
                    "step {done} is saved in {}; continue with --resume",
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

    /// Whether the generator after step `done` must be scored.
    fn scores(&self, done: u64) -> bool {
        let per_epoch = self.batches.steps_per_epoch();
        let selection = self.selection.as_ref();
        selection.is_some_and(|selection| selection.is_due(done, self.total, per_epoch))
    }

    /// Scores the generator after step `done`; `None` if generators are not scored.
    fn score(&mut self, done: u64) -> Result<Option<f64>> {
        self.measure_average()?;
        let generator = Self::shown(&self.averaged, &self.trainer);
        let selection = self.selection.as_mut();
        let run = &self.options.identity;
        selection
            .map(|selection| selection.consider(generator, done, run, &self.folder.best()))
            .transpose()
    }

    /// The generator used for scores and previews: the measured average if one is kept, else the trained generator.
    fn shown<'a>(averaged: &'a Option<(u64, Network)>, trainer: &'a Trainer) -> &'a Network {
        averaged
            .as_ref()
            .map_or_else(|| trainer.generator(), |(_, network)| network)
    }

    /// Measures the average's statistics after the current step, unless already done.
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

    /// Starts a step without waiting for the device; returns whether its labels are flipped.
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

    /// The report of the last step, `done`; an error if the training diverged.
    fn report(&self, done: u64) -> Result<StepReport> {
        let report = self.trainer.report()?;
        let report = report.expect("a step was taken");
        if is_sound(&report) {
            return Ok(report);
        }
        // A NaN persists, so that it may date from an earlier step whose report was not read.
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
            run: self.name.clone(),
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
            recorded: self.trainer.was_replayed(),
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

    /// Writes a preview. All previews use the same latents, so that they can be compared.
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
        Ok(write_atomically(
            self.folder.preview(self.trainer.steps_done()),
            &png,
        )?)
    }

    /// Checks that the generators make maps: finite weights may still be so large that sums overflow.
    fn require_finite_maps(&self) -> Result<()> {
        if self.trainer.steps_done() == 0 {
            return Ok(());
        }
        let average = self.averaged.as_ref().map(|(_, network)| network);
        for network in [Some(self.trainer.generator()), average]
            .into_iter()
            .flatten()
        {
            let seed = self.options.identity.seed;
            let latents: Vec<f32> =
                normals(seed, Purpose::PreviewLatents, 0, network.config().z_dim).collect();
            if generate(network, &latents)?
                .iter()
                .any(|pixel| !pixel.is_finite())
            {
                return Err(Error::file(
                    self.folder.path(),
                    format!(
                        "training diverged at or before step {}: the generator's maps are not finite",
                        self.trainer.steps_done()
                    ),
                    "the last checkpoint is intact; start again with a lower learning_rate in --config",
                ));
            }
        }
        Ok(())
    }

    /// Writes `run.json`: what determines the run, and how its steps are computed.
    fn describe(&self) -> Result<()> {
        #[derive(Serialize)]
        struct Description<'a> {
            run: &'a str,
            #[serde(flatten)]
            record: &'a Record,
        }
        let description = Description {
            run: &self.name,
            record: &self.record,
        };
        Ok(write_json(self.folder.description(), &description)?)
    }

    fn save(&mut self) -> Result<()> {
        self.measure_average()?;
        self.require_finite_maps()?;
        let folder = &self.folder;
        // After a power failure the log reaches as far as the checkpoint.
        self.log.sync()?;
        let done = Some(self.trainer.steps_done());
        // A resumed run does not write its checkpoint a second time, which would replace the one before it.
        if self.saved_at != done {
            let (path, previous) = (folder.checkpoint(), folder.previous_checkpoint());
            checkpoint::save(&path, &previous, &self.trainer, &self.record)?;
            self.saved_at = done;
        }
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
