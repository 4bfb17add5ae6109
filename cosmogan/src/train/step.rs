//! One training step, simultaneous for both networks.
//!
//! Losses and gradients (`losses.rs`) of both networks are computed at the same parameters; then Adam updates both.
//!
//! Nothing is uploaded or downloaded between the inputs and the losses, so a device can record the launches of a step
//! as a CUDA graph and replay it. The first step is launched kernel by kernel, and the second is recorded. The rare
//! steps with flipped labels, which consist of other launches, are never recorded: a second recording would keep a
//! second set of intermediate results.

use std::sync::Arc;

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::{Backend, Recording};
use cosmogan_engine::{Shape, Tensor, ops};

use super::average::Average;
use super::losses::{DeviceInputs, DeviceOutcome, DeviceReport, differentiate};
use super::map_scale::MapScale;
use super::resident::ResidentMaps;
use crate::data::{Crop, MapFile};
use crate::error::{Error, Result};
use crate::model::TensorSpecification;
use crate::model::network::Network;
use crate::model::preset::TrainingConfig;
use crate::train::DataPrecision;

/// The real maps of a step.
#[derive(Clone, Copy, Debug)]
pub enum RealMaps<'a> {
    /// Values `[N, S, S, c_dim]`.
    Values(&'a [f32]),
    /// Positions in the data set that the trainer keeps on its device.
    Kept(&'a [Crop]),
}

/// Inputs of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Real maps.
    pub maps: RealMaps<'a>,
    /// Latent vectors `[N, z_dim]`.
    pub latents: &'a [f32],
    /// Whether this step's labels are flipped in the discriminator's loss.
    pub flip_labels: bool,
}

/// Results of a step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The discriminator's loss on real maps.
    pub d_loss_real: f32,
    /// The discriminator's loss on generated maps.
    pub d_loss_fake: f32,
    /// The generator's loss.
    pub g_loss: f32,
    /// Euclidean norm of the gradients of the discriminator's loss.
    pub discriminator_norm: f32,
    /// Euclidean norm of the gradients of the generator's loss.
    pub generator_norm: f32,
    /// Logits of the real maps.
    pub real_logits: Vec<f32>,
    /// Logits of the generated maps.
    pub fake_logits: Vec<f32>,
}

/// The report of a step and the gradients that it applied.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// Losses, norms and logits.
    pub report: StepReport,
    /// Gradients of the discriminator's loss, one per trained tensor; the next step may overwrite them.
    pub discriminator_gradients: Vec<Tensor>,
    /// Gradients of the generator's loss, one per trained tensor; the next step may overwrite them.
    pub generator_gradients: Vec<Tensor>,
}

/// State of the recording of a step.
#[derive(Debug)]
enum Replay {
    /// No step has run yet, and kernels may have to be compiled.
    Cold,
    /// The next step without flipped labels may be recorded.
    Warm,
    /// The step is recorded; its outcome is overwritten by every replay.
    Recorded(Box<dyn Recording>, Box<DeviceOutcome>),
    /// Steps are launched kernel by kernel; the reason, if there is one to report.
    Never(Option<String>),
}

/// Adam's two moments of one tensor.
#[derive(Debug)]
pub(crate) struct Moments {
    pub(crate) first: Tensor,
    pub(crate) second: Tensor,
}

/// Both networks with their optimisers.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) generator: Network,
    pub(crate) discriminator: Network,
    pub(crate) generator_moments: Vec<Moments>,
    pub(crate) discriminator_moments: Vec<Moments>,
    pub(crate) adam: AdamSettings,
    map_scale: MapScale,
    /// Settings that determine the step sizes over the course of the run.
    anneal: Option<TrainingConfig>,
    pub(crate) steps_done: u64,
    /// The generator's moving average, if one is kept.
    average: Option<Average>,
    backend: Arc<dyn Backend>,
    /// The complete data set, if it fits on the device.
    data: Option<ResidentMaps>,
    inputs: Option<DeviceInputs>,
    /// Results of the last step, still on the device.
    report: Option<DeviceReport>,
    replay: Replay,
    /// Whether steps may be recorded at all.
    may_record: bool,
    was_replayed: bool,
}

impl Trainer {
    /// Creates a trainer at step 0, with both moments zero.
    ///
    /// # Errors
    /// If the device's memory is too small.
    pub fn new(generator: Network, discriminator: Network, adam: AdamSettings) -> Result<Self> {
        let backend = Arc::clone(generator.backend());
        Ok(Self {
            generator_moments: zero_moments(&generator)?,
            discriminator_moments: zero_moments(&discriminator)?,
            generator,
            discriminator,
            adam,
            map_scale: MapScale(1.0),
            anneal: None,
            steps_done: 0,
            average: None,
            backend,
            data: None,
            inputs: None,
            report: None,
            replay: Replay::Cold,
            may_record: true,
            was_replayed: false,
        })
    }

    /// Sets Adam's step sizes as `training` says: for the scale of the maps, and annealed from step to step.
    #[must_use]
    pub fn with_step_sizes(self, training: &TrainingConfig) -> Self {
        Self {
            map_scale: MapScale(training.map_scale),
            anneal: Some(*training),
            ..self
        }
    }

    /// Keeps a moving average of the generator, updated at every step.
    #[must_use]
    pub fn with_average(self, average: Average) -> Self {
        Self {
            average: Some(average),
            ..self
        }
    }

    /// The generator's moving average, if one is kept.
    pub fn average(&self) -> Option<&Average> {
        self.average.as_ref()
    }

    /// The generator in its current state.
    pub fn generator(&self) -> &Network {
        &self.generator
    }

    /// The discriminator in its current state.
    pub fn discriminator(&self) -> &Network {
        &self.discriminator
    }

    /// Steps taken so far.
    pub fn steps_done(&self) -> u64 {
        self.steps_done
    }

    /// Uploads all maps of a file to the device, in `precision`; steps can then take maps, or crops of them, by number.
    ///
    /// Does so only if the device has its own memory and the maps take at most a quarter of its free memory. Returns
    /// whether it did.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn keep_data(&mut self, maps: &MapFile, precision: DataPrecision) -> Result<bool> {
        self.data = ResidentMaps::new(maps, precision, &self.backend)?;
        Ok(self.data.is_some())
    }

    /// Elements of one map.
    fn map_len(&self) -> usize {
        let config = self.discriminator.config();
        config.output_size * config.output_size * config.c_dim
    }

    /// Disables recording: every step is launched kernel by kernel.
    #[must_use]
    pub fn without_recording(self) -> Self {
        Self {
            may_record: false,
            ..self
        }
    }

    /// Whether the last step was replayed as a CUDA graph.
    pub fn was_replayed(&self) -> bool {
        self.was_replayed
    }

    /// Why steps are not recorded, if that was tried and failed.
    pub fn recording_failure(&self) -> Option<&str> {
        match &self.replay {
            Replay::Never(reason) => reason.as_deref(),
            Replay::Cold | Replay::Warm | Replay::Recorded(..) => None,
        }
    }

    /// Takes one step and waits for its results.
    ///
    /// # Errors
    /// If the inputs do not fit the networks, or the device fails.
    pub fn step(&mut self, inputs: StepInputs<'_>) -> Result<StepOutcome> {
        let outcome = self.queue(inputs)?;
        Ok(StepOutcome {
            report: self.read(&outcome.report)?,
            discriminator_gradients: outcome.discriminator_gradients,
            generator_gradients: outcome.generator_gradients,
        })
    }

    /// Takes one step without waiting, so that the caller can prepare the next one while the device computes.
    ///
    /// # Errors
    /// As [`step`](Self::step); a failure on the device may be reported by a later call.
    pub fn advance(&mut self, inputs: StepInputs<'_>) -> Result<()> {
        let outcome = self.queue(inputs)?;
        self.report = Some(outcome.report);
        Ok(())
    }

    /// Waits for the last step taken by [`advance`](Self::advance), and returns its report; `None` before the first.
    ///
    /// # Errors
    /// If the device fails.
    pub fn report(&self) -> Result<Option<StepReport>> {
        self.report
            .as_ref()
            .map(|report| self.read(report))
            .transpose()
    }

    /// Queues the launches of a step again, on the inputs that are on the device already.
    ///
    /// Nothing is uploaded or downloaded; this is for timing. Does nothing before the first step.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn repeat(&mut self) -> Result<()> {
        if let Some(inputs) = self.inputs.take() {
            let outcome = self.run_or_replay(&inputs, false);
            self.inputs = Some(inputs);
            outcome?;
        }
        Ok(())
    }

    fn read(&self, report: &DeviceReport) -> Result<StepReport> {
        let mut real_logits = self.backend.download(&report.logits)?;
        let fake_logits = real_logits.split_off(real_logits.len() / 2);
        Ok(StepReport {
            d_loss_real: self.scalar(&report.d_loss_real)?,
            d_loss_fake: self.scalar(&report.d_loss_fake)?,
            g_loss: self.scalar(&report.g_loss)?,
            discriminator_norm: self.scalar(&report.discriminator_norm)?.sqrt(),
            generator_norm: self.scalar(&report.generator_norm)?.sqrt(),
            real_logits,
            fake_logits,
        })
    }

    fn queue(&mut self, inputs: StepInputs<'_>) -> Result<DeviceOutcome> {
        let on_device = self.place(inputs)?;
        let outcome = self.run_or_replay(&on_device, inputs.flip_labels);
        self.inputs = Some(on_device);
        let outcome = outcome?;
        self.steps_done += 1;
        Ok(outcome)
    }

    /// Uploads a step's inputs, into the tensors of the previous step if the shapes agree.
    fn place(&mut self, inputs: StepInputs<'_>) -> Result<DeviceInputs> {
        let config = self.discriminator.config();
        let size = config.output_size;
        let batch = match inputs.maps {
            RealMaps::Values(values) => values.len() / self.map_len(),
            RealMaps::Kept(crops) => crops.len(),
        };
        let maps = Shape::from([batch, size, size, config.c_dim]);
        let z_dim = self.generator.config().z_dim;
        let latents = Shape::from([inputs.latents.len() / z_dim, z_dim]);

        let backend = &self.backend;
        let mut placed = match self.inputs.take() {
            Some(earlier)
                if *earlier.maps.shape() == maps && *earlier.latents.shape() == latents =>
            {
                earlier
            }
            _ => {
                self.replay = Replay::Cold;
                DeviceInputs {
                    maps: backend.empty(maps)?,
                    table: backend.empty(Shape::from([batch, 4]))?,
                    latents: backend.empty(latents)?,
                    adam: [
                        backend.empty(Shape::from([2]))?,
                        backend.empty(Shape::from([2]))?,
                        backend.empty(Shape::from([2]))?,
                    ],
                    one: backend.upload(Shape::from([]), &[1.0])?,
                }
            }
        };
        backend.write(&mut placed.latents, inputs.latents)?;
        for (settings, state) in self.adam_by_group().into_iter().zip(&mut placed.adam) {
            backend.write(state, &settings.state(self.steps_done + 1))?;
        }
        match (inputs.maps, &self.data) {
            (RealMaps::Values(values), _) => backend.write(&mut placed.maps, values)?,
            (RealMaps::Kept(crops), Some(data)) => {
                data.gather(crops, &mut placed.table, &mut placed.maps)?;
            }
            (RealMaps::Kept(_), None) => {
                return Err(Error::usage(
                    "--data",
                    "the trainer has no data set on its device",
                    "pass the values of the maps",
                ));
            }
        }
        Ok(placed)
    }

    /// Queues one step, as a recorded CUDA graph or kernel by kernel.
    fn run_or_replay(&mut self, inputs: &DeviceInputs, flip_labels: bool) -> Result<DeviceOutcome> {
        self.was_replayed = false;
        if flip_labels {
            return self.run(inputs, true);
        }
        if matches!(self.replay, Replay::Warm) && self.may_record {
            self.replay = self.record(inputs)?;
        }
        if let Replay::Recorded(recording, outcome) = &self.replay {
            recording.replay()?;
            self.was_replayed = true;
            return Ok((**outcome).clone());
        }
        let outcome = self.run(inputs, false)?;
        if matches!(self.replay, Replay::Cold) {
            self.replay = Replay::Warm;
        }
        Ok(outcome)
    }

    /// Records a step. If that fails, for example for lack of memory, steps continue kernel by kernel.
    fn record(&mut self, inputs: &DeviceInputs) -> Result<Replay> {
        let backend = Arc::clone(&self.backend);
        let mut outcome = None;
        let recording = backend.record(&mut || {
            let recorded = self.run(inputs, false);
            recorded
                .map(|recorded| outcome = Some(recorded))
                .map_err(|error| match error {
                    Error::Engine(error) => error,
                    other => cosmogan_engine::Error::Device(other.to_string()),
                })
        });
        Ok(match (recording, outcome) {
            (Ok(Some(recording)), Some(outcome)) => Replay::Recorded(recording, Box::new(outcome)),
            (Ok(_), _) => Replay::Never(None),
            (Err(lost @ cosmogan_engine::Error::DeviceLost(_)), _) => return Err(lost.into()),
            (Err(error), _) => Replay::Never(Some(error.to_string())),
        })
    }

    /// One step: gradients at the current parameters, running statistics, Adam.
    fn run(&mut self, inputs: &DeviceInputs, flip_labels: bool) -> Result<DeviceOutcome> {
        let (outcome, updates) =
            differentiate(&self.generator, &self.discriminator, inputs, flip_labels)?;
        // Real maps first, then generated maps: running statistics depend on the order.
        self.discriminator.update_running(&updates.discriminator)?;
        self.generator.update_running(&updates.generator)?;
        let config = *self.generator.config();
        let settings = self.adam_by_group();
        let mut groups = [const { Vec::new() }; MapScale::GROUPS];
        let operands = operands(
            &mut self.generator,
            &mut self.generator_moments,
            &outcome.generator_gradients,
        )
        .chain(operands(
            &mut self.discriminator,
            &mut self.discriminator_moments,
            &outcome.discriminator_gradients,
        ));
        for (specification, operand) in operands {
            groups[self.map_scale.group(&specification.name, &config)].push(operand);
        }
        let groups = groups.into_iter().zip(settings).zip(&inputs.adam);
        for ((operands, settings), state) in groups {
            if operands.is_empty() {
                continue;
            }
            let step = AdamStep {
                settings,
                state,
                operands,
            };
            ops::adam(&*self.backend, step)?;
        }
        if let Some(average) = &mut self.average {
            average.follow(&self.generator)?;
        }
        Ok(outcome)
    }

    fn adam_by_group(&self) -> [AdamSettings; MapScale::GROUPS] {
        let annealed = self
            .anneal
            .map_or(1.0, |training| training.annealed(self.steps_done + 1));
        self.map_scale.factors().map(|factor| AdamSettings {
            learning_rate: self.adam.learning_rate * factor * annealed,
            ..self.adam
        })
    }

    fn scalar(&self, loss: &Tensor) -> Result<f32> {
        let values = self.backend.download(loss)?;
        Ok(values.first().copied().unwrap_or(f32::NAN))
    }
}

fn zero_moments(network: &Network) -> Result<Vec<Moments>> {
    let backend = network.backend();
    network
        .trained()
        .map(|specification| {
            let zeros = vec![0.0; specification.len()];
            let upload = || crate::model::network::upload(&**backend, specification, &zeros);
            Ok(Moments {
                first: upload()?,
                second: upload()?,
            })
        })
        .collect()
}

fn operands<'a>(
    network: &'a mut Network,
    moments: &'a mut [Moments],
    gradients: &'a [Tensor],
) -> impl Iterator<Item = (&'a TensorSpecification, AdamOperand<'a>)> {
    network.trained_mut().zip(moments).zip(gradients).map(
        |(((specification, parameter), moments), gradient)| {
            let operand = AdamOperand {
                parameter,
                gradient,
                first: &mut moments.first,
                second: &mut moments.second,
            };
            (specification, operand)
        },
    )
}
