//! Random numbers that depend on what they are for, and on nothing else.
//!
//! Every use has its own ChaCha stream, addressed by (seed, purpose, index). Step 1,000 of a training run draws the
//! same numbers whether or not the run was interrupted, and map 7 of a seed is the same map in any batch.

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

/// What random numbers are drawn for. The discriminants are part of the meaning of a seed: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights of the generator; index 0.
    GeneratorWeights = 1,
    /// Initial weights of the discriminator; index 0.
    DiscriminatorWeights = 2,
    /// Latent vectors of a training step; the index is the step.
    TrainingLatents = 3,
    /// Order of the maps in an epoch; the index is the epoch.
    Shuffle = 4,
    /// Whether the labels of a step are flipped; the index is the step.
    LabelFlip = 5,
    /// The latent vector of one generated map; the index is the map.
    Latent = 6,
    /// One simulated map; the index is the map.
    Simulation = 7,
    /// Positions of crops; the index is the source map.
    Crops = 8,
    /// Latents of the picture grids shown during training; index 0.
    PreviewLatents = 9,
    /// Resamples of a test; the index is the resample.
    Bootstrap = 10,
    /// Resamples for the interval of a ratio of covariances; the index is the resample.
    CovarianceBootstrap = 11,
    /// Latents of the maps that a generator is scored by; the index is the map.
    SelectionLatents = 12,
}

/// The generator of random numbers for one purpose and index under a seed.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha12Rng {
    let mut rng = ChaCha12Rng::seed_from_u64(seed ^ (purpose as u64).rotate_right(8));
    rng.set_stream(index);
    rng
}
