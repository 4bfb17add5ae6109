//! One training step, simultaneous for both networks.
//!
//! D(real), G(z) and D(G(z)) run forward once; both gradients are taken at the same parameters; then Adam moves both
//! networks. With flipped labels both label sets of the discriminator's loss are swapped; the generator's loss
//! (non-saturating: fakes against the label "real") never is.

use std::sync::Arc;

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::{Shape, Tape, Tensor, Variable};

use crate::error::Result;
use crate::model::network::{Mode, Network, RunningUpdate};
use crate::model::{discriminator, generator};

const REAL: f32 = 1.0;
const FAKE: f32 = 0.0;

/// What goes into a step.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Real maps `[N, S, S, c_dim]`.
    pub maps: &'a [f32],
    /// Latent vectors `[N, z_dim]`.
    pub latents: &'a [f32],
    /// Whether this step's labels are flipped in the discriminator's loss.
    pub flip_labels: bool,
}

/// What a step tells.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// The discriminator's loss on real maps.
    pub d_loss_real: f32,
    /// The discriminator's loss on generated maps.
    pub d_loss_fake: f32,
    /// The generator's loss.
    pub g_loss: f32,
    /// Logits of the real maps.
    pub real_logits: Vec<f32>,
    /// Logits of the generated maps.
    pub fake_logits: Vec<f32>,
    /// Gradients of the discriminator's loss, one per trained tensor.
    pub discriminator_gradients: Vec<Tensor>,
    /// Gradients of the generator's loss, one per trained tensor.
    pub generator_gradients: Vec<Tensor>,
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
    pub(crate) steps_done: u64,
    backend: Arc<dyn Backend>,
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
            steps_done: 0,
            backend,
        })
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

    /// Takes one step.
    ///
    /// # Errors
    /// Where the inputs do not fit the networks, or the device fails.
    pub fn step(&mut self, inputs: StepInputs<'_>) -> Result<StepOutcome> {
        let (outcome, updates) = self.differentiate(inputs)?;
        // Real maps first, then generated ones: the running statistics remember the order.
        self.discriminator.update_running(&updates.real)?;
        self.discriminator.update_running(&updates.fake)?;
        self.generator.update_running(&updates.generator)?;
        self.steps_done += 1;
        let state = self.adam.state(self.steps_done);
        let state = self.backend.upload(Shape::from([2]), &state)?;
        let operands = operands(
            &mut self.generator,
            &mut self.generator_moments,
            &outcome.generator_gradients,
        )
        .chain(operands(
            &mut self.discriminator,
            &mut self.discriminator_moments,
            &outcome.discriminator_gradients,
        ))
        .collect();
        let step = AdamStep {
            settings: self.adam,
            state: &state,
            operands,
        };
        step.run(&*self.backend)?;
        Ok(outcome)
    }

    /// Losses and both gradients at the present parameters; changes nothing.
    fn differentiate(&self, inputs: StepInputs<'_>) -> Result<(StepOutcome, Updates)> {
        let tape = Tape::new(Arc::clone(&self.backend));
        let generator = self.generator.bind(&tape, Mode::Training);
        let discriminator = self.discriminator.bind(&tape, Mode::Training);

        let real = self.constant_maps(&tape, inputs.maps)?;
        let z_dim = self.generator.config().z_dim;
        let latents = Shape::from([inputs.latents.len() / z_dim, z_dim]);
        let latents = tape.constant(self.backend.upload(latents, inputs.latents)?);

        let (real_logits, real_update) = discriminator::forward(&discriminator, &real)?;
        let (fake, generator_update) = generator::forward(&generator, &latents)?;
        let (fake_logits, fake_update) = discriminator::forward(&discriminator, &fake)?;
        drop(fake);

        let (real_label, fake_label) = if inputs.flip_labels {
            (FAKE, REAL)
        } else {
            (REAL, FAKE)
        };
        let d_loss_real = tape.bce_with_logits(&real_logits, real_label)?;
        let d_loss_fake = tape.bce_with_logits(&fake_logits, fake_label)?;
        let d_loss = tape.add(&d_loss_real, &d_loss_fake)?;
        let g_loss = tape.bce_with_logits(&fake_logits, REAL)?;

        let discriminator_gradients = tape.gradients_of_loss(&d_loss, &discriminator.trained())?;
        let generator_gradients = tape.gradients_of_loss(&g_loss, &generator.trained())?;
        let outcome = StepOutcome {
            d_loss_real: self.scalar(&d_loss_real)?,
            d_loss_fake: self.scalar(&d_loss_fake)?,
            g_loss: self.scalar(&g_loss)?,
            real_logits: self.backend.download(real_logits.value())?,
            fake_logits: self.backend.download(fake_logits.value())?,
            discriminator_gradients,
            generator_gradients,
        };
        let updates = Updates {
            real: real_update,
            fake: fake_update,
            generator: generator_update,
        };
        Ok((outcome, updates))
    }

    fn constant_maps(&self, tape: &Tape, maps: &[f32]) -> Result<Variable> {
        let config = self.discriminator.config();
        let size = config.output_size;
        let batch = maps.len() / (size * size * config.c_dim);
        let shape = Shape::from([batch, size, size, config.c_dim]);
        Ok(tape.constant(self.backend.upload(shape, maps)?))
    }

    fn scalar(&self, loss: &Variable) -> Result<f32> {
        let values = self.backend.download(loss.value())?;
        Ok(values.first().copied().unwrap_or(f32::NAN))
    }
}

/// What a step's forward passes say about running statistics.
struct Updates {
    real: RunningUpdate,
    fake: RunningUpdate,
    generator: RunningUpdate,
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
) -> impl Iterator<Item = AdamOperand<'a>> {
    network.trained_mut().zip(moments).zip(gradients).map(
        |(((_, parameter), moments), gradient)| AdamOperand {
            parameter,
            gradient,
            first: &mut moments.first,
            second: &mut moments.second,
        },
    )
}
