//! The generator and the discriminator: configuration, tensors, forward passes, weight files.

pub mod config;
pub mod discriminator;
pub mod generator;
mod initial;
mod layout;
pub mod network;
pub mod sampler;
mod specification;
pub mod weights;

pub use config::{ModelConfig, Preset};
pub use network::{Mode, Network};
pub use specification::{NetworkKind, Role, TensorSpecification};
