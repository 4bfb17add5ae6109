//! Ratios of variances and covariances between two samples of maps.
//!
//! Generative models usually reproduce means sooner than covariances. One ratio compares the variances of two samples,
//! the other the covariances between different quantities.

use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::columns::{Columns, median};
use super::two_sample::Bootstrap;
use cosmogan_base::rng::{Purpose, stream};

/// A value with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Value of the original sample.
    pub value: f64,
    /// 2.5 % of the resamples lie below.
    pub low: f64,
    /// 2.5 % of the resamples lie above.
    pub high: f64,
}

/// Variances and covariances of a sample relative to a reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CovarianceRatios {
    /// Median over quantities of the ratio of their variances over maps.
    pub variance: Interval,
    /// Ratio of the covariances between different quantities: Σ w·C of the sample over Σ w·C of the reference, where
    /// the weights w are the reference's covariances and each quantity is in units of the reference's standard
    /// deviation. Weights from one half of the reference are applied to covariances of the other half: if the same maps
    /// gave both, their noise would bias the ratio below 1.
    pub off_diagonal: Interval,
}

/// Minimum number of maps, so that each half of a reference has a covariance.
const FEWEST_MAPS: usize = 4;

impl CovarianceRatios {
    /// Compares `rows` with `reference`; both have one row of quantities per map.
    ///
    /// Returns `None` if either has too few maps or fewer than two quantities vary.
    pub fn of(reference: &[&[f64]], rows: &[&[f64]], bootstrap: &Bootstrap) -> Option<Self> {
        Self::of_with(reference, rows, bootstrap, &|| {})
    }

    /// Compares samples as [`of`](Self::of) does, and reports progress.
    ///
    /// `advance` is called after every resample, from several threads.
    pub(crate) fn of_with(
        reference: &[&[f64]],
        rows: &[&[f64]],
        bootstrap: &Bootstrap,
        advance: &(dyn Fn() + Sync),
    ) -> Option<Self> {
        if reference.len() < FEWEST_MAPS || rows.len() < FEWEST_MAPS {
            return None;
        }
        let columns = Columns::of(reference);
        let varied: Vec<usize> = (0..columns.mean.len())
            .filter(|&quantity| columns.variance[quantity] > 0.0)
            .collect();
        if varied.len() < 2 {
            return None;
        }
        let standardised = |rows: &[&[f64]]| -> Vec<Vec<f64>> {
            rows.par_iter()
                .map(|row| {
                    let value =
                        |&q: &usize| (row[q] - columns.mean[q]) / columns.variance[q].sqrt();
                    varied.iter().map(value).collect()
                })
                .collect()
        };
        let (reference, rows) = (standardised(reference), standardised(rows));
        let (reference, rows) = (slices(&reference), slices(&rows));
        let coupling = Coupling::new(&reference, &rows);

        let ratios = |reference_weight: &(dyn Fn(usize) -> u32 + Sync),
                      weight: &(dyn Fn(usize) -> u32 + Sync)|
         -> [f64; 2] {
            let below = Columns::of_weighted(&reference, reference_weight).variance;
            let above = Columns::of_weighted(&rows, weight).variance;
            let each = above.iter().zip(&below).filter(|(_, below)| **below > 0.0);
            let variance = median(each.map(|(above, below)| above / below).collect());
            [
                variance.unwrap_or(f64::NAN),
                coupling.ratio(reference_weight, weight),
            ]
        };
        let found = ratios(&|_| 1, &|_| 1);
        let resampled: Vec<[f64; 2]> = (0..bootstrap.resamples)
            .into_par_iter()
            .map(|resample| {
                let mut rng = stream(
                    bootstrap.seed,
                    Purpose::CovarianceBootstrap,
                    resample.into(),
                );
                let mut draw = |count: usize| {
                    let mut taken = vec![0; count];
                    for _ in 0..count {
                        taken[rng.random_range(0..count)] += 1;
                    }
                    taken
                };
                let (of_reference, of_rows) = (draw(reference.len()), draw(rows.len()));
                let found = ratios(&|row| of_reference[row], &|row| of_rows[row]);
                advance();
                found
            })
            .collect();
        let interval = |which: usize| {
            let mut values: Vec<f64> = resampled.iter().map(|ratios| ratios[which]).collect();
            values.sort_unstable_by(f64::total_cmp);
            let quantile = |share: f64| {
                let place = (share * values.len().saturating_sub(1) as f64).round() as usize;
                values.get(place).copied().unwrap_or(found[which])
            };
            Interval {
                value: found[which],
                low: quantile(0.025),
                high: quantile(0.975),
            }
        };
        Some(Self {
            variance: interval(0),
            off_diagonal: interval(1),
        })
    }
}

fn slices(rows: &[Vec<f64>]) -> Vec<&[f64]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// Contribution of each map to Σ w·C.
///
/// The sum over pairs of quantities is reduced to one number per map, so that a resample only has to add these numbers.
struct Coupling {
    /// Contributions of the reference's maps.
    /// Each uses the weights of the half that does not contain the map.
    reference: Vec<f64>,
    /// Contributions of the sample's maps, averaged over the weights of both halves.
    sample: Vec<f64>,
}

impl Coupling {
    fn new(reference: &[&[f64]], sample: &[&[f64]]) -> Self {
        let half = |start: usize| -> Vec<&[f64]> {
            reference.iter().skip(start).step_by(2).copied().collect()
        };
        let halves = [half(0), half(1)];
        let means = halves.each_ref().map(|half| Columns::of(half).mean);
        let sample_mean = Columns::of(sample).mean;
        // For y = row − mean, and W the off-diagonal part of the covariance of a half, yᵀ·W·y is the map's part of Σ
        // w·C.
        let weights = [0, 1].map(|which| Weights::new(&halves[which], &means[which]));
        let parts = |rows: &[&[f64]], mean: &[f64], weights: &Weights| -> Vec<f64> {
            rows.par_iter().map(|row| weights.part(row, mean)).collect()
        };
        let even = parts(&halves[0], &means[0], &weights[1]);
        let odd = parts(&halves[1], &means[1], &weights[0]);
        let mut merged = vec![0.0; reference.len()];
        for (start, half) in [even, odd].into_iter().enumerate() {
            for (place, part) in merged.iter_mut().skip(start).step_by(2).zip(half) {
                *place = part;
            }
        }
        let [first, second] = weights.each_ref().map(|w| parts(sample, &sample_mean, w));
        Self {
            reference: merged,
            sample: first
                .iter()
                .zip(second)
                .map(|(a, b)| 0.5 * (a + b))
                .collect(),
        }
    }

    fn ratio(
        &self,
        reference_weight: impl Fn(usize) -> u32,
        sample_weight: impl Fn(usize) -> u32,
    ) -> f64 {
        let mean = |parts: &[f64], weight: &dyn Fn(usize) -> u32| {
            let sum: f64 = (parts.iter().enumerate())
                .map(|(row, part)| f64::from(weight(row)) * part)
                .sum();
            sum / (parts.len() as f64 - 1.0)
        };
        mean(&self.sample, &sample_weight) / mean(&self.reference, &reference_weight)
    }
}

/// Covariance matrix with its diagonal set to zero, used as weights.
struct Weights {
    rows: Vec<Vec<f64>>,
}

impl Weights {
    fn new(rows: &[&[f64]], mean: &[f64]) -> Self {
        let centred: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| {
                row.iter()
                    .zip(mean)
                    .map(|(value, mean)| value - mean)
                    .collect()
            })
            .collect();
        let width = mean.len();
        let rows = (0..width)
            .into_par_iter()
            .map(|first| {
                let mut sums = vec![0.0; width];
                for row in &centred {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += row[first] * value;
                    }
                }
                sums[first] = 0.0;
                sums.iter().map(|sum| sum / centred.len() as f64).collect()
            })
            .collect();
        Self { rows }
    }

    /// Returns yᵀ·W·y for y = `row` − `mean`.
    fn part(&self, row: &[f64], mean: &[f64]) -> f64 {
        let centred: Vec<f64> = row
            .iter()
            .zip(mean)
            .map(|(value, mean)| value - mean)
            .collect();
        let products = self.rows.iter().map(|weights| {
            let terms = weights.iter().zip(&centred).map(|(w, y)| w * y);
            terms.sum::<f64>()
        });
        products.zip(&centred).map(|(sum, y)| sum * y).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cosmogan_base::rng::Normals;

    /// Draws `count` rows of five quantities that share one random number times `coupling`.
    fn rows(count: usize, coupling: f64, index: u64) -> Vec<Vec<f64>> {
        let mut normals = Normals::new(stream(11, Purpose::Simulation, index));
        let mut normal = || normals.draw();
        (0..count)
            .map(|_| {
                let shared = normal();
                (0..5).map(|_| 3.0 + normal() + coupling * shared).collect()
            })
            .collect()
    }

    #[test]
    fn lost_coupling_is_found_and_equals_are_equal() {
        let bootstrap = Bootstrap {
            resamples: 200,
            seed: 1,
        };
        let reference = rows(400, 1.0, 0);
        let compare = |rows: &[Vec<f64>]| {
            CovarianceRatios::of(&slices(&reference), &slices(rows), &bootstrap)
                .expect("enough maps that vary")
        };
        let holds = |interval: Interval, value: f64| interval.low < value && value < interval.high;
        let equal = compare(&rows(400, 1.0, 1));
        assert!(
            holds(equal.variance, 1.0) && holds(equal.off_diagonal, 1.0),
            "{equal:?}"
        );
        // The variance falls from 1 + 1 to 1 + 0.5, the covariance from 1 to 0.5.
        let weaker = compare(&rows(400, 0.5_f64.sqrt(), 2));
        assert!(
            holds(weaker.variance, 0.75) && holds(weaker.off_diagonal, 0.5),
            "{weaker:?}"
        );
        assert!(weaker.off_diagonal.high < 0.8);
    }

    #[test]
    fn too_little_has_no_ratio() {
        let bootstrap = Bootstrap {
            resamples: 10,
            seed: 1,
        };
        let constant = vec![vec![1.0, 2.0]; 10];
        assert!(CovarianceRatios::of(&slices(&constant), &slices(&constant), &bootstrap).is_none());
        let few = rows(3, 1.0, 0);
        assert!(CovarianceRatios::of(&slices(&few), &slices(&few), &bootstrap).is_none());
    }
}
