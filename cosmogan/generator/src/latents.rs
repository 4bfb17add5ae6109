//! Latent vectors: standard normal deviates that depend only on a seed, a purpose and an index.

use std::ops::Range;

use cosmogan_base::rng::{Normals, Purpose, stream};

/// Latent vectors of the maps `range` of a seed, concatenated; each depends only on the seed and its index.
pub fn latents(seed: u64, range: Range<u64>, z_dim: usize) -> Vec<f32> {
    range
        .flat_map(|index| normals(seed, Purpose::Latent, index, z_dim))
        .collect()
}

/// `count` standard normal deviates of one stream.
pub fn normals(seed: u64, purpose: Purpose, index: u64, count: usize) -> impl Iterator<Item = f32> {
    let normals = Normals::new(stream(seed, purpose, index));
    normals.take(count).map(|value| value as f32)
}
