//! Bootstrap significance of two-sample tests.
//!
//! Resamples of both samples, drawn from the pooled sample, give the distribution of each statistic under the null
//! hypothesis that both have the same distribution.

use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::anderson_darling::{MidrankSum, standardised};
use super::kolmogorov_smirnov::Gap;
use super::pooled::{Pooled, as_given};
use cosmogan_base::rng::{Purpose, stream};

/// Number of resamples and random seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples B; p-values are multiples of 1/(B + 1).
    pub resamples: u32,
    /// Seed of the resamples.
    pub seed: u64,
}

/// A test statistic with its bootstrap p-value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Significance {
    /// Statistic T.
    pub statistic: f64,
    /// p = (1 + #{T* ≥ T})/(B + 1) over the statistics T* of the resamples.
    pub p: f64,
}

/// Results of both tests for one quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoSampleTest {
    /// Kolmogorov–Smirnov: largest difference between the cumulative distributions.
    pub ks: Significance,
    /// Anderson–Darling: Scholz and Stephens' standardised statistic.
    pub ad: Significance,
}

impl Pooled {
    /// Returns both statistics; the Anderson–Darling statistic is not yet standardised.
    fn statistics(&self, sizes: [u32; 2], taken: &[u32]) -> (u64, f64) {
        let (mut gap, mut sum) = (Gap::new(sizes), MidrankSum::new(sizes));
        self.for_each_group(taken, |group| {
            gap.add(group);
            sum.add(group);
        });
        (gap.largest, sum.finish())
    }
}

impl Bootstrap {
    /// Maximum number of maps per sample: multiplicities are stored in 16 bits.
    pub const MOST_MAPS: usize = 0xffff;

    /// Tests every quantity.
    ///
    /// `first` and `second` have one row per map and one column per quantity. A resample draws whole maps, so that all
    /// quantities use the same maps.
    ///
    /// # Panics
    /// If a sample is empty or has more than [`Self::MOST_MAPS`] rows.
    pub fn test(&self, first: &[Vec<f64>], second: &[Vec<f64>]) -> Vec<TwoSampleTest> {
        self.test_with(first, second, &|_| {})
    }

    /// Tests every quantity as [`test`](Self::test) does, and reports progress.
    ///
    /// `advance` is called after every resample, from several threads, with the number of quantities tested.
    pub(crate) fn test_with(
        &self,
        first: &[Vec<f64>],
        second: &[Vec<f64>],
        advance: &(dyn Fn(u64) + Sync),
    ) -> Vec<TwoSampleTest> {
        let within = 1..=Self::MOST_MAPS;
        assert!(
            within.contains(&first.len()) && within.contains(&second.len()),
            "a sample must have 1 to 65535 maps"
        );
        let sizes = [first.len() as u32, second.len() as u32];
        let pooled: Vec<Pooled> = (0..first[0].len())
            .into_par_iter()
            .map(|quantity| {
                Pooled::new(
                    first.iter().map(|row| row[quantity]),
                    second.iter().map(|row| row[quantity]),
                )
            })
            .collect();
        let given = as_given(sizes);
        let observed: Vec<(u64, f64)> = pooled
            .par_iter()
            .map(|pooled| pooled.statistics(sizes, &given))
            .collect();
        let none = || vec![[0_u32; 2]; pooled.len()];
        let exceeded = (0..self.resamples)
            .into_par_iter()
            .fold(none, |mut exceeded, resample| {
                let taken = self.draw(sizes, resample);
                for ((pooled, observed), exceeded) in
                    pooled.iter().zip(&observed).zip(&mut exceeded)
                {
                    let (gap, sum) = pooled.statistics(sizes, &taken);
                    exceeded[0] += u32::from(gap >= observed.0);
                    exceeded[1] += u32::from(sum >= observed.1);
                }
                advance(pooled.len() as u64);
                exceeded
            })
            .reduce(none, |mut sums, counts| {
                for (sums, counts) in sums.iter_mut().zip(counts) {
                    sums[0] += counts[0];
                    sums[1] += counts[1];
                }
                sums
            });
        let product = f64::from(sizes[0]) * f64::from(sizes[1]);
        observed
            .into_iter()
            .zip(exceeded)
            .map(|((gap, sum), [gaps, sums])| TwoSampleTest {
                ks: Significance {
                    statistic: gap as f64 / product,
                    p: self.p(gaps),
                },
                ad: Significance {
                    statistic: standardised(sizes, sum),
                    p: self.p(sums),
                },
            })
            .collect()
    }

    /// p-value of a statistic that `exceeded` of the resamples reached.
    pub(super) fn p(&self, exceeded: u32) -> f64 {
        f64::from(1 + exceeded) / f64::from(self.resamples + 1)
    }

    /// Draws one resample with replacement from the pooled sample.
    /// Returns the multiplicity of each pooled map in both samples.
    pub(super) fn draw(&self, sizes: [u32; 2], resample: u32) -> Vec<u32> {
        let mut rng = stream(self.seed, Purpose::Bootstrap, u64::from(resample));
        let total = sizes[0] + sizes[1];
        let mut taken = vec![0; total as usize];
        for (size, one) in [(sizes[0], 1), (sizes[1], 1 << 16)] {
            for _ in 0..size {
                taken[rng.random_range(0..total) as usize] += one;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f64]) -> Vec<Vec<f64>> {
        values.iter().map(|&value| vec![value, 1.0]).collect()
    }

    #[test]
    fn apart_is_significant_and_constant_is_not() {
        let first: Vec<f64> = (0..30).map(f64::from).collect();
        let second: Vec<f64> = (0..40).map(|value| f64::from(value) + 25.0).collect();
        let bootstrap = Bootstrap {
            resamples: 99,
            seed: 3,
        };
        let tests = bootstrap.test(&column(&first), &column(&second));
        assert_eq!((tests[0].ks.p, tests[0].ad.p), (0.01, 0.01));
        assert_eq!((tests[1].ks.statistic, tests[1].ks.p), (0.0, 1.0));
        assert_eq!(tests[1].ad.p, 1.0);
        assert_eq!(tests, bootstrap.test(&column(&first), &column(&second)));
    }
}
