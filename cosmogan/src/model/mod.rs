//! The generator and the discriminator: initial weights, forward passes, presets, weight files.

pub mod discriminator;
pub mod generator;
mod initial;
pub mod network;
pub mod preset;
pub mod sampler;
pub mod weights;

pub(crate) use cosmogan_generator::specification::tensors;
pub use cosmogan_generator::{
    ModelConfig, NetworkKind, Role, TensorSpecification, config, latents, layout, tensor_file,
};
pub use network::{Mode, Network};
pub use preset::Preset;
