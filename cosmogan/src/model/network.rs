//! A network's tensors on a device, and what both networks share in their forward passes.

use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::ops::{BatchNormSettings, BatchStatistics, update_running_statistics};
use cosmogan_engine::{Padding, Shape, Tape, Tensor, Variable};

use super::config::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, ModelConfig, STRIDE};
use super::initial;
use super::specification::{NetworkKind, TensorSpecification, tensors};
use crate::error::Result;
use crate::rng::{Normals, Purpose, stream};

/// TensorFlow's SAME padding for a 5×5 kernel at stride 2 and an even image: one before, two after.
pub(crate) const SAME: Padding = Padding {
    begin: [1, 1],
    end: [2, 2],
};
pub(crate) const STRIDES: [usize; 2] = [STRIDE, STRIDE];

/// Which statistics batch normalisation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of the batch, which gradients pass through.
    Training,
    /// The running ones; no gradients.
    Inference,
}

/// All tensors of one network.
#[derive(Debug)]
pub struct Network {
    kind: NetworkKind,
    config: ModelConfig,
    specifications: Vec<TensorSpecification>,
    tensors: Vec<Tensor>,
    backend: Arc<dyn Backend>,
}

impl Network {
    /// A network with the initial weights of `seed`.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn initial(
        kind: NetworkKind,
        config: ModelConfig,
        seed: u64,
        backend: &Arc<dyn Backend>,
    ) -> Result<Self> {
        let purpose = match kind {
            NetworkKind::Generator => Purpose::GeneratorWeights,
            NetworkKind::Discriminator => Purpose::DiscriminatorWeights,
        };
        let mut normals = Normals::new(stream(seed, purpose, 0));
        Self::from_file_values(kind, config, backend, |tensor| {
            Ok(initial::values(tensor, &mut normals))
        })
    }

    /// A network whose tensors come from `values`, each in the file's order.
    pub(crate) fn from_file_values(
        kind: NetworkKind,
        config: ModelConfig,
        backend: &Arc<dyn Backend>,
        mut values: impl FnMut(&TensorSpecification) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let specifications = tensors(kind, &config);
        let tensors = specifications
            .iter()
            .map(|tensor| upload(&**backend, tensor, &values(tensor)?))
            .collect::<Result<_>>()?;
        Ok(Self {
            kind,
            config,
            specifications,
            tensors,
            backend: Arc::clone(backend),
        })
    }

    /// A copy of its own memory, each tensor's values in the file's order as `change` leaves them.
    ///
    /// # Errors
    /// Where the device fails.
    pub(crate) fn duplicate(
        &self,
        change: impl Fn(&TensorSpecification, Vec<f32>) -> Vec<f32>,
    ) -> Result<Self> {
        let mut values = self.download()?.into_iter();
        Self::from_file_values(self.kind, self.config, &self.backend, |_| {
            let (specification, values) = values.next().expect("as many as there are tensors");
            Ok(change(specification, values))
        })
    }

    /// Which of the two it is.
    pub fn kind(&self) -> NetworkKind {
        self.kind
    }

    /// Its extents.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device its tensors live on.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Its tensors' names, extents and roles, in PyTorch's order.
    pub fn specifications(&self) -> &[TensorSpecification] {
        &self.specifications
    }

    /// Every tensor's values in the file's order, beside its specification.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn download(&self) -> Result<Vec<(&TensorSpecification, Vec<f32>)>> {
        self.specifications
            .iter()
            .zip(&self.tensors)
            .map(|(specification, tensor)| {
                Ok((
                    specification,
                    download(&*self.backend, specification, tensor)?,
                ))
            })
            .collect()
    }

    /// The tensors that gradients change, beside their specifications.
    pub(crate) fn trained_mut(
        &mut self,
    ) -> impl Iterator<Item = (&TensorSpecification, &mut Tensor)> {
        self.specifications
            .iter()
            .zip(&mut self.tensors)
            .filter(|(specification, _)| specification.role.is_trained())
    }

    /// The tensors that gradients change.
    pub(crate) fn trained_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.specifications
            .iter()
            .zip(&self.tensors)
            .filter(|(specification, _)| specification.role.is_trained())
            .map(|(_, tensor)| tensor)
    }

    /// The specifications of the tensors that gradients change.
    pub(crate) fn trained(&self) -> impl Iterator<Item = &TensorSpecification> {
        self.specifications
            .iter()
            .filter(|specification| specification.role.is_trained())
    }

    /// Puts the network on a tape: its trained tensors as parameters when training, everything constant otherwise.
    pub fn bind<'a>(&'a self, tape: &'a Tape, mode: Mode) -> Bound<'a> {
        let variables = self
            .specifications
            .iter()
            .zip(&self.tensors)
            .map(|(specification, tensor)| {
                if mode == Mode::Training && specification.role.is_trained() {
                    tape.parameter(tensor.clone())
                } else {
                    tape.constant(tensor.clone())
                }
            })
            .collect();
        Bound {
            network: self,
            tape,
            mode,
            variables,
        }
    }

    /// Lets the running statistics follow one batch, or its parts one after the other, as in training.
    ///
    /// # Errors
    /// Where the device fails.
    pub(crate) fn update_running(&mut self, batch: &RunningUpdate) -> Result<()> {
        self.move_running(batch, BATCH_NORM_MOMENTUM)
    }

    /// running ← (1 − momentum)·running + momentum·batch for all running statistics, once for each part of the batch.
    ///
    /// # Errors
    /// Where the device fails.
    pub(crate) fn move_running(&mut self, batch: &RunningUpdate, momentum: f32) -> Result<()> {
        for (layer, statistics) in &batch.0 {
            let mean = self.position(&format!("bn{layer}.running_mean"));
            // A batch normalisation's running mean and variance stand next to each other.
            let (before, after) = self.tensors.split_at_mut(mean + 1);
            update_running_statistics(
                &*self.backend,
                statistics,
                momentum,
                &mut before[mean],
                &mut after[0],
            )?;
        }
        Ok(())
    }

    fn position(&self, name: &str) -> usize {
        self.specifications
            .iter()
            .position(|specification| specification.name == name)
            .expect("layer names are made from the same configuration as the tensors")
    }
}

/// What the batch normalisations of one forward pass say about the batch, by layer.
#[derive(Debug, Default)]
pub struct RunningUpdate(Vec<(usize, BatchStatistics)>);

/// A network on a tape.
#[derive(Debug)]
pub struct Bound<'a> {
    network: &'a Network,
    tape: &'a Tape,
    mode: Mode,
    variables: Vec<Variable>,
}

impl Bound<'_> {
    /// The configuration of the network.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.network.config
    }

    /// Latents `[N, z_dim]` on its device.
    pub(crate) fn latents(&self, values: &[f32]) -> Result<Tensor> {
        let z_dim = self.config().z_dim;
        let shape = Shape::from([values.len() / z_dim, z_dim]);
        Ok(self.network.backend.upload(shape, values)?)
    }

    /// The tape it is bound to.
    pub(crate) fn tape(&self) -> &Tape {
        self.tape
    }

    /// The variables that gradients change, in order.
    pub fn trained(&self) -> Vec<&Variable> {
        self.network
            .specifications
            .iter()
            .zip(&self.variables)
            .filter(|(specification, _)| specification.role.is_trained())
            .map(|(_, variable)| variable)
            .collect()
    }

    /// A tensor by name.
    pub(crate) fn variable(&self, name: &str) -> &Variable {
        &self.variables[self.network.position(name)]
    }

    /// Batch normalisation `bn{layer}` of each of `parts` parts of a batch, and the rectifier after it, which multiplies what
    /// is negative by `slope`. At inference parts are normalised alike.
    pub(crate) fn normalise_and_rectify(
        &self,
        layer: usize,
        (x, parts): (&Variable, usize),
        slope: f32,
        update: &mut RunningUpdate,
    ) -> Result<Variable> {
        let scale = self.variable(&format!("bn{layer}.weight"));
        let shift = self.variable(&format!("bn{layer}.bias"));
        let settings = BatchNormSettings {
            epsilon: BATCH_NORM_EPSILON,
            slope,
        };
        match self.mode {
            Mode::Training => {
                let (y, statistics) = self
                    .tape
                    .batch_norm_training(x, parts, scale, shift, settings)?;
                update.0.push((layer, statistics));
                Ok(y)
            }
            Mode::Inference => {
                let mean = self.variable(&format!("bn{layer}.running_mean")).value()?;
                let variance = self.variable(&format!("bn{layer}.running_var")).value()?;
                let statistics = (mean, variance);
                Ok(self
                    .tape
                    .batch_norm_inference(x, statistics, scale, shift, settings)?)
            }
        }
    }
}

/// A tensor on the device, from values in the file's order.
pub(crate) fn upload(
    backend: &dyn Backend,
    specification: &TensorSpecification,
    values: &[f32],
) -> Result<Tensor> {
    let dims = &specification.file_dims;
    let shape = Shape::from(&specification.layout.engine_dims(dims)[..]);
    Ok(backend.upload(shape, &specification.layout.to_engine(values, dims))?)
}

/// A tensor's values in the file's order.
pub(crate) fn download(
    backend: &dyn Backend,
    specification: &TensorSpecification,
    tensor: &Tensor,
) -> Result<Vec<f32>> {
    let values = backend.download(tensor)?;
    Ok(specification
        .layout
        .to_file(&values, &specification.file_dims))
}
