//! The error type and the random number streams that the CosmoGAN crates share.
#![forbid(unsafe_code)]

mod error;
pub mod memory;
pub mod rng;

pub use error::{Error, Result, printable};
