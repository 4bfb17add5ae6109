//! CosmoGAN: weak-lensing convergence maps from a generative adversarial network.
//!
//! The model and its training follow Mustafa et al. 2019, "CosmoGAN: creating high-fidelity weak lensing convergence
//! maps using Generative Adversarial Networks", Comput. Astrophys. Cosmol. 6, 1.
#![forbid(unsafe_code)]

pub mod commands;
pub mod data;
pub mod device;
pub mod error;
pub mod explore;
pub mod files;
pub mod interrupt;
pub mod model;
pub mod progress;
pub mod report;
pub mod rng;
pub mod simulate;
pub mod stats;
pub mod train;
pub mod verify;
