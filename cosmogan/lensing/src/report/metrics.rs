//! Machine-readable content of the report: `metrics.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::comparison::MapFigure;
use super::digits::significant;
use super::plots::{Distributions, PixelHistograms, SpectrumBands, ThresholdBands, TrainingCurve};
use super::significance::{PaperRow, Tests};
use super::summary::Summary;
use crate::provenance::Provenance;
use crate::stats::{CorrelationMatrix, CovarianceRatios, Interval};

/// All content of the report as numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Format version.
    ///
    /// Increases when a field changes its meaning or is removed, not when one is added.
    pub format: u32,
    /// Title of the report.
    pub title: String,
    /// Name and version of the program.
    pub program: String,
    /// Width and height of a map in pixels.
    pub pixels: usize,
    /// Side of a map in degrees.
    pub side_degrees: f64,
    /// Bin edges of the power spectrum in ℓ.
    pub l_edges: Vec<f64>,
    /// Bin edges of the thresholds in κ.
    pub nu_edges: Vec<f64>,
    /// Summary table.
    pub summary: Summary,
    /// Summary in words.
    pub verdict: String,
    /// Statistics for which the paper's text gives numbers.
    pub paper: Vec<PaperRow>,
    /// Name of the baseline: which two samples of real maps are compared.
    pub yardstick: String,
    /// Two-sample tests of the generated maps against the real ones.
    pub tests: Tests,
    /// Two-sample tests of the baseline's two samples.
    pub yardstick_tests: Option<Tests>,
    /// Covariances of the generated maps relative to those of the real maps.
    pub covariance: CovarianceNumbers,
    /// Covariances of the baseline.
    pub yardstick_covariance: Option<CovarianceNumbers>,
    /// Correlation matrices of the power spectra.
    pub correlations: Correlations,
    /// Histograms of the pixel values.
    pub histograms: PixelHistograms,
    /// Power spectra.
    pub spectra: SpectrumBands,
    /// Distributions over maps of the power in three ℓ bins.
    pub modes: Distributions,
    /// Minkowski functionals and peak counts.
    pub functionals: ThresholdBands,
    /// Distributions over maps of the functionals at three thresholds.
    pub thresholds: Distributions,
    /// Losses as drawn: finite ones, averaged over blocks of steps in long runs.
    pub training: Option<TrainingCurve>,
    /// Captions of the additional figures, without their maps.
    #[serde(default)]
    pub figures: Vec<MapFigure>,
    /// Provenance of the maps from data set manifests, by role of the maps.
    #[serde(default)]
    pub origins: BTreeMap<String, Provenance>,
    /// Provenance as pairs of label and value.
    pub provenance: Vec<(String, String)>,
}

/// Correlation matrices of the power spectra over maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correlations {
    /// Matrix of the real maps.
    pub real: CorrelationMatrix,
    /// Matrix of the generated maps.
    pub generated: CorrelationMatrix,
    /// Difference between the matrices of the baseline's two samples.
    pub yardstick_difference: Option<CorrelationMatrix>,
}

impl Correlations {
    pub(super) fn row(&self) -> PaperRow {
        let largest = |matrix: &CorrelationMatrix| significant(f64::from(matrix.largest()), 2);
        PaperRow {
            statistic: "Correlations between modes of the power spectrum".to_owned(),
            quantity: "largest difference".to_owned(),
            paper: "0.10; auxiliary 0.07".to_owned(),
            generated: largest(&self.generated.minus(&self.real)),
            yardstick: self
                .yardstick_difference
                .as_ref()
                .map_or("–".to_owned(), largest),
            expected: String::new(),
        }
    }
}

/// Covariances relative to those of a reference; absent with fewer than four maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CovarianceNumbers {
    /// Covariances of the power spectrum between ℓ bins.
    pub power: Option<CovarianceRatios>,
    /// Covariances of the Minkowski functionals between thresholds.
    pub functionals: Option<CovarianceRatios>,
}

impl CovarianceNumbers {
    pub(super) fn rows(&self, yardstick: Option<&Self>) -> Vec<PaperRow> {
        type Of = fn(&CovarianceNumbers) -> Option<Interval>;
        let row = |quantity: &str, of: Of| {
            let written = |numbers: &Self| {
                let interval = of(numbers)?;
                let [value, low, high] = [interval.value, interval.low, interval.high]
                    .map(|number| significant(number, 3));
                Some(format!("{value} ({low}–{high})"))
            };
            let missing = || "–".to_owned();
            PaperRow {
                statistic: "Variance and covariance over maps, ratio to the real maps".to_owned(),
                quantity: quantity.to_owned(),
                paper: String::new(),
                generated: written(self).unwrap_or_else(missing),
                yardstick: yardstick.and_then(written).unwrap_or_else(missing),
                expected: "1".to_owned(),
            }
        };
        vec![
            row("power spectrum: variance", |n| Some(n.power?.variance)),
            row("power spectrum: covariance", |n| {
                Some(n.power?.off_diagonal)
            }),
            row("functionals: variance", |n| Some(n.functionals?.variance)),
            row("functionals: covariance", |n| {
                Some(n.functionals?.off_diagonal)
            }),
        ]
    }
}
