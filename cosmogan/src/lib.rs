//! CosmoGAN: weak-lensing convergence maps from a generative adversarial network.
//!
//! The model and its training follow Mustafa et al. 2019, "CosmoGAN: creating high-fidelity weak lensing convergence
//! maps using Generative Adversarial Networks", Comput. Astrophys. Cosmol. 6, 1.
//!
//! Without its default features this crate is [`Generator`] alone: trained weights in, maps out, with few dependencies and
//! none that builds C code. The feature `program` adds everything else.
#![forbid(unsafe_code)]

pub mod error;
pub mod generator;
pub mod model;
pub mod rng;

#[cfg(feature = "program")]
pub mod commands;
#[cfg(feature = "program")]
pub mod data;
#[cfg(feature = "program")]
pub mod device;
#[cfg(feature = "program")]
pub mod explore;
#[cfg(feature = "program")]
pub mod files;
#[cfg(feature = "program")]
pub mod interrupt;
#[cfg(feature = "program")]
pub mod profile;
#[cfg(feature = "program")]
pub mod progress;
#[cfg(feature = "program")]
pub mod provenance;
#[cfg(feature = "program")]
pub mod report;
#[cfg(feature = "program")]
pub mod simulate;
#[cfg(feature = "program")]
pub mod stats;
#[cfg(feature = "program")]
pub mod train;
#[cfg(feature = "program")]
pub mod tune;
#[cfg(feature = "program")]
pub mod verify;

pub use generator::Generator;
