//! The generator and the discriminator: configuration, tensors, forward passes, weight files.
//!
//! What the generator alone needs is here without the feature `program`; the rest comes with it.

pub mod config;
mod json;
pub mod latents;
mod layout;
mod specification;
pub mod tensor_file;

#[cfg(feature = "program")]
pub mod discriminator;
#[cfg(feature = "program")]
pub mod generator;
#[cfg(feature = "program")]
mod initial;
#[cfg(feature = "program")]
pub mod network;
#[cfg(feature = "program")]
pub mod preset;
#[cfg(feature = "program")]
pub mod sampler;
#[cfg(feature = "program")]
pub mod weights;

pub use config::ModelConfig;
#[cfg(feature = "program")]
pub use network::{Mode, Network};
#[cfg(feature = "program")]
pub use preset::Preset;
#[cfg(feature = "program")]
pub(crate) use specification::tensors;
pub use specification::{NetworkKind, Role, TensorSpecification};
