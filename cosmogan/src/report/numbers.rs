//! The numbers of the comparison: moments of the pixels, and distances between two samples.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Bins of each histogram in the χ² distance. Ten hold enough of a hundred maps each to mean something.
pub const CHI_SQUARED_BINS: usize = 10;

/// What the pixels of one sample look like. κ is dimensionless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelNumbers {
    /// Mean of κ.
    pub mean: f64,
    /// Standard deviation of κ, over all pixels.
    pub sigma: f64,
    /// Third central moment over σ³; 0 for a constant sample.
    pub skewness: f64,
    /// Smallest κ.
    pub minimum: f64,
    /// Largest κ.
    pub maximum: f64,
}

/// How far one sample lies from another. None has a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Kolmogorov–Smirnov distance of the pixel values: the largest gap between the two cumulative distributions, 0 to 1.
    pub pixel_ks: f64,
    /// Mean over ℓ of |ratio of the mean spectra − 1|.
    pub spectrum_deviation: f64,
    /// Median over ℓ of the ratio of the spectrum's variances between maps; absent with fewer than two maps.
    pub spectrum_variance_ratio: Option<f64>,
    /// χ² distance of the histograms of the spectrum at each ℓ, averaged over ℓ, 0 to 1.
    pub spectrum_chi_squared: f64,
}

/// The pixels of `maps`, sorted.
pub(super) fn sorted_pixels(maps: &[&[f32]]) -> Vec<f32> {
    let mut values = maps.concat();
    values.par_sort_unstable_by(f32::total_cmp);
    values
}

/// Moments of sorted, finite, non-empty `values`, summed in f64 about the mean.
pub(super) fn pixel_numbers(sorted: &[f32]) -> PixelNumbers {
    let count = sorted.len() as f64;
    let mean = sorted.par_iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let (second, third) = sorted
        .par_iter()
        .map(|&v| {
            let off = f64::from(v) - mean;
            (off * off, off * off * off)
        })
        .reduce(|| (0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    let sigma = (second / count).sqrt();
    let cube = sigma.powi(3);
    PixelNumbers {
        mean,
        sigma,
        skewness: if cube > 0.0 {
            third / count / cube
        } else {
            0.0
        },
        minimum: sorted.first().map_or(0.0, |&v| f64::from(v)),
        maximum: sorted.last().map_or(0.0, |&v| f64::from(v)),
    }
}

/// The Kolmogorov–Smirnov distance of two sorted samples, ties included.
pub(super) fn kolmogorov_smirnov(a: &[f32], b: &[f32]) -> f64 {
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        while i < a.len() && a[i] <= value {
            i += 1;
        }
        while j < b.len() && b[j] <= value {
            j += 1;
        }
        largest = largest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    largest
}

/// Mean and variance (n − 1) over maps of each column of `rows`; the variance is absent for fewer than two rows.
pub(super) fn columns(rows: &[&[f64]]) -> (Vec<f64>, Option<Vec<f64>>) {
    let width = rows.first().map_or(0, |row| row.len());
    let count = rows.len() as f64;
    let mean: Vec<f64> = (0..width)
        .map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / count)
        .collect();
    let variance = (rows.len() > 1).then(|| {
        (0..width)
            .map(|k| {
                let squares = rows.iter().map(|row| (row[k] - mean[k]).powi(2));
                squares.sum::<f64>() / (count - 1.0)
            })
            .collect()
    });
    (mean, variance)
}

/// Mean over ℓ of |mean spectrum of `b` / mean spectrum of `a` − 1|. Multipoles without power in `a` (empty bins) are
/// passed over.
pub(super) fn spectrum_deviation(a: &[&[f64]], b: &[&[f64]]) -> f64 {
    let (reference, _) = columns(a);
    let (other, _) = columns(b);
    let off: Vec<f64> = ratios(&other, &reference)
        .map(|ratio| (ratio - 1.0).abs())
        .collect();
    off.iter().sum::<f64>() / (off.len().max(1)) as f64
}

/// Median over ℓ of the variance of `b`'s spectra over that of `a`'s.
pub(super) fn spectrum_variance_ratio(a: &[&[f64]], b: &[&[f64]]) -> Option<f64> {
    let (_, reference) = columns(a);
    let (_, other) = columns(b);
    let mut all: Vec<f64> = ratios(&other?, &reference?).collect();
    all.sort_unstable_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        n if n % 2 == 1 => Some(all[middle]),
        _ => Some(0.5 * (all[middle - 1] + all[middle])),
    }
}

fn ratios<'a>(over: &'a [f64], under: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    over.iter()
        .zip(under)
        .filter(|(_, under)| **under > 0.0)
        .map(|(over, under)| over / under)
}

/// ½·Σ (p − q)²/(p + q) over the bins of the histograms p and q of the spectra at one ℓ, averaged over ℓ.
///
/// The bins of each ℓ hold equal shares of `a`, the first and the last reach to infinity: no outlier of `b` can change
/// them. 0 means equal histograms, 1 means no overlap.
pub(super) fn spectrum_chi_squared(a: &[&[f64]], b: &[&[f64]]) -> f64 {
    let width = a.first().map_or(0, |row| row.len());
    let mut total = 0.0;
    for k in 0..width {
        let mut reference: Vec<f64> = a.iter().map(|row| row[k]).collect();
        reference.sort_unstable_by(f64::total_cmp);
        let edges: Vec<f64> = (1..CHI_SQUARED_BINS)
            .map(|edge| reference[edge * reference.len() / CHI_SQUARED_BINS])
            .collect();
        let histogram = |rows: &[&[f64]]| {
            let mut shares = [0.0; CHI_SQUARED_BINS];
            for row in rows {
                shares[edges.partition_point(|edge| *edge <= row[k])] += 1.0 / rows.len() as f64;
            }
            shares
        };
        let (p, q) = (histogram(a), histogram(b));
        total += p
            .iter()
            .zip(q)
            .filter(|(p, q)| *p + q > 0.0)
            .map(|(p, q)| 0.5 * (p - q).powi(2) / (p + q))
            .sum::<f64>();
    }
    total / width.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_small_sample() {
        let numbers = pixel_numbers(&[0.0, 0.0, 0.0, 4.0]);
        assert_eq!(numbers.mean, 1.0);
        assert!((numbers.sigma - 3f64.sqrt()).abs() < 1e-12);
        assert!((numbers.skewness - 6.0 / 3f64.powf(1.5)).abs() < 1e-12);
        assert_eq!((numbers.minimum, numbers.maximum), (0.0, 4.0));
        assert_eq!(pixel_numbers(&[2.0, 2.0]).skewness, 0.0);
    }

    #[test]
    fn the_ks_distance_by_hand() {
        // After 2.0: three quarters of the first, none of the second.
        assert_eq!(
            kolmogorov_smirnov(&[0.0, 1.0, 2.0, 5.0], &[3.0, 4.0, 6.0, 7.0]),
            0.75
        );
        assert_eq!(kolmogorov_smirnov(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]), 0.0);
        assert_eq!(kolmogorov_smirnov(&[0.0, 1.0], &[2.0]), 1.0);
        // Ties: both jump at 1, to 1/2 and to 1.
        assert_eq!(kolmogorov_smirnov(&[1.0, 2.0], &[1.0, 1.0]), 0.5);
    }

    fn slices(rows: &[Vec<f64>]) -> Vec<&[f64]> {
        rows.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn distances_of_spectra_by_hand() {
        let real: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i), 2.0, 0.0]).collect();
        let doubled: Vec<Vec<f64>> = (0..20)
            .map(|i| vec![2.0 * f64::from(i), 3.0, 1.0])
            .collect();
        let far: Vec<Vec<f64>> = (0..20).map(|_| vec![-5.0, 1.0, -1.0]).collect();
        let (real, doubled, far) = (slices(&real), slices(&doubled), slices(&far));
        assert!((spectrum_deviation(&real, &doubled) - 0.75).abs() < 1e-12);
        assert_eq!(spectrum_variance_ratio(&real, &doubled), Some(4.0));
        assert_eq!(spectrum_variance_ratio(&real[..1], &doubled), None);
        assert_eq!(spectrum_chi_squared(&real, &real), 0.0);
        // Column 0: all of `far` in the first bin, a tenth of `real` there: ½(0.81/1.1 + 0.9). Columns 1 and 2: disjoint.
        let expected = (0.5 * (0.81 / 1.1 + 0.9) + 2.0) / 3.0;
        assert!((spectrum_chi_squared(&real, &far) - expected).abs() < 1e-12);
    }
}
