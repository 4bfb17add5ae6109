//! The tensors of each network: names, extents and roles, in PyTorch's order.

use super::layout::Layout;
use crate::config::{KERNEL, ModelConfig};

/// One of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// Maps latent vectors to maps.
    Generator,
    /// Maps maps to logits.
    Discriminator,
}

impl NetworkKind {
    /// `generator` or `discriminator`, as in file and tensor names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Discriminator => "discriminator",
        }
    }
}

/// The role of a tensor, which determines its initial values and whether it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weights of a linear layer or transposed convolution: N(0, 0.02) at the start.
    NormalWeight,
    /// Weights of a convolution: N(0, 0.02) truncated at ±2σ at the start.
    TruncatedNormalWeight,
    /// A bias: 0 at the start.
    Bias,
    /// A bias per channel in front of a batch normalisation, which subtracts it again. Its gradient is exactly zero:
    /// it is not computed, and the bias keeps its value. A computed gradient would consist of rounding errors, which
    /// Adam would amplify to steps of full size.
    IneffectiveBias,
    /// γ: 1 at the start.
    Scale,
    /// β: 0 at the start.
    Shift,
    /// Running mean: 0 at the start, updated by every batch.
    RunningMean,
    /// Running variance: 1 at the start, updated by every batch.
    RunningVariance,
}

impl Role {
    /// Whether the tensor is a parameter in PyTorch, as opposed to a buffer.
    pub fn is_parameter(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }

    /// Whether training updates the tensor by gradients.
    pub fn is_trained(self) -> bool {
        self.is_parameter() && self != Self::IneffectiveBias
    }
}

/// One tensor of a network.
#[derive(Clone, Debug)]
pub struct TensorSpecification {
    /// PyTorch's name, e.g. `deconv1.weight`.
    pub name: String,
    /// Extents in files.
    pub file_dims: Vec<usize>,
    /// Role in the network.
    pub role: Role,
    /// Order of its elements in files.
    pub layout: Layout,
}

impl TensorSpecification {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.file_dims.iter().product()
    }

    /// Whether the tensor has no elements; never true in a valid model.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All tensors of a network in PyTorch's order.
pub fn tensors(kind: NetworkKind, config: &ModelConfig) -> Vec<TensorSpecification> {
    match kind {
        NetworkKind::Generator => generator(config),
        NetworkKind::Discriminator => discriminator(config),
    }
}

fn generator(config: &ModelConfig) -> Vec<TensorSpecification> {
    let mut list = List::default();
    let pixels = config.coarse_size().pow(2);
    let channels = config.generator_channels(0);
    let features = channels * pixels;
    let rows = |inner| Layout::ImageRows {
        channels,
        pixels,
        inner,
    };
    list.push(
        "fc.weight",
        &[features, config.z_dim],
        Role::NormalWeight,
        rows(config.z_dim),
    );
    // This bias has one value per feature, not per channel, so that batch normalisation does not cancel it.
    list.push("fc.bias", &[features], Role::Bias, rows(1));
    list.push_batch_norm(0, channels);
    for layer in 1..=config.layers {
        let inputs = config.generator_channels(layer - 1);
        let outputs = config.generator_channels(layer);
        let is_last = layer == config.layers;
        list.push(
            &format!("deconv{layer}.weight"),
            &[inputs, outputs, KERNEL, KERNEL],
            Role::NormalWeight,
            Layout::TransposedConvolution,
        );
        list.push_convolution_bias(&format!("deconv{layer}.bias"), outputs, !is_last);
        if !is_last {
            list.push_batch_norm(layer, outputs);
        }
    }
    list.0
}

fn discriminator(config: &ModelConfig) -> Vec<TensorSpecification> {
    let mut list = List::default();
    for layer in 0..config.layers {
        let inputs = config.discriminator_channels(layer);
        let outputs = config.discriminator_channels(layer + 1);
        list.push(
            &format!("conv{layer}.weight"),
            &[outputs, inputs, KERNEL, KERNEL],
            Role::TruncatedNormalWeight,
            Layout::Convolution,
        );
        list.push_convolution_bias(&format!("conv{layer}.bias"), outputs, layer > 0);
        if layer > 0 {
            list.push_batch_norm(layer, outputs);
        }
    }
    let channels = config.discriminator_channels(config.layers);
    let pixels = config.coarse_size().pow(2);
    list.push(
        "fc.weight",
        &[1, channels * pixels],
        Role::NormalWeight,
        Layout::ImageColumns { channels, pixels },
    );
    list.push("fc.bias", &[1], Role::Bias, Layout::Same);
    list.0
}

#[derive(Default)]
struct List(Vec<TensorSpecification>);

impl List {
    fn push(&mut self, name: &str, file_dims: &[usize], role: Role, layout: Layout) {
        self.0.push(TensorSpecification {
            name: name.to_owned(),
            file_dims: file_dims.to_vec(),
            role,
            layout,
        });
    }

    fn push_convolution_bias(&mut self, name: &str, channels: usize, before_batch_norm: bool) {
        let role = if before_batch_norm {
            Role::IneffectiveBias
        } else {
            Role::Bias
        };
        self.push(name, &[channels], role, Layout::Same);
    }

    fn push_batch_norm(&mut self, layer: usize, channels: usize) {
        let tensors = [
            ("weight", Role::Scale),
            ("bias", Role::Shift),
            ("running_mean", Role::RunningMean),
            ("running_var", Role::RunningVariance),
        ];
        for (name, role) in tensors {
            self.push(
                &format!("bn{layer}.{name}"),
                &[channels],
                role,
                Layout::Same,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: ModelConfig = ModelConfig {
        output_size: 256,
        layers: 4,
        gf_dim: 64,
        df_dim: 64,
        z_dim: 64,
        c_dim: 1,
    };

    fn parameters(kind: NetworkKind, prefixes: &[&str]) -> usize {
        tensors(kind, &PAPER)
            .iter()
            .filter(|tensor| tensor.role.is_parameter())
            .filter(|tensor| prefixes.contains(&tensor.name.split('.').next().unwrap()))
            .map(TensorSpecification::len)
            .sum()
    }

    #[test]
    fn the_generator_has_the_papers_parameters() {
        let layers = [
            ("fc", 8_519_680),
            ("bn0", 1_024),
            ("deconv1", 3_277_056),
            ("bn1", 512),
            ("deconv2", 819_328),
            ("bn2", 256),
            ("deconv3", 204_864),
            ("bn3", 128),
            ("deconv4", 1_601),
        ];
        for (layer, count) in layers {
            assert_eq!(
                parameters(NetworkKind::Generator, &[layer]),
                count,
                "{layer}"
            );
        }
    }

    #[test]
    fn the_discriminator_has_the_papers_parameters() {
        let layers = [
            ("conv0", 1_664),
            ("conv1", 204_928),
            ("bn1", 256),
            ("conv2", 819_456),
            ("bn2", 512),
            ("conv3", 3_277_312),
            ("bn3", 1_024),
            ("fc", 131_073),
        ];
        for (layer, count) in layers {
            assert_eq!(
                parameters(NetworkKind::Discriminator, &[layer]),
                count,
                "{layer}"
            );
        }
    }
}
