//! A network's tensors on a device, and the parts of the forward pass that both networks share.

use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::ops::{BatchNormSettings, BatchStatistics, update_running_statistics};
use cosmogan_engine::{Padding, Shape, Tape, Tensor, Variable};

use super::initial;
use crate::error::Result;
use crate::rng::{Normals, Purpose, stream};
use cosmogan_generator::config::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, ModelConfig, STRIDE};
use cosmogan_generator::specification::{NetworkKind, TensorSpecification, tensors};

/// TensorFlow's SAME padding for a 5×5 kernel, stride 2 and an even input: one before, two after.
pub(crate) const SAME: Padding = Padding {
    begin: [1, 1],
    end: [2, 2],
};
pub(crate) const STRIDES: [usize; 2] = [STRIDE, STRIDE];

/// The statistics that batch normalisation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of the batch; gradients flow through them.
    Training,
    /// The running statistics; no gradients.
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
    /// If the device is out of memory.
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

    /// A network whose tensors are given by `values`, each in the file's order.
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

    /// A deep copy. `change` receives each tensor's values in the file's order and returns those of the copy.
    ///
    /// # Errors
    /// If the device fails.
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

    /// Whether this is the generator or the discriminator.
    pub fn kind(&self) -> NetworkKind {
        self.kind
    }

    /// The extents of the network.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device that holds the tensors.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Names, extents and roles of the tensors, in PyTorch's order.
    pub fn specifications(&self) -> &[TensorSpecification] {
        &self.specifications
    }

    /// Downloads every tensor's values in the file's order, with its specification.
    ///
    /// # Errors
    /// If the device fails.
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

    /// The trained tensors, with their specifications.
    pub(crate) fn trained_mut(
        &mut self,
    ) -> impl Iterator<Item = (&TensorSpecification, &mut Tensor)> {
        self.specifications
            .iter()
            .zip(&mut self.tensors)
            .filter(|(specification, _)| specification.role.is_trained())
    }

    /// The trained tensors.
    pub(crate) fn trained_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.specifications
            .iter()
            .zip(&self.tensors)
            .filter(|(specification, _)| specification.role.is_trained())
            .map(|(_, tensor)| tensor)
    }

    /// The specifications of the trained tensors.
    pub(crate) fn trained(&self) -> impl Iterator<Item = &TensorSpecification> {
        self.specifications
            .iter()
            .filter(|specification| specification.role.is_trained())
    }

    /// Binds the network to a tape: trained tensors become parameters in training mode, all others constants.
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

    /// Updates the running statistics by one batch, or by its parts one after the other, with the training momentum.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn update_running(&mut self, batch: &RunningUpdate) -> Result<()> {
        self.move_running(batch, BATCH_NORM_MOMENTUM)
    }

    /// running ← (1 − momentum)·running + momentum·batch for all running statistics, once for each part of the batch.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn move_running(&mut self, batch: &RunningUpdate, momentum: f32) -> Result<()> {
        for (layer, statistics) in &batch.0 {
            let mean = self.position(&format!("bn{layer}.running_mean"));
            // The running mean and variance of a batch normalisation are adjacent.
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

/// Batch statistics of one forward pass, by layer.
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

    /// Uploads latents `[N, z_dim]` to the network's device.
    pub(crate) fn latents(&self, values: &[f32]) -> Result<Tensor> {
        let z_dim = self.config().z_dim;
        let shape = Shape::from([values.len() / z_dim, z_dim]);
        Ok(self.network.backend.upload(shape, values)?)
    }

    /// The tape that the network is bound to.
    pub(crate) fn tape(&self) -> &Tape {
        self.tape
    }

    /// The trained variables, in order.
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

    /// Batch normalisation `bn{layer}`, then a leaky ReLU with `slope`.
    ///
    /// In training each of the `parts` equal parts of the batch is normalised with its own statistics.
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

/// Uploads a tensor from values in the file's order.
pub(crate) fn upload(
    backend: &dyn Backend,
    specification: &TensorSpecification,
    values: &[f32],
) -> Result<Tensor> {
    let dims = &specification.file_dims;
    let shape = Shape::from(&specification.layout.engine_dims(dims)[..]);
    Ok(backend.upload(shape, &specification.layout.to_engine(values, dims))?)
}

/// Downloads a tensor's values in the file's order.
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
