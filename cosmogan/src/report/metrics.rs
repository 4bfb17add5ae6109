//! The content of the page, for programs: `metrics.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::compare::MapFigure;
use super::digits::significant;
use super::plots::{Distributions, PixelHistograms, SpectrumBands, ThresholdBands, TrainingCurve};
use super::significance::{PaperRow, Tests};
use super::summary::Summary;
use crate::provenance::Provenance;
use crate::stats::{CorrelationMatrix, CovarianceRatios, Interval};

/// Everything the page shows, as numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Grows when a field changes its meaning or goes; new fields do not change it.
    pub format: u32,
    /// The page's title.
    pub title: String,
    /// Name and version of the program that wrote this.
    pub program: String,
    /// Height and width of a map in pixels.
    pub pixels: usize,
    /// Side of a map in degrees.
    pub side_degrees: f64,
    /// Edges of the bins of the power spectrum, in ℓ.
    pub l_edges: Vec<f64>,
    /// Edges of the bins of thresholds, in κ.
    pub nu_edges: Vec<f64>,
    /// The table.
    pub summary: Summary,
    /// The table in words.
    pub verdict: String,
    /// The table that stands where the paper gives its numbers.
    pub paper: Vec<PaperRow>,
    /// Which two samples of real maps the yardstick is.
    pub yardstick: String,
    /// Generated maps against real ones.
    pub tests: Tests,
    /// The yardstick's two samples against each other.
    pub yardstick_tests: Option<Tests>,
    /// Covariance of the generated maps against that of the real ones.
    pub covariance: CovarianceNumbers,
    /// The same for the yardstick.
    pub yardstick_covariance: Option<CovarianceNumbers>,
    /// Correlation matrices of the power spectra.
    pub correlations: Correlations,
    /// The histograms of the pixel values.
    pub histograms: PixelHistograms,
    /// The power spectra.
    pub spectra: SpectrumBands,
    /// The power at three modes, over maps.
    pub modes: Distributions,
    /// Minkowski functionals and peak counts.
    pub functionals: ThresholdBands,
    /// The functionals at three thresholds, over maps.
    pub thresholds: Distributions,
    /// The losses as they are drawn: finite ones, averaged over blocks of steps in long runs.
    pub training: Option<TrainingCurve>,
    /// What the other figures show, without their maps.
    #[serde(default)]
    pub figures: Vec<MapFigure>,
    /// The boxes behind the maps, by what the maps are, where manifests tell.
    #[serde(default)]
    pub origins: BTreeMap<String, Provenance>,
    /// Where everything came from: pairs of what and which.
    pub provenance: Vec<(String, String)>,
}

/// Correlation matrices of the power spectra over maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correlations {
    /// Of the real maps.
    pub real: CorrelationMatrix,
    /// Of the generated maps.
    pub generated: CorrelationMatrix,
    /// The difference between two samples of real maps.
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

/// Ratios of covariances to those of a reference; absent with fewer than four maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CovarianceNumbers {
    /// Of the power spectrum between modes.
    pub power: Option<CovarianceRatios>,
    /// Of the Minkowski functionals between thresholds.
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
                statistic: "Between maps and between modes or thresholds, ratio to the real maps"
                    .to_owned(),
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
