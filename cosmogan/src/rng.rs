//! Random numbers that depend on what they are for, and on nothing else.
//!
//! Every use has its own ChaCha stream, addressed by (seed, purpose, index). Step 1,000 of a training run draws the
//! same numbers whether or not the run was interrupted, and map 7 of a seed is the same map in any batch.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng, SeedableRng};

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
    /// The initial field of a simulated box; the index is the plane of the mesh.
    InitialField = 13,
    /// How a map sees the slabs of a box; the index is the map.
    LightCone = 14,
    /// Latents by which the statistics of an averaged generator are measured; the index is the batch.
    AverageLatents = 15,
    /// Where a crop is taken from its map, and whether it is mirrored; the index counts the crops of a run, epoch after
    /// epoch.
    TrainingCrops = 16,
}

/// The generator of random numbers for one purpose and index under a seed.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha12Rng {
    let mut rng = ChaCha12Rng::seed_from_u64(seed ^ (purpose as u64).rotate_right(8));
    rng.set_stream(index);
    rng
}

/// Standard normal deviates from the numbers of a stream, without end, by G. Marsaglia's polar method (1964): pairs of
/// uniform numbers are drawn until one lies in the unit circle, and give two deviates.
#[derive(Debug)]
pub struct Normals {
    stream: ChaCha12Rng,
    spare: Option<f64>,
}

impl Normals {
    /// Takes numbers from `stream`.
    pub fn new(stream: ChaCha12Rng) -> Self {
        Self {
            stream,
            spare: None,
        }
    }

    /// The next deviate.
    pub fn draw(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let [x, y] = [self.uniform(), self.uniform()];
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }

    /// Between −1 and 1, from the upper 53 bits of a number, so that every value has the same distance to the next.
    fn uniform(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1_u64 << 52) as f64;
        ((self.stream.next_u64() >> 11) as f64 + 0.5) * SCALE - 1.0
    }
}

impl Iterator for Normals {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        Some(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviates_have_the_moments_of_the_normal_distribution_and_its_tails() {
        const COUNT: usize = 1_000_000;
        let values: Vec<f64> = Normals::new(stream(3, Purpose::Latent, 5))
            .take(COUNT)
            .collect();
        let moment = |power| values.iter().map(|x: &f64| x.powi(power)).sum::<f64>() / COUNT as f64;
        // Within five standard errors, which are √(variance of xᵖ / COUNT).
        let moments: [(i32, f64, f64); 4] =
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)];
        for (power, expected, variance) in moments {
            let error = (variance / COUNT as f64).sqrt();
            assert!(
                (moment(power) - expected).abs() < 5.0 * error,
                "moment {power}"
            );
        }
        let beyond = values.iter().filter(|x| x.abs() > 3.0).count() as f64;
        let expected = 0.002_699_796 * COUNT as f64;
        assert!((beyond - expected).abs() < 5.0 * expected.sqrt());
        // Neighbours, which share a pair of uniform numbers, are independent.
        let products = values.as_chunks::<2>().0.iter().map(|[x, y]| x * y);
        let covariance = products.sum::<f64>() / (COUNT / 2) as f64;
        assert!(covariance.abs() < 5.0 / (COUNT as f64 / 2.0).sqrt());
    }
}
