//! Weak-lensing convergence maps from trained weights, on the CPU.
//!
//! [`Generator`] reads weights in PyTorch's names and layouts (safetensors) and turns latent vectors into maps of κ. It has
//! few dependencies and none that builds C code. The model is that of Mustafa et al. 2019, "CosmoGAN: creating
//! high-fidelity weak lensing convergence maps using Generative Adversarial Networks", Comput. Astrophys. Cosmol. 6, 1.
//!
//! The other modules are for programs that train the model: its [configuration](config), its [tensors](specification), their
//! [layouts](layout) in [weight files](tensor_file), and [latent vectors](latents).
#![forbid(unsafe_code)]

pub mod config;
mod fold;
mod generator;
mod instructions;
mod json;
pub mod latents;
pub mod layout;
#[cfg(feature = "embed-weights")]
pub mod shipped;
pub mod specification;
pub mod tensor_file;

pub use config::ModelConfig;
pub use cosmogan_base::{Error, Result};
pub use generator::{Generator, InstructionSet, Method, Options};
pub use specification::{NetworkKind, Role, TensorSpecification};
