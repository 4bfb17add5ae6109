//! CosmoGAN: weak-lensing convergence maps from a generative adversarial network.
//!
//! The model and its training follow Mustafa et al. 2019, "CosmoGAN: creating high-fidelity weak lensing convergence
//! maps using Generative Adversarial Networks", Comput. Astrophys. Cosmol. 6, 1.
//!
//! This crate holds the model, its training and the program. Maps, statistics and simulation are `cosmogan_lensing`; the
//! generator alone, for other programs, is `cosmogan_generator`. Both are re-exported here.
#![forbid(unsafe_code)]

// First, because its macros hold for all modules below.
#[macro_use]
pub mod terminal;

pub mod commands;
pub mod device;
pub mod error;
pub mod explore;
mod help;
pub mod interrupt;
pub mod kernels;
pub mod model;
pub mod profile;
pub mod progress;
pub mod threads;
pub mod train;
pub mod tune;
pub mod verify;

pub use cosmogan_base::rng;
pub use cosmogan_generator as generator;
pub use cosmogan_generator::Generator;
pub use cosmogan_lensing::{data, files, provenance, report, simulate, stats};
