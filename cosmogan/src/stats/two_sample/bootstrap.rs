//! Bootstrapped significance: resamples of both samples from the pooled one give the distribution of each statistic
//! under the hypothesis that they are of one origin.

use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::anderson_darling::{MidrankSum, standardised};
use super::kolmogorov_smirnov::Gap;
use crate::rng::{Purpose, stream};

/// How often and with which random numbers to resample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Resamples B; p-values come in steps of 1/(B + 1).
    pub resamples: u32,
    /// Seed of the resamples.
    pub seed: u64,
}

/// A statistic and how often chance alone gives at least as much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Significance {
    /// The statistic T.
    pub statistic: f64,
    /// (1 + #{T* ≥ T})/(B + 1) over the resamples' T*.
    pub p: f64,
}

/// Both tests of one quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoSampleTest {
    /// Kolmogorov–Smirnov: the largest gap between the cumulative distributions.
    pub ks: Significance,
    /// Anderson–Darling: Scholz and Stephens' standardised statistic.
    pub ad: Significance,
}

/// The pooled values of one quantity in ascending order: whose they are, and where runs of equal ones end.
struct Pooled {
    /// Index of the pooled sample; [`LAST_OF_GROUP`] is set on the last of equal values.
    order: Vec<u32>,
}

const LAST_OF_GROUP: u32 = 1 << 31;

impl Pooled {
    fn new(first: impl Iterator<Item = f64>, second: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = first.chain(second).collect();
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
        for place in 0..order.len() {
            let here = values[order[place] as usize];
            let next = order.get(place + 1).map(|&index| values[index as usize]);
            if next != Some(here) {
                order[place] |= LAST_OF_GROUP;
            }
        }
        Self { order }
    }

    /// Calls `add` with the numbers of equal values in both samples, in ascending order, where `taken` says how often
    /// each pooled value is in the first sample (low half) and in the second (high half).
    #[inline(always)]
    fn for_each_group(&self, taken: &[u32], mut add: impl FnMut([u32; 2])) {
        let mut here = 0;
        for entry in &self.order {
            here += taken[(entry & !LAST_OF_GROUP) as usize];
            if entry & LAST_OF_GROUP != 0 {
                if here != 0 {
                    add([here & 0xffff, here >> 16]);
                }
                here = 0;
            }
        }
    }

    /// Both statistics, the second not yet standardised.
    fn statistics(&self, sizes: [u32; 2], taken: &[u32]) -> (u64, f64) {
        let (mut gap, mut sum) = (Gap::new(sizes), MidrankSum::new(sizes));
        self.for_each_group(taken, |group| {
            gap.add(group);
            sum.add(group);
        });
        (gap.largest, sum.finish())
    }
}

/// How often each of the pooled values is in the samples as they are.
fn as_given([first, second]: [u32; 2]) -> Vec<u32> {
    let mut taken = vec![1; first as usize];
    taken.resize((first + second) as usize, 1 << 16);
    taken
}

/// The numbers of equal values in the first and in the second sample, in ascending order of the value.
pub(super) fn groups(first: &[f64], second: &[f64]) -> Vec<[u32; 2]> {
    let mut found = Vec::new();
    Pooled::new(first.iter().copied(), second.iter().copied()).for_each_group(
        &as_given([first.len() as u32, second.len() as u32]),
        |group| found.push(group),
    );
    found
}

impl Bootstrap {
    /// Most maps in one sample: counts of equal values are kept in 16 bits.
    pub const MOST_MAPS: usize = 0xffff;

    /// Tests every quantity, one column of `first` and `second`, whose rows are the maps of the two samples. A resample
    /// draws whole maps, so that all quantities see the same ones.
    ///
    /// # Panics
    /// Where a sample is empty or has more than [`Self::MOST_MAPS`] rows.
    pub fn test(&self, first: &[Vec<f64>], second: &[Vec<f64>]) -> Vec<TwoSampleTest> {
        let within = 1..=Self::MOST_MAPS;
        assert!(
            within.contains(&first.len()) && within.contains(&second.len()),
            "samples have at least one map and at most 65535"
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

    /// The p-value of a statistic that `exceeded` of the resamples reached.
    pub(super) fn p(&self, exceeded: u32) -> f64 {
        f64::from(1 + exceeded) / f64::from(self.resamples + 1)
    }

    /// How often each pooled map is in both samples of one resample: drawn with replacement from the pooled sample.
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
    fn groups_are_runs_of_equal_values() {
        let found = groups(&[2.0, 1.0, 1.0], &[1.0, 3.0]);
        assert_eq!(found, [[2, 1], [1, 0], [0, 1]]);
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
