//! Random number streams, addressed by seed, purpose and index.
//!
//! Each use has its own ChaCha stream, which depends on nothing else. Step 1,000 of a training run draws the same
//! numbers whether or not the run was interrupted, and map 7 of a seed is the same map in any batch.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// Purpose of a random number stream.
///
/// The discriminants determine the results of a seed: never renumber them.
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
    /// Latents of the preview grids shown during training; index 0.
    PreviewLatents = 9,
    /// Bootstrap resamples of a two-sample test; the index is the resample.
    Bootstrap = 10,
    /// Bootstrap resamples for the confidence intervals of covariance ratios.
    /// The index is the resample.
    CovarianceBootstrap = 11,
    /// Latents of the maps by which a generator is selected; the index is the map.
    SelectionLatents = 12,
    /// Initial density field of an N-body box; the index is the plane of the mesh.
    InitialField = 13,
    /// Random orientation of the slabs of a box along a line of sight.
    /// The index is the map.
    LightCone = 14,
    /// Latents used to recompute the BatchNorm statistics of an averaged generator.
    /// The index is the batch.
    AverageLatents = 15,
    /// Position and mirroring of a training crop.
    /// The index counts the crops of a run across epochs.
    TrainingCrops = 16,
}

/// Returns the random number generator for a seed, purpose and index.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha12Rng {
    let mut rng = ChaCha12Rng::seed_from_u64(seed ^ (purpose as u64).rotate_right(8));
    rng.set_stream(index);
    rng
}

/// Endless iterator of standard normal deviates.
///
/// Marsaglia's polar method (G. Marsaglia and T. A. Bray, 1964): pairs of uniform numbers are drawn until one lies in
/// the unit circle; it gives two deviates.
#[derive(Debug)]
pub struct Normals {
    stream: ChaCha12Rng,
    spare: Option<f64>,
}

impl Normals {
    /// Creates an iterator that draws from `stream`.
    pub fn new(stream: ChaCha12Rng) -> Self {
        Self {
            stream,
            spare: None,
        }
    }

    /// Draws the next deviate.
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

    /// Draws a uniform number in (−1, 1) from the upper 53 bits of an output.
    /// All values are equally spaced.
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
        // Adjacent deviates, which come from one pair of uniform numbers, are independent.
        let products = values.as_chunks::<2>().0.iter().map(|[x, y]| x * y);
        let covariance = products.sum::<f64>() / (COUNT / 2) as f64;
        assert!(covariance.abs() < 5.0 / (COUNT as f64 / 2.0).sqrt());
    }
}
