//! Kolmogorov–Smirnov test of pixel values.
//!
//! Pixels of one map are correlated, so whole maps are resampled.

use rayon::prelude::*;

use super::bootstrap::{Bootstrap, Significance};

/// Pixel histograms of every map of two samples, in the same bins.
#[derive(Clone, Copy, Debug)]
pub struct PixelTest<'a> {
    /// One row of counts per map of the first sample.
    pub first: &'a [Vec<u32>],
    /// One row of counts per map of the second sample.
    pub second: &'a [Vec<u32>],
}

impl PixelTest<'_> {
    /// Runs the test.
    ///
    /// The statistic is the largest difference between the cumulative distributions at the bin edges; the p-value comes
    /// from resamples of whole maps from the pooled sample.
    ///
    /// # Panics
    /// If a sample is empty.
    pub fn run(&self, bootstrap: &Bootstrap) -> Significance {
        let sizes = [self.first.len() as u32, self.second.len() as u32];
        let given: Vec<u32> = (0..sizes[0])
            .map(|_| 1)
            .chain((0..sizes[1]).map(|_| 1 << 16))
            .collect();
        let observed = self.gap(sizes, &given);
        let exceeded = (0..bootstrap.resamples)
            .into_par_iter()
            .filter(|&resample| self.gap(sizes, &bootstrap.draw(sizes, resample)) >= observed)
            .count();
        Significance {
            statistic: observed,
            p: bootstrap.p(exceeded as u32),
        }
    }

    fn gap(&self, sizes: [u32; 2], taken: &[u32]) -> f64 {
        let bins = self.first[0].len();
        // Counts times the size of the other sample: integers whose sum stays far below 2⁵³.
        let mut lead = vec![0_i64; bins];
        let rows = self.first.iter().chain(self.second);
        for (row, taken) in rows.zip(taken) {
            let weight = i64::from(taken & 0xffff) * i64::from(sizes[1])
                - i64::from(taken >> 16) * i64::from(sizes[0]);
            if weight != 0 {
                for (lead, &count) in lead.iter_mut().zip(row) {
                    *lead += weight * i64::from(count);
                }
            }
        }
        let mut sum = 0_i64;
        let mut largest = 0;
        for lead in lead {
            sum += lead;
            largest = largest.max(sum.unsigned_abs());
        }
        let pixels: u32 = self.first[0].iter().sum();
        largest as f64 / (f64::from(sizes[0]) * f64::from(sizes[1]) * f64::from(pixels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_pixels_are_found() {
        let maps = |shift: u32| -> Vec<Vec<u32>> {
            (0..20)
                .map(|map| vec![10 + map % 3 + shift, 20, 10 - map % 3 - shift])
                .collect()
        };
        let bootstrap = Bootstrap {
            resamples: 199,
            seed: 1,
        };
        let (a, b) = (maps(0), maps(4));
        let same = PixelTest {
            first: &a,
            second: &a,
        }
        .run(&bootstrap);
        assert_eq!((same.statistic, same.p), (0.0, 1.0));
        let other = PixelTest {
            first: &a,
            second: &b,
        }
        .run(&bootstrap);
        assert!((other.statistic - 0.1).abs() < 1e-12);
        assert_eq!(other.p, 0.005);
    }
}
