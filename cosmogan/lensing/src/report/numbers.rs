//! Summary numbers of a comparison: moments of pixels, distances of samples.

use serde::{Deserialize, Serialize};

use crate::stats::{ChiSquared, Columns, Distribution, Moments, median};

/// Moments and range of the pixel values of one sample. κ is dimensionless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelNumbers {
    /// Mean of κ.
    pub mean: f64,
    /// Standard deviation of κ over all pixels.
    pub sigma: f64,
    /// Skewness: third central moment over σ³.
    pub skewness: f64,
    /// Excess kurtosis: fourth central moment over σ⁴, minus 3.
    pub kurtosis: f64,
    /// Smallest κ.
    pub minimum: f64,
    /// Largest κ.
    pub maximum: f64,
}

/// Distances between two samples; all are dimensionless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Kolmogorov–Smirnov distance of the pixel values, 0 to 1.
    ///
    /// The largest difference between the cumulative distributions; values are resolved to 14 significant bits.
    pub pixel_ks: f64,
    /// Mean over ℓ bins of |ratio of the mean spectra − 1|.
    pub spectrum_deviation: f64,
    /// Median over ℓ bins of the ratio of the variances over maps.
    ///
    /// Absent with fewer than two maps.
    pub spectrum_variance_ratio: Option<f64>,
    /// χ² distance of the histograms of the spectrum in each ℓ bin, averaged over bins, 0 to 1.
    pub spectrum_chi_squared: f64,
}

impl From<Moments> for PixelNumbers {
    fn from(moments: Moments) -> Self {
        Self {
            mean: moments.mean(),
            sigma: moments.standard_deviation(),
            skewness: moments.skewness(),
            kurtosis: moments.kurtosis(),
            minimum: moments.minimum().into(),
            maximum: moments.maximum().into(),
        }
    }
}

/// Pixels and spectra of a sample.
pub(super) struct Content<'a> {
    pub(super) pixels: &'a Distribution,
    pub(super) spectra: &'a [&'a [f64]],
}

impl Distances {
    /// Computes the distances of `other` from `reference`.
    pub(super) fn between(reference: &Content<'_>, other: &Content<'_>) -> Self {
        let (under, over) = (Columns::of(reference.spectra), Columns::of(other.spectra));
        // Bins without power in the reference contain no modes.
        let ratios = |over: &[f64], under: &[f64]| -> Vec<f64> {
            let pairs = over.iter().zip(under).filter(|(_, under)| **under > 0.0);
            pairs.map(|(over, under)| over / under).collect()
        };
        let means = ratios(&over.mean, &under.mean);
        let off: f64 = means.iter().map(|ratio| (ratio - 1.0).abs()).sum();
        Self {
            pixel_ks: reference.pixels.kolmogorov_smirnov(other.pixels),
            spectrum_deviation: off / means.len().max(1) as f64,
            spectrum_variance_ratio: median(ratios(&over.variance, &under.variance)),
            spectrum_chi_squared: ChiSquared::new(reference.spectra).distance(other.spectra),
        }
    }
}
