//! Workloads that are run repeatedly and timed.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use clap::ValueEnum;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::{Shape, Tape};

use crate::error::Result;
use crate::model::latents::latents;
use crate::model::preset::TrainingConfig;
use crate::model::{Mode, ModelConfig, Network, NetworkKind, discriminator, generator, sampler};
use crate::train::{RealMaps, StepInputs, Trainer};

/// The part of the model that runs.
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

/// A workload that is timed.
pub struct Workload {
    whole: Task,
    on_device: Option<Task>,
    trainer: Option<Rc<RefCell<Trainer>>>,
}

type Task = Box<dyn FnMut() -> Result<()>>;

impl Workload {
    /// Creates a workload; `whole` uploads its inputs from the host and downloads its results.
    pub fn new(whole: impl FnMut() -> Result<()> + 'static) -> Self {
        Self {
            whole: Box::new(whole),
            on_device: None,
            trainer: None,
        }
    }

    /// Adds `on_device`, the same work without these copies; it may leave the work queued.
    fn with_part(self, on_device: impl FnMut() -> Result<()> + 'static) -> Self {
        Self {
            on_device: Some(Box::new(on_device)),
            ..self
        }
    }

    /// Creates the workload of a part of a model with initial weights, on the same `batch` maps in every pass.
    ///
    /// # Errors
    /// If the device's memory is too small.
    pub fn of_model(
        target: Target,
        (model, training): (ModelConfig, TrainingConfig),
        batch: usize,
        backend: &Arc<dyn Backend>,
    ) -> Result<Self> {
        let network = |kind| Network::initial(kind, model, 0, backend);
        let vectors = latents(0, 0..batch as u64, model.z_dim);
        let size = model.output_size;
        // The values of the maps do not affect the time as long as they are not zero.
        let maps: Vec<f32> = (0..batch * size * size * model.c_dim)
            .map(|index| 0.1 * (index as f32 * 0.37).sin())
            .collect();
        match target {
            Target::Generator => {
                let generator = Rc::new(network(NetworkKind::Generator)?);
                let inputs = backend.upload(Shape::from([batch, model.z_dim]), &vectors)?;
                let again = Rc::clone(&generator);
                let whole = move || sampler::generate(&generator, &vectors).map(drop);
                Ok(Self::new(whole).with_part(move || {
                    let tape = Tape::new(Arc::clone(again.backend()));
                    let bound = again.bind(&tape, Mode::Inference);
                    let latents = tape.constant(inputs.clone());
                    let (maps, _) = generator::forward(&bound, &latents)?;
                    maps.value()?;
                    Ok(())
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
                let trainer = Rc::new(RefCell::new(Trainer::new(
                    network(NetworkKind::Generator)?,
                    network(NetworkKind::Discriminator)?,
                    training.adam(),
                )?));
                let [whole, again] = [Rc::clone(&trainer), Rc::clone(&trainer)];
                let workload = Self::new(move || {
                    let inputs = StepInputs {
                        maps: RealMaps::Values(&maps),
                        latents: &vectors,
                        flip_labels: false,
                    };
                    whole.borrow_mut().step(inputs).map(drop)
                });
                Ok(Self {
                    trainer: Some(trainer),
                    ..workload.with_part(move || again.borrow_mut().repeat())
                })
            }
        }
    }

    /// Runs once.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&mut self) -> Result<()> {
        (self.whole)()
    }

    /// Whether [`run_on_device`](Self::run_on_device) does anything.
    pub fn has_device_part(&self) -> bool {
        self.on_device.is_some()
    }

    /// Queues the work without copies from and to the host, if there is such a part.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run_on_device(&mut self) -> Result<()> {
        self.on_device.as_mut().map_or(Ok(()), |task| task())
    }

    /// Whether the last run was replayed from a recorded CUDA graph.
    pub fn was_replayed(&self) -> bool {
        let trainer = self.trainer.as_ref();
        trainer.is_some_and(|trainer| trainer.borrow().was_replayed())
    }

    /// Why the step is not recorded, if that was tried and failed.
    pub fn recording_failure(&self) -> Option<String> {
        let trainer = self.trainer.as_ref()?.borrow();
        trainer.recording_failure().map(str::to_owned)
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Workload")
    }
}
