//! Is it novel? The tests of the paper's section 3.2: does a generator repeat its training maps, does it change
//! smoothly with its latent vector, and how many different maps can it make?

pub mod birthday;
pub mod features;
pub mod interpolate;
pub mod nearest;
pub mod pairs;
