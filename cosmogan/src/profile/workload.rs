//! What is run again and again.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::{Shape, Tape};

use crate::error::Result;
use crate::model::latents::latents;
use crate::model::preset::TrainingConfig;
use crate::model::{Mode, ModelConfig, Network, NetworkKind, discriminator, sampler};
use crate::train::{RealMaps, StepInputs, Trainer};

/// Which part of the model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Latent vectors to maps, as `generate` computes them.
    Generator,
    /// Maps to logits.
    Discriminator,
    /// A training step of both networks.
    Step,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Generator => "generator",
            Self::Discriminator => "discriminator",
            Self::Step => "step",
        })
    }
}

/// Something that runs once at every call, with inputs from the host and results to it.
pub struct Workload(Box<dyn FnMut() -> Result<()>>);

impl Workload {
    /// Anything.
    pub fn new(run: impl FnMut() -> Result<()> + 'static) -> Self {
        Self(Box::new(run))
    }

    /// A part of a model with fresh weights, on `batch` maps that are the same in every pass.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn of_model(
        target: Target,
        (model, training): (ModelConfig, TrainingConfig),
        batch: usize,
        backend: &Arc<dyn Backend>,
    ) -> Result<Self> {
        let network = |kind| Network::initial(kind, model, 0, backend);
        let vectors = latents(0, 0..batch as u64, model.z_dim);
        let size = model.output_size;
        // What is in the maps changes no time, as long as it is no zero.
        let maps: Vec<f32> = (0..batch * size * size * model.c_dim)
            .map(|index| 0.1 * (index as f32 * 0.37).sin())
            .collect();
        match target {
            Target::Generator => {
                let generator = network(NetworkKind::Generator)?;
                Ok(Self::new(move || {
                    sampler::generate(&generator, &vectors).map(drop)
                }))
            }
            Target::Discriminator => {
                let network = network(NetworkKind::Discriminator)?;
                let shape = Shape::from([batch, size, size, model.c_dim]);
                Ok(Self::new(move || {
                    let backend = network.backend();
                    let tape = Tape::new(Arc::clone(backend));
                    let maps = tape.constant(backend.upload(shape.clone(), &maps)?);
                    let bound = network.bind(&tape, Mode::Inference);
                    let (logits, _) = discriminator::forward(&bound, &maps, 1)?;
                    backend.download(logits.value()?)?;
                    Ok(())
                }))
            }
            Target::Step => {
                let mut trainer = Trainer::new(
                    network(NetworkKind::Generator)?,
                    network(NetworkKind::Discriminator)?,
                    training.adam(),
                )?;
                Ok(Self::new(move || {
                    let inputs = StepInputs {
                        maps: RealMaps::Values(&maps),
                        latents: &vectors,
                        flip_labels: false,
                    };
                    trainer.step(inputs).map(drop)
                }))
            }
        }
    }

    /// Runs once.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn run(&mut self) -> Result<()> {
        (self.0)()
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Workload")
    }
}
