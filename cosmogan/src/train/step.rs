//! One training step, simultaneous for both networks: losses and gradients (`losses.rs`) at the same parameters, then
//! Adam moves both.
//!
//! Nothing is uploaded or downloaded between the inputs and the losses, so that a device may record a step's launches and
//! replay them: the first step runs as it is, the second is recorded. The rare steps with flipped labels, which are
//! other launches, always run as they are: a second recording would keep a second set of intermediate results.

use std::sync::Arc;

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::launch::Recording;
use cosmogan_engine::{Shape, Tensor};

use super::average::Average;
use super::losses::{DeviceOutcome, DeviceReport, differentiate};
use super::map_scale::MapScale;
use super::resident::ResidentMaps;
use crate::data::{Crop, DataPrecision, MapFile};
use crate::error::{Error, Result};
use crate::model::TensorSpecification;
use crate::model::network::Network;
use crate::model::preset::TrainingConfig;

/// The real maps of a step.
#[derive(Clone, Copy, Debug)]
pub enum RealMaps<'a> {
    /// Their values `[N, S, S, c_dim]`.
    Values(&'a [f32]),
    /// Where they are in the data set that the trainer keeps on its device.
    Kept(&'a [Crop]),
}

/// What goes into a step.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Real maps.
    pub maps: RealMaps<'a>,
    /// Latent vectors `[N, z_dim]`.
    pub latents: &'a [f32],
    /// Whether this step's labels are flipped in the discriminator's loss.
    pub flip_labels: bool,
}

/// What a step tells of itself.
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

/// A step's report, and the gradients that it followed.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// Losses, norms and logits.
    pub report: StepReport,
    /// Gradients of the discriminator's loss, one per trained tensor; the next step may overwrite them.
    pub discriminator_gradients: Vec<Tensor>,
    /// Gradients of the generator's loss, one per trained tensor; the next step may overwrite them.
    pub generator_gradients: Vec<Tensor>,
}

/// A step's inputs on the device. Every step overwrites them in place, so that a recording finds the new values.
#[derive(Debug)]
pub(super) struct DeviceInputs {
    pub(super) maps: Tensor,
    /// Where they are in the data set that is kept, `[N, 4]`.
    table: Tensor,
    pub(super) latents: Tensor,
    /// What changes in Adam from step to step.
    adam: [Tensor; MapScale::GROUPS],
    /// The scalar 1: the gradient of a loss with respect to itself.
    pub(super) one: Tensor,
}

/// How far the recording of a step has come.
#[derive(Debug)]
enum Replay {
    /// No step has run yet, and kernels may have to be compiled.
    Cold,
    /// The next step without flipped labels may be recorded.
    Warm,
    /// It was.
    Recorded(Box<dyn Recording>, Box<DeviceOutcome>),
    /// The device gains nothing by it, or has no room for it.
    Never,
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
    /// By what step sizes are multiplied from step to step.
    anneal: Option<TrainingConfig>,
    pub(crate) steps_done: u64,
    /// The generator's moving average, where one is kept.
    average: Option<Average>,
    backend: Arc<dyn Backend>,
    /// The whole data set, where the device has room for it.
    data: Option<ResidentMaps>,
    inputs: Option<DeviceInputs>,
    /// Of the last step.
    report: Option<DeviceReport>,
    replay: Replay,
}

impl Trainer {
    /// Starts at step 0 with both moments zero.
    ///
    /// # Errors
    /// Where the device has no room.
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
        })
    }

    /// The same, with Adam's steps as `training` sizes them: for the scale of its maps, and from step to step.
    #[must_use]
    pub fn with_step_sizes(self, training: &TrainingConfig) -> Self {
        Self {
            map_scale: MapScale(training.map_scale),
            anneal: Some(*training),
            ..self
        }
    }

    /// The same, with a moving average of the generator that follows it from step to step.
    #[must_use]
    pub fn with_average(self, average: Average) -> Self {
        Self {
            average: Some(average),
            ..self
        }
    }

    /// The generator's moving average, where one is kept.
    pub fn average(&self) -> Option<&Average> {
        self.average.as_ref()
    }

    /// The generator as it stands.
    pub fn generator(&self) -> &Network {
        &self.generator
    }

    /// The discriminator as it stands.
    pub fn discriminator(&self) -> &Network {
        &self.discriminator
    }

    /// Steps taken so far.
    pub fn steps_done(&self) -> u64 {
        self.steps_done
    }

    /// Brings all maps of a file, in `precision`, to a device with memory of its own, if they take no more than a quarter of
    /// what is free there; a step then takes maps, or crops of them, by number. Says whether it did.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn keep_data(&mut self, maps: &MapFile, precision: DataPrecision) -> Result<bool> {
        self.data = ResidentMaps::new(maps, precision, &self.backend)?;
        Ok(self.data.is_some())
    }

    /// Elements of one map.
    fn map_len(&self) -> usize {
        let config = self.discriminator.config();
        config.output_size * config.output_size * config.c_dim
    }

    /// Whether steps are replayed from a recording.
    pub fn is_recorded(&self) -> bool {
        matches!(self.replay, Replay::Recorded(..))
    }

    /// Takes one step, and waits for it.
    ///
    /// # Errors
    /// Where the inputs do not fit the networks, or the device fails.
    pub fn step(&mut self, inputs: StepInputs<'_>) -> Result<StepOutcome> {
        let outcome = self.queue(inputs)?;
        Ok(StepOutcome {
            report: self.read(&outcome.report)?,
            discriminator_gradients: outcome.discriminator_gradients,
            generator_gradients: outcome.generator_gradients,
        })
    }

    /// Takes one step without waiting: a device goes on with it while its caller prepares the next one.
    ///
    /// # Errors
    /// As [`step`](Self::step); what fails on the device may be told by a later call.
    pub fn advance(&mut self, inputs: StepInputs<'_>) -> Result<()> {
        let outcome = self.queue(inputs)?;
        self.report = Some(outcome.report);
        Ok(())
    }

    /// Waits for the last step that was [advanced](Self::advance), and says how it went; nothing before the first.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn report(&self) -> Result<Option<StepReport>> {
        self.report
            .as_ref()
            .map(|report| self.read(report))
            .transpose()
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

    /// Brings a step's inputs to the device, where those of the step before lay if they fit.
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
                    "the trainer keeps no data set on its device",
                    "pass the values of the maps",
                ));
            }
        }
        Ok(placed)
    }

    /// Queues one step, recorded or as it is.
    fn run_or_replay(&mut self, inputs: &DeviceInputs, flip_labels: bool) -> Result<DeviceOutcome> {
        if flip_labels {
            return self.run(inputs, true);
        }
        if matches!(self.replay, Replay::Warm) {
            self.replay = self.record(inputs);
        }
        if let Replay::Recorded(recording, outcome) = &self.replay {
            recording.replay()?;
            return Ok((**outcome).clone());
        }
        let outcome = self.run(inputs, false)?;
        if matches!(self.replay, Replay::Cold) {
            self.replay = Replay::Warm;
        }
        Ok(outcome)
    }

    /// Records a step. A device that fails to, for want of memory say, goes on without.
    fn record(&mut self, inputs: &DeviceInputs) -> Replay {
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
        match (recording, outcome) {
            (Ok(Some(recording)), Some(outcome)) => Replay::Recorded(recording, Box::new(outcome)),
            _ => Replay::Never,
        }
    }

    /// One step: gradients at the present parameters, running statistics, Adam.
    fn run(&mut self, inputs: &DeviceInputs, flip_labels: bool) -> Result<DeviceOutcome> {
        let (outcome, updates) =
            differentiate(&self.generator, &self.discriminator, inputs, flip_labels)?;
        // Real maps first, then generated ones: the running statistics remember the order.
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
            step.run(&*self.backend)?;
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
