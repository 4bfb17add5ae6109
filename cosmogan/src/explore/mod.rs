//! Novelty tests of the paper's section 3.2.
//!
//! Nearest training maps, interpolation between latent vectors, and the number of distinct maps.

pub mod birthday;
pub mod features;
pub mod interpolate;
pub mod nearest;
pub mod pairs;
