//! The content of the page, for programs: `metrics.json`.

use serde::{Deserialize, Serialize};

use super::plots::{PixelHistograms, SpectrumBands, TrainingCurve};
use super::summary::Summary;

/// Everything the page shows, as numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Grows when a field changes its meaning or goes; new fields do not change it.
    pub format: u32,
    /// The page's title.
    pub title: String,
    /// Name and version of the program that wrote this.
    pub program: String,
    /// Height of a map in pixels.
    pub height: usize,
    /// Width of a map in pixels.
    pub width: usize,
    /// Side of a map in degrees.
    pub side_degrees: f64,
    /// The table.
    pub summary: Summary,
    /// The table in words.
    pub verdict: String,
    /// The histograms of the pixel values.
    pub histograms: PixelHistograms,
    /// The power spectra.
    pub spectra: SpectrumBands,
    /// The losses as they are drawn: finite ones, averaged over blocks of steps in long runs.
    pub training: Option<TrainingCurve>,
    /// Where everything came from: pairs of what and which.
    pub provenance: Vec<(String, String)>,
}
